//! Plans in memory, and the terms that accounts on them have.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::StoreError;
use super::memory::dangling;
use crate::domain::account::{InForce, Terms};
use crate::domain::plan::{Plan, PlanId};
use crate::domain::time::Timestamp;

/// Terms that are remembered to be shared; with more, it begins anew. That takes as many custom limits: trials, whose ends
/// all differ, are not shared.
const SHARED_MAX: usize = 1000;

/// All plans.
#[derive(Default)]
pub(super) struct Plans {
    by_id: HashMap<PlanId, Plan, RandomState>,
    shared: SharedTerms,
}

/// Terms as accounts keep them: a million accounts share a few, and all share the texts of the plans' ids.
#[derive(Default)]
pub(super) struct SharedTerms {
    ids: HashSet<PlanId, RandomState>,
    terms: HashSet<Arc<Terms>, RandomState>,
}

impl Plans {
    pub(super) fn put(&mut self, plan: Plan) {
        self.shared.ids.insert(plan.id.clone());
        self.by_id.insert(plan.id.clone(), plan);
    }

    pub(super) fn remove(&mut self, id: &PlanId) {
        self.shared.ids.remove(id);
        self.shared.terms.retain(|terms| !terms.names(id));
        self.by_id.remove(id);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn has(&self, id: &PlanId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Those with API access, the smallest limit first.
    pub(super) fn with_access(&self) -> Vec<Plan> {
        let mut plans: Vec<Plan> = self.by_id.values().filter(|plan| plan.api_access).cloned().collect();
        plans.sort_by(|a, b| a.requests_per_hour.cmp(&b.requests_per_hour).then_with(|| a.id.cmp(&b.id)));
        plans
    }

    /// What terms come to at `now`.
    pub(super) fn in_force(&self, terms: &Terms, now: Timestamp) -> Result<InForce, StoreError> {
        let find = |id: &PlanId| self.by_id.get(id).ok_or_else(|| dangling("plans", id));
        let on_trial = terms.running_trial(now).map(|trial| find(&trial.plan)).transpose()?;
        Ok(terms.in_force(find(&terms.plan)?, on_trial))
    }

    /// Terms as an account keeps them.
    pub(super) fn share(&mut self, terms: Terms) -> Result<Arc<Terms>, StoreError> {
        self.shared.share(terms)
    }

    /// The same for a thread that reads accounts, with texts of its own: to count who shares them, threads would wait for
    /// each other.
    pub(super) fn shared_terms(&self) -> SharedTerms {
        let ids = self.by_id.keys().filter_map(|id| PlanId::new(id.as_str()).ok()).collect();
        SharedTerms { ids, terms: HashSet::default() }
    }
}

impl SharedTerms {
    /// Terms as an account keeps them.
    pub(super) fn share(&mut self, mut terms: Terms) -> Result<Arc<Terms>, StoreError> {
        if let Some(known) = self.terms.get(&terms) {
            return Ok(Arc::clone(known));
        }
        for id in terms.plans_mut() {
            *id = self.ids.get(id).ok_or_else(|| dangling("plans", id))?.clone();
        }
        let terms = Arc::new(terms);
        if terms.trial.is_none() {
            if self.terms.len() >= SHARED_MAX {
                self.terms.clear();
            }
            self.terms.insert(Arc::clone(&terms));
        }
        Ok(terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Trial;
    use crate::domain::decision::Limit;
    use crate::domain::text::{Name, Note};

    fn plan(id: &str) -> Plan {
        Plan {
            id: PlanId::new(id).unwrap(),
            name: Name::new("A plan").unwrap(),
            api_access: true,
            requests_per_hour: Limit::new(1000),
            best_for: Note::new("").unwrap(),
        }
    }

    fn on(id: &str) -> Terms {
        Terms::on(PlanId::new(id).unwrap())
    }

    #[test]
    fn terms_that_are_the_same_are_kept_once() {
        let mut plans = Plans::default();
        plans.put(plan("scale"));

        let [first, second] = [0; 2].map(|_| plans.share(on("scale")).unwrap());
        assert!(Arc::ptr_eq(&first, &second));

        for number in 0..2 * u32::try_from(SHARED_MAX).unwrap() {
            let limited = Terms { custom_limit: Some(Limit::new(number)), ..on("scale") };
            let ends_at = Timestamp::from_millis(number.into()).unwrap();
            let tried = Terms { trial: Some(Trial { plan: first.plan.clone(), ends_at }), ..on("scale") };
            for terms in [limited, tried] {
                assert_eq!(*plans.share(terms.clone()).unwrap(), terms);
            }
        }
        assert!(plans.shared.terms.len() <= SHARED_MAX);
    }

    #[test]
    fn terms_of_a_plan_that_is_not_there_are_refused_also_if_it_was() {
        let mut plans = Plans::default();
        assert!(plans.share(on("scale")).is_err());

        for _time in 0..2 {
            plans.put(plan("scale"));
            assert_eq!(*plans.share(on("scale")).unwrap(), on("scale"));
            plans.remove(&PlanId::new("scale").unwrap());
            assert!(plans.share(on("scale")).is_err());
        }
    }
}
