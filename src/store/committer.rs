//! Durability: one thread that syncs, for all who wait.
//!
//! A commit is sled's `flush()` and then `sync_data()` on its file: `flush` of sled 0.34 alone ends
//! in `sync_file_range`, which survives a killed process but not a power cut (measured: 6 of 30
//! simulated cuts lost acknowledged data; with `sync_data`, 0 of 30). Who needs a commit registers
//! and waits; one commit serves all who registered before it began. sled's own `flush_async` is
//! never used: eight callers at once deadlock it (spacejam/sled#1308).

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::StoreError;
use crate::clock::Stopwatch;

/// After any instant.
const NEVER: u64 = u64::MAX;

/// Syncs the store's file on a thread of its own.
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Something was written that no commit has covered yet.
    dirty: AtomicBool,
    /// When the first of it was written, by `clock`.
    dirty_since_us: AtomicU64,
    /// When the first of what the running commit covers was written; [`NEVER`] if there is none.
    in_flight_since_us: AtomicU64,
    /// How old it may get.
    within_us: u64,
    clock: Stopwatch,
    commits: AtomicU64,
    failures: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiters: Vec<oneshot::Sender<Result<(), String>>>,
    stopping: bool,
}

/// A commit that was asked for. It goes on whether or not anybody waits for it.
#[must_use = "what was written is on disk only once the commit was waited for"]
pub struct Commit(oneshot::Receiver<Result<(), String>>);

impl Commit {
    /// Waits on a thread that may block.
    ///
    /// # Errors
    /// When the disk refused.
    pub fn wait(self) -> Result<(), StoreError> {
        outcome(self.0.blocking_recv())
    }

    /// Waits in async code.
    ///
    /// # Errors
    /// When the disk refused.
    pub async fn done(self) -> Result<(), StoreError> {
        outcome(self.0.await)
    }
}

fn outcome(received: Result<Result<(), String>, oneshot::error::RecvError>) -> Result<(), StoreError> {
    match received {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(StoreError::Commit { reason }),
        Err(_closed) => Err(StoreError::Commit { reason: "the store is closed".to_owned() }),
    }
}

impl Committer {
    /// Starts the thread. It commits when somebody waits, and so often that what is written is on
    /// disk `within` that time; with a `within` of zero only when somebody waits.
    ///
    /// It sleeps for half of the time and leaves the other half for the commit itself.
    pub(super) fn start(db: sled::Db, file: File, within: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            dirty: AtomicBool::new(false),
            dirty_since_us: AtomicU64::new(NEVER),
            in_flight_since_us: AtomicU64::new(NEVER),
            within_us: u64::try_from(within.as_micros()).unwrap_or(u64::MAX),
            clock: Stopwatch::start(),
            commits: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || worker.run(&db, &file, within / 2))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Says that something was written, so that the next interval's commit is due.
    pub(super) fn mark_dirty(&self) {
        // Read first: under load the flag is set already, and a read leaves the cache line shared.
        if !self.shared.dirty.load(Ordering::SeqCst) {
            self.shared.dirty_since_us.store(self.shared.clock.elapsed_us(), Ordering::SeqCst);
            self.shared.dirty.store(true, Ordering::SeqCst);
        }
    }

    /// Whether something should be on disk by now and is not: the disk is slow, or refuses. Who is
    /// not answered before the next commit then keeps what a crash forgets within one interval.
    pub(super) fn is_overdue(&self) -> bool {
        let shared = &self.shared;
        let dirty = shared.dirty.load(Ordering::SeqCst);
        let dirty_since_us = if dirty { shared.dirty_since_us.load(Ordering::SeqCst) } else { NEVER };
        let oldest_us = dirty_since_us.min(shared.in_flight_since_us.load(Ordering::SeqCst));
        oldest_us != NEVER && shared.clock.elapsed_us().saturating_sub(oldest_us) >= shared.within_us
    }

    /// Asks for a commit of all that was written before this call.
    pub(super) fn commit(&self) -> Commit {
        let (sender, receiver) = oneshot::channel();
        self.shared.queue.lock().waiters.push(sender);
        self.shared.wake.notify_one();
        Commit(receiver)
    }

    /// Commits that were made, and that failed.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.shared.commits.load(Ordering::Relaxed), self.shared.failures.load(Ordering::Relaxed))
    }

    /// Commits what is left and ends the thread.
    pub(super) fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the committer thread panicked");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self, db: &sled::Db, file: &File, interval: Duration) {
        loop {
            let (waiters, stopping) = self.next_round(interval);
            let dirty = self.dirty.load(Ordering::SeqCst);
            let since_us = if dirty { self.dirty_since_us.load(Ordering::SeqCst) } else { NEVER };
            self.in_flight_since_us.store(since_us, Ordering::SeqCst);
            // Cleared before the flush: what is written during it makes the flag true again.
            self.dirty.store(false, Ordering::SeqCst);
            let result = commit(db, file);
            self.note(&result);
            for waiter in waiters {
                // A waiter that went away has no use for the answer.
                let _gone = waiter.send(result.clone());
            }
            if stopping {
                return;
            }
        }
    }

    /// Sleeps until there is something to do, and says for whom, and whether it is the last round.
    fn next_round(&self, interval: Duration) -> (Vec<oneshot::Sender<Result<(), String>>>, bool) {
        let mut queue = self.queue.lock();
        while queue.waiters.is_empty() && !queue.stopping {
            if interval.is_zero() {
                self.wake.wait(&mut queue);
            } else {
                let slept = self.wake.wait_for(&mut queue, interval);
                if slept.timed_out() && self.dirty.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
        (std::mem::take(&mut queue.waiters), queue.stopping)
    }

    fn note(&self, result: &Result<(), String>) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        if let Err(reason) = result {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.dirty_since_us.fetch_min(self.in_flight_since_us.load(Ordering::SeqCst), Ordering::SeqCst);
            self.dirty.store(true, Ordering::SeqCst);
            tracing::error!(reason, "could not commit: what was written since the last commit is not on disk");
        }
        self.in_flight_since_us.store(NEVER, Ordering::SeqCst);
    }
}

fn commit(db: &sled::Db, file: &File) -> Result<(), String> {
    db.flush().map_err(|error| error.to_string())?;
    file.sync_data().map_err(|error| error.to_string())
}
