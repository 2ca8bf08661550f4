//! What a commit syncs: sled's log, its file, and the files beside it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal_files::Unsynced;

/// What a commit syncs: sled's file, and the files of their own that sled 0.34 gives to leaves over 128 KiB (a few
/// links with the longest URLs are enough) and never syncs itself; and our own journal.
pub(super) struct Disk {
    db: sled::Db,
    file: File,
    blobs: PathBuf,
    /// The names of the blobs that are on disk.
    synced: HashSet<OsString>,
    journal: Arc<Unsynced>,
}

impl Disk {
    /// `file` is sled's own in `engine_dir`, opened once more.
    pub(super) fn new(db: sled::Db, file: File, engine_dir: &Path, journal: Arc<Unsynced>) -> Self {
        Self { db, file, blobs: engine_dir.join("blobs"), synced: HashSet::new(), journal }
    }

    /// Makes all that was written so far durable.
    pub(super) fn commit(&mut self) -> Result<(), String> {
        self.db.flush().map_err(|error| error.to_string())?;
        // Before the file whose records name them.
        self.sync_blobs().map_err(|error| error.to_string())?;
        self.file.sync_data().and_then(|()| self.journal.sync()).map_err(|error| error.to_string())
    }

    fn sync_blobs(&mut self) -> io::Result<()> {
        let mut found = HashSet::new();
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            if !self.synced.contains(&entry.file_name()) {
                match File::open(entry.path()) {
                    Ok(blob) => blob.sync_data()?,
                    // sled has removed it since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            found.insert(entry.file_name());
        }
        if !found.is_subset(&self.synced) {
            File::open(&self.blobs)?.sync_all()?;
        }
        self.synced = found;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_syncs_the_blobs_that_are_new_and_forgets_those_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap();
        let file = File::options().write(true).open(dir.path().join("db")).unwrap();
        let mut disk = Disk::new(db.clone(), file, dir.path(), Arc::default());
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
}
