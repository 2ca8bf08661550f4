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

impl Timestamp {
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
