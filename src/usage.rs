//! Gathers usage: what each key spends on each endpoint. Requests leave it in memory, and a thread of its own adds it to
//! the store every round, so that no request waits for that.
//!
//! Each worker has a part of the memory for itself, as long as there are no more workers than parts: its lock is free
//! whenever it comes. Units are noted in the same step in which they are counted, so that the sum of an hour's usage is
//! its counter, whatever becomes of the request.

use std::cell::Cell;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::background::Background;
use crate::domain::decision::Cost;
use crate::domain::endpoint::EndpointName;
use crate::domain::usage::{Change, RowKey, Spender};
use crate::store::{Store, StoreError, UsageChange, unless_full};

/// Parts of the memory: at least as many as there are workers on machines that we know.
const PARTS: usize = 16;
/// Changes in a part: more than a second of the fastest worker. One takes 72 bytes, and a gateway's the name of its
/// endpoint, so a worker's take 14 MB and more; there are so many only while the store takes none for that long.
const CHANGES_MAX: usize = 200_000;
/// For so many a part keeps its memory.
const CHANGES_KEPT: usize = 20_000;
/// A change is added to one for the same row among so many that came last: an answer to its request, and the requests
/// of who asks most to each other.
const LAST_CHANGES: usize = 4;
/// Between two rounds, at least and at most. In between it is a quarter of the flush interval: what waits in memory for
/// the round and then for the commit is on disk within the interval.
const ROUND_MIN: Duration = Duration::from_millis(10);
const ROUND_MAX: Duration = Duration::from_millis(250);
/// The same where units are on disk before the answer: then each round asks for a commit of its own.
const ROUND_STRICT: Duration = Duration::from_millis(100);
/// Before what the store refused is tried again: often enough for a disk that is full for a moment, and no flood of
/// log lines.
const RETRY: Duration = Duration::from_secs(1);

/// Takes usage, and adds it to the store.
pub struct Usage {
    store: Arc<Store>,
    parts: [Mutex<Part>; PARTS],
    /// What was taken from the parts and is not written yet. Held while it is: one thread writes at a time.
    taken: Mutex<Vec<UsageChange>>,
}

/// What came since the last round.
#[derive(Default)]
struct Part {
    changes: Vec<UsageChange>,
    dropped: u64,
}

impl Usage {
    /// Nothing yet. What is left here reaches `store` when [`catch_up`](Self::catch_up) is called, or by the thread of a
    /// [`UsageWriter`].
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, parts: Default::default(), taken: Mutex::default() }
    }

    /// A request was counted.
    pub fn count(&self, spender: Spender, endpoint: &EndpointName, cost: Cost) {
        self.note(spender, endpoint, &Change::counted(cost));
    }

    /// The units of a request that was counted are given back.
    pub fn give_back(&self, spender: Spender, endpoint: &EndpointName, cost: Cost) {
        self.note(spender, endpoint, &Change::given_back(cost));
    }

    /// The limit denied a request.
    pub fn deny(&self, spender: Spender, endpoint: &EndpointName) {
        self.note(spender, endpoint, &Change::denied());
    }

    /// A request that was counted was answered after `took`.
    pub fn answer(&self, spender: Spender, endpoint: &EndpointName, is_error: bool, took: Duration) {
        self.note(spender, endpoint, &Change::answered(is_error, took));
    }

    /// Adds all that was left so far to the store, so that whoever reads it next sees it. Blocks.
    ///
    /// # Errors
    /// When the store fails; what was not written is tried again the next time.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        self.add()?;
        self.store.fold_all_usage()
    }

    /// The same for who only looks: on a full disk that cannot be done, and what was added before is what there is.
    ///
    /// # Errors
    /// When the store fails for another reason.
    pub fn catch_up_if_there_is_room(&self) -> Result<(), StoreError> {
        unless_full(self.catch_up())
    }

    /// Adds all that was left so far, and a part of what is to be done with it later.
    fn round(&self) -> Result<(), StoreError> {
        self.add()?;
        self.store.fold_usage()
    }

    /// Writes what was left to the journal. What that waits for is short: folding comes after it, without this lock.
    fn add(&self) -> Result<(), StoreError> {
        let mut taken = self.taken.lock();
        // What an earlier call could not write comes first: until it is written, the rest stays where it is bounded.
        self.write(&mut taken)?;
        for part in &self.parts {
            let dropped = {
                let mut part = part.lock();
                std::mem::swap(&mut part.changes, &mut taken);
                std::mem::take(&mut part.dropped)
            };
            if dropped > 0 {
                tracing::error!(dropped, "usage came faster than it could be added to the store");
            }
            self.write(&mut taken)?;
            taken.shrink_to(CHANGES_KEPT);
        }
        Ok(())
    }

    fn write(&self, changes: &mut Vec<UsageChange>) -> Result<(), StoreError> {
        let mut left = changes.iter();
        let mut written = self.store.add_usage(&mut left);
        while written.is_ok() && left.len() > 0 {
            written = self.store.add_usage(&mut left);
        }
        let done = changes.len().saturating_sub(left.len());
        changes.drain(..done);
        written
    }

    fn note(&self, spender: Spender, endpoint: &EndpointName, change: &Change) {
        if let Some(part) = self.parts.get(own_part()) {
            part.lock().note(spender, endpoint, change);
        }
    }
}

impl Part {
    fn note(&mut self, spender: Spender, endpoint: &EndpointName, change: &Change) {
        let mut last = self.changes.iter_mut().rev().take(LAST_CHANGES);
        let same = last.find(|last| last.row.spender == spender && last.row.endpoint == *endpoint);
        if let Some(same) = same
            && let Some(both) = same.change.and(change)
        {
            same.change = both;
        } else if self.changes.len() < CHANGES_MAX {
            let row = RowKey { spender, endpoint: endpoint.clone() };
            self.changes.push(UsageChange { row, change: *change });
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

/// The part of the thread that asks.
fn own_part() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PART: Cell<Option<usize>> = const { Cell::new(None) };
    }
    PART.with(|part| {
        part.get().unwrap_or_else(|| {
            let next = THREADS.fetch_add(1, Ordering::Relaxed) % PARTS;
            part.set(Some(next));
            next
        })
    })
}

/// The thread that adds what was gathered to the store; it ends when this is stopped or dropped.
pub struct UsageWriter {
    usage: Arc<Usage>,
    thread: Background,
}

impl UsageWriter {
    /// Starts the thread. `flush_within`: the time within which units are on disk.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(usage: Arc<Usage>, flush_within: Duration) -> std::io::Result<Self> {
        let round = if flush_within.is_zero() { ROUND_STRICT } else { (flush_within / 4).clamp(ROUND_MIN, ROUND_MAX) };
        let own = Arc::clone(&usage);
        let thread = Background::start("usage", move |stop| {
            let mut pause = round;
            while !stop.sleep(pause) {
                pause = match own.round() {
                    Ok(()) => round,
                    Err(error) => {
                        let error = &error as &dyn Error;
                        tracing::error!(error, "could not add usage to the store; it is tried again");
                        RETRY
                    }
                };
            }
        })?;
        Ok(Self { usage, thread })
    }

    /// Ends the thread and adds what is left.
    pub fn stop(&mut self) {
        self.thread.stop();
        if let Err(error) = self.usage.catch_up() {
            tracing::error!(error = &error as &dyn Error, "could not add the last usage to the store");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{AccountId, KeyId};
    use crate::domain::window::Window;

    fn spender(key: u8) -> Spender {
        let (account_id, key_id) = (AccountId::from_bytes([1; 16]), KeyId::from_bytes([key; 16]));
        Spender { account_id, window: Window::from_hours(7), key_id }
    }

    #[test]
    fn a_part_is_bounded_and_counts_what_it_dropped() {
        let mut part = Part::default();
        for key in (0..=255).cycle().take(CHANGES_MAX + 5) {
            part.note(spender(key), &EndpointName::OTHER, &Change::denied());
        }

        assert_eq!((part.changes.len(), part.dropped), (CHANGES_MAX, 5));
        assert_eq!(size_of::<UsageChange>(), 72);
    }

    #[test]
    fn an_answer_is_added_to_its_request_if_that_came_lately() {
        let mut part = Part::default();
        let answered = Change::answered(false, Duration::ZERO);
        for key in 0..5 {
            part.note(spender(key), &EndpointName::OTHER, &Change::counted(Cost::ONE));
        }
        for key in 0..2 {
            part.note(spender(key), &EndpointName::OTHER, &answered);
        }
        part.note(spender(1), &EndpointName::UNKNOWN, &answered);

        let counted = Change::counted(Cost::ONE);
        let both = counted.and(&answered).unwrap();
        let changes: Vec<Change> = part.changes.iter().map(|change| change.change).collect();
        assert_eq!(changes, [counted, counted, counted, counted, counted, answered, answered, answered]);
        part.note(spender(4), &EndpointName::OTHER, &answered);
        assert_eq!(part.changes.get(4).map(|change| change.change), Some(both));
    }
}
