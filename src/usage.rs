//! Gathers usage: what each key spends on each endpoint. Requests leave it in memory, and a thread of its own adds it to
//! the store every round, so that no request waits for that.
//!
//! Each worker has a part of the memory for itself, as long as there are no more workers than parts: its lock is free
//! whenever it comes. Units are noted in the same step in which they are counted, so that the sum of an hour's usage is
//! its counter, whatever becomes of the request.

use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::background::Background;
use crate::domain::decision::Cost;
use crate::domain::endpoint::EndpointName;
use crate::domain::usage::{Change, Spender};
use crate::store::{Store, StoreError, UsageChange};

/// Parts of the memory: at least as many as there are workers on machines that we know.
const PARTS: usize = 16;
/// Rows in a part: some seconds of the fastest worker. A row takes about 250 bytes, so all together take at most 80 MB,
/// and that only while the store refuses to take them.
const PART_ROWS_MAX: usize = 20_000;
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
    waiting: Mutex<Vec<UsageChange>>,
}

/// What came since the last round.
#[derive(Default)]
struct Part {
    spenders: HashMap<Spender, HashMap<EndpointName, Change, RandomState>, RandomState>,
    rows: usize,
    dropped: u64,
}

impl Usage {
    /// Nothing yet. What is left here reaches `store` when [`catch_up`](Self::catch_up) is called, or by the thread of a
    /// [`UsageWriter`].
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, parts: Default::default(), waiting: Mutex::default() }
    }

    /// A request was counted.
    pub fn count(&self, spender: Spender, endpoint: &EndpointName, cost: Cost) {
        self.note(spender, endpoint, |change| change.count(cost));
    }

    /// The units of a request that was counted are given back.
    pub fn give_back(&self, spender: Spender, endpoint: &EndpointName, cost: Cost) {
        self.note(spender, endpoint, |change| change.give_back(cost));
    }

    /// The limit denied a request.
    pub fn deny(&self, spender: Spender, endpoint: &EndpointName) {
        self.note(spender, endpoint, Change::deny);
    }

    /// A request that was counted was answered after `took`.
    pub fn answer(&self, spender: Spender, endpoint: &EndpointName, is_error: bool, took: Duration) {
        self.note(spender, endpoint, |change| change.answer(is_error, took));
    }

    /// Adds all that was left so far to the store, so that whoever reads it next sees it. Blocks.
    ///
    /// # Errors
    /// When the store fails; what was not written is tried again the next time.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock();
        self.add(&mut waiting)?;
        self.store.fold_all_usage()
    }

    /// Adds all that was left so far, and a part of what is to be done with it later.
    fn round(&self) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock();
        self.add(&mut waiting)?;
        self.store.fold_usage()
    }

    fn add(&self, waiting: &mut Vec<UsageChange>) -> Result<(), StoreError> {
        // What an earlier call could not write comes first: until it is written, the rest stays where it is bounded.
        self.write(waiting)?;
        *waiting = self.take();
        self.write(waiting)
    }

    fn note(&self, spender: Spender, endpoint: &EndpointName, what: impl FnOnce(&mut Change)) {
        if let Some(part) = self.parts.get(own_part()) {
            part.lock().note(spender, endpoint, what);
        }
    }

    fn write(&self, waiting: &mut Vec<UsageChange>) -> Result<(), StoreError> {
        while !waiting.is_empty() {
            self.store.add_usage(waiting)?;
        }
        Ok(())
    }

    /// Takes what is in the parts: each row once, sorted.
    fn take(&self) -> Vec<UsageChange> {
        let mut changes = Vec::new();
        for part in &self.parts {
            let Part { spenders, rows: _, dropped } = std::mem::take(&mut *part.lock());
            if dropped > 0 {
                tracing::error!(dropped, "usage came faster than it could be added to the store");
            }
            for (spender, endpoints) in spenders {
                let change = |(endpoint, change)| UsageChange { spender, endpoint, change };
                changes.extend(endpoints.into_iter().map(change));
            }
        }
        changes.sort_unstable_by(|a, b| (&a.spender, &a.endpoint).cmp(&(&b.spender, &b.endpoint)));
        changes.dedup_by(|later, first| {
            let is_same = later.spender == first.spender && later.endpoint == first.endpoint;
            if is_same {
                first.change.add(&later.change);
            }
            is_same
        });
        changes
    }
}

impl Part {
    fn note(&mut self, spender: Spender, endpoint: &EndpointName, what: impl FnOnce(&mut Change)) {
        if let Some(change) = self.spenders.get_mut(&spender).and_then(|endpoints| endpoints.get_mut(endpoint)) {
            what(change);
        } else if self.rows < PART_ROWS_MAX {
            self.rows = self.rows.saturating_add(1);
            what(self.spenders.entry(spender).or_default().entry(endpoint.clone()).or_default());
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
                pause = if say(own.round()) { round } else { RETRY };
            }
        })?;
        Ok(Self { usage, thread })
    }

    /// Ends the thread and adds what is left.
    pub fn stop(&mut self) {
        self.thread.stop();
        say(self.usage.catch_up());
    }
}

/// Whether it went well; logs if not.
fn say(done: Result<(), StoreError>) -> bool {
    if let Err(error) = &done {
        tracing::error!(error = error as &dyn Error, "could not add usage to the store; it is tried again");
    }
    done.is_ok()
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
    fn a_part_is_bounded_and_says_what_it_dropped() {
        let mut part = Part::default();
        for at in 0..PART_ROWS_MAX + 5 {
            part.note(spender(1), &EndpointName::of_route("GET", &format!("/{at}")), Change::deny);
        }
        part.note(spender(2), &EndpointName::OTHER, Change::deny);
        part.note(spender(1), &EndpointName::of_route("GET", "/7"), Change::deny);

        assert_eq!((part.rows, part.dropped), (PART_ROWS_MAX, 6));
        assert_eq!(part.spenders.len(), 1);
        assert_eq!(part.spenders[&spender(1)][&EndpointName::of_route("GET", "/7")].added.denied, 2);
    }
}
