//! Decisions by outcome and plan. Whoever counts one takes no lock: each plan's counters are looked up in a short list that only grows.

use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::plan::PlanId;
use crate::gate::{Known, Stop};
use crate::http::error::ApiError;

/// Plans with counters of their own, the first that are met: a dashboard shows no more, and the list is searched for each
/// decision. Those of further ones go under [`OTHER_PLANS`].
const PLANS_MAX: usize = 32;
/// What stands for the plans beyond; it is no plan's id.
const OTHER_PLANS: &str = "(other)";
/// What stands where no account is known, and so no plan.
const NO_PLAN: &str = "";

/// What a decision is called in metrics and logs; in the extensions of a request that was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Allowed,
    LimitReached,
    Suspended,
    NoApiAccess,
    ReadOnlyKey,
    MissingKey,
    InvalidKey,
    Failed,
}

/// The outcomes of those whose account is known.
const OF_PLANS: [Outcome; 5] =
    [Outcome::Allowed, Outcome::LimitReached, Outcome::Suspended, Outcome::NoApiAccess, Outcome::ReadOnlyKey];
/// And of those whose is not.
const OF_NOBODY: [Outcome; 3] = [Outcome::MissingKey, Outcome::InvalidKey, Outcome::Failed];

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::LimitReached => "limit_reached",
            Self::Suspended => "suspended",
            Self::NoApiAccess => "no_api_access",
            Self::ReadOnlyKey => "read_only_key",
            Self::MissingKey => "missing_key",
            Self::InvalidKey => "invalid_key",
            Self::Failed => "failed",
        }
    }

    /// The outcome, and the plan of whoever asked if that is known.
    fn of(admitted: &Result<Known, ApiError>) -> (Self, Option<&PlanId>) {
        match admitted {
            Ok(known) => (Self::Allowed, Some(&known.plan)),
            Err(ApiError::Stopped(known, stop)) => {
                let outcome = match stop {
                    Stop::LimitReached => Self::LimitReached,
                    Stop::Suspended => Self::Suspended,
                    Stop::NoApiAccess { .. } => Self::NoApiAccess,
                    Stop::ReadOnlyKey => Self::ReadOnlyKey,
                };
                (outcome, Some(&known.plan))
            }
            Err(ApiError::MissingKey) => (Self::MissingKey, None),
            Err(ApiError::InvalidKey) => (Self::InvalidKey, None),
            Err(_) => (Self::Failed, None),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
    plan: String,
}

/// The counters of a plan, in the order of some outcomes.
struct Row<const N: usize>([(Outcome, Counter); N]);

impl<const N: usize> Row<N> {
    fn new(family: &Family<Labels, Counter>, outcomes: [Outcome; N], plan: &str) -> Self {
        let labels = |outcome: Outcome| Labels { outcome: outcome.as_str(), plan: plan.to_owned() };
        Self(outcomes.map(|outcome| (outcome, family.get_or_create_owned(&labels(outcome)))))
    }

    fn count(&self, outcome: Outcome) {
        if let Some((_outcome, counter)) = self.0.iter().find(|(of, _counter)| *of == outcome) {
            counter.inc();
        }
    }
}

/// All of them.
pub(super) struct Decisions {
    family: Family<Labels, Counter>,
    nobody: Row<3>,
    plans: [OnceLock<(PlanId, Row<5>)>; PLANS_MAX],
    others: OnceLock<Row<5>>,
}

impl Decisions {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::default();
        registry.register("decisions", "Decisions on requests, by the plan of whoever asked", family.clone());
        let nobody = Row::new(&family, OF_NOBODY, NO_PLAN);
        Self { nobody, plans: [const { OnceLock::new() }; PLANS_MAX], others: OnceLock::new(), family }
    }

    pub(super) fn count(&self, admitted: &Result<Known, ApiError>) -> Outcome {
        let (outcome, plan) = Outcome::of(admitted);
        match plan {
            Some(plan) => self.row(plan).count(outcome),
            None => self.nobody.count(outcome),
        }
        outcome
    }

    /// The plan's counters: the first place that has them, or that is free.
    fn row(&self, plan: &PlanId) -> &Row<5> {
        let new = |name: &str| Row::new(&self.family, OF_PLANS, name);
        let places = self.plans.iter().map(|place| place.get_or_init(|| (plan.clone(), new(plan.as_str()))));
        let found = places.into_iter().find(|(of, _row)| of == plan);
        found.map_or_else(|| self.others.get_or_init(|| new(OTHER_PLANS)), |(_of, row)| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_beyond_the_bound_share_their_counters() {
        let decisions = Decisions::register(&mut Registry::default());
        let plan = |number: usize| PlanId::new(&format!("plan-{number}")).unwrap();
        for number in (0..PLANS_MAX + 2).chain(0..PLANS_MAX + 2) {
            decisions.row(&plan(number)).count(Outcome::Allowed);
        }

        let count = |plan: String| decisions.family.get_or_create(&Labels { outcome: "allowed", plan }).get();
        assert_eq!((count("plan-0".to_owned()), count("plan-31".to_owned())), (2, 2));
        assert_eq!((count("plan-32".to_owned()), count(OTHER_PLANS.to_owned())), (0, 4));
    }
}
