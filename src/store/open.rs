//! The guard around opening and closing. The second part of opening is in `opening.rs`.
//!
//! sled opens a truncated or emptied file as an empty database without an error, and may panic on
//! a damaged one. So a data directory says of itself, outside of sled, that it is ours, how often it
//! was opened, and what its files held when it was closed (`marker`); the database says the same of
//! itself in its `meta` tree. A directory that contradicts itself is refused, and, if its marker
//! shows the contradiction, before sled has touched it.
//!
//! ```text
//! <data-dir>/klinky.json   the marker; written beside, synced, renamed
//! <data-dir>/store/        sled's files
//! <data-dir>/…             secrets and the admin address, see `secrets.rs`
//! ```
//!
//! What is not noticed: damage after a crash, in what was written since the last opening. sled takes
//! it for the torn end that a crash leaves, and opens as the store was before it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::audit::Writing;
use super::committer::Committer;
use super::counters::Counters;
use super::deferred::Deferred;
use super::disk::Disk;
use super::idempotency::KeptAnswers;
use super::journal_files::Unsynced;
use super::marker::{ENGINE_DIR, Lock, MARKER_FILE, MARKER_FILE_NEW, Marker, STORE_VERSION, Seal};
use super::memory::{Memory, Unread};
use super::memory_links::LinkMemory;
use super::open_engine::{open_engine, open_trees};
use super::opening::{Opening, Unfinished};
use super::records::{self, Phase, StateV1};
use super::room::{FREE_BYTES_TO_OPEN, Room, free_bytes};
use super::usage_noted::NotedUsage;
use super::writes::Writes;
use super::{Store, StoreError, StoreOptions, Trees, damaged, engine, load};
use crate::domain::plan::Plan;

/// Where the store's own state is kept.
pub(super) const STATE_KEY: &str = "state";
/// Of a store that is being made; it is one more each time that it is opened.
const FIRST_GENERATION: u64 = 1;
/// What may stand in a data directory without a marker: secrets that an operator has put there, and
/// what an interrupted first start leaves. A database is never there without the marker, so that no
/// other program's is opened: sled would write to it.
const EARLY_FILES: [&str; 4] = [MARKER_FILE_NEW, "admin-token", "jwt-secret", "admin-address"];
/// Why a store does not open. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made, read or written.
    #[error("cannot use {dir} as the data directory: make it writable, or name another with --data-dir")]
    Unusable {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It holds something that is not ours.
    #[error("{dir} is not a klinky data directory: it holds {found}; name an empty or new directory with --data-dir")]
    Foreign {
        /// The data directory.
        dir: PathBuf,
        /// What it holds.
        found: String,
    },
    /// There is no room to open it.
    #[error("the disk that holds {dir} is full: {reason}; make room there and start again. Nothing is lost")]
    Full {
        /// The data directory.
        dir: PathBuf,
        /// How much is missing.
        reason: String,
    },
    /// Another process has it open.
    #[error(
        "{dir} is in use by another klinky process; stop that one first, or name another directory with --data-dir"
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// A later version of the program wrote it.
    #[error(
        "{dir} was written by a later version of klinky (store version {version}, this one knows {STORE_VERSION}); run that version"
    )]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It is not as it was left.
    #[error(
        "the store in {dir} is damaged: {reason}. Move {dir} away and run `klinky restore BACKUP --data-dir {dir}` with your newest dump"
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What contradicts what.
        reason: String,
    },
    /// A restore into it was interrupted.
    #[error("a restore into {dir} did not finish; delete {dir} and run `klinky restore` again")]
    HalfRestored {
        /// The data directory.
        dir: PathBuf,
    },
}

impl Store {
    /// Opens the store in `options.dir`, making it with `first_plans` if there is none.
    ///
    /// # Errors
    /// When the directory is unusable, foreign, in use, of a later version, or damaged.
    pub fn open(options: &StoreOptions, first_plans: &[Plan]) -> Result<Self, OpenError> {
        let (store, unfinished) = Self::open_early(options, first_plans)?;
        unfinished.finish(&store)?;
        Ok(store)
    }

    /// The same for who does not wait until all accounts and keys are read. Until [`Unfinished::finish`] has read them,
    /// requests may be decided, and writes of plans, accounts and keys wait.
    ///
    /// # Errors
    /// When the directory is unusable, foreign, in use, of a later version, or seen to be damaged so far.
    pub fn open_early(options: &StoreOptions, first_plans: &[Plan]) -> Result<(Self, Unfinished), OpenError> {
        let dir = options.dir.as_path();
        let (lock, marker) = prepare(dir)?;
        let (db, file) = open_engine(dir)?;
        let ahead = file.try_clone().and_then(|file| Room::start(dir, file)).map_err(|error| unusable(dir, error))?;
        let trees = open_trees(&db).map_err(|error| damage(dir, &error))?;
        let state = check_state(dir, &trees, &marker)?;
        let opened = state.map_or(FIRST_GENERATION, |state| state.generation.saturating_add(1));
        if state.is_none() {
            write_first_plans(&trees, first_plans).map_err(|error| damage(dir, &error))?;
        }
        let room = |rows: fn(&StateV1) -> u64| state.as_ref().map_or(0, rows).try_into().unwrap_or(0);
        let unread =
            Unread { accounts: trees.accounts.clone(), keys: trees.keys.clone(), last_used: trees.last_used.clone() };
        let memory = Arc::new(Memory::with_room(room(|state| state.accounts), room(|state| state.keys), Some(unread)));
        load::plans(&trees, &memory).map_err(|error| damage(dir, &error))?;
        let links = LinkMemory::default();
        load::links(&trees, &links).map_err(|error| damage(dir, &error))?;
        let next_number = Self::next_audit_number(&trees.audit).map_err(|error| damage(dir, &error))?;
        let unusable = |error| unusable(dir, error);
        let (unsynced, opening) = (Arc::new(Unsynced::default()), Opening::begin());
        let disk = Disk::new(db.clone(), file, &dir.join(ENGINE_DIR), Arc::clone(&unsynced), ahead.health());
        let committer = Committer::start(disk, options.flush_within).map_err(unusable)?;
        let store = Self {
            counters: Counters::new(trees.counters.clone(), Arc::clone(&memory), committer.numbers()),
            committer,
            room: ahead,
            writes: Writes::default(),
            kept: KeptAnswers::open(&db).map_err(|error| damage(dir, &error))?,
            dir: dir.to_owned(),
            generation: opened,
            opening: Arc::clone(&opening),
            writing: Mutex::new(Writing { next_number, is_closed: false }),
            memory,
            links,
            last_uses: Mutex::default(),
            noted: NotedUsage::default(),
            usage_journal: OnceLock::new(),
            deferred: Deferred::load(&trees).map_err(|error| damage(dir, &error))?,
            trees,
            db,
            seal: Seal::new(dir, opened, lock),
        };
        // The files that sled has just made are durable once their directory is.
        File::open(dir.join(ENGINE_DIR)).and_then(|engine| engine.sync_all()).map_err(unusable)?;
        marker.raise_version(dir).map_err(unusable)?;
        Ok((store, Unfinished::of(opening, state, unsynced)))
    }

    /// Whether a store was made in `dir` before.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        dir.join(MARKER_FILE).is_file()
    }

    /// Closes the store: nothing is forgotten, and the next opening checks that nothing is missing.
    /// Later writes fail. One that is still being read is not read to its end. Then, and if it was refused, what the
    /// directory says of itself stays as it was found.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&self) -> Result<(), StoreError> {
        self.stop_opening();
        if let Err(error) = self.write_usage() {
            // Neither of the two must keep counters from being settled.
            tracing::error!(error = &error as &dyn std::error::Error, "could not write the last usage to the store");
        }
        if let Err(error) = self.write_all_last_uses() {
            tracing::error!(error = &error as &dyn std::error::Error, "could not write the last uses of keys");
        }
        let opened = self.opening.wait();
        self.writing.lock().is_closed = true;
        self.counters.settle_all()?;
        if opened.is_err() {
            let committed = self.committer.commit().wait();
            self.committer.stop();
            return committed;
        }
        self.write_phase(Phase::Closed)?;
        self.remove_used_up_usage()?;
        self.committer.stop();
        self.seal.close().map_err(|error| StoreError::Commit { reason: error.to_string() })
    }

    /// Whether it was made when it was opened this time.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.generation == FIRST_GENERATION
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Makes the directory if need be, locks it, and holds its files against its marker. Nothing that
/// it refuses is changed.
fn prepare(dir: &Path) -> Result<(Lock, Marker), OpenError> {
    let unusable = |error| unusable(dir, error);
    make_private_dir(dir).map_err(unusable)?;
    let lock = Lock::take(dir)?;
    if let Some(free) = free_bytes(dir).filter(|free| *free < FREE_BYTES_TO_OPEN) {
        let reason = format!("{free} bytes are free, and opening it may take {FREE_BYTES_TO_OPEN}");
        return Err(OpenError::Full { dir: dir.to_owned(), reason });
    }
    // A temporary file shows that the directory can be written before sled tries, and goes at once.
    tempfile::tempfile_in(dir).map_err(unusable)?;
    let Some(mut marker) = Marker::find(dir)? else {
        refuse_foreign(dir)?;
        let first = Marker::open(0);
        first.write(dir).map_err(unusable)?;
        return Ok((lock, first));
    };
    if marker.generation > 0 && !dir.join(ENGINE_DIR).join("db").is_file() {
        return Err(damage(dir, &format!("its database file {ENGINE_DIR}/db is missing; nothing was changed")));
    }
    marker.unseal(dir)?;
    Ok((lock, marker))
}

#[cfg(unix)]
/// Makes a directory that only its owner may read, unless it is there.
///
/// # Errors
/// When the system refuses.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Refuses a directory without a marker that holds anything of another's.
fn refuse_foreign(dir: &Path) -> Result<(), OpenError> {
    let unusable = |error| unusable(dir, error);
    for entry in fs::read_dir(dir).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        if !EARLY_FILES.iter().any(|early| name.to_str() == Some(early)) {
            let found = format!("{} without a {MARKER_FILE}", name.to_string_lossy());
            return Err(OpenError::Foreign { dir: dir.to_owned(), found });
        }
    }
    Ok(())
}

/// Holds what the database says of itself against what the directory says of it. `None`: a new store.
pub(super) fn check_state(dir: &Path, trees: &Trees, marker: &Marker) -> Result<Option<StateV1>, OpenError> {
    let stored = trees.meta.get(STATE_KEY).map_err(|error| damage(dir, &error))?;
    let Some(bytes) = stored else {
        return match marker.generation {
            0 => Ok(None),
            times => Err(damage(dir, &format!("its database is empty, although it has been opened {times} times"))),
        };
    };
    let state = records::state_from_bytes(&bytes)
        .map_err(damaged("meta", STATE_KEY.as_bytes()))
        .map_err(|error| damage(dir, &error))?;
    if state.generation < marker.generation {
        let (found, last) = (state.generation, marker.generation);
        return Err(damage(dir, &format!("its database is older than the directory: opening {found} of {last}")));
    }
    // Closing is the last thing that is written: what is lost from the end of the log begins with it.
    if marker.closed && state.generation == marker.generation && state.phase != Phase::Closed {
        return Err(damage(dir, &"it was closed, and its database has lost what was written last"));
    }
    match state.phase {
        Phase::Restoring => Err(OpenError::HalfRestored { dir: dir.to_owned() }),
        Phase::Open | Phase::Closed => Ok(Some(state)),
    }
}

pub(super) fn write_first_plans(trees: &Trees, plans: &[Plan]) -> Result<(), StoreError> {
    for plan in plans {
        let bytes = records::plan_to_bytes(plan).map_err(super::changes::encode("plans"))?;
        trees.plans.insert(plan.id.as_str().as_bytes(), bytes).map_err(engine("write the first plans"))?;
    }
    Ok(())
}

pub(super) fn damage(dir: &Path, reason: &dyn std::fmt::Display) -> OpenError {
    OpenError::Damaged { dir: dir.to_owned(), reason: reason.to_string() }
}

/// Why the directory cannot be used: mostly it cannot be written.
pub(super) fn unusable(dir: &Path, error: io::Error) -> OpenError {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return OpenError::Full { dir: dir.to_owned(), reason: error.to_string() };
    }
    OpenError::Unusable { dir: dir.to_owned(), source: error }
}
