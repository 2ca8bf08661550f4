//! Records clicks and conversions on a thread of its own, so that a redirect does not wait until they are written.
//!
//! A redirect leaves an event in memory; the thread takes what has gathered every `ROUND` and records it in one
//! transaction, and the committer makes it durable within the flush interval as it does counters. What is more than
//! that records is deferred: written down as it is, which is fast, and recorded later. So events wait in memory for one
//! round and one transaction, however fast they come. A clean stop writes everything.

use std::error::Error;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::Stopwatch;
use crate::store::{Event, Store, StoreError, unless_refused};

/// Between two rounds: small beside any flush interval, large enough for many events to share a transaction.
const ROUND: Duration = Duration::from_millis(10);
/// Before what the store refused is tried again: often enough for a disk that is full for a moment, and no flood of
/// log lines.
const RETRY: Duration = Duration::from_secs(1);
/// Events that are recorded at a time: whoever writes besides waits for the transaction, so these are small.
const BATCH_MAX: usize = 100;
/// Events that are deferred at a time, for the same reason.
const DEFER_MAX: usize = 2_000;
/// Events that may be deferred, about 130 bytes of disk each: half a minute of recording. Beyond, they are dropped and it is
/// said.
const DEFERRED_MAX: u64 = 1_000_000;
/// Transactions that whoever asks for figures waits for: some tenths of a second.
const TRANSACTIONS_FOR_A_READER: usize = 50;
/// Events that may wait in memory while the store refuses them: about 300 bytes each. Beyond, events are dropped and it is
/// said.
const WAITING_MAX: usize = 100_000;

/// Between two lines of the log that say that events are dropped.
const TELL_AGAIN_US: u64 = 10_000_000;

/// Takes events and records them.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: Arc<Store>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held while what waited is written: events are written in their order, by one thread at a time.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Event>,
    dropped: u64,
    /// When it was last said that some were.
    told: Option<Stopwatch>,
    /// All that were dropped and said to be, since the start.
    dropped_before: u64,
    stopping: bool,
}

/// Events that are yet to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// In memory.
    pub waiting: usize,
    /// On disk.
    pub deferred: u64,
    /// Lost since the start: the store refused them for long, or too many were deferred.
    pub dropped: u64,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let queue = Mutex::new(Queue::default());
        let shared = Arc::new(Shared { store, queue, wake: Condvar::new(), writing: Mutex::new(()) });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("recorder".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Leaves an event to be recorded. Never waits for the store.
    pub fn push(&self, event: Event) {
        let mut queue = self.shared.queue.lock();
        if queue.waiting.len() < WAITING_MAX {
            queue.waiting.push(event);
        } else {
            queue.dropped = queue.dropped.saturating_add(1);
        }
    }

    /// Whether all that was left so far is recorded. Never waits.
    pub fn is_idle(&self) -> bool {
        // In this order: what is being written was taken from the queue under this lock.
        self.shared.writing.try_lock().is_some_and(|_idle| self.shared.queue.lock().waiting.is_empty())
            && self.shared.store.deferred_events() == 0
    }

    /// What is yet to be recorded, and what was lost.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let deferred = self.shared.store.deferred_events();
        let queue = self.shared.queue.lock();
        let dropped = queue.dropped_before.saturating_add(queue.dropped);
        Backlog { waiting: queue.waiting.len(), deferred, dropped }
    }

    /// Records what was left so far, so that whoever reads the store next sees it; of many that are deferred, some. On a
    /// full disk that cannot be done, and what was recorded before is what there is. Blocks.
    ///
    /// # Errors
    /// When the store fails; the events stay to be recorded later.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        unless_refused(self.shared.write_waiting().and_then(|()| {
            for _transaction in 0..TRANSACTIONS_FOR_A_READER {
                if !self.shared.store.record_deferred()? {
                    break;
                }
            }
            Ok(())
        }))
    }

    /// Writes all that was left and ends the thread. What is deferred stays so until the next start, or a dump.
    pub fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the recorder thread panicked");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let mut pause = ROUND;
        loop {
            let stopping = {
                let mut queue = self.queue.lock();
                if !queue.stopping {
                    self.wake.wait_for(&mut queue, pause);
                }
                queue.stopping
            };
            let written = self.write_waiting();
            if stopping {
                let lost = self.queue.lock().waiting.len();
                if let Err(error) = written {
                    tracing::error!(error = &error as &dyn Error, lost, "could not write the last clicks");
                }
                return;
            }
            pause = match written.and_then(|()| self.store.record_deferred()) {
                Ok(true) => Duration::ZERO,
                Ok(false) => ROUND,
                Err(error) => {
                    tracing::error!(error = &error as &dyn Error, "could not record clicks; it is tried again");
                    RETRY
                }
            };
        }
    }

    /// Moves what waits into the store: recorded if that is done at once, else deferred.
    fn write_waiting(&self) -> Result<(), StoreError> {
        let _in_order = self.writing.lock();
        let events = self.queue.lock().take();
        let is_few = events.len() <= BATCH_MAX && self.store.deferred_events() == 0;
        for (number, part) in events.chunks(DEFER_MAX).enumerate() {
            if self.store.deferred_events() > DEFERRED_MAX {
                self.queue.lock().drop_all(part.len());
                continue;
            }
            let written = if is_few { self.store.record(part) } else { self.store.defer(part) };
            if written.is_err() {
                self.queue.lock().put_back(events, number.saturating_mul(DEFER_MAX));
                return written;
            }
        }
        Ok(())
    }
}

impl Queue {
    fn take(&mut self) -> Vec<Event> {
        if self.dropped > 0 && self.told.as_ref().is_none_or(|told| told.elapsed_us() >= TELL_AGAIN_US) {
            self.told = Some(Stopwatch::start());
            tracing::error!(
                dropped = self.dropped,
                "clicks are lost: they came faster than they were recorded for too long"
            );
            self.dropped_before = self.dropped_before.saturating_add(self.dropped);
            self.dropped = 0;
        }
        std::mem::take(&mut self.waiting)
    }

    /// Puts events before those that came meanwhile, but for the first `done`. The bound holds for all together.
    fn put_back(&mut self, events: Vec<Event>, done: usize) {
        let later = std::mem::take(&mut self.waiting);
        let mut all = events.into_iter().skip(done).chain(later);
        self.waiting = all.by_ref().take(WAITING_MAX).collect();
        self.drop_all(all.count());
    }

    /// Counts events that are lost.
    fn drop_all(&mut self, events: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(events).unwrap_or(u64::MAX));
    }
}
