//! The directory: plans and accounts, and in `keys.rs` keys. Each rule that depends on a stored value is one method
//! here; all of them run under one lock, so of two that race the later one sees the earlier one.
//!
//! Writing methods return once the write is on disk.

use std::ops::Bound;

use parking_lot::MutexGuard;

use super::audit::{Author, Deed, Writing};
use super::changes::Change;
use super::keys::KEYS_PER_ACCOUNT_MAX;
use super::memory::Holder;
use super::{Store, StoreError, codec, damaged, engine, records};
use crate::domain::account::{Account, AccountPatch, InForce, Terms};
use crate::domain::decision::Used;
use crate::domain::id::AccountId;
use crate::domain::key::KeyHash;
use crate::domain::plan::{Plan, PlanId, PlanPatch};
use crate::domain::time::Timestamp;
use crate::domain::window::Window;

/// Why the directory refused.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No account has this id.
    #[error("no such account")]
    NoAccount,
    /// No plan has this id.
    #[error("no such plan: {0}")]
    NoPlan(PlanId),
    /// No key has this id, or not of this account.
    #[error("no such key")]
    NoKey,
    /// A plan with this id exists.
    #[error("plan {0} exists already")]
    PlanExists(PlanId),
    /// An account names the plan.
    #[error("plan {0} is in use")]
    PlanInUse(PlanId),
    /// The account has [`KEYS_PER_ACCOUNT_MAX`] live keys.
    #[error("the account has {KEYS_PER_ACCOUNT_MAX} live keys, the most that it may have")]
    KeysFull,
    /// The key is revoked or expired, and stays so.
    #[error("the key is revoked or expired")]
    KeyEnded,
    /// Another key took the key's place.
    #[error("the key was rotated before")]
    KeyRotated,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Whether rows follow.
    pub has_more: bool,
}

impl<T> Page<T> {
    pub(super) fn take<E>(mut rows: impl Iterator<Item = Result<T, E>>, limit: usize) -> Result<Self, E> {
        let items = rows.by_ref().take(limit).collect::<Result<_, _>>()?;
        Ok(Self { items, has_more: rows.next().transpose()?.is_some() })
    }
}

impl Store {
    /// Who shows the key with this hash at `now`; `None` when it is unknown, revoked or expired.
    ///
    /// # Errors
    /// When a record that the key names is missing.
    pub fn find_holder(&self, hash: &KeyHash, now: Timestamp) -> Result<Option<Holder>, StoreError> {
        self.memory.find_holder(hash, now)
    }

    /// An account's terms; `None` if there is no such account.
    ///
    /// # Errors
    /// When the account cannot be read.
    pub fn find_terms(&self, account: AccountId) -> Result<Option<Terms>, StoreError> {
        self.memory.find_terms(account)
    }

    /// An account's plan, and what its terms come to at `now`; `None` if there is no such account.
    ///
    /// # Errors
    /// When a plan that they name is missing.
    pub fn terms_in_force(&self, account: AccountId, now: Timestamp) -> Result<Option<(PlanId, InForce)>, StoreError> {
        self.memory.terms_in_force(account, now)
    }

    /// The plans with API access, the smallest limit first.
    pub fn plans_with_access(&self) -> Vec<Plan> {
        self.memory.plans_with_access()
    }

    /// The plan with this id.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub fn get_plan(&self, id: &PlanId) -> Result<Plan, DirectoryError> {
        let key = id.as_str().as_bytes();
        let bytes = self.trees.plans.get(key).map_err(engine("read a plan"))?;
        let bytes = bytes.ok_or_else(|| DirectoryError::NoPlan(id.clone()))?;
        Ok(records::plan_from_bytes(key, &bytes).map_err(damaged("plans", key))?)
    }

    /// One page of plans by id, after the plan `after`.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn list_plans(&self, after: Option<&PlanId>, limit: usize) -> Result<Page<Plan>, StoreError> {
        let rows = self.trees.plans.range::<&[u8], _>(following(after.map(|id| id.as_str().as_bytes())));
        Page::take(
            rows.map(|row| {
                let (id, bytes) = row.map_err(engine("list plans"))?;
                records::plan_from_bytes(&id, &bytes).map_err(damaged("plans", &id))
            }),
            limit,
        )
    }

    /// The account with this id.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub fn get_account(&self, id: AccountId) -> Result<Account, DirectoryError> {
        let bytes = self.trees.accounts.get(id.as_bytes()).map_err(engine("read an account"))?;
        let bytes = bytes.ok_or(DirectoryError::NoAccount)?;
        Ok(records::account_from_bytes(id, &bytes).map_err(damaged("accounts", id.as_bytes()))?)
    }

    /// One page of accounts, oldest first, after the account `after`.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn list_accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Page<Account>, StoreError> {
        let after = after.as_ref().map(|id| id.as_bytes().as_slice());
        let rows = self.trees.accounts.range::<&[u8], _>(following(after));
        Page::take(
            rows.map(|row| {
                let (id, bytes) = row.map_err(engine("list accounts"))?;
                let decoded =
                    codec::parse_account_id(&id).and_then(|parsed| records::account_from_bytes(parsed, &bytes));
                decoded.map_err(damaged("accounts", &id))
            }),
            limit,
        )
    }

    /// Adds a plan.
    ///
    /// # Errors
    /// When its id is taken, or the store fails.
    pub fn create_plan(&self, plan: Plan, by: &Author) -> Result<Plan, DirectoryError> {
        self.write(|lock| {
            if self.memory.has_plan(&plan.id) {
                return Err(DirectoryError::PlanExists(plan.id.clone()));
            }
            let deed = Deed::new("plan.create", &plan.id);
            self.apply(lock, vec![Change::PutPlan(plan.clone())], by, deed)?;
            Ok(plan)
        })
    }

    /// Changes a plan; its accounts have the new terms from the next request on.
    ///
    /// # Errors
    /// When there is no such plan, or the store fails.
    pub fn update_plan(&self, id: &PlanId, patch: PlanPatch, by: &Author) -> Result<Plan, DirectoryError> {
        self.write(|lock| {
            let earlier = self.get_plan(id)?;
            let plan = patch.apply(earlier.clone());
            let deed = Deed::new("plan.update", &id).changed_plan(&earlier, &plan);
            self.apply(lock, vec![Change::PutPlan(plan.clone())], by, deed)?;
            Ok(plan)
        })
    }

    /// Removes a plan that no account names.
    ///
    /// # Errors
    /// When there is no such plan, an account names it, or the store fails.
    pub fn remove_plan(&self, id: &PlanId, by: &Author) -> Result<(), DirectoryError> {
        self.write(|lock| {
            self.get_plan(id)?;
            if self.memory.is_plan_in_use(id) {
                return Err(DirectoryError::PlanInUse(id.clone()));
            }
            let deed = Deed::new("plan.delete", &id);
            Ok(self.apply(lock, vec![Change::RemovePlan(id.clone())], by, deed)?)
        })
    }

    /// Adds an account.
    ///
    /// # Errors
    /// When a plan that it names does not exist, or the store fails.
    pub fn create_account(&self, account: Account, by: &Author) -> Result<Account, DirectoryError> {
        self.write(|lock| {
            self.check_plans(&account.terms)?;
            let deed = Deed::new("account.create", &account.id);
            self.apply(lock, vec![Change::PutAccount(account.clone())], by, deed)?;
            Ok(account)
        })
    }

    /// Changes an account; the change acts on its next request.
    ///
    /// # Errors
    /// When there is no such account or plan, or the store fails.
    pub fn update_account(&self, id: AccountId, patch: AccountPatch, by: &Author) -> Result<Account, DirectoryError> {
        self.write(|lock| {
            let earlier = self.get_account(id)?;
            let account = patch.apply(earlier.clone(), by.at);
            self.check_plans(&account.terms)?;
            let deed = Deed::new("account.update", &id).changed_account(&earlier, &account);
            self.apply(lock, vec![Change::PutAccount(account.clone())], by, deed)?;
            Ok(account)
        })
    }

    /// Removes an account with its keys, counters, usage, links and kept answers.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub fn remove_account(&self, id: AccountId, by: &Author) -> Result<(), DirectoryError> {
        self.write(|lock| {
            // All: a restore may have left more than an account can get otherwise.
            let keys = self.list_keys(id, None, usize::MAX)?;
            let mut changes: Vec<Change> = keys.items.into_iter().map(|found| Change::RemoveKey(found.key)).collect();
            let window = Window::at(by.at);
            // Older counters are purged within the hour anyway.
            changes.extend([window.previous(), window].map(|window| Change::RemoveCounter(id, window)));
            changes.extend(self.links_to_remove(id)?);
            changes.push(Change::RemoveAccount(id));
            Ok(self.apply(lock, changes, by, Deed::new("account.delete", &id))?)
        })?;
        // Not under the lock, for they may be many. What is left over is nobody's, and expires within a day.
        if let Err(error) = self.kept.remove_account(id) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, account.id = %id, "could not forget the kept answers of a removed account");
        }
        if let Err(error) = self.remove_usage(id) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, account.id = %id, "could not remove the usage of a removed account; it is purged later");
        }
        self.committer.mark_dirty();
        Ok(())
    }

    /// Sets what an account has used in a window.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub fn set_used(&self, id: AccountId, window: Window, used: Used, by: &Author) -> Result<(), DirectoryError> {
        self.write(|lock| {
            self.memory.find_terms(id)?.ok_or(DirectoryError::NoAccount)?;
            // A damaged one is set all the same: that mends it.
            let earlier = self.counters.used(id, window).ok();
            let deed =
                Deed::new("rate-limit.set", &id).changed("used", earlier.map(Used::as_units), Some(used.as_units()));
            Ok(self.apply(lock, vec![Change::PutCounter(id, window, used)], by, deed)?)
        })
    }

    /// Notes in the audit trail that a session token was signed for an account.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub fn note_token(&self, id: AccountId, by: &Author) -> Result<(), DirectoryError> {
        self.write(|lock| {
            self.memory.find_terms(id)?.ok_or(DirectoryError::NoAccount)?;
            Ok(self.apply(lock, Vec::new(), by, Deed::new("token.create", &id))?)
        })
    }

    /// Runs a rule and its write under the lock, once all accounts and keys are read, then waits until what it wrote is on
    /// disk.
    pub(super) fn write<T>(
        &self,
        rule: impl FnOnce(&mut MutexGuard<'_, Writing>) -> Result<T, DirectoryError>,
    ) -> Result<T, DirectoryError> {
        self.opening.wait()?;
        let written = rule(&mut self.writing.lock())?;
        self.committer.commit().wait()?;
        Ok(written)
    }

    fn check_plans(&self, terms: &Terms) -> Result<(), DirectoryError> {
        let named = [Some(&terms.plan), terms.trial.as_ref().map(|trial| &trial.plan)];
        match named.into_iter().flatten().find(|id| !self.memory.has_plan(id)) {
            Some(missing) => Err(DirectoryError::NoPlan(missing.clone())),
            None => Ok(()),
        }
    }
}

/// The range of the keys that follow `after`, or of all.
fn following(after: Option<&[u8]>) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}
