//! Records clicks and conversions on a thread of its own, so that a redirect does not wait until they are written.
//!
//! A redirect leaves an event in memory; the thread writes what has gathered every `ROUND`, in one transaction, and the
//! committer makes it durable within the flush interval as it does counters. A clean stop writes everything.

use std::error::Error;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::store::{Event, Store, StoreError};

/// Between two rounds: small beside any flush interval, large enough for many events to share a transaction.
const ROUND: Duration = Duration::from_millis(10);
/// Before what the store refused is tried again: often enough for a disk that is full for a moment, and no flood of
/// log lines.
const RETRY: Duration = Duration::from_secs(1);
/// Events that are written at a time: look-ups wait while sled writes a transaction, so these are small.
const BATCH_MAX: usize = 100;
/// Events that may wait, should the store fail or fall behind: about 300 bytes each. Beyond, events are dropped and it is said.
const WAITING_MAX: usize = 100_000;

/// Takes events and records them.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: Arc<Store>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held while a batch is written: events are recorded in their order, by one thread at a time.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Event>,
    dropped: u64,
    /// All that were dropped and said to be, since the start.
    dropped_before: u64,
    stopping: bool,
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
    }

    /// How many events wait to be recorded, and how many were dropped since the start.
    #[must_use]
    pub fn backlog(&self) -> (usize, u64) {
        let queue = self.shared.queue.lock();
        (queue.waiting.len(), queue.dropped_before.saturating_add(queue.dropped))
    }

    /// Records all that was left so far, so that whoever reads the store next sees it. Blocks.
    ///
    /// # Errors
    /// When the store fails; the events stay to be recorded later.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        self.shared.write()
    }

    /// Records all that was left and ends the thread.
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
            pause = match self.write() {
                Ok(()) => ROUND,
                Err(error) => {
                    tracing::error!(error = &error as &dyn Error, "could not record clicks; it is tried again");
                    RETRY
                }
            };
            if stopping {
                return;
            }
        }
    }

    fn write(&self) -> Result<(), StoreError> {
        let _in_order = self.writing.lock();
        let events = {
            let mut queue = self.queue.lock();
            if queue.dropped > 0 {
                tracing::error!(dropped = queue.dropped, "clicks came faster than they could be recorded");
                queue.dropped_before = queue.dropped_before.saturating_add(queue.dropped);
                queue.dropped = 0;
            }
            std::mem::take(&mut queue.waiting)
        };
        let mut batches = events.chunks(BATCH_MAX).enumerate();
        let failed = batches.find_map(|(number, batch)| Some((number, self.store.record(batch).err()?)));
        let Some((number, error)) = failed else { return Ok(()) };
        self.queue.lock().put_back(events, number.saturating_mul(BATCH_MAX));
        Err(error)
    }
}

impl Queue {
    /// Puts events before those that came meanwhile, but for the first `done`. The bound holds for all together.
    fn put_back(&mut self, events: Vec<Event>, done: usize) {
        let later = std::mem::take(&mut self.waiting);
        let mut all = events.into_iter().skip(done).chain(later);
        self.waiting = all.by_ref().take(WAITING_MAX).collect();
        let dropped = u64::try_from(all.count()).unwrap_or(u64::MAX);
        self.dropped = self.dropped.saturating_add(dropped);
    }
}
