//! The copy in memory of what every request asks for: whose key is this, on which terms.
//!
//! It is filled when the store opens and changed only in `changes.rs`, right after the
//! transaction and before the write is answered; so a change acts on the very next request.
//! A look-up takes locks of map shards for some tens of nanoseconds, never across an await.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};

use super::StoreError;
use crate::domain::account::{InForce, Terms};
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{Key, KeyHash, Scope};
use crate::domain::plan::{Plan, PlanId};
use crate::domain::time::Timestamp;

/// Before any instant that a key can be shown at.
const NEVER_USED_MS: i64 = -1;

/// Who shows a key, and on which terms, at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whose key it is.
    pub account_id: AccountId,
    /// Which key it is.
    pub key_id: KeyId,
    /// What the key may be used for.
    pub scope: Scope,
    /// The account's plan.
    pub plan: PlanId,
    /// Whether the account is suspended.
    pub suspended: bool,
    /// What the account's terms come to.
    pub in_force: InForce,
}

#[derive(Default)]
pub(super) struct Memory {
    plans: RwLock<HashMap<PlanId, Plan>>,
    accounts: DashMap<AccountId, Terms>,
    keys: DashMap<KeyHash, KeyEntry>,
    /// Keys whose last use is newer here than on disk.
    touched: Mutex<Vec<KeyHash>>,
}

struct KeyEntry {
    id: KeyId,
    account_id: AccountId,
    scope: Scope,
    /// The first millisecond at which the key does not work.
    ends_at_ms: i64,
    last_used_ms: AtomicI64,
    is_touched: AtomicBool,
}

impl Memory {
    /// Who shows the key with this hash at `now`; `None` when nobody may. Notes the use.
    pub(super) fn find_holder(&self, hash: &KeyHash, now: Timestamp) -> Result<Option<Holder>, StoreError> {
        let Some(key) = self.keys.get(hash) else { return Ok(None) };
        if now.as_millis() >= key.ends_at_ms {
            return Ok(None);
        }
        key.last_used_ms.store(now.as_millis(), Ordering::Relaxed);
        if !key.is_touched.load(Ordering::Relaxed) && !key.is_touched.swap(true, Ordering::AcqRel) {
            self.touched.lock().push(*hash);
        }
        let terms = self.accounts.get(&key.account_id).ok_or_else(|| dangling("accounts", &key.account_id))?;
        Ok(Some(Holder {
            account_id: key.account_id,
            key_id: key.id,
            scope: key.scope,
            plan: terms.plan.clone(),
            suspended: terms.suspended,
            in_force: self.in_force(&terms, now)?,
        }))
    }

    /// An account's plan, and what its terms come to at `now`. Under the account's lock, so that no plan goes that
    /// they name: who removes a plan has moved its accounts first.
    pub(super) fn terms_in_force(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Option<(PlanId, InForce)>, StoreError> {
        let Some(terms) = self.accounts.get(&account) else { return Ok(None) };
        Ok(Some((terms.plan.clone(), self.in_force(&terms, now)?)))
    }

    /// What terms come to at `now`.
    pub(super) fn in_force(&self, terms: &Terms, now: Timestamp) -> Result<InForce, StoreError> {
        let plans = self.plans.read();
        let find = |id: &PlanId| plans.get(id).ok_or_else(|| dangling("plans", id));
        let on_trial = terms.running_trial(now).map(|trial| find(&trial.plan)).transpose()?;
        Ok(terms.in_force(find(&terms.plan)?, on_trial))
    }

    pub(super) fn has_account(&self, account: AccountId) -> bool {
        self.accounts.contains_key(&account)
    }

    /// An account that a key names and that there is none of.
    pub(super) fn missing_account(&self) -> Option<AccountId> {
        self.keys.iter().map(|key| key.account_id).find(|account| !self.has_account(*account))
    }

    pub(super) fn find_terms(&self, account: AccountId) -> Option<Terms> {
        self.accounts.get(&account).map(|terms| terms.clone())
    }

    /// The plans with API access, the smallest limit first.
    pub(super) fn plans_with_access(&self) -> Vec<Plan> {
        let mut plans: Vec<Plan> = self.plans.read().values().filter(|plan| plan.api_access).cloned().collect();
        plans.sort_by(|a, b| a.requests_per_hour.cmp(&b.requests_per_hour).then_with(|| a.id.cmp(&b.id)));
        plans
    }

    pub(super) fn has_plan(&self, id: &PlanId) -> bool {
        self.plans.read().contains_key(id)
    }

    /// Whether any account's terms name the plan. Looks at every account: for removing a plan only.
    pub(super) fn is_plan_in_use(&self, id: &PlanId) -> bool {
        self.accounts.iter().any(|terms| terms.names(id))
    }

    pub(super) fn last_used(&self, hash: &KeyHash) -> Option<Timestamp> {
        let last_used_ms = self.keys.get(hash)?.last_used_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(last_used_ms).ok()
    }

    /// How many plans, accounts and keys there are.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.plans.read().len(), self.accounts.len(), self.keys.len())
    }

    pub(super) fn clear(&self) {
        self.keys.clear();
        self.accounts.clear();
        self.plans.write().clear();
    }

    pub(super) fn put_plan(&self, plan: Plan) {
        self.plans.write().insert(plan.id.clone(), plan);
    }

    pub(super) fn remove_plan(&self, id: &PlanId) {
        self.plans.write().remove(id);
    }

    /// Keeps an account's terms, with the plans' own ids: a million accounts share a few texts.
    pub(super) fn put_terms(&self, account: AccountId, mut terms: Terms) {
        let plans = self.plans.read();
        let shared = |id: PlanId| plans.get_key_value(&id).map_or(id, |(own, _plan)| own.clone());
        terms.plan = shared(terms.plan);
        if let Some(trial) = &mut terms.trial {
            trial.plan = shared(trial.plan.clone());
        }
        drop(plans);
        self.accounts.insert(account, terms);
    }

    pub(super) fn remove_terms(&self, account: AccountId) {
        self.accounts.remove(&account);
    }

    /// Keeps a key; what was known of its last use stays.
    pub(super) fn put_key(&self, key: &Key) {
        let ends_at_ms = match (key.revoked_at, key.expires_at) {
            // Not the instant of the revocation: a clock that steps back must not revive the key.
            (Some(_revoked), _) => i64::MIN,
            (None, Some(end)) => end.as_millis(),
            (None, None) => i64::MAX,
        };
        let mut entry = self.keys.entry(key.hash).or_insert_with(|| KeyEntry {
            id: key.id,
            account_id: key.account_id,
            scope: key.scope,
            ends_at_ms,
            last_used_ms: AtomicI64::new(NEVER_USED_MS),
            is_touched: AtomicBool::new(false),
        });
        entry.scope = key.scope;
        entry.ends_at_ms = ends_at_ms;
    }

    pub(super) fn remove_key(&self, hash: &KeyHash) {
        self.keys.remove(hash);
    }

    /// Sets what the disk knows of a key's last use. False if there is no such key.
    pub(super) fn set_last_used(&self, hash: &KeyHash, at: Timestamp) -> bool {
        self.keys.get(hash).map(|key| key.last_used_ms.store(at.as_millis(), Ordering::Relaxed)).is_some()
    }

    /// Takes the keys whose last use is newer here than on disk, with that instant.
    pub(super) fn drain_touched(&self) -> Vec<(KeyHash, Timestamp)> {
        let touched = std::mem::take(&mut *self.touched.lock());
        touched
            .into_iter()
            .filter_map(|hash| {
                let key = self.keys.get(&hash)?;
                // Before the read: a use that comes after it makes the key touched again.
                key.is_touched.store(false, Ordering::Release);
                Some((hash, Timestamp::from_millis(key.last_used_ms.load(Ordering::Acquire)).ok()?))
            })
            .collect()
    }
}

fn dangling(tree: &'static str, key: &dyn std::fmt::Display) -> StoreError {
    StoreError::Dangling { tree, key: key.to_string() }
}
