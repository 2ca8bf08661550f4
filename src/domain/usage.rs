//! Usage: what the requests of one key to one endpoint came to in one window.

use std::num::NonZeroU8;
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

/// What one request came to, or some: what is to be added to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    used: u32,
    /// Units of requests that were counted and then refused by the store.
    given_back: u32,
    denied: u32,
    errors: u32,
    answers: u32,
    /// That of all the answers.
    bucket: Bucket,
}

/// Which bucket: counted from 1, so that a byte that is 0 can say something else to whoever keeps a million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket(NonZeroU8);

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

    /// Adds what requests came to. Units that are given back are taken off, as far as there are any.
    pub fn add_change(&mut self, change: &Change) {
        self.used = self.used.saturating_add(change.used.into()).saturating_sub(change.given_back.into());
        self.denied = self.denied.saturating_add(change.denied.into());
        self.errors = self.errors.saturating_add(change.errors.into());
        if let Some(count) = self.latency.0.get_mut(change.bucket.place()) {
            *count = count.saturating_add(change.answers.into());
        }
    }
}

impl Default for Change {
    fn default() -> Self {
        Self { used: 0, given_back: 0, denied: 0, errors: 0, answers: 0, bucket: Bucket::FIRST }
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
        Self { errors: is_error.into(), answers: 1, bucket: Bucket::of(took), ..Self::default() }
    }

    /// What leads to a tally from nothing; `None` if it cannot say that, as with answers of several buckets.
    #[must_use]
    pub fn of(tally: &Tally) -> Option<Self> {
        let number = |count: u64| u32::try_from(count).ok();
        let mut answered = (0_usize..).zip(tally.latency.0).filter(|(_place, count)| *count > 0);
        let (place, answers) = answered.next().unwrap_or_default();
        let change = Self {
            used: number(tally.used)?,
            given_back: 0,
            denied: number(tally.denied)?,
            errors: number(tally.errors)?,
            answers: number(answers)?,
            bucket: Bucket::at(place),
        };
        answered.next().is_none().then_some(change)
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

impl Bucket {
    const FIRST: Self = Self(NonZeroU8::MIN);

    fn of(took: Duration) -> Self {
        let ends = BUCKET_ENDS_MS.map(|end_ms| Duration::from_millis(end_ms.into()));
        Self::at(ends.iter().filter(|end| took > **end).count())
    }

    /// The one with so many before it, or the last.
    fn at(place: usize) -> Self {
        Self(NonZeroU8::MIN.saturating_add(u8::try_from(place.min(BUCKETS - 1)).unwrap_or_default()))
    }

    /// How many are before it.
    fn place(self) -> usize {
        usize::from(self.0.get()).saturating_sub(1)
    }
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
        let answered = |us: &u64| Change::answered(false, Duration::from_micros(*us));
        tally(&took_us.iter().map(answered).collect::<Vec<_>>()).latency
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
    fn each_bucket_comes_back_from_a_tally() {
        for (place, end_ms) in BUCKET_ENDS_MS.into_iter().enumerate() {
            let change = Change::answered(true, Duration::from_millis(end_ms.into()));
            let tally = tally(&[change]);
            assert_eq!(tally.latency.0.iter().position(|count| *count == 1), Some(place));
            assert_eq!(Change::of(&tally), Some(change));
        }
    }

    fn tally(changes: &[Change]) -> Tally {
        let mut tally = Tally::default();
        changes.iter().for_each(|change| tally.add_change(change));
        tally
    }

    #[test]
    fn units_that_are_given_back_are_taken_off_as_far_as_there_are_any() {
        let cost = Cost::new(50).unwrap();
        let (counted, back) = ([Change::counted(cost), Change::counted(Cost::ONE)], Change::given_back(cost));
        assert_eq!(tally(&[counted[0], counted[1], back]).used, 1);
        assert_eq!(tally(&[counted[0].and(&counted[1]).unwrap().and(&back).unwrap()]).used, 1);
        assert_eq!(tally(&[counted[0], counted[1], back, back]).used, 0);
    }

    #[test]
    fn two_changes_are_one_where_that_says_both() {
        let (fast, slow) = (Duration::from_micros(300), Duration::from_millis(20));
        let all = [
            Change::counted(Cost::ONE),
            Change::counted(Cost::new(7).unwrap()),
            Change::denied(),
            Change::answered(false, fast),
            Change::answered(true, fast),
            Change::answered(true, slow),
        ];
        for (first, second) in all.iter().flat_map(|first| all.iter().map(move |second| (first, second))) {
            let apart = tally(&[*first, *second]);
            let together = first.and(second).map_or(apart, |both| tally(&[both]));
            assert_eq!(apart, together, "{first:?} {second:?}");
            let are_other_buckets = first.answers > 0 && second.answers > 0 && first.bucket != second.bucket;
            assert_eq!(first.and(second).is_none(), are_other_buckets);
            assert_eq!(Change::of(&apart).map(|change| tally(&[change])), (!are_other_buckets).then_some(apart));
        }
        let much = Change { used: u32::MAX, ..Change::default() };
        assert_eq!(much.and(&Change::counted(Cost::ONE)), None);
        assert_eq!(Change::of(&tally(&[much, Change::counted(Cost::ONE)])), None);
    }
}
