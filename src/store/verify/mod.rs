//! Verification: walks a whole store that nobody has open, and says what is wrong in it.
//!
//! Opening sled writes, so the walk is over a copy; the directory itself is only read. Every record is decoded, which
//! verifies its checksum, and whatever a row names is looked up. Indexes have none, and are held against the records that
//! they belong to.
//!
//! Some rows may name what is gone, and are no fault: counters, usage and kept answers of an account that was deleted
//! while a request of its ran, slugs of its links, which stay taken, and index rows of kept answers (see `idempotency.rs`).

mod clicks;
mod directory;
mod kept;
mod links;
mod usage;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::codec::Damage;
use super::marker::{ENGINE_DIR, Lock, Marker};
use super::open::{self, OpenError};
use super::open_engine::{open_engine, open_trees};
use super::records::{Phase, StateV1};
use super::usage_journal::JOURNAL_DIR;
use super::{Store, StoreError, Trees, engine, hex};

/// Why a store was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing to verify.
    #[error("there is no klinky data directory at {0}")]
    NoStore(PathBuf),
    /// It is in use, of a later version, or cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no room for the copy.
    #[error("could not copy the store into {to}: make room there, or name another place with TMPDIR")]
    Copy {
        /// Where to.
        to: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The tree, or the file.
    pub place: String,
    /// The key of the row; empty if it is not about one.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Fault {
    /// `accounts 01a20cc5-…: its checksum does not match`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, what } = self;
        let space = if key.is_empty() { "" } else { " " };
        write!(f, "{place}{space}{key}: {what}")
    }
}

/// What a verification came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What is wrong; nothing if the store is whole.
    pub faults: Vec<Fault>,
    /// Rows of each tree, indexes included, in the order of the walk.
    pub rows: Vec<(&'static str, u64)>,
}

impl Store {
    /// Verifies the store in `dir`, which is left exactly as it is.
    ///
    /// # Errors
    /// When there is none, it is in use, of a later version, or it cannot be copied.
    pub fn verify(dir: &Path) -> Result<Verified, VerifyError> {
        if !Self::is_in(dir) {
            return Err(VerifyError::NoStore(dir.to_owned()));
        }
        let lock = Lock::take(dir)?;
        let mut walk = Walk::default();
        let marker = match Marker::find(dir) {
            Ok(Some(marker)) => marker,
            Ok(None) => return Err(VerifyError::NoStore(dir.to_owned())),
            Err(error) => {
                walk.refused(error)?;
                return Ok(walk.verified);
            }
        };
        if let Some(changed) = marker.first_changed(dir)? {
            walk.fault_in(&changed, "is not as the last clean stop left it");
        }
        if marker.generation > 0 && !dir.join(ENGINE_DIR).join("db").is_file() {
            walk.fault_in(&Path::new(ENGINE_DIR).join("db"), "is missing");
            return Ok(walk.verified);
        }
        let copy = copy_of(dir)?;
        drop(lock);
        let (db, trees) = match open_copy(copy.path()) {
            Ok(opened) => opened,
            Err(error) => {
                walk.refused(error)?;
                return Ok(walk.verified);
            }
        };
        let state = open::check_state(dir, &trees, &marker);
        let state = state.or_else(|error| walk.refused(error).map(|()| None))?;
        walk.all(&db, &trees, copy.path(), state.as_ref());
        Ok(walk.verified)
    }
}

fn open_copy(dir: &Path) -> Result<(sled::Db, Trees), OpenError> {
    let (db, _file) = open_engine(dir)?;
    let trees = open_trees(&db).map_err(|error| open::damage(dir, &error))?;
    Ok((db, trees))
}

/// A copy of the engine's files, and of the journal.
fn copy_of(dir: &Path) -> Result<TempDir, VerifyError> {
    let failed = |source| VerifyError::Copy { to: std::env::temp_dir(), source };
    let copy = tempfile::Builder::new().prefix("klinky-verify-").tempdir().map_err(failed)?;
    copy_files(&dir.join(ENGINE_DIR), &copy.path().join(ENGINE_DIR)).map_err(failed)?;
    if dir.join(JOURNAL_DIR).is_dir() {
        copy_files(&dir.join(JOURNAL_DIR), &copy.path().join(JOURNAL_DIR)).map_err(failed)?;
    }
    Ok(copy)
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
            // Its mode came along. The engine writes to what it opens, and the store may be one that nobody may write to.
            fs::set_permissions(to, fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

/// Gathers what is wrong.
#[derive(Default)]
struct Walk {
    verified: Verified,
}

impl Walk {
    /// What refuses a damaged store when it is opened is a fault here.
    fn refused(&mut self, error: OpenError) -> Result<(), VerifyError> {
        let what = match error {
            OpenError::Damaged { reason, .. } => reason,
            OpenError::HalfRestored { .. } => "a restore into it did not finish".to_owned(),
            OpenError::Unusable { .. }
            | OpenError::Full { .. }
            | OpenError::Foreign { .. }
            | OpenError::InUse { .. }
            | OpenError::Newer { .. } => return Err(error.into()),
        };
        self.verified.faults.push(Fault { place: "store".to_owned(), key: String::new(), what });
        Ok(())
    }

    fn all(&mut self, db: &sled::Db, trees: &Trees, copy: &Path, state: Option<&StateV1>) {
        self.directory(trees);
        self.links(trees);
        self.clicks(trees);
        self.usage(trees, copy);
        self.kept(db);
        if let Some(state) = state.filter(|state| state.phase == Phase::Closed) {
            for (tree, closed) in [("plans", state.plans), ("accounts", state.accounts), ("keys", state.keys)] {
                let found = self.rows_of(tree);
                if found != closed {
                    self.fault(tree, &[], format!("the store was closed with {closed} of them and now has {found}"));
                }
            }
        }
    }

    fn rows_of(&self, wanted: &str) -> u64 {
        self.verified.rows.iter().find(|(tree, _rows)| *tree == wanted).map_or(0, |(_tree, rows)| *rows)
    }

    /// Goes through the rows of a tree. The engine may fail, or panic, on what is damaged below it: then the rest of
    /// the tree is passed over.
    fn each(
        &mut self,
        name: &'static str,
        tree: &sled::Tree,
        mut check: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), StoreError>,
    ) {
        let mut rows: u64 = 0;
        let walked = catch_unwind(AssertUnwindSafe(|| {
            for row in tree.iter() {
                let (key, value) = row.map_err(engine("read a row"))?;
                rows = rows.saturating_add(1);
                check(self, &key, &value)?;
            }
            Ok::<(), StoreError>(())
        }));
        match walked {
            Ok(Ok(())) => {}
            Ok(Err(StoreError::Damaged { tree, key, damage })) => {
                self.verified.faults.push(Fault { place: tree.to_owned(), key, what: damage.to_string() });
            }
            Ok(Err(error)) => self.fault(name, &[], format!("the rest of it is not readable: {}", chain(&error))),
            Err(_panic) => self.fault(name, &[], "the database engine gave up reading it".to_owned()),
        }
        self.verified.rows.push((name, rows));
    }

    /// What was decoded, or nothing and a fault.
    fn decoded<T>(&mut self, tree: &'static str, key: &[u8], decoded: Result<T, Damage>) -> Option<T> {
        decoded.map_err(|damage| self.fault(tree, key, damage.to_string())).ok()
    }

    fn fault(&mut self, tree: &'static str, key: &[u8], what: String) {
        self.verified.faults.push(Fault { place: tree.to_owned(), key: shown(key), what });
    }

    fn fault_in(&mut self, file: &Path, what: &str) {
        let place = file.display().to_string();
        self.verified.faults.push(Fault { place, key: String::new(), what: what.to_owned() });
    }
}

/// A key as people know it: the text of a plan's id or a slug, ids as UUIDs, anything else in hexadecimal.
fn shown(key: &[u8]) -> String {
    let text = std::str::from_utf8(key).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    let id = || uuid::Uuid::from_slice(key).ok().map(|id| id.to_string());
    text.map(str::to_owned).or_else(id).unwrap_or_else(|| hex(key))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
