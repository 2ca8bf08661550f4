//! Plans: named terms. Which plan an account has, and what it comes to, is in `account.rs`.

use std::fmt;

use arcstr::ArcStr;

use super::Invalid;
use super::decision::Limit;
use super::text::{Name, Note};

/// Most characters in a plan's id: it appears in header values and error texts.
pub const PLAN_ID_CHARS_MAX: usize = 32;

/// A plan's id: 1 to 32 of `[a-z0-9_-]`. Cheap to clone, and a pointer wide, since every account holds one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanId(ArcStr);

impl PlanId {
    /// Checks a plan id.
    ///
    /// # Errors
    /// When it is empty, too long, or has another character.
    pub fn new(raw: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if raw.is_empty() || raw.len() > PLAN_ID_CHARS_MAX || !raw.chars().all(allowed) {
            return Err(Invalid::new(format!("must be 1 to {PLAN_ID_CHARS_MAX} characters of a-z, 0-9, - and _")));
        }
        Ok(Self(raw.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Named terms that accounts subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Chosen by the operator; fixed for the plan's life.
    pub id: PlanId,
    /// For people.
    pub name: Name,
    /// Whether keys of accounts on this plan open the API at all.
    pub api_access: bool,
    /// Most units per UTC clock hour.
    pub requests_per_hour: Limit,
    /// For people.
    pub best_for: Note,
}

/// What an operator changes of a plan; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanPatch {
    /// A new name.
    pub name: Option<Name>,
    /// Whether it gives API access.
    pub api_access: Option<bool>,
    /// A new limit.
    pub requests_per_hour: Option<Limit>,
    /// A new note.
    pub best_for: Option<Note>,
}

impl PlanPatch {
    /// The plan with the change made.
    #[must_use]
    pub fn apply(self, plan: Plan) -> Plan {
        Plan {
            id: plan.id,
            name: self.name.unwrap_or(plan.name),
            api_access: self.api_access.unwrap_or(plan.api_access),
            requests_per_hour: self.requests_per_hour.unwrap_or(plan.requests_per_hour),
            best_for: self.best_for.unwrap_or(plan.best_for),
        }
    }
}
