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

/// Which row of usage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// Whose, and when.
    pub spender: Spender,
    /// What it is spent on.
    pub endpoint: EndpointName,
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

/// What is to be added to a row: what one request came to, or some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    used: u32,
    /// Units of requests that were counted and then refused by the store.
    given_back: u32,
    denied: u32,
    errors: u32,
    answers: u32,
    /// The bucket of all the answers.
    bucket: u8,
}

/// What is to be added to a row: what any number of changes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// What they count, as if nothing were given back.
    pub tally: Tally,
    /// Units that are given back, be it such as were added to the row before.
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

    /// Adds what changes came to. Units that are given back are taken off, as far as there are any.
    pub fn add_sum(&mut self, sum: &Sum) {
        self.add(&sum.tally);
        self.used = self.used.saturating_sub(sum.given_back);
    }
}

impl Sum {
    /// Adds a change.
    pub fn add(&mut self, change: &Change) {
        let tally = &mut self.tally;
        tally.used = tally.used.saturating_add(change.used.into());
        self.given_back = self.given_back.saturating_add(change.given_back.into());
        tally.denied = tally.denied.saturating_add(change.denied.into());
        tally.errors = tally.errors.saturating_add(change.errors.into());
        if let Some(count) = tally.latency.0.get_mut(usize::from(change.bucket)) {
            *count = count.saturating_add(change.answers.into());
        }
    }

    /// Adds another.
    pub fn add_sum(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.given_back = self.given_back.saturating_add(other.given_back);
    }
}

impl Change {
    /// A request was counted.
    #[must_use]
    pub fn counted(cost: Cost) -> Self {
        Self { used: cost.as_units(), ..Self::default() }
    }

    /// The units of a request that was counted are given back.
    #[must_use]
    pub fn given_back(cost: Cost) -> Self {
        Self { given_back: cost.as_units(), ..Self::default() }
    }

    /// The limit denied a request.
    #[must_use]
    pub fn denied() -> Self {
        Self { denied: 1, ..Self::default() }
    }

    /// A request that was counted was answered after `took`.
    #[must_use]
    pub fn answered(is_error: bool, took: Duration) -> Self {
        Self { errors: is_error.into(), answers: 1, bucket: bucket(took), ..Self::default() }
    }

    /// The two as one; `None` if that cannot say both: answers of other buckets, or too many of anything.
    #[must_use]
    pub fn and(&self, later: &Self) -> Option<Self> {
        let bucket = if self.answers == 0 { later.bucket } else { self.bucket };
        if later.answers > 0 && later.bucket != bucket {
            return None;
        }
        Some(Self {
            used: self.used.checked_add(later.used)?,
            given_back: self.given_back.checked_add(later.given_back)?,
            denied: self.denied.checked_add(later.denied)?,
            errors: self.errors.checked_add(later.errors)?,
            answers: self.answers.checked_add(later.answers)?,
            bucket,
        })
    }
}

fn bucket(took: Duration) -> u8 {
    let ends = BUCKET_ENDS_MS.map(|end_ms| Duration::from_millis(end_ms.into()));
    let before = ends.iter().filter(|end| took > **end).count();
    u8::try_from(before.min(BUCKETS - 1)).unwrap_or_default()
}

impl Latency {
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
        let mut sum = Sum::default();
        took_us.iter().for_each(|us| sum.add(&Change::answered(false, Duration::from_micros(*us))));
        sum.tally.latency
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

    fn sum(changes: &[Change]) -> Sum {
        let mut sum = Sum::default();
        changes.iter().for_each(|change| sum.add(change));
        sum
    }

    #[test]
    fn units_that_are_given_back_are_taken_off_also_if_they_were_added_before() {
        let cost = Cost::new(50).unwrap();
        let counted = [Change::counted(cost), Change::counted(Cost::ONE)];
        let mut tally = Tally::default();
        tally.add_sum(&sum(&[counted[0], counted[1], Change::given_back(cost)]));
        assert_eq!(tally.used, 1);

        let mut tally = Tally::default();
        tally.add_sum(&sum(&counted));
        tally.add_sum(&sum(&[Change::given_back(cost)]));
        assert_eq!(tally.used, 1);

        let mut both = sum(&counted);
        both.add_sum(&sum(&[Change::given_back(cost)]));
        let mut tally = Tally::default();
        tally.add_sum(&both);
        assert_eq!(tally.used, 1);

        tally.add_sum(&sum(&[Change::given_back(cost)]));
        assert_eq!(tally.used, 0);
    }

    #[test]
    fn two_changes_are_one_where_that_says_both() {
        let (fast, slow) = (Duration::from_micros(300), Duration::from_millis(20));
        let all = [
            Change::counted(Cost::ONE),
            Change::counted(Cost::new(7).unwrap()),
            Change::given_back(Cost::ONE),
            Change::denied(),
            Change::answered(false, fast),
            Change::answered(true, fast),
            Change::answered(true, slow),
        ];
        for (first, second) in all.iter().flat_map(|first| all.iter().map(move |second| (first, second))) {
            let apart = sum(&[*first, *second]);
            let together = first.and(second).map_or(apart, |both| sum(&[both]));
            assert_eq!(apart, together, "{first:?} {second:?}");
            let are_other_buckets = first.answers > 0 && second.answers > 0 && first.bucket != second.bucket;
            assert_eq!(first.and(second).is_none(), are_other_buckets);
        }
        let much = Change { used: u32::MAX, ..Change::default() };
        assert_eq!(much.and(&Change::counted(Cost::ONE)), None);
    }
}
