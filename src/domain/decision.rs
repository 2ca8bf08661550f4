//! The decision: may this request pass, and what is left afterwards. The rule is [`decide`];
//! the store runs it while it holds the account's counter, so that deciding and counting are one step.

use super::Invalid;
use super::time::Timestamp;
use super::window::Window;

/// Most units that one request may cost.
pub const COST_MAX: u32 = 1000;

/// Most units per window; any `u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit(u32);

impl Limit {
    /// A limit of `units` per window.
    #[must_use]
    pub const fn new(units: u32) -> Self {
        Self(units)
    }

    /// Units per window.
    #[must_use]
    pub const fn as_units(self) -> u32 {
        self.0
    }
}

/// Units used in one window. It may lie above the limit after a downgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Used(u32);

impl Used {
    /// `units` used.
    #[must_use]
    pub const fn new(units: u32) -> Self {
        Self(units)
    }

    /// Units used.
    #[must_use]
    pub const fn as_units(self) -> u32 {
        self.0
    }

    /// What is used once a request of `cost` was counted.
    #[must_use]
    pub const fn plus(self, cost: Cost) -> Self {
        Self(self.0.saturating_add(cost.0))
    }

    /// What is used once a request of `cost` was taken back.
    #[must_use]
    pub const fn minus(self, cost: Cost) -> Self {
        Self(self.0.saturating_sub(cost.0))
    }
}

/// Units that a request takes: 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost(u32);

impl Cost {
    /// The cost of a request that says nothing of it.
    pub const ONE: Self = Self(1);

    /// Checks a cost.
    ///
    /// # Errors
    /// When it is not 1 to [`COST_MAX`].
    pub fn new(units: u32) -> Result<Self, Invalid> {
        if (1..=COST_MAX).contains(&units) {
            Ok(Self(units))
        } else {
            Err(Invalid::new(format!("must be 1 to {COST_MAX}")))
        }
    }

    /// Units.
    #[must_use]
    pub const fn as_units(self) -> u32 {
        self.0
    }
}

/// What the rule says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Let it through; this is used afterwards.
    Allowed(Used),
    /// Stop it; nothing changes.
    Denied,
}

/// The rule: a request passes when all of its cost still fits under the limit.
#[must_use]
pub fn decide(limit: Limit, used: Used, cost: Cost) -> Decision {
    match used.0.checked_add(cost.0) {
        Some(after) if after <= limit.0 => Decision::Allowed(Used(after)),
        Some(_) | None => Decision::Denied,
    }
}

/// Where an account stands in a window, on one reading of the clock: all that the headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit in force at `now`.
    pub limit: Limit,
    /// Used, this request included if it was counted.
    pub used: Used,
    /// The reading of the clock that all figures belong to.
    pub now: Timestamp,
}

impl Standing {
    /// limit − used, at least 0.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.limit.0.saturating_sub(self.used.0)
    }

    /// The running window.
    #[must_use]
    pub fn window(&self) -> Window {
        Window::at(self.now)
    }

    /// The instant the window ends.
    #[must_use]
    pub fn reset(&self) -> Timestamp {
        self.window().reset()
    }

    /// Whole seconds to the reset, rounded up, 1 to 3600.
    #[must_use]
    pub fn secs_to_reset(&self) -> u32 {
        self.window().secs_to_reset(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(limit: u32, used: u32, cost: u32) -> Decision {
        decide(Limit::new(limit), Used::new(used), Cost::new(cost).unwrap())
    }

    #[test]
    fn the_last_unit_passes_and_the_next_does_not() {
        assert_eq!(rule(100, 99, 1), Decision::Allowed(Used::new(100)));
        assert_eq!(rule(100, 100, 1), Decision::Denied);
        assert_eq!(rule(100, 400, 1), Decision::Denied);
        assert_eq!(rule(0, 0, 1), Decision::Denied);
    }

    #[test]
    fn a_cost_fits_whole_or_not_at_all() {
        assert_eq!(rule(100, 95, 5), Decision::Allowed(Used::new(100)));
        assert_eq!(rule(100, 96, 5), Decision::Denied);
    }

    #[test]
    fn the_largest_limit_does_not_overflow() {
        assert_eq!(rule(u32::MAX, u32::MAX - 1, 1), Decision::Allowed(Used::new(u32::MAX)));
        assert_eq!(rule(u32::MAX, u32::MAX, 1), Decision::Denied);
        assert_eq!(rule(u32::MAX, u32::MAX - 1, 1000), Decision::Denied);
    }

    #[test]
    fn a_cost_is_1_to_1000() {
        assert!(Cost::new(0).is_err() && Cost::new(1001).is_err());
        assert!(Cost::new(1).is_ok() && Cost::new(1000).is_ok());
    }
}
