//! A small ext4 disk of a test's own: an image in a file, mounted by a loop device. Only root can do that; CI must be.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

/// Copies that are made at most, until none was written into: the journal is written every 5 s, a copy takes far less.
const COPIES_MAX: u32 = 100;

/// A mounted image. It is unmounted when it is dropped.
pub(crate) struct Disk {
    _temp: TempDir,
    image: PathBuf,
    mounted: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", said(&output))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

impl Disk {
    /// A new disk of so many MiB; `None`, and a loud word, where that is not possible.
    pub(crate) fn new(mib: u64) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let image = temp.path().join("image");
        let made = fs::File::create(&image).and_then(|file| file.set_len(mib * 1024 * 1024));
        made.unwrap();
        // No blocks are kept for root, who runs these tests; no journal of the size of half the disk.
        let made = run("mkfs.ext4", &["-q", "-m", "0", "-J", "size=4", image.to_str().unwrap()]);
        match made.and_then(|()| Self::mount(temp, image)) {
            Ok(disk) => Some(disk),
            Err(reason) => {
                let in_ci = std::env::vars_os().any(|(name, value)| name == "CI" && value == "true");
                assert!(!in_ci, "CI must be able to mount: {reason}");
                eprintln!("SKIPPED, NOT PROVEN: a disk of its own needs root and a loop device: {reason}");
                None
            }
        }
    }

    fn mount(temp: TempDir, image: PathBuf) -> Result<Self, String> {
        let mounted = temp.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        run("mount", &["-t", "ext4", "-o", "loop", image.to_str().unwrap(), mounted.to_str().unwrap()])?;
        Ok(Self { _temp: temp, image, mounted })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    /// From now on it takes no writes.
    pub(crate) fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro", self.mounted.to_str().unwrap()]).unwrap();
    }

    /// Another disk with what has reached the device by now, as after a power cut. To be called while nobody writes
    /// to this one: the system itself still does, now and then.
    ///
    /// A copy that the system wrote into is of no instant that there was: if its journal is copied after it was
    /// emptied into places that were copied before, what was synced is in neither. So the image is read once more,
    /// and copied again if it differs: every block that is the same both times was so when the copy ended.
    pub(crate) fn cut(&self) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let image = temp.path().join("image");
        let (from, to) = (self.image.to_str().unwrap(), image.to_str().unwrap());
        for _copy in 0..COPIES_MAX {
            // Holes stay holes, which makes it quick.
            run("cp", &["--sparse=always", from, to]).unwrap();
            if run("cmp", &["-s", from, to]).is_ok() {
                return Self::mount(temp, image).unwrap();
            }
        }
        panic!("the system wrote to the disk during each of {COPIES_MAX} copies");
    }

    /// Fills all that is free with a file, nearly all of it in one instant; answers its path.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.mounted.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        let free = statvfs(&self.mounted).unwrap();
        let mut bytes = free.f_bavail * free.f_frsize;
        // The system needs some of it to note where the rest is, and others may be quicker.
        while fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
            bytes -= 256 * 1024;
        }
        file.seek(SeekFrom::End(0)).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &[self.mounted.to_str().unwrap()]) {
            eprintln!("{error}");
        }
    }
}
