//! Instants, in whole milliseconds UTC. Only `clock.rs` makes one out of "now".

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Invalid;

/// The last instant that we store: the end of the year 9999, the last that RFC 3339 can write.
const LAST_MS: i64 = 253_402_300_799_999;

/// An instant between 1970 and 9999, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const DAY_MS: i64 = 86_400_000;

impl Timestamp {
    /// The first instant there is.
    pub const EPOCH: Self = Self(0);
    /// The last instant there is.
    pub const LAST: Self = Self(LAST_MS);

    /// The instant `ms` milliseconds after the Unix epoch.
    ///
    /// # Errors
    /// When `ms` lies before 1970 or after 9999.
    pub fn from_millis(ms: i64) -> Result<Self, Invalid> {
        if (0..=LAST_MS).contains(&ms) {
            Ok(Self(ms))
        } else {
            Err(Invalid::new("must lie between the years 1970 and 9999"))
        }
    }

    /// The nearest instant that we can store: a clock set before 1970 reads as 1970.
    #[must_use]
    pub fn from_millis_clamped(ms: i64) -> Self {
        Self(ms.clamp(0, LAST_MS))
    }

    /// Reads an RFC 3339 instant such as `2026-01-31T12:00:00Z`, in any offset; what is finer than
    /// a millisecond is dropped.
    ///
    /// # Errors
    /// When the text is not RFC 3339 or out of range.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let parsed = DateTime::parse_from_rfc3339(text)
            .map_err(|_syntax| Invalid::new("must be an RFC 3339 time such as 2026-01-31T12:00:00Z"))?;
        Self::from_millis(parsed.timestamp_millis())
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time that passed since `earlier`; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The instant `wait` later, or the last one that can be stored.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(LAST_MS);
        Self(self.0.saturating_add(wait_ms).min(LAST_MS))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with `Z`; milliseconds only where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc: DateTime<Utc> = DateTime::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&utc.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// A UTC day, counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// The day that an instant lies in.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0.div_euclid(DAY_MS)).unwrap_or(u32::MAX))
    }

    /// The day that is the `days`-th since the Unix epoch.
    #[must_use]
    pub const fn from_days(days: u32) -> Self {
        Self(days)
    }

    /// Days since the Unix epoch.
    #[must_use]
    pub const fn as_days(self) -> u32 {
        self.0
    }

    /// Reads `2026-01-31`.
    ///
    /// # Errors
    /// When the text is no such date, or lies before 1970.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let form = || Invalid::new("must be a date such as 2026-01-31");
        let well_formed = text.len() == 10 && text.bytes().all(|c| c.is_ascii_digit() || c == b'-');
        if !well_formed {
            return Err(form());
        }
        Ok(Self::of(Timestamp::parse(&format!("{text}T00:00:00Z")).map_err(|_date| form())?))
    }

    /// The first instant of the day.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis_clamped(i64::from(self.0).saturating_mul(DAY_MS))
    }

    /// The first instant of the next day.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Timestamp::from_millis_clamped(i64::from(self.0).saturating_add(1).saturating_mul(DAY_MS))
    }

    /// The day so many days before.
    #[must_use]
    pub const fn minus(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.start().to_string().split('T').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_as_it_is_read() {
        for text in ["1970-01-01T00:00:00Z", "2026-01-31T12:00:00.250Z", "9999-12-31T23:59:59.999Z"] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::parse("2026-01-31T13:00:00+01:00").unwrap().to_string(), "2026-01-31T12:00:00Z");
    }

    #[test]
    fn instants_out_of_range_are_refused() {
        for text in ["", "2026-01-31", "1969-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "+10000-01-01T00:00:00Z"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }
}
