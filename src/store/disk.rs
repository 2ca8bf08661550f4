//! What a commit syncs: sled's log, its file, and the files beside it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal_files::Unsynced;
use super::room::Health;

/// What a commit syncs: sled's file, and the files of their own that sled 0.34 gives to leaves over 128 KiB (a few
/// links with the longest URLs are enough) and never syncs itself; and our own journal.
///
/// A sync that failed is the last one: Linux may have dropped what it could not write, show it all the same as long as it is
/// in its cache, and say of the next sync that it went well ("fsyncgate",
/// <https://lwn.net/Articles/752063/>). So no write is taken any more.
pub(super) struct Disk {
    db: sled::Db,
    file: File,
    blobs: PathBuf,
    /// The names of the blobs that are on disk.
    synced: HashSet<OsString>,
    journal: Arc<Unsynced>,
    /// Why nothing is called durable any more.
    failed: Option<String>,
    health: Arc<Health>,
}

impl Disk {
    /// `file` is sled's own in `engine_dir`, opened once more.
    pub(super) fn new(
        db: sled::Db,
        file: File,
        engine_dir: &Path,
        journal: Arc<Unsynced>,
        health: Arc<Health>,
    ) -> Self {
        Self { db, file, blobs: engine_dir.join("blobs"), synced: HashSet::new(), journal, failed: None, health }
    }

    /// Makes all that was written so far durable.
    pub(super) fn commit(&mut self) -> Result<(), String> {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        self.db.flush().map_err(|error| error.to_string())?;
        // Before the file whose records name them.
        self.sync_blobs()?;
        let synced = self.file.sync_data().and_then(|()| self.journal.sync());
        self.believe(synced)
    }

    fn sync_blobs(&mut self) -> Result<(), String> {
        let mut found = HashSet::new();
        for entry in fs::read_dir(&self.blobs).map_err(text)? {
            let entry = entry.map_err(text)?;
            if !self.synced.contains(&entry.file_name()) {
                match File::open(entry.path()) {
                    Ok(blob) => self.believe(blob.sync_data())?,
                    // sled has removed it since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(text(error)),
                }
            }
            found.insert(entry.file_name());
        }
        if !found.is_subset(&self.synced) {
            let dir = File::open(&self.blobs).map_err(text)?;
            self.believe(dir.sync_all())?;
        }
        self.synced = found;
        Ok(())
    }

    /// Takes what a sync said, and notes it if it is the last one.
    fn believe(&mut self, synced: io::Result<()>) -> Result<(), String> {
        synced.map_err(|error| {
            self.health.fail();
            let reason = format!(
                "the disk failed to sync ({error}): nothing is stored any more; mend it and restart the machine, for until then its cache may show what the disk has lost"
            );
            self.failed.insert(reason).clone()
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_syncs_the_blobs_that_are_new_and_forgets_those_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap();
        let file = File::options().write(true).open(dir.path().join("db")).unwrap();
        let mut disk = Disk::new(db.clone(), file, dir.path(), Arc::default(), Arc::default());
        disk.commit().unwrap();
        assert!(disk.synced.is_empty());

        db.insert("large", vec![7; 300 * 1024]).unwrap();
        disk.commit().unwrap();

        assert!(!disk.synced.is_empty());
        for blob in fs::read_dir(dir.path().join("blobs")).unwrap() {
            assert!(disk.synced.contains(&blob.unwrap().file_name()));
        }
        disk.synced.insert("gone".into());
        disk.commit().unwrap();
        assert!(!disk.synced.contains(std::ffi::OsStr::new("gone")));
    }

    #[test]
    fn after_a_failed_sync_no_commit_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap();
        // The null device cannot be synced.
        let null = File::open("/dev/null").unwrap();
        let mut disk = Disk::new(db, null, dir.path(), Arc::default(), Arc::default());
        assert!(disk.commit().is_err());

        disk.file = File::options().write(true).open(dir.path().join("db")).unwrap();

        let said = disk.commit().unwrap_err();
        assert!(said.starts_with("the disk failed to sync (Invalid argument (os error 22))"), "{said}");
    }
}
