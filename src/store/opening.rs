//! The second part of opening: reading the journal of usage and all accounts and keys, which may be millions, while
//! requests are served.
//!
//! Until it has ended, what a request needs is read one by one (`memory/unread.rs`), and operators' writes wait: so nothing
//! changes that is being read. Usage stays in memory until the journal is read. What the directory says of itself stays as
//! it was found until all is read, so that one that is refused is refused again.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::journal_files::Unsynced;
use super::marker::Marker;
use super::open::{STATE_KEY, damage, unusable};
use super::records::{self, Phase, StateV1};
use super::usage_journal::Journal;
use super::{OpenError, Store, StoreError, engine, load};

/// How far an opening is.
pub(super) struct Opening {
    progress: Mutex<Progress>,
    changed: Condvar,
    /// What the database said of itself.
    earlier: Option<StateV1>,
    /// For the journal.
    unsynced: Arc<Unsynced>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Progress {
    Begun,
    JournalRead,
    Whole,
    Refused,
}

/// Ends an opening, whatever comes: others wait for it.
struct Ending<'o> {
    opening: &'o Opening,
    end: Progress,
}

impl Opening {
    /// Of a database that says so of itself.
    pub(super) fn of(earlier: Option<StateV1>, unsynced: Arc<Unsynced>) -> Self {
        Self { progress: Mutex::new(Progress::Begun), changed: Condvar::new(), earlier, unsynced }
    }

    /// Waits until all is read. Blocks.
    pub(super) fn wait(&self) -> Result<(), StoreError> {
        if self.wait_for(Progress::Whole) == Progress::Whole { Ok(()) } else { Err(StoreError::Refused) }
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

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.opening.come_to(self.end);
    }
}

impl Store {
    /// Reads what [`open_early`](Self::open_early) has left. Blocks; to be called once.
    ///
    /// # Errors
    /// When the store is damaged or the directory unusable. Then it takes no writes of the directory, and should be dropped.
    pub fn finish_opening(&self) -> Result<(), OpenError> {
        let mut ending = Ending { opening: &self.opening, end: Progress::Refused };
        let damaged = |error: StoreError| damage(&self.dir, &error);
        let journal = Journal::load(&self.dir, &self.trees, Arc::clone(&self.opening.unsynced))?;
        self.usage_journal.get_or_init(|| Mutex::new(journal));
        self.opening.come_to(Progress::JournalRead);
        load::accounts_and_keys(&self.trees, &self.memory).map_err(damaged)?;
        self.opening.earlier.map_or(Ok(()), |state| self.check_counts(&state))?;
        self.memory.all_are_read();
        self.write_phase(Phase::Open).map_err(damaged)?;
        self.remove_used_up_usage().map_err(damaged)?;
        Marker::open(self.generation).write(&self.dir).map_err(|error| unusable(&self.dir, error))?;
        ending.end = Progress::Whole;
        Ok(())
    }

    /// The journal of usage. Waits until it is read, and then for whoever has it.
    pub(super) fn journal(&self) -> Result<MutexGuard<'_, Journal>, StoreError> {
        self.opening.wait_for(Progress::JournalRead);
        self.usage_journal.get().map(Mutex::lock).ok_or(StoreError::Refused)
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
        load::accounts_and_keys(&self.trees, &self.memory)?;
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
