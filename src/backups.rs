//! Backups: dumps that a running server writes from time to time, and the removal of those that are too many.
//!
//! A backup has everything but counters, which are worth an hour, and usage, of which there is much. It is written
//! beside, synced and renamed, so that a file with a backup's name is whole whenever the power fails. Names sort by time.
//! Nothing else in the directory is touched.

use std::error::Error;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::background::{Background, Stop};
use crate::clock::Clock;
use crate::config::{BackupSettings, DumpKind};
use crate::domain::time::Timestamp;
use crate::dump::{self, DumpError, DumpFilter};
use crate::store::{Store, StoreError, make_private_dir, unless_refused};

/// How often the thread looks whether a backup is due.
const ROUND: Duration = Duration::from_secs(1);
/// Before one that failed is tried again: soon enough for a disk that is full for a moment, and no flood of log lines.
const RETRY: Duration = Duration::from_secs(60);
/// The backup that is being written. One of a server that was killed is overwritten by the next.
const UNFINISHED: &str = "klinky-backup.new";
const PREFIX: &str = "klinky-";
const SUFFIX: &str = ".jsonl";

/// Why backups do not start, or one was not written.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory cannot be made, read or written.
    #[error("cannot use {dir} for backups: make it writable and make room there, or name another with --backup-dir")]
    Unusable {
        /// The directory of backups.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another server keeps its backups there; the two would remove each other's.
    #[error("{dir} is where another klinky server keeps its backups; name another with --backup-dir")]
    InUse {
        /// The directory of backups.
        dir: PathBuf,
    },
    /// The store failed.
    #[error("could not dump the store for a backup")]
    Dump(#[source] DumpError),
}

/// What became of backups, for metrics.
#[derive(Debug, Default)]
pub struct BackupTotals {
    newest_secs: AtomicU64,
    failures: AtomicU64,
}

impl BackupTotals {
    /// When the newest backup was made, in seconds since the Unix epoch; 0 if there is none.
    pub fn newest_secs(&self) -> u64 {
        self.newest_secs.load(Ordering::Relaxed)
    }

    /// Backups that failed since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn note_newest(&self, at: Timestamp) {
        self.newest_secs.store(u64::try_from(at.as_secs()).unwrap_or(0), Ordering::Relaxed);
    }
}

/// The thread that writes backups; it ends when this is stopped or dropped.
pub struct Backups {
    thread: Background,
    totals: Arc<BackupTotals>,
}

impl Backups {
    /// Starts the thread. The first backup is due at once if the newest one is older than the interval.
    ///
    /// # Errors
    /// When the directory cannot be used, or is another server's.
    pub fn start(store: Arc<Store>, clock: Arc<dyn Clock>, settings: BackupSettings) -> Result<Self, BackupError> {
        let dir = settings.dir.clone();
        let folder = Folder::open(settings)?;
        let totals = Arc::new(BackupTotals::default());
        let mut due = Timestamp::EPOCH;
        // One of the future, written while the clock was wrong, must not put off the next.
        let now = clock.now();
        if let Some(newest) = folder.list()?.into_iter().rfind(|at| *at <= now) {
            totals.note_newest(newest);
            due = newest.plus(folder.settings.every);
        }
        let noted = Arc::clone(&totals);
        let thread = Background::start("backups", move |stop| {
            // One that is refused after all is not backed up: it would put an old backup out.
            while store.wait_until_open().is_ok() {
                let now = clock.now();
                // The second test is for a clock that was set back.
                if now >= due || now.plus(folder.settings.every) < due {
                    due = folder.back_up(&store, now, stop, &noted);
                }
                if stop.sleep(ROUND) {
                    return;
                }
            }
        });
        let thread = thread.map_err(|source| BackupError::Unusable { dir, source })?;
        Ok(Self { thread, totals })
    }

    /// What became of them.
    #[must_use]
    pub fn totals(&self) -> Arc<BackupTotals> {
        Arc::clone(&self.totals)
    }

    /// Ends the thread. A backup that it is writing is given up; it is due at the next start.
    pub fn stop(&mut self) {
        self.thread.stop();
    }
}

/// The directory of backups.
struct Folder {
    settings: BackupSettings,
    /// Holds the lock on the directory.
    opened: File,
}

impl Folder {
    fn open(settings: BackupSettings) -> Result<Self, BackupError> {
        let dir = &settings.dir;
        let unusable = |source| BackupError::Unusable { dir: dir.clone(), source };
        make_private_dir(dir).map_err(unusable)?;
        // Shows that the directory can be written, and goes at once.
        tempfile::tempfile_in(dir).map_err(unusable)?;
        let opened = File::open(dir).map_err(unusable)?;
        match opened.try_lock() {
            Ok(()) => Ok(Self { settings, opened }),
            Err(TryLockError::WouldBlock) => Err(BackupError::InUse { dir: dir.clone() }),
            Err(TryLockError::Error(error)) => {
                // Some network file systems have no locks.
                tracing::warn!(error = &error as &dyn Error, "the directory of backups cannot be locked");
                Ok(Self { settings, opened })
            }
        }
    }

    /// When the backups that are there were made, the oldest first.
    fn list(&self) -> Result<Vec<Timestamp>, BackupError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.settings.dir).map_err(|source| self.unusable(source))? {
            let entry = entry.map_err(|source| self.unusable(source))?;
            found.extend(entry.file_name().to_str().and_then(parse_name));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Writes a backup; answers when the next one is due.
    fn back_up(&self, store: &Store, now: Timestamp, stop: &Stop, totals: &BackupTotals) -> Timestamp {
        let every = self.settings.every;
        match self.write(store, now, stop) {
            Ok(()) => {
                tracing::info!(file = %self.settings.dir.join(name(now)).display(), "backed up");
                // The backup is there, whatever becomes of the old ones; they are tried again after the next.
                if let Err(error) = self.remove_old(now) {
                    tracing::error!(error = &error as &dyn Error, "an old backup was not removed");
                }
                totals.note_newest(now);
                now.plus(every)
            }
            // It is not a failure to be told to stop.
            Err(_given_up) if stop.is_asked() => now,
            Err(error) => {
                totals.failures.fetch_add(1, Ordering::Relaxed);
                let dir = self.settings.dir.display();
                tracing::error!(error = &error as &dyn Error, %dir, "no backup was written; it is tried again");
                now.plus(every.min(RETRY))
            }
        }
    }

    fn write(&self, store: &Store, now: Timestamp, stop: &Stop) -> Result<(), BackupError> {
        let unfinished = self.settings.dir.join(UNFINISHED);
        let written = write_dump(store, &unfinished, now, stop);
        if let Err(error) = written {
            // What it takes up may be what others lack.
            let _gone = fs::remove_file(&unfinished);
            return Err(match error {
                DumpError::Output(source) => self.unusable(source),
                DumpError::NoAccount | DumpError::Store(_) => BackupError::Dump(error),
            });
        }
        let renamed = fs::rename(&unfinished, self.settings.dir.join(name(now)));
        renamed.and_then(|()| self.opened.sync_all()).map_err(|source| self.unusable(source))
    }

    /// Removes the oldest backups beyond those that are kept, of those up to the one that was `just` written.
    fn remove_old(&self, just: Timestamp) -> Result<(), BackupError> {
        let mut removed = Ok(());
        let just = Timestamp::from_millis_clamped(just.as_secs().saturating_mul(1000));
        // Those of a clock that ran ahead have no place among those that are kept, else true ones would give way to them.
        let found: Vec<Timestamp> = self.list()?.into_iter().filter(|at| *at <= just).collect();
        let surplus = found.len().saturating_sub(self.settings.keep);
        for old in found.into_iter().take(surplus) {
            let gone = fs::remove_file(self.settings.dir.join(name(old)));
            removed = removed.and(gone.map_err(|source| self.unusable(source)));
        }
        removed
    }

    fn unusable(&self, source: io::Error) -> BackupError {
        BackupError::Unusable { dir: self.settings.dir.clone(), source }
    }
}

/// Writes a synced file that only its owner may read.
fn write_dump(store: &Store, path: &Path, now: Timestamp, stop: &Stop) -> Result<(), DumpError> {
    use std::os::unix::fs::OpenOptionsExt;
    let only = vec![DumpKind::Plans, DumpKind::Accounts, DumpKind::Keys, DumpKind::Links];
    let filter = DumpFilter { only, account: None };
    // Made anew, since a file that is there may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(UntilStopped { file, stop });
    record_deferred(store, stop)?;
    dump::write(store, &filter, now, &mut out)?;
    Ok(out.get_ref().file.sync_all()?)
}

/// Records the clicks that are deferred by now, unless it is time to stop: there may be a million.
fn record_deferred(store: &Store, stop: &Stop) -> Result<(), StoreError> {
    store.wait_until_open()?;
    // One at least is recorded in each step.
    let mut steps_max = store.deferred_events();
    while steps_max > 0 && !stop.is_asked() {
        match store.record_deferred() {
            Ok(true) => steps_max = steps_max.saturating_sub(1),
            done => return unless_refused(done.map(|_has_more| ())),
        }
    }
    Ok(())
}

/// A file that takes no more once it is time to stop.
struct UntilStopped<'s> {
    file: File,
    stop: &'s Stop,
}

impl Write for UntilStopped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_asked() {
            return Err(io::Error::other("the server stops"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// `klinky-2026-11-24T10-00-00Z.jsonl`: no colons, which some systems do not allow in names.
fn name(at: Timestamp) -> String {
    let secs = Timestamp::from_millis_clamped(at.as_secs().saturating_mul(1000));
    format!("{PREFIX}{}{SUFFIX}", secs.to_string().replace(':', "-"))
}

/// When the backup of this name was made; `None` if it is not the name of a backup.
fn parse_name(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('T')?;
    let at = Timestamp::parse(&format!("{date}T{}", time.replace('-', ":"))).ok()?;
    (name(at) == text).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_of_a_name_is_a_backup() {
        let at = Timestamp::parse("2026-11-24T10:00:01.250Z").unwrap();
        let secs = Timestamp::parse("2026-11-24T10:00:01Z").unwrap();

        assert_eq!(name(at), "klinky-2026-11-24T10-00-01Z.jsonl");
        assert_eq!(parse_name(&name(at)), Some(secs));
        for other in [
            "klinky-2026-11-24T10-00-01Z.jsonl.gz",
            "my-klinky-2026-11-24T10-00-01Z.jsonl",
            "klinky-2026-11-24T10:00:01Z.jsonl",
            "klinky-2026-13-24T10-00-01Z.jsonl",
            "klinky-.jsonl",
            UNFINISHED,
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
