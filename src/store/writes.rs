//! How many writes the store has made since its start, by what they were for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts writes that went well.
#[derive(Default)]
pub(super) struct Writes {
    usage: AtomicU64,
    answers: AtomicU64,
}

/// Writes to the engine since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreWrites {
    /// Batches of usage.
    pub usage_batches: u64,
    /// Answers kept under an `Idempotency-Key`.
    pub kept_answers: u64,
}

impl Writes {
    pub(super) fn note_usage(&self) {
        self.usage.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub(super) fn totals(&self) -> StoreWrites {
        StoreWrites {
            usage_batches: self.usage.load(Ordering::Relaxed),
            kept_answers: self.answers.load(Ordering::Relaxed),
        }
    }
}
