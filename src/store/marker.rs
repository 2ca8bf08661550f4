//! The marker `klinky.json`: what the directory says of its database, held against what that says
//! of itself. And the lock on the directory, which covers both.
//!
//! sled 0.34 takes the first damaged byte in its log for the torn end that a crash leaves: it opens
//! as the store was before that byte, without an error, and overwrites all that follows it with
//! zeros. After a crash that is right. After a clean close it is the loss of good data, so the marker
//! then keeps the length and checksum of every file of the engine's, which are compared before sled
//! may touch them.
//!
//! | state | `generation` | `closed` | `files` |
//! |---|---|---|---|
//! | being made | 0 | false | – |
//! | open, or left by a crash | n | false | – |
//! | closed | n | true | all of them |
//! | closed, and being opened again | n | true | – |

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::open::{OpenError, damage};

/// The layout of trees, keys and files that this program writes; it reads all earlier ones. Records have versions of their
/// own. 2: counters and instants have a checksum. 3: keys say when they were rotated,
/// and audit entries what was changed.
pub(super) const STORE_VERSION: u32 = 3;
/// The marker's name.
pub(super) const MARKER_FILE: &str = "klinky.json";
/// The next marker, until it takes the place of the last one.
pub(super) const MARKER_FILE_NEW: &str = "klinky.json.new";
/// Where the engine's files are.
pub(super) const ENGINE_DIR: &str = "store";
const FORMAT: &str = "klinky-store";
/// Bytes of a file that are read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What the directory says of its database.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    format: String,
    version: u32,
    /// How often the database has been opened for writing; 0 while it is being made.
    pub(super) generation: u64,
    /// Whether it was closed properly after that.
    pub(super) closed: bool,
    /// The engine's files as they were when it was closed, by their paths below [`ENGINE_DIR`].
    files: Option<BTreeMap<PathBuf, Print>>,
}

/// What every version's marker says.
#[derive(Deserialize)]
struct Kind {
    format: String,
    version: u32,
}

/// Tells one content of a file from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Print {
    bytes: u64,
    crc32: u32,
}

impl Marker {
    /// Of a database that is open, or, with a generation of 0, being made.
    pub(super) fn open(generation: u64) -> Self {
        Self { format: FORMAT.to_owned(), version: STORE_VERSION, generation, closed: false, files: None }
    }

    fn closed(generation: u64, files: Option<BTreeMap<PathBuf, Print>>) -> Self {
        Self { closed: true, files, ..Self::open(generation) }
    }

    /// The marker in `dir`, if there is one.
    pub(super) fn find(dir: &Path) -> Result<Option<Self>, OpenError> {
        let bytes = match fs::read(dir.join(MARKER_FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Unusable { dir: dir.to_owned(), source }),
        };
        let unreadable = |error: serde_json::Error| {
            damage(dir, &format!("its {MARKER_FILE} does not read: {error}; nothing was changed"))
        };
        // First of all: a later version may write anything else.
        let Kind { format, version } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if format != FORMAT {
            let found = format!("a {MARKER_FILE} of format {format:?}");
            return Err(OpenError::Foreign { dir: dir.to_owned(), found });
        }
        if version > STORE_VERSION {
            return Err(OpenError::Newer { dir: dir.to_owned(), version });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    /// Compares the engine's files with what they were, if the marker knows. It forgets that, since
    /// the engine may write as soon as it opens.
    pub(super) fn unseal(&mut self, dir: &Path) -> Result<(), OpenError> {
        if let Some(file) = self.first_changed(dir)? {
            let reason = format!("{} is not as the last clean stop left it; nothing was changed", file.display());
            return Err(damage(dir, &reason));
        }
        match self.files.take() {
            Some(_known) => self.write(dir).map_err(|source| OpenError::Unusable { dir: dir.to_owned(), source }),
            None => Ok(()),
        }
    }

    /// Says that it is of this version, whose records may be written from now on.
    pub(super) fn raise_version(&self, dir: &Path) -> io::Result<()> {
        if self.version == STORE_VERSION {
            return Ok(());
        }
        let raised = Self { format: FORMAT.to_owned(), version: STORE_VERSION, files: None, ..*self };
        raised.write(dir)
    }

    /// The first of the engine's files, by its path below `dir`, that is not as it was, if the marker knows.
    pub(super) fn first_changed(&self, dir: &Path) -> Result<Option<PathBuf>, OpenError> {
        let Some(left) = &self.files else { return Ok(None) };
        let found = prints(dir).map_err(|source| OpenError::Unusable { dir: dir.to_owned(), source })?;
        Ok(first_difference(left, &found).map(|path| Path::new(ENGINE_DIR).join(path)))
    }

    /// Puts this marker in the place of the last one, durably. The lock keeps others from doing so.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join(MARKER_FILE_NEW);
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, dir.join(MARKER_FILE))?;
        File::open(dir)?.sync_all()
    }
}

/// The lock on a data directory, held for as long as its store is open.
pub(super) struct Lock {
    /// None where directories cannot be locked.
    file: Option<File>,
}

impl Lock {
    /// Takes the lock.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let file = File::open(dir).map_err(|source| OpenError::Unusable { dir: dir.to_owned(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
            // Some network file systems do not lock directories; sled's lock on its file is left.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(error = &error as &dyn Error, "the data directory cannot be locked");
                Ok(Self { file: None })
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said and not left to the closing of the file: a child process that was forked meanwhile has
        // a copy of that, and would hold the lock until it starts its program.
        if let Some(Err(error)) = self.file.as_ref().map(File::unlock) {
            tracing::debug!(error = &error as &dyn Error, "the lock on the data directory goes with its file");
        }
    }
}

/// Seals a store that was closed. It is the store's last field: it drops when the engine is gone,
/// whose files change no more.
pub(super) struct Seal {
    dir: PathBuf,
    generation: u64,
    closed: AtomicBool,
    /// Dropped after the marker is written.
    _lock: Lock,
}

impl Seal {
    /// For a store that is open.
    pub(super) fn new(dir: &Path, generation: u64, lock: Lock) -> Self {
        Self { dir: dir.to_owned(), generation, closed: AtomicBool::new(false), _lock: lock }
    }

    /// Says that the store was closed.
    pub(super) fn close(&self) -> io::Result<()> {
        Marker::closed(self.generation, None).write(&self.dir)?;
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Seal {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::SeqCst) {
            return;
        }
        let sealed = prints(&self.dir).and_then(|files| Marker::closed(self.generation, Some(files)).write(&self.dir));
        if let Err(error) = sealed {
            // It opens without this, and is then checked less closely.
            tracing::warn!(error = &error as &dyn Error, "could not note what the closed store's files hold");
        }
    }
}

/// The first path whose print differs, or that only one of the two has.
fn first_difference<'f>(left: &'f BTreeMap<PathBuf, Print>, found: &'f BTreeMap<PathBuf, Print>) -> Option<&'f Path> {
    let changed = left.iter().find(|(path, print)| found.get(*path) != Some(*print));
    let added = || found.iter().find(|(path, _print)| !left.contains_key(*path));
    changed.or_else(added).map(|(path, _print)| path.as_path())
}

/// Prints of all files of the engine's.
fn prints(dir: &Path) -> io::Result<BTreeMap<PathBuf, Print>> {
    let engine = dir.join(ENGINE_DIR);
    let mut prints = BTreeMap::new();
    let mut left = vec![engine.clone()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(&engine).map_err(io::Error::other)?.to_owned();
                prints.insert(name, print(&entry.path())?);
            }
        }
    }
    Ok(prints)
}

fn print(path: &Path) -> io::Result<Print> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut bytes, mut hash) = (0_u64, crc32fast::Hasher::new());
    loop {
        let read = file.read(&mut chunk)?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else {
            return Ok(Print { bytes, crc32: hash.finalize() });
        };
        hash.update(part);
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}
