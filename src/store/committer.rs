//! Durability: one thread that syncs, for all who wait.
//!
//! A commit is sled's `flush()` and then `sync_data()` on its file: `flush` of sled 0.34 alone ends
//! in `sync_file_range`, which survives a killed process but not a power cut (measured: 6 of 30
//! simulated cuts lost acknowledged data; with `sync_data`, 0 of 30). Who needs a commit registers
//! and waits; one commit serves all who registered before it began. sled's own `flush_async` is
//! never used: eight callers at once deadlock it (spacejam/sled#1308).
//!
//! Counted requests do not wait, as a rule: a commit begins at least twice in the time within which they
//! must be on disk. When commits fall behind, because the disk is slow or refuses, they do wait
//! ([`Committer::commit_if_due`]); so a crash never forgets more than that time's units.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::StoreError;
use super::commits::{CommitNumber, Commits};
use super::disk::Disk;
use crate::clock::Stopwatch;

/// Between two lines of the log that say that commits fail: they are tried again and again.
const TELL_AGAIN_US: u64 = 10_000_000;

/// Syncs the store's file on a thread of its own.
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    within: Duration,
    since_start: Stopwatch,
    /// When the oldest write was made that no commit has begun to cover, in µs since the start; 0: none.
    written_us: AtomicU64,
    /// When the oldest write was made that a commit has begun to cover and that is not on disk; 0: none.
    syncing_us: AtomicU64,
    commits: Arc<Commits>,
    successes: AtomicU64,
    failures: AtomicU64,
    /// When it was last said that commits fail; 0 if they do not.
    told_us: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiters: Vec<oneshot::Sender<Result<(), String>>>,
    stopping: bool,
    /// The thread has ended: nobody would answer a waiter.
    ended: bool,
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
    pub(super) fn start(disk: Disk, within: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            within,
            since_start: Stopwatch::start(),
            written_us: AtomicU64::new(0),
            syncing_us: AtomicU64::new(0),
            commits: Arc::default(),
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            told_us: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || worker.run(disk))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Says that something was written, so that the next interval's commit is due.
    pub(super) fn mark_dirty(&self) {
        self.shared.mark_written(self.shared.now_us());
    }

    /// Says that a request was counted. Answers the commit that it must wait for: always if units must
    /// be on disk before the answer, else only while commits have fallen behind.
    pub(super) fn commit_if_due(&self) -> Option<Commit> {
        let now_us = self.shared.now_us();
        self.shared.mark_written(now_us);
        self.shared.is_behind(now_us).then(|| self.commit())
    }

    /// Asks for a commit of all that was written before this call.
    pub(super) fn commit(&self) -> Commit {
        let (sender, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        // A sender that is dropped tells its waiter that the store is closed.
        if !queue.ended {
            queue.waiters.push(sender);
            self.shared.wake.notify_one();
        }
        Commit(receiver)
    }

    /// The numbers of the commits.
    pub(super) fn numbers(&self) -> Arc<Commits> {
        Arc::clone(&self.shared.commits)
    }

    /// Commits that ended, and those of them that failed.
    pub(super) fn totals(&self) -> (u64, u64) {
        let failures = self.shared.failures.load(Ordering::Relaxed);
        (self.shared.successes.load(Ordering::Relaxed).saturating_add(failures), failures)
    }

    /// How many wait for a commit, and for how many microseconds what was written has waited to be on disk.
    pub(super) fn backlog(&self) -> (usize, u64) {
        let since_us = self.shared.oldest_us().map_or(0, |us| self.shared.now_us().saturating_sub(us));
        (self.shared.queue.lock().waiters.len(), since_us)
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
    fn run(&self, mut disk: Disk) {
        let _told = Ended(self);
        loop {
            let (waiters, stopping) = self.next_round();
            self.cover_written();
            let number = self.commits.begin();
            let begun = Stopwatch::start();
            let result = disk.commit();
            self.commits.durations.note_us(begun.elapsed_us());
            self.note(number, &result);
            for waiter in waiters {
                // A waiter that went away has no use for the answer.
                let _gone = waiter.send(result.clone());
            }
            // What sled has let go of in this thread, buffers of half a megabyte each, would else wait until there are many:
            // 25 MB of 490 with a million accounts.
            crossbeam_epoch::pin().flush();
            if stopping {
                return;
            }
        }
    }

    /// Sleeps until there is something to do, and says for whom, and whether it is the last round.
    fn next_round(&self) -> (Vec<oneshot::Sender<Result<(), String>>>, bool) {
        let mut queue = self.queue.lock();
        while queue.waiters.is_empty() && !queue.stopping {
            if self.within.is_zero() {
                self.wake.wait(&mut queue);
            } else {
                let slept = self.wake.wait_for(&mut queue, self.within / 2);
                if slept.timed_out() && self.oldest_us().is_some() {
                    break;
                }
            }
        }
        (std::mem::take(&mut queue.waiters), queue.stopping)
    }

    /// Says that the commit which now begins covers what is written; what is written from now on is for the next one.
    /// What a failed commit was to cover is older, and stays.
    fn cover_written(&self) {
        let written_us = self.written_us.load(Ordering::SeqCst);
        if written_us == 0 {
            return;
        }
        if self.syncing_us.load(Ordering::SeqCst) == 0 {
            self.syncing_us.store(written_us, Ordering::SeqCst);
        }
        // Last, see `oldest_us`. Only this thread changes a time that is set.
        self.written_us.store(0, Ordering::SeqCst);
    }

    fn note(&self, number: CommitNumber, result: &Result<(), String>) {
        match result {
            Ok(()) => {
                self.commits.finish(number);
                self.successes.fetch_add(1, Ordering::Relaxed);
                self.told_us.store(0, Ordering::Relaxed);
                self.syncing_us.store(0, Ordering::SeqCst);
            }
            Err(reason) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let now_us = self.now_us();
                let told_us = self.told_us.load(Ordering::Relaxed);
                if told_us == 0 || now_us.saturating_sub(told_us) >= TELL_AGAIN_US {
                    self.told_us.store(now_us, Ordering::Relaxed);
                    tracing::error!(reason, "could not commit: what was written since the last commit is not on disk");
                }
            }
        }
    }

    fn now_us(&self) -> u64 {
        self.since_start.elapsed_us().max(1)
    }

    fn mark_written(&self, now_us: u64) {
        // Read first: under load a time is set already, and a read leaves the cache line shared.
        if self.written_us.load(Ordering::SeqCst) == 0 {
            let _set_by_another = self.written_us.compare_exchange(0, now_us, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// When the oldest write was made that is not known to be on disk.
    ///
    /// A time moves from `written_us` to `syncing_us`, and is set there before it is cleared here. Read in the same
    /// order, it is met in one of them, or it is on disk.
    fn oldest_us(&self) -> Option<u64> {
        let written_us = self.written_us.load(Ordering::SeqCst);
        let syncing_us = self.syncing_us.load(Ordering::SeqCst);
        [syncing_us, written_us].into_iter().filter(|&us| us > 0).min()
    }

    /// Whether something that was written is not on disk after the time within which it should be. Always, if that
    /// time is zero: whether a commit has just covered the write cannot be told.
    fn is_behind(&self, now_us: u64) -> bool {
        let within_us = u64::try_from(self.within.as_micros()).unwrap_or(u64::MAX);
        self.within.is_zero() || self.oldest_us().is_some_and(|since_us| now_us.saturating_sub(since_us) >= within_us)
    }
}

/// Turns waiters away once the thread has ended, be it by a panic of the engine's: they would wait for ever.
struct Ended<'s>(&'s Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.ended = true;
        queue.waiters.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const WITHIN: Duration = Duration::from_millis(40);

    /// A committer whose disk refuses: `/dev/null` cannot be synced.
    fn refusing(dir: &tempfile::TempDir, within: Duration) -> Committer {
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap();
        Committer::start(
            Disk::new(db, File::open("/dev/null").unwrap(), dir.path(), Arc::default(), Arc::default()),
            within,
        )
        .unwrap()
    }

    #[test]
    fn requests_wait_and_are_refused_once_commits_have_fallen_behind() {
        let dir = tempfile::tempdir().unwrap();
        let committer = refusing(&dir, WITHIN);
        let counted = Stopwatch::start();

        let mut waits = committer.commit_if_due();
        let first_waits = waits.is_some();
        while waits.is_none() {
            assert!(counted.elapsed_us() < 60_000_000, "no request waits");
            std::thread::yield_now();
            waits = committer.commit_if_due();
        }

        assert!(!first_waits, "the first request waited");
        assert!(counted.elapsed_us() >= 40_000, "a request waited after {} µs", counted.elapsed_us());
        assert!(waits.unwrap().wait().is_err());
        assert!(committer.totals().1 > 0);
    }

    #[test]
    fn a_request_waits_for_the_disk_also_when_a_commit_begins_before_it_looks() {
        let dir = tempfile::tempdir().unwrap();
        let committer = refusing(&dir, Duration::ZERO);
        let now_us = committer.shared.now_us();
        committer.shared.mark_written(now_us);

        committer.shared.cover_written();
        committer.shared.syncing_us.store(0, Ordering::SeqCst);

        assert!(committer.shared.is_behind(now_us));
    }

    #[test]
    fn a_commit_that_fails_forgets_neither_what_it_covers_nor_what_is_written_during_it() {
        let dir = tempfile::tempdir().unwrap();
        let committer = refusing(&dir, Duration::from_secs(3600));
        let (failed, number) = (Err("refused".to_owned()), committer.shared.commits.next());

        committer.shared.cover_written();
        committer.shared.mark_written(7);
        committer.shared.note(number, &failed);
        assert_eq!(committer.shared.oldest_us(), Some(7), "written during a commit of nothing");

        committer.shared.cover_written();
        committer.shared.mark_written(9);
        committer.shared.note(number, &failed);
        assert_eq!(committer.shared.oldest_us(), Some(7), "covered by a commit that failed");

        committer.shared.cover_written();
        committer.shared.note(number, &Ok(()));
        assert_eq!(committer.shared.oldest_us(), None);
    }
}
