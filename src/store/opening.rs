//! The second part of opening: reading the journal of usage and all accounts and keys, which may be millions, while
//! requests are served.
//!
//! Until it has ended, what a request needs is read one by one (`memory/unread.rs`), and operators' writes wait: so no
//! account and no key changes that is being read. Usage stays in memory until the journal is read. What the directory says
//! of itself stays as it was found until all is read, so that a store that is refused is refused again.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::journal_files::Unsynced;
use super::marker::Marker;
use super::open::{STATE_KEY, damage, unusable};
use super::records::{self, Phase, StateV1};
use super::usage_journal::Journal;
use super::{OpenError, Store, StoreError, engine, load};

/// How far the opening of a store is, for those who wait for it.
pub(super) struct Opening {
    progress: Mutex<Progress>,
    changed: Condvar,
    is_unwanted: AtomicBool,
}

/// In this order, and then no further: who waits for something is told also that it will not come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Progress {
    Begun,
    JournalRead,
    Whole,
    GivenUp,
}

/// What is left to do of an opening. If it is dropped instead, the opening is given up.
#[must_use = "operators' writes wait until it is finished"]
pub struct Unfinished {
    opening: Arc<Opening>,
    /// What the database said of itself.
    earlier: Option<StateV1>,
    unsynced: Arc<Unsynced>,
}

impl Opening {
    pub(super) fn begin() -> Arc<Self> {
        let progress = Mutex::new(Progress::Begun);
        Arc::new(Self { progress, changed: Condvar::new(), is_unwanted: AtomicBool::new(false) })
    }

    /// Waits until all is read. Blocks.
    pub(super) fn wait(&self) -> Result<(), StoreError> {
        if self.wait_for(Progress::Whole) == Progress::Whole { Ok(()) } else { Err(StoreError::GivenUp) }
    }

    /// Fails if nobody wants it to go on.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.is_unwanted.load(Ordering::Relaxed) { Err(StoreError::GivenUp) } else { Ok(()) }
    }

    fn wait_for(&self, wanted: Progress) -> Progress {
        let mut progress = self.progress.lock();
        self.changed.wait_while(&mut progress, |progress| *progress < wanted);
        *progress
    }

    fn come_to(&self, progress: Progress) {
        *self.progress.lock() = progress;
        self.changed.notify_all();
    }
}

impl Unfinished {
    pub(super) fn of(opening: Arc<Opening>, earlier: Option<StateV1>, unsynced: Arc<Unsynced>) -> Self {
        Self { opening, earlier, unsynced }
    }

    /// Reads what is left of the store. Blocks. If [`Store::stop_opening`] is called meanwhile it ends well once the journal
    /// is read.
    ///
    /// # Errors
    /// When the store is damaged or the directory unusable. Then the store takes no writes of the directory.
    pub fn finish(self, store: &Store) -> Result<(), OpenError> {
        let read = catch_unwind(AssertUnwindSafe(|| self.read(store)));
        read.unwrap_or_else(|_panic| Err(damage(&store.dir, &"the database engine gave up reading it")))
    }

    fn read(&self, store: &Store) -> Result<(), OpenError> {
        let failed = |error: StoreError| refusal(&store.dir, error);
        let journal = Journal::load(&store.dir, &store.trees, Arc::clone(&self.unsynced), &store.committer.numbers())?;
        store.committer.mark_dirty();
        store.usage_journal.get_or_init(|| Mutex::new(journal));
        self.opening.come_to(Progress::JournalRead);
        match load::accounts_and_keys(&store.trees, &store.memory, &self.opening) {
            Err(StoreError::GivenUp) => return Ok(()),
            read => read.map_err(failed)?,
        }
        self.earlier.map_or(Ok(()), |state| store.check_counts(&state))?;
        store.memory.all_are_read();
        store.write_phase(Phase::Open).map_err(failed)?;
        store.remove_used_up_usage().map_err(failed)?;
        Marker::open(store.generation).write(&store.dir).map_err(|error| unusable(&store.dir, error))?;
        self.opening.come_to(Progress::Whole);
        Ok(())
    }
}

/// Why a store does not open: a disk that fails is no damage.
fn refusal(dir: &Path, error: StoreError) -> OpenError {
    match error {
        StoreError::Full => OpenError::Full { dir: dir.to_owned(), reason: error.to_string() },
        StoreError::Engine { source: sled::Error::Io(source), .. } => unusable(dir, source),
        StoreError::Commit { .. } | StoreError::SyncFailed => unusable(dir, io::Error::other(error)),
        StoreError::Engine { .. }
        | StoreError::Damaged { .. }
        | StoreError::Dangling { .. }
        | StoreError::Encode { .. }
        | StoreError::GivenUp => damage(dir, &error),
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let progress = *self.opening.progress.lock();
        if progress < Progress::Whole {
            self.opening.come_to(Progress::GivenUp);
        }
    }
}

impl Store {
    /// Has the opening end, if it has not ended yet, because the store is to be closed.
    pub fn stop_opening(&self) {
        let progress = self.opening.progress.lock();
        if *progress < Progress::Whole {
            self.opening.is_unwanted.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until all of the store is read. Blocks.
    ///
    /// # Errors
    /// When it is not read, and will not be.
    pub fn wait_until_open(&self) -> Result<(), StoreError> {
        self.opening.wait()
    }

    /// The journal of usage. Waits until it is read, and then for whoever has it.
    pub(super) fn journal(&self) -> Result<MutexGuard<'_, Journal>, StoreError> {
        self.opening.wait_for(Progress::JournalRead);
        self.usage_journal.get().map(Mutex::lock).ok_or(StoreError::GivenUp)
    }

    /// Writes how far the store has come, durably.
    pub(super) fn write_phase(&self, phase: Phase) -> Result<(), StoreError> {
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        let (plans, accounts, keys) = self.memory.counts();
        let state = StateV1 {
            generation: self.generation,
            phase,
            plans: count(plans),
            accounts: count(accounts),
            keys: count(keys),
        };
        let bytes = records::state_to_bytes(&state).map_err(super::changes::encode("meta"))?;
        self.trees.meta.insert(STATE_KEY, bytes).map_err(engine("write the store's state"))?;
        self.committer.commit().wait()
    }

    /// Empties memory and reads it from disk again.
    pub(super) fn reload(&self) -> Result<(), StoreError> {
        self.memory.clear();
        self.links.clear();
        self.deferred.clear();
        self.clear_usage()?;
        load::plans(&self.trees, &self.memory)?;
        load::accounts_and_keys(&self.trees, &self.memory, &self.opening)?;
        load::links(&self.trees, &self.links)
    }

    fn check_counts(&self, state: &StateV1) -> Result<(), OpenError> {
        let (plans, accounts, keys) = self.memory.counts();
        let counted =
            [("plans", plans, state.plans), ("accounts", accounts, state.accounts), ("keys", keys, state.keys)];
        match state.phase {
            Phase::Open | Phase::Restoring => Ok(()),
            Phase::Closed => {
                let wrong = counted.into_iter().find(|(_tree, found, closed)| u64::try_from(*found) != Ok(*closed));
                wrong.map_or(Ok(()), |(tree, found, closed)| {
                    Err(damage(&self.dir, &format!("it was closed with {closed} {tree} and now has {found}")))
                })
            }
        }
    }
}
