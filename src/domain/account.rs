//! Accounts, and the terms that are in force for one at an instant.

use std::iter;

use super::decision::Limit;
use super::id::AccountId;
use super::plan::{Plan, PlanId};
use super::text::{Email, Name};
use super::time::Timestamp;

/// Who pays, and owns keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Made by the server.
    pub id: AccountId,
    /// For people.
    pub name: Name,
    /// Where to reach them.
    pub email: Option<Email>,
    /// What it may do.
    pub terms: Terms,
    /// When it was created.
    pub created_at: Timestamp,
    /// When an operator last changed it.
    pub updated_at: Timestamp,
}

/// What an account may do, as its operator set it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The plan it is on.
    pub plan: PlanId,
    /// Replaces the plan's limit; the plan still decides API access.
    pub custom_limit: Option<Limit>,
    /// Another plan, until an instant.
    pub trial: Option<Trial>,
    /// While true every key answers 403.
    pub suspended: bool,
}

/// A plan to try until `ends_at`; at that instant it is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trial {
    /// The plan on trial.
    pub plan: PlanId,
    /// The first instant without the trial.
    pub ends_at: Timestamp,
}

/// What an account's terms come to at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Whether its keys open the API.
    pub api_access: bool,
    /// Most units per window; 0 without access.
    pub limit: Limit,
}

impl InForce {
    /// No access.
    pub const NOTHING: Self = Self { api_access: false, limit: Limit::new(0) };
}

impl Terms {
    /// Terms on `plan` with nothing special.
    #[must_use]
    pub fn on(plan: PlanId) -> Self {
        Self { plan, custom_limit: None, trial: None, suspended: false }
    }

    /// The trial, if it still runs at `now`.
    #[must_use]
    pub fn running_trial(&self, now: Timestamp) -> Option<&Trial> {
        self.trial.as_ref().filter(|trial| now < trial.ends_at)
    }

    /// Whether a plan is named by these terms: as the plan, or by a trial, run out or not.
    #[must_use]
    pub fn names(&self, plan: &PlanId) -> bool {
        self.plan == *plan || self.trial.as_ref().is_some_and(|trial| trial.plan == *plan)
    }

    /// The ids of the plans that these terms name.
    pub fn plans_mut(&mut self) -> impl Iterator<Item = &mut PlanId> {
        iter::once(&mut self.plan).chain(self.trial.as_mut().map(|trial| &mut trial.plan))
    }

    /// What these terms come to, given the account's plan and that of its running trial.
    ///
    /// While a trial runs the account has the better of the two in each respect: access if either
    /// plan gives it, and the higher of the trial plan's limit and the account's own.
    #[must_use]
    pub fn in_force(&self, plan: &Plan, on_trial: Option<&Plan>) -> InForce {
        let own_limit = self.custom_limit.unwrap_or(plan.requests_per_hour);
        let (api_access, limit) = match on_trial {
            Some(trial) => (plan.api_access || trial.api_access, own_limit.max(trial.requests_per_hour)),
            None => (plan.api_access, own_limit),
        };
        InForce { api_access, limit: if api_access { limit } else { Limit::new(0) } }
    }
}

/// What an operator changes of an account; `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountPatch {
    /// A new name.
    pub name: Option<Name>,
    /// A new email address.
    pub email: Option<Option<Email>>,
    /// A new plan.
    pub plan: Option<PlanId>,
    /// A new custom limit.
    pub custom_limit: Option<Option<Limit>>,
    /// A new trial.
    pub trial: Option<Option<Trial>>,
    /// Suspends, or lifts.
    pub suspended: Option<bool>,
}

impl AccountPatch {
    /// The account with the change made at `now`.
    #[must_use]
    pub fn apply(self, account: Account, now: Timestamp) -> Account {
        let terms = account.terms;
        Account {
            id: account.id,
            name: self.name.unwrap_or(account.name),
            email: self.email.unwrap_or(account.email),
            terms: Terms {
                plan: self.plan.unwrap_or(terms.plan),
                custom_limit: self.custom_limit.unwrap_or(terms.custom_limit),
                trial: self.trial.unwrap_or(terms.trial),
                suspended: self.suspended.unwrap_or(terms.suspended),
            },
            created_at: account.created_at,
            updated_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::Note;

    fn plan(id: &str, api_access: bool, units: u32) -> Plan {
        Plan {
            id: PlanId::new(id).unwrap(),
            name: Name::new(id).unwrap(),
            api_access,
            requests_per_hour: Limit::new(units),
            best_for: Note::default(),
        }
    }

    fn come_to(terms: &Terms, own: &Plan, trial: Option<&Plan>) -> (bool, u32) {
        let in_force = terms.in_force(own, trial);
        (in_force.api_access, in_force.limit.as_units())
    }

    #[test]
    fn a_custom_limit_replaces_the_limit_and_not_the_access() {
        let (free, growth) = (plan("free", false, 0), plan("growth", true, 100));
        let custom = |plan: &Plan, units| Terms { custom_limit: Some(Limit::new(units)), ..Terms::on(plan.id.clone()) };

        assert_eq!(come_to(&custom(&growth, 7), &growth, None), (true, 7));
        assert_eq!(come_to(&custom(&growth, u32::MAX), &growth, None), (true, u32::MAX));
        assert_eq!(come_to(&custom(&free, 500), &free, None), (false, 0));
    }

    #[test]
    fn a_running_trial_gives_the_better_of_the_two() {
        let (free, growth, scale) = (plan("free", false, 0), plan("growth", true, 100), plan("scale", true, 1000));

        assert_eq!(come_to(&Terms::on(free.id.clone()), &free, Some(&growth)), (true, 100));
        assert_eq!(come_to(&Terms::on(scale.id.clone()), &scale, Some(&growth)), (true, 1000));
    }

    #[test]
    fn a_trial_is_over_at_its_end() {
        let ends_at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let trial = Trial { plan: PlanId::new("growth").unwrap(), ends_at };
        let terms = Terms { trial: Some(trial), ..Terms::on(PlanId::new("free").unwrap()) };

        assert!(terms.running_trial(Timestamp::from_millis(ends_at.as_millis() - 1).unwrap()).is_some());
        assert!(terms.running_trial(ends_at).is_none());
    }
}
