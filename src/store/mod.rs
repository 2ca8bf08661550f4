//! The embedded store: sled behind methods that take and return domain values, never closures.
//!
//! - `open`: the guard around opening and closing; what makes a directory ours. `open_engine`: sled itself. `opening`: what
//!   is left of it while requests are served.
//! - `marker`: what the directory says of its database, and the lock on both.
//! - `directory`, `keys`: plans, accounts and keys, written under one lock.
//! - `links`: links; `recording`, `clicks`: what becomes of them, written and read; `deferred`: what is yet to be.
//! - `memory`, `memory_links`: the copies that requests read; `changes`: the transaction that writes both.
//! - `counters`: units used; `take` decides and counts in one step, from blocks taken by compare-and-swap.
//! - `usage`: what each key spent on each endpoint, per hour. That of the running hour is in memory, and in files beside
//!   sled.
//! - `idempotency`: answers that are given again.
//! - `audit`: one line per administrative write, in the same transaction as the write.
//! - `room`: keeps a full disk away from sled.
//! - `verify`: says what is wrong in a store that nobody has open.
//! - `committer`: the one thread that makes things durable.
//! - `codec`, `records…`: the only files that know bytes.
//!
//! Methods block. Writes of the directory are on disk when they return; async code calls them on
//! the blocking pool. `take` is fast enough (a few µs) to be called where it is needed.

mod audit;
mod changes;
mod clicks;
mod codec;
mod codec_numbers;
mod commits;
mod committer;
mod counters;
mod deferred;
mod directory;
mod disk;
mod idempotency;
mod journal_files;
mod keys;
mod last_uses;
mod links;
mod load;
mod marker;
mod memory;
mod memory_links;
mod memory_plans;
mod open;
mod open_engine;
mod opening;
mod recording;
mod records;
mod records_deferred;
mod records_idempotency;
mod records_links;
mod records_usage;
mod restore;
mod room;
mod steps;
mod usage;
mod usage_folding;
mod usage_journal;
mod usage_noted;
mod verify;
mod writes;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::audit::{Author, FieldChange};
pub use self::clicks::{Conversion, Span};
pub use self::codec::Damage;
pub use self::committer::Commit;
pub use self::counters::Counter;
pub use self::directory::{DirectoryError, Page};
pub use self::idempotency::KEPT_PER_ACCOUNT_MAX;
pub use self::keys::{KEYS_PER_ACCOUNT_MAX, KeyUse};
pub use self::last_uses::LAST_USES_PER_STEP;
pub use self::links::LinkError;
pub use self::memory::{AccountCounter, Holder};
pub use self::open::{OpenError, make_private_dir};
pub use self::opening::Unfinished;
pub use self::recording::{Event, VisitorId};
pub use self::records::AuditEntry;
pub use self::records_links::Tallies;
pub use self::restore::{Restore, RestoreError};
pub use self::verify::{Fault, Verified, VerifyError};
pub use self::writes::StoreWrites;

use self::committer::Committer;
use self::counters::Counters;
use self::deferred::Deferred;
use self::idempotency::KeptAnswers;
use self::memory::Memory;
use self::memory_links::LinkMemory;
use self::opening::Opening;
use self::room::{Room, free_bytes};
use self::usage_journal::Journal;
use self::usage_noted::NotedUsage;
use self::writes::Writes;
use crate::domain::decision::{Cost, Decision, Limit, Used};
use crate::domain::id::AccountId;
use crate::domain::window::Window;
use crate::durations::Noted;

/// What went wrong in the store. None of it is the caller's doing, and nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled or the disk refused.
    #[error("could not {attempt}")]
    Engine {
        /// What was attempted.
        attempt: &'static str,
        /// What sled said.
        #[source]
        source: sled::Error,
    },
    /// A record that does not read back.
    #[error("damaged record in {tree} under {key}: {damage}")]
    Damaged {
        /// The tree.
        tree: &'static str,
        /// The record's key, in hexadecimal.
        key: String,
        /// What is wrong with it.
        damage: Damage,
    },
    /// A record that should be there is not.
    #[error("{tree} has no record under {key}, which another record names")]
    Dangling {
        /// The tree.
        tree: &'static str,
        /// The key that was looked up.
        key: String,
    },
    /// A value that cannot be put into a record: a defect of ours.
    #[error("could not encode a record for {tree}")]
    Encode {
        /// The tree.
        tree: &'static str,
        /// What bincode said.
        #[source]
        source: bincode::Error,
    },
    /// There is no room on the disk. Nothing was written.
    #[error("the disk that holds the data directory is full; make room, and writes are accepted again")]
    Full,
    /// A sync of the disk failed before. Nothing was written.
    #[error("the disk failed to sync, so nothing is stored any more: mend it and restart the machine")]
    SyncFailed,
    /// Not all of the store was read when it was opened, nor will be. Nothing was written.
    #[error("the store was not read to its end, so the server stops")]
    GivenUp,
    /// What was written is not known to be on disk.
    #[error("could not commit: {reason}")]
    Commit {
        /// What the disk said.
        reason: String,
    },
}

/// For what is to be written before somebody looks: a disk without room is no reason to show nothing.
///
/// # Errors
/// All others.
pub fn unless_refused(written: Result<(), StoreError>) -> Result<(), StoreError> {
    if matches!(written, Err(StoreError::Full | StoreError::SyncFailed)) { Ok(()) } else { written }
}

fn engine(attempt: &'static str) -> impl Fn(sled::Error) -> StoreError {
    move |source| StoreError::Engine { attempt, source }
}

fn damaged<'k>(tree: &'static str, key: &'k [u8]) -> impl Fn(Damage) -> StoreError + use<'k> {
    move |damage| StoreError::Damaged { tree, key: hex(key), damage }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory; made if it is absent.
    pub dir: PathBuf,
    /// Counted units are on disk within this time; zero: before whoever is counted is answered.
    pub flush_within: Duration,
}

/// The open store. One process at a time; shared by all its threads.
pub struct Store {
    db: sled::Db,
    dir: PathBuf,
    trees: Trees,
    counters: Counters,
    kept: KeptAnswers,
    memory: Arc<Memory>,
    links: LinkMemory,
    deferred: Deferred,
    /// Of keys whose last use is to be written.
    last_uses: Mutex<last_uses::Gathered>,
    noted: NotedUsage,
    /// Once it is read.
    usage_journal: OnceLock<Mutex<Journal>>,
    /// Held by whoever writes plans, accounts, keys or the audit trail: administrative writes are
    /// rare, and under one lock each of their rules is a read and a write that nothing comes between.
    writing: Mutex<audit::Writing>,
    opening: Arc<Opening>,
    committer: Committer,
    room: Room,
    writes: Writes,
    generation: u64,
    /// Last, so that it drops last.
    seal: marker::Seal,
}

/// The trees that one transaction may touch, besides counters and meta.
struct Trees {
    plans: sled::Tree,
    accounts: sled::Tree,
    keys: sled::Tree,
    key_ids: sled::Tree,
    account_keys: sled::Tree,
    last_used: sled::Tree,
    counters: sled::Tree,
    links: sled::Tree,
    slugs: sled::Tree,
    account_links: sled::Tree,
    doomed_links: sled::Tree,
    clicks: sled::Tree,
    click_days: sled::Tree,
    click_totals: sled::Tree,
    conversions: sled::Tree,
    deferred_events: sled::Tree,
    usage: sled::Tree,
    audit: sled::Tree,
    meta: sled::Tree,
}

/// Sizes and totals, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// Plans.
    pub plans: usize,
    /// Accounts.
    pub accounts: usize,
    /// Keys, revoked and expired ones included.
    pub keys: usize,
    /// Links, deleted ones included.
    pub links: usize,
    /// Bytes of the database's files.
    pub disk_bytes: u64,
    /// Bytes that are free on the data directory's disk; `None` where the system does not say.
    pub free_bytes: Option<u64>,
    /// Commits since the start.
    pub commits: u64,
    /// Commits that failed since the start.
    pub commit_failures: u64,
    /// Who waits for a commit.
    pub commit_waiting: usize,
    /// For how long what was written has waited to be on disk, in microseconds.
    pub unsynced_us: u64,
    /// Writes to the engine since the start.
    pub writes: StoreWrites,
}

impl Store {
    /// Decides whether a request of `cost` may pass and counts it if so, in one atomic step.
    /// Answers the decision and what is used after it. Writes nothing on a denial.
    ///
    /// # Errors
    /// When the counter cannot be read or written; then nothing was counted.
    pub fn take(
        &self,
        counter: &AccountCounter,
        window: Window,
        limit: Limit,
        cost: Cost,
    ) -> Result<(Decision, Used), StoreError> {
        self.room.check()?;
        self.counters.take(counter, window, limit, cost)
    }

    /// Where an account's units are counted; `None` if there is no such account.
    ///
    /// # Errors
    /// When the account cannot be read.
    pub fn find_counter(&self, account: AccountId) -> Result<Option<AccountCounter>, StoreError> {
        self.memory.find_counter(account)
    }

    /// Gives the units of a counted request back, because it could not be made durable.
    ///
    /// # Errors
    /// When the counter cannot be read or written.
    pub fn give_back(&self, account: AccountId, window: Window, cost: Cost) -> Result<(), StoreError> {
        self.counters.give_back(account, window, cost)?;
        self.committer.mark_dirty();
        Ok(())
    }

    /// To be called after each request that [`take`](Self::take) let through: answers the commit that it must wait
    /// for before it is answered. There is none if its units are of a block that is on disk. Else there is one if units
    /// must be on disk before the answer, or if commits have fallen behind; so a crash never forgets more units than
    /// were let through in the store's `flush_within`.
    pub fn commit_if_due(&self, counter: &AccountCounter, window: Window) -> Option<Commit> {
        if self.counters.is_durable(counter, window) {
            return None;
        }
        self.committer.commit_if_due()
    }

    /// Units that an account used in a window.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn used(&self, account: AccountId, window: Window) -> Result<Used, StoreError> {
        self.counters.used(account, window)
    }

    /// All counters, the oldest hour first; ordered and safe beside writes, but not a snapshot.
    pub fn counters(&self) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
        self.counters.iter()
    }

    /// The counters of one window.
    pub fn counters_in(&self, window: Window) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
        self.counters.in_window(window)
    }

    /// Deletes one step of the counters of windows before `first_kept`; answers whether more are left.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge_counters_step(&self, first_kept: Window) -> Result<bool, StoreError> {
        self.purge(|| self.counters.purge_step(first_kept))
    }

    /// Reads and commits, to see whether the store answers: one that can be read may still refuse all writes.
    ///
    /// # Errors
    /// When it does not.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.trees.meta.get(open::STATE_KEY).map_err(engine("read the store's state"))?;
        self.room.check()?;
        self.committer.commit().wait()
    }

    /// Sizes and totals. Waits until all accounts and keys are read.
    ///
    /// # Errors
    /// When they could not be, or the size of the files cannot be.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        self.opening.wait()?;
        let (commits, commit_failures) = self.committer.totals();
        let (commit_waiting, unsynced_us) = self.committer.backlog();
        let (plans, accounts, keys) = self.memory.counts();
        let disk_bytes = self.db.size_on_disk().map_err(engine("measure the database"))?;
        Ok(StoreStats {
            plans,
            accounts,
            keys,
            links: self.links.count(),
            disk_bytes,
            free_bytes: free_bytes(&self.dir),
            commits,
            commit_failures,
            commit_waiting,
            unsynced_us,
            writes: self.writes.with(self.counters.blocks()),
        })
    }

    /// How long commits took.
    pub fn commit_durations(&self) -> Noted {
        self.committer.numbers().durations.noted()
    }
}
