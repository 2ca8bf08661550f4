//! The numbers of commits: by them a writer knows whether what it wrote is on disk, without asking for a commit. And
//! how long they took.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::durations::Durations;

/// Commits in their order, from 1. One thread makes them; any number of writers look.
#[derive(Default)]
pub(super) struct Commits {
    begun: AtomicU64,
    /// The last one that ended well. It covers all that was written before it began, so all before it, too.
    done: AtomicU64,
    /// Of those that ended, well or not.
    pub(super) durations: Durations,
}

impl Commits {
    /// The number of the first commit that has all that its caller wrote before this call.
    pub(super) fn next(&self) -> u64 {
        self.begun.load(Ordering::SeqCst).saturating_add(1)
    }

    /// Whether what is on disk with this commit is on disk.
    pub(super) fn is_done(&self, number: u64) -> bool {
        self.done.load(Ordering::SeqCst) >= number
    }

    /// Begins a commit; answers its number. To be called before the engine is asked to write.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    /// Says that a commit ended well.
    pub(super) fn finish(&self, number: u64) {
        self.done.store(number, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_during_a_commit_waits_for_the_next_one() {
        let commits = Commits::default();
        let before = commits.next();
        let first = commits.begin();
        let during = commits.next();

        commits.finish(first);
        assert!(commits.is_done(before) && !commits.is_done(during));

        // The second one fails, so the third has what it was to cover.
        commits.begin();
        assert!(!commits.is_done(during));
        let third = commits.begin();
        commits.finish(third);
        assert!(commits.is_done(during) && commits.is_done(before));
    }
}
