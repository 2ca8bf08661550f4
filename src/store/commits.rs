//! The numbers of commits: by them a writer knows whether what it wrote is on disk, without asking for a commit. And
//! how long they took.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::durations::Durations;

/// The number of a commit. Small, as a million accounts may have one each: after `u32::MAX` comes 1 again. Two that are compared
/// are less than half of that apart, which is two days at 10,000 commits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitNumber(NonZeroU32);

impl CommitNumber {
    fn after(number: u32) -> Self {
        Self(NonZeroU32::new(number.wrapping_add(1)).unwrap_or(NonZeroU32::MIN))
    }
}

/// Commits in their order. One thread makes them; any number of writers look.
#[derive(Default)]
pub(super) struct Commits {
    begun: AtomicU32,
    /// The last one that ended well. It covers all that was written before it began, so all before it, too.
    done: AtomicU32,
    /// Of those that ended, well or not.
    pub(super) durations: Durations,
}

impl Commits {
    /// The number of the first commit that has all that its caller wrote before this call.
    pub(super) fn next(&self) -> CommitNumber {
        CommitNumber::after(self.begun.load(Ordering::SeqCst))
    }

    /// Whether what is on disk with this commit is on disk.
    pub(super) fn is_done(&self, number: CommitNumber) -> bool {
        self.done.load(Ordering::SeqCst).wrapping_sub(number.0.get()) < 1 << 31
    }

    /// Begins a commit; answers its number. To be called before the engine is asked to write, by one thread only.
    pub(super) fn begin(&self) -> CommitNumber {
        let number = self.next();
        self.begun.store(number.0.get(), Ordering::SeqCst);
        number
    }

    /// Says that a commit ended well.
    pub(super) fn finish(&self, number: CommitNumber) {
        self.done.store(number.0.get(), Ordering::SeqCst);
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

    #[test]
    fn numbers_begin_anew_after_the_last_one() {
        let commits = Commits { begun: AtomicU32::new(u32::MAX - 1), ..Commits::default() };
        let [before, last, first] = [(); 3].map(|()| {
            let next = commits.next();
            assert_eq!(commits.begin(), next);
            next
        });

        commits.finish(before);
        assert!(commits.is_done(before) && !commits.is_done(last) && !commits.is_done(first));
        commits.finish(first);
        assert!(commits.is_done(before) && commits.is_done(last) && commits.is_done(first));
        assert!(!commits.is_done(commits.next()));
    }
}
