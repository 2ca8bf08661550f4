//! Flags of the backups that a server makes by itself.

use std::path::{Component, Path, PathBuf, absolute};
use std::time::Duration;

use clap::Args;

use super::parse::{Faults, parse_bounded};

/// Shortest interval: each backup reads the whole store.
const EVERY_MIN: Duration = Duration::from_secs(10);
/// Longest interval: with a longer one, a cron job that calls `klinky dump` is the better tool.
const EVERY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Most backups that are kept: beyond, a directory is no longer a place to look things up in.
const KEEP_MAX: usize = 10_000;

/// Flags of backups.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Back everything but counters and usage up into this directory; made if absent
    ///
    /// Each backup is a dump, klinky-2026-11-24T10-00-00Z.jsonl, that `klinky restore` reads.
    #[arg(long, env = "KLINKY_BACKUP_DIR", value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// How often, 10s to 30days; at the start, too, if the newest backup is older than that
    #[arg(long, env = "KLINKY_BACKUP_EVERY", value_name = "TIME", default_value = "1h")]
    pub backup_every: String,
    /// How many backups are kept, 1 to 10000; older ones are removed
    #[arg(long, env = "KLINKY_BACKUP_KEEP", value_name = "N", default_value = "24")]
    pub backup_keep: String,
}

/// Where, how often and how many, checked.
#[derive(Debug, Clone)]
pub struct BackupSettings {
    /// The directory.
    pub dir: PathBuf,
    /// The time between two backups.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
}

impl BackupArgs {
    pub(super) fn check(&self, data_dir: &Path, faults: &mut Faults) -> Option<BackupSettings> {
        let every = faults.keep("--backup-every", parse_interval(&self.backup_every));
        let keep = faults.keep("--backup-keep", parse_bounded(&self.backup_keep, 1, KEEP_MAX));
        let dir = faults.keep("--backup-dir", check_place(self.backup_dir.as_deref()?, data_dir));
        Some(BackupSettings { dir: dir?, every: every?, keep: keep? })
    }
}

/// A damaged data directory is moved away as a whole, and its backups must stay.
fn check_place(dir: &Path, data_dir: &Path) -> Result<PathBuf, String> {
    let within = |dir: &Path| Ok::<_, std::io::Error>(resolve(dir)?.starts_with(resolve(data_dir)?));
    match within(dir) {
        Ok(false) => Ok(dir.to_owned()),
        Ok(true) => Err(format!("must lie outside of the data directory, got {}", dir.display())),
        Err(error) => Err(format!("must be a directory, got {:?}: {error}", dir.display())),
    }
}

/// Where a path leads, as far as it is there, and where the rest of it will be once it is made.
fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    let mut resolved = PathBuf::new();
    for part in absolute(path)?.components() {
        if part == Component::ParentDir {
            resolved.pop();
            continue;
        }
        resolved.push(part);
        // What cannot be looked at is refused by who uses it.
        if let Ok(place) = resolved.canonicalize() {
            resolved = place;
        }
    }
    Ok(resolved)
}

fn parse_interval(raw: &str) -> Result<Duration, String> {
    match humantime::parse_duration(raw) {
        Ok(every) if (EVERY_MIN..=EVERY_MAX).contains(&every) => Ok(every),
        Ok(_) | Err(_) => Err(format!("must be 10s to 30days, such as 1h or 30min, got {raw:?}")),
    }
}
