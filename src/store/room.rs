//! Room: keeps a full disk away from sled, which takes up writing again only when it is opened anew once a write of
//! its has failed.
//!
//! What the store accepts, sled writes some moments later. So the store accepts writes only while there is room for
//! all that may be on its way:
//!
//! - the database file has blocks beyond its end (`fallocate` with `KEEP_SIZE`), which nothing else can take: a disk
//!   that others fill, however fast, or a quota is met here and not by sled;
//! - the file system has free space for the files that sled makes beside it (leaves over 128 KiB, snapshots).
//!
//! Both are looked at by a thread, so that a request reads one atomic. Without room writes are refused (503), and are
//! accepted again as soon as there is some. What this does not see is a limit on the size of files
//! (`RLIMIT_FSIZE`), and a disk that others fill up while a large leaf is on its way: then sled fails, nothing that was
//! answered is lost, and the server must be restarted.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use super::StoreError;
use crate::background::Background;

/// Blocks that the database file is given beyond its end.
const AHEAD_BYTES: u64 = 16 * 1024 * 1024;
/// It is given more once fewer are left: more than a store at full speed (about 50 MB/s) writes between two looks.
const AHEAD_BYTES_MIN: u64 = AHEAD_BYTES / 2;
/// Free space for all other files of the store: those of large leaves, and the next opening's snapshot.
const FREE_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Free space without which a store is not opened: sled writes a snapshot before anything else. Less than the above,
/// so that a server that refuses writes can be restarted, and serves what reads.
pub(super) const FREE_BYTES_TO_OPEN: u64 = 16 * 1024 * 1024;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What `st_blocks` counts in, whatever the file system's blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// Knows whether writes can be taken.
pub(super) struct Room {
    health: Arc<Health>,
    place: Arc<Place>,
    _thread: Background,
}

/// Whether the disk takes writes, for all who find that it does not.
#[derive(Default)]
pub(super) struct Health {
    is_full: AtomicBool,
    /// A sync failed: that is for good.
    sync_failed: AtomicBool,
}

struct Place {
    dir: PathBuf,
    /// sled's file, opened once more.
    file: File,
}

impl Room {
    /// Looks at once, and from then on.
    pub(super) fn start(dir: &Path, file: File) -> io::Result<Self> {
        let place = Arc::new(Place { dir: dir.to_owned(), file });
        let health = Arc::new(Health::default());
        health.note(&place);
        let (noted, looked_at) = (Arc::clone(&health), Arc::clone(&place));
        let thread = Background::start("room", move |stop| {
            while !stop.sleep(LOOK) {
                noted.note(&looked_at);
            }
        })?;
        Ok(Self { health, place, _thread: thread })
    }

    /// Looks now. For who writes much at once; not for requests.
    pub(super) fn look(&self) {
        self.health.note(&self.place);
    }

    /// For who syncs the files.
    pub(super) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Whether there is room for writes.
    pub(super) fn has_room(&self) -> bool {
        self.check().is_ok()
    }

    /// Refuses a write that the disk would not take.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.health.sync_failed.load(Ordering::Relaxed) {
            return Err(StoreError::SyncFailed);
        }
        if self.health.is_full.load(Ordering::Relaxed) { Err(StoreError::Full) } else { Ok(()) }
    }
}

impl Health {
    /// Says that a sync failed.
    pub(super) fn fail(&self) {
        self.sync_failed.store(true, Ordering::SeqCst);
    }

    /// Notes whether there is room, and says when that changes.
    fn note(&self, place: &Place) {
        let found = place.find_room();
        let had = !self.is_full.swap(found.is_err(), Ordering::SeqCst);
        if self.sync_failed.load(Ordering::SeqCst) {
            return;
        }
        let data_dir = place.dir.display();
        match found {
            Err(reason) if had => {
                tracing::error!(reason, %data_dir, "the disk is full: writes are refused until there is room");
            }
            Ok(()) if !had => tracing::warn!(%data_dir, "there is room again: writes are accepted"),
            Ok(()) | Err(_) => {}
        }
    }
}

impl Place {
    fn find_room(&self) -> Result<(), String> {
        if let Some(free) = free_bytes(&self.dir).filter(|free| *free < FREE_BYTES_MIN) {
            return Err(format!("{free} bytes are free, fewer than {FREE_BYTES_MIN}"));
        }
        self.reach_ahead()
    }

    /// Sees to it that the file has blocks beyond its end. sled may have cut it since the last time.
    fn reach_ahead(&self) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let found = self.file.metadata().map_err(failed)?;
        let allocated = found.blocks().saturating_mul(STAT_BLOCK_BYTES);
        if allocated >= found.len().saturating_add(AHEAD_BYTES_MIN) {
            return Ok(());
        }
        // From before its end: sled writes several segments at a time, and a gap between them needs blocks, too.
        let start = found.len().saturating_sub(AHEAD_BYTES);
        let length = found.len().saturating_sub(start).saturating_add(AHEAD_BYTES);
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, start, length) {
            // Some file systems cannot; the free space is all that is known there.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Free space that this process may use; `None` where the system does not say.
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    // One without blocks is none that is kept on a disk.
    let found = statvfs(dir).ok().filter(|found| found.f_blocks > 0)?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_allocated_ahead_and_the_size_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        std::fs::write(&path, "content").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let place = Place { dir: dir.path().to_owned(), file: file.try_clone().unwrap() };

        place.find_room().unwrap();

        let found = file.metadata().unwrap();
        assert_eq!(found.len(), 7);
        assert!(found.blocks() * STAT_BLOCK_BYTES >= AHEAD_BYTES, "{} blocks", found.blocks());
        file.set_len(1).unwrap();
        place.find_room().unwrap();
        assert!(file.metadata().unwrap().blocks() * STAT_BLOCK_BYTES >= AHEAD_BYTES);
    }

    #[test]
    fn after_a_failed_sync_no_write_is_taken_however_much_room_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::start(dir.path(), File::create(dir.path().join("db")).unwrap()).unwrap();
        assert!(room.check().is_ok());

        room.health().fail();
        room.look();

        assert!(matches!(room.check(), Err(StoreError::SyncFailed)));
    }
}
