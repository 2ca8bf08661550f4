//! Durations, counted into fixed ranges. To note one takes two additions to atomics: no lock, no allocation.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where the ranges end, in microseconds, each end included: from a decision in memory (a few µs) over a commit to a
/// disk (some ms) to an upstream that takes its time. Above the last is one more range.
pub const BOUNDS_US: [u64; 15] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];

/// How many durations lay in which range.
#[derive(Debug, Default)]
pub struct Durations {
    ranges: [AtomicU64; BOUNDS_US.len()],
    above: AtomicU64,
    sum_us: AtomicU64,
}

/// What was noted up to an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Durations in each range, the one above [`BOUNDS_US`] last.
    pub ranges: Vec<u64>,
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl Durations {
    /// Notes a duration of `us` microseconds.
    pub fn note_us(&self, us: u64) {
        let place = BOUNDS_US.partition_point(|&bound| bound < us);
        self.ranges.get(place).unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was noted so far. Durations that are noted at the same time may be in one figure and not yet in another.
    #[must_use]
    pub fn noted(&self) -> Noted {
        let ranges = self.ranges.iter().chain([&self.above]).map(|range| range.load(Ordering::Relaxed));
        Noted { ranges: ranges.collect(), sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_range_that_does_not_end_before_it() {
        let durations = Durations::default();
        for us in [0, 5, 6, 10, 10_000_000, 10_000_001] {
            durations.note_us(us);
        }

        let noted = durations.noted();

        let filled: Vec<_> = noted.ranges.iter().enumerate().filter(|(_place, count)| **count > 0).collect();
        assert_eq!(filled, [(0, &2), (1, &2), (14, &1), (15, &1)]);
        assert_eq!(noted.sum_us, 20_000_022);
    }
}
