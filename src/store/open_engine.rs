//! Opening sled: its settings, its lock, its panics, its trees.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::marker::ENGINE_DIR;
use super::open::{OpenError, damage, unusable};
use super::{StoreError, Trees, engine};

/// sled's page cache. A bound on memory that sled keeps loosely, by the bytes on disk, which take several times the room
/// in memory. The gate's working set fits: the counters of 100,000 accounts are 3 MB. With a million, 16 MB took 70 MB more
/// and saved no time.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// How often sled's lock is tried. The directory's lock is ours by then, so sled's is held, if at
/// all, by a child process that this one has just forked, until it lets go of what it inherited.
const ENGINE_LOCK_TRIES_MAX: u32 = 200;
const ENGINE_LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Removes a snapshot of the engine's that was not written to its end. sled 0.34 writes one at each
/// opening, beside the last one, and renames it; but if it is killed before the rename, the next
/// opening takes the unfinished one for the newest, and refuses the store as corrupt.
fn remove_unfinished_snapshots(engine: &Path) -> io::Result<()> {
    if !engine.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(engine)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes sled's settings if there is no database yet: a first start that was killed while they were written left a
/// part of them, which sled would refuse. It writes them before it makes the database.
fn remove_early_settings(engine: &Path) -> io::Result<()> {
    let settings = engine.join("conf");
    if settings.is_file() && !engine.join("db").exists() { fs::remove_file(settings) } else { Ok(()) }
}

/// Opens sled, and its file once more for `sync_data`.
pub(super) fn open_engine(dir: &Path) -> Result<(sled::Db, File), OpenError> {
    let path = dir.join(ENGINE_DIR);
    remove_unfinished_snapshots(&path)
        .and_then(|()| remove_early_settings(&path))
        .map_err(|error| unusable(dir, error))?;
    let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let mut tries: u32 = 0;
    let db = loop {
        tries = tries.saturating_add(1);
        // sled panics on some damaged files; nothing that it leaves behind is used after that.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => break db,
            Ok(Err(sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
                if tries == ENGINE_LOCK_TRIES_MAX {
                    return Err(OpenError::InUse { dir: dir.to_owned() });
                }
                std::thread::park_timeout(ENGINE_LOCK_PAUSE);
            }
            Ok(Err(sled::Error::Io(error))) => return Err(unusable(dir, error)),
            Ok(Err(error)) => return Err(damage(dir, &error)),
            Err(_panic) => return Err(damage(dir, &"the database engine gave up reading it")),
        }
    };
    let file = OpenOptions::new().read(true).write(true).open(path.join("db"));
    let file = file.map_err(|error| unusable(dir, error))?;
    if let Err(error) = write_at_once(&file) {
        let (data_dir, error) = (dir.display(), &error as &dyn std::error::Error);
        tracing::warn!(%data_dir, error, "this file system cannot write at once: a power cut may damage the store; keep backups elsewhere");
    }
    Ok((db, file))
}

/// Has the system write to the file as if each write was followed by a sync (`chattr +S`).
///
/// sled 0.34 moves records within its file, and takes the place where they were for free once they are written and
/// `sync_file_range` has returned. That does not write what the file system needs to find them again: the file's
/// length, and that its blocks hold data. So a power cut could lose the new place after the old one was written over,
/// and with it what had been on disk for long (1 of 622 simulated cuts, on a busy disk).
fn write_at_once(file: &File) -> io::Result<()> {
    let flags = ioctl_getflags(file)?;
    if !flags.contains(IFlags::SYNC) {
        ioctl_setflags(file, flags | IFlags::SYNC)?;
    }
    Ok(())
}

pub(super) fn open_trees(db: &sled::Db) -> Result<Trees, StoreError> {
    let open = |name: &str| db.open_tree(name).map_err(engine("open a tree"));
    Ok(Trees {
        plans: open("plans")?,
        accounts: open("accounts")?,
        keys: open("keys")?,
        key_ids: open("key_ids")?,
        account_keys: open("account_keys")?,
        last_used: open("last_used")?,
        counters: open("counters")?,
        links: open("links")?,
        slugs: open("slugs")?,
        account_links: open("account_links")?,
        doomed_links: open("doomed_links")?,
        clicks: open("clicks")?,
        click_days: open("click_days")?,
        click_totals: open("click_totals")?,
        conversions: open("conversions")?,
        deferred_events: open("deferred_events")?,
        usage: open("usage")?,
        audit: open("audit")?,
        meta: open("meta")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_were_written_in_part_do_not_stop_a_first_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(ENGINE_DIR)).unwrap();
        fs::write(dir.path().join(ENGINE_DIR).join("conf"), "torn").unwrap();

        open_engine(dir.path()).unwrap();
    }

    #[test]
    fn the_file_of_an_open_store_is_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        // A file system that cannot do it says so; then there is nothing to be seen here.
        if write_at_once(&File::create(dir.path().join("other")).unwrap()).is_err() {
            return;
        }

        let (_db, file) = open_engine(dir.path()).unwrap();

        assert!(ioctl_getflags(&file).unwrap().contains(IFlags::SYNC));
    }
}
