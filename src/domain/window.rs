//! The window of the rate limit: one UTC clock hour, start included, end not.

use super::Invalid;
use super::time::Timestamp;

/// Seconds in a window: the `w` of `RateLimit-Policy`.
pub const WINDOW_SECS: u32 = 3600;
const WINDOW_MS: i64 = 3_600_000;

/// One UTC clock hour, counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(u32);

impl Window {
    /// The window that `now` lies in.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(u32::try_from(now.as_millis().div_euclid(WINDOW_MS)).unwrap_or(u32::MAX))
    }

    /// The window that starts exactly at `start`.
    ///
    /// # Errors
    /// When `start` is not the top of an hour.
    pub fn starting(start: Timestamp) -> Result<Self, Invalid> {
        if start.as_millis().rem_euclid(WINDOW_MS) == 0 {
            Ok(Self::at(start))
        } else {
            Err(Invalid::new("must be the top of an hour"))
        }
    }

    /// The window that is the `hours`-th since the Unix epoch.
    #[must_use]
    pub const fn from_hours(hours: u32) -> Self {
        Self(hours)
    }

    /// Hours since the Unix epoch: what the store sorts counters by.
    #[must_use]
    pub const fn as_hours(self) -> u32 {
        self.0
    }

    /// The window before this one.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The window so many hours before.
    #[must_use]
    pub const fn minus(self, hours: u32) -> Self {
        Self(self.0.saturating_sub(hours))
    }

    /// The window so many hours after.
    #[must_use]
    pub const fn plus(self, hours: u32) -> Self {
        Self(self.0.saturating_add(hours))
    }

    /// The first instant of the window.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis_clamped(i64::from(self.0).saturating_mul(WINDOW_MS))
    }

    /// The instant the window ends and the next begins.
    #[must_use]
    pub fn reset(self) -> Timestamp {
        Timestamp::from_millis_clamped(i64::from(self.0).saturating_add(1).saturating_mul(WINDOW_MS))
    }

    /// Whole seconds from `now` to the reset, rounded up: 1 to 3600 for any `now` in the window.
    #[must_use]
    pub fn secs_to_reset(self, now: Timestamp) -> u32 {
        let left_ms = self.reset().as_millis().saturating_sub(now.as_millis());
        let left_secs = left_ms.saturating_add(999).div_euclid(1000);
        u32::try_from(left_secs).unwrap_or(1).clamp(1, WINDOW_SECS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_window_is_a_clock_hour_with_its_start_and_without_its_end() {
        let hour = Window::at(at("2024-01-15T14:00:00Z"));
        assert_eq!(Window::at(at("2024-01-15T14:59:59.999Z")), hour);
        assert_eq!(Window::at(at("2024-01-15T13:59:59.999Z")), hour.previous());
        assert_eq!(hour.reset(), at("2024-01-15T15:00:00Z"));
        assert_eq!(hour.reset().as_secs(), 1_705_330_800);
        assert_ne!(Window::at(hour.reset()), hour);
    }

    #[test]
    fn seconds_to_the_reset_are_rounded_up_and_never_0() {
        for (now, secs) in [("14:00:00Z", 3600), ("14:30:00Z", 1800), ("14:59:58.001Z", 2), ("14:59:59.999Z", 1)] {
            let now = at(&format!("2024-01-15T{now}"));
            assert_eq!(Window::at(now).secs_to_reset(now), secs);
        }
    }
}
