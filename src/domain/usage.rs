//! Usage: what the requests of one key to one endpoint came to in one window.

use std::time::Duration;

use uuid::Uuid;

use super::decision::Cost;
use super::endpoint::EndpointName;
use super::id::{AccountId, KeyId};
use super::window::Window;

/// Buckets of a histogram of latencies.
pub const BUCKETS: usize = 12;
/// The upper ends of the buckets, in milliseconds. What took longer than the last is counted in the last.
pub const BUCKET_ENDS_MS: [u32; BUCKETS] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 60_000];

/// Stands for keys that have no row of their own any more.
pub const OTHER_KEYS: KeyId = KeyId::new(Uuid::nil());

/// Whose usage, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spender {
    /// The account.
    pub account_id: AccountId,
    /// The hour in which its requests were decided on.
    pub window: Window,
    /// The key that they showed.
    pub key_id: KeyId,
}

/// What requests came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Units.
    pub used: u64,
    /// Requests that the limit denied.
    pub denied: u64,
    /// Requests, of those that were counted, that were answered with 4xx or 5xx.
    pub errors: u64,
    /// How long the answers to those that were counted took.
    pub latency: Latency,
}

/// A histogram of latencies: how many lie in each bucket, above the end of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency(pub [u64; BUCKETS]);

/// One row of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Whose, and when.
    pub spender: Spender,
    /// What it was spent on.
    pub endpoint: EndpointName,
    /// What it came to.
    pub tally: Tally,
}

/// What is to be added to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// What came.
    pub added: Tally,
    /// Units of requests that were counted and then refused by the store.
    pub given_back: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.used = self.used.saturating_add(other.used);
        self.denied = self.denied.saturating_add(other.denied);
        self.errors = self.errors.saturating_add(other.errors);
        for (count, more) in self.latency.0.iter_mut().zip(other.latency.0) {
            *count = count.saturating_add(more);
        }
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &Change) {
        self.add(&change.added);
        self.used = self.used.saturating_sub(change.given_back);
    }
}

impl Change {
    /// A request was counted.
    pub fn count(&mut self, cost: Cost) {
        self.added.used = self.added.used.saturating_add(cost.as_units().into());
    }

    /// The units of a request that was counted are given back.
    pub fn give_back(&mut self, cost: Cost) {
        self.given_back = self.given_back.saturating_add(cost.as_units().into());
    }

    /// The limit denied a request.
    pub fn deny(&mut self) {
        self.added.denied = self.added.denied.saturating_add(1);
    }

    /// A request that was counted was answered after `took`.
    pub fn answer(&mut self, is_error: bool, took: Duration) {
        self.added.errors = self.added.errors.saturating_add(is_error.into());
        self.added.latency.count(took);
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.added.add(&other.added);
        self.given_back = self.given_back.saturating_add(other.given_back);
    }
}

impl Latency {
    fn count(&mut self, took: Duration) {
        let bucket = BUCKET_ENDS_MS.iter().position(|end_ms| took <= Duration::from_millis((*end_ms).into()));
        let bucket = bucket.unwrap_or(BUCKETS.saturating_sub(1));
        if let Some(count) = self.0.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
    }

    /// How many answers are counted.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A time in milliseconds within which `percent` of the answers came: the end of the bucket that it lies in. `None` if there are none.
    #[must_use]
    pub fn percentile_ms(&self, percent: u32) -> Option<u32> {
        let rank = u128::from(self.answers()).saturating_mul(percent.into()).div_ceil(100).max(1);
        let mut seen: u128 = 0;
        let reached = |count: &u64| {
            seen = seen.saturating_add((*count).into());
            seen >= rank
        };
        let bucket = self.0.iter().position(reached)?;
        BUCKET_ENDS_MS.get(bucket).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(took_us: &[u64]) -> Latency {
        let mut latency = Latency::default();
        took_us.iter().for_each(|us| latency.count(Duration::from_micros(*us)));
        latency
    }

    #[test]
    fn an_answer_is_counted_in_the_bucket_that_ends_at_or_above_its_time() {
        let found = latency(&[0, 1000, 1001, 5_000_000, 60_000_000, 60_000_001, u64::MAX]);
        assert_eq!(found.0, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3]);
        assert_eq!(found.answers(), 7);
    }

    #[test]
    fn a_percentile_is_the_end_of_its_bucket() {
        assert_eq!(latency(&[]).percentile_ms(50), None);
        let hundred: Vec<u64> = (0..100).map(|at| if at < 98 { 900 } else { 40_000 }).collect();
        let found = latency(&hundred);
        let of = |percent| found.percentile_ms(percent);
        assert_eq!((of(1), of(50), of(98), of(99), of(100)), (Some(1), Some(1), Some(1), Some(50), Some(50)));
    }

    #[test]
    fn units_that_are_given_back_are_taken_off() {
        let (mut tally, mut change) = (Tally::default(), Change::default());
        change.count(Cost::new(50).unwrap());
        change.count(Cost::ONE);
        change.give_back(Cost::new(50).unwrap());
        tally.apply(&change);
        assert_eq!(tally.used, 1);

        let mut later = Change::default();
        later.give_back(Cost::ONE);
        tally.apply(&later);
        assert_eq!(tally.used, 0);
    }
}
