//! How many writes the store has made since its start, by what they were for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts writes that went well.
#[derive(Default)]
pub(super) struct Writes {
    changes: AtomicU64,
    clicks: AtomicU64,
    usage: AtomicU64,
    answers: AtomicU64,
}

/// Writes to the engine since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreWrites {
    /// Blocks of units that counters took: each serves many requests, which are then counted in memory.
    pub counter_blocks: u64,
    /// Changes of accounts, keys, plans and links.
    pub changes: u64,
    /// Batches of clicks and conversions.
    pub click_batches: u64,
    /// Batches of usage.
    pub usage_batches: u64,
    /// Answers kept under an `Idempotency-Key`.
    pub kept_answers: u64,
}

impl Writes {
    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_clicks(&self) {
        self.clicks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_usage(&self) {
        self.usage.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them; those of counters are counted where they are made.
    pub(super) fn with(&self, counter_blocks: u64) -> StoreWrites {
        StoreWrites {
            counter_blocks,
            changes: self.changes.load(Ordering::Relaxed),
            click_batches: self.clicks.load(Ordering::Relaxed),
            usage_batches: self.usage.load(Ordering::Relaxed),
            kept_answers: self.answers.load(Ordering::Relaxed),
        }
    }
}
