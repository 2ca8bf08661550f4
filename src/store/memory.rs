//! The copy in memory of what every request asks for: whose key is this, on which terms, and how much is used.
//!
//! It is filled when the store opens (`load.rs`; until then, `unread.rs`) and changed only in `changes.rs`, right after the
//! transaction and before the write is answered; so a change acts on the very next request. What requests use is counted
//! and noted here, with the account (`counters.rs`, `usage_noted.rs`).
//! A request looks a key up once, and from there goes to its account by pointer. It takes locks for some tens of
//! nanoseconds, never across an await; that of its account for as long as sled takes, if a block of units is due or an
//! operator sets the counter.
//!
//! Tables hold pointers: one that has just doubled is more than half empty, and what is empty should be small.

mod touched;
mod unread;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use dashmap::DashSet;
use foldhash::fast::RandomState;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard, RwLock};
use triomphe::Arc as Shared;

pub(super) use self::unread::Unread;
use super::StoreError;
use super::counters::Lease;
use super::memory_plans::{Plans, SharedTerms};
use crate::domain::account::{InForce, Terms};
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{Key, KeyHash, Scope};
use crate::domain::plan::{Plan, PlanId};
use crate::domain::time::Timestamp;
use crate::domain::usage_hour::HourUsage;

/// Before any instant that a key can be shown at.
const NEVER_USED_MS: i64 = -1;

/// Who shows a key, and on which terms, at one instant.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Whose key it is.
    pub account_id: AccountId,
    /// Where its units are counted.
    pub counter: AccountCounter,
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

/// Where the units of an account are counted, and what they are spent on. It is found once, and then asked without a look-up.
#[derive(Clone)]
pub struct AccountCounter(Shared<AccountEntry>);

pub(super) struct Memory {
    plans: RwLock<Plans>,
    accounts: DashSet<ByAccount, RandomState>,
    keys: DashSet<ByHash, RandomState>,
    /// None once all accounts and keys are in the tables.
    unread: RwLock<Option<Unread>>,
}

struct AccountEntry {
    id: AccountId,
    /// Behind one lock: a lock for each part would be as large as a part. Who holds it may ask the tables and sled; so it
    /// is never waited for while a part of a table is held.
    state: Mutex<AccountState>,
}

struct AccountState {
    terms: Arc<Terms>,
    lease: Lease,
    /// What its requests of the last hour in which there were some came to.
    usage: Option<Box<HourUsage>>,
}

struct KeyEntry {
    hash: KeyHash,
    id: KeyId,
    account: Shared<AccountEntry>,
    /// The first millisecond at which the key does not work.
    ends_at_ms: AtomicI64,
    last_used_ms: AtomicI64,
    is_touched: AtomicBool,
    may_write: AtomicBool,
}

/// An account in the table, by its id.
struct ByAccount(Shared<AccountEntry>);

/// A key in the table, by its hash.
struct ByHash(Box<KeyEntry>);

impl Memory {
    /// Of nothing yet, with room for so many accounts and keys: tables that grow look at all that they point to. `unread` is
    /// where they are.
    pub(super) fn with_room(accounts: usize, keys: usize, unread: Option<Unread>) -> Self {
        Self {
            plans: RwLock::default(),
            accounts: DashSet::with_capacity_and_hasher(accounts, RandomState::default()),
            keys: DashSet::with_capacity_and_hasher(keys, RandomState::default()),
            unread: RwLock::new(unread),
        }
    }

    /// Who shows the key with this hash at `now`; `None` when nobody may. Notes the use.
    pub(super) fn find_holder(&self, hash: &KeyHash, now: Timestamp) -> Result<Option<Holder>, StoreError> {
        let Some(found) = self.find_key(hash)? else { return Ok(None) };
        let key = &found.0;
        if now.as_millis() >= key.ends_at_ms.load(Ordering::Relaxed) {
            return Ok(None);
        }
        key.last_used_ms.store(now.as_millis(), Ordering::Relaxed);
        // Stored also where it is set: whoever clears it next sees this use, which a look would not make sure of.
        key.is_touched.store(true, Ordering::Release);
        let scope = if key.may_write.load(Ordering::Relaxed) { Scope::ReadWrite } else { Scope::ReadOnly };
        let (key_id, account) = (key.id, Shared::clone(&key.account));
        // An account may be held while sled is asked; nobody else's keys should wait for that.
        drop(found);
        let (account_id, counter) = (account.id, AccountCounter(account));
        let known = self.terms_of(&counter, now, |terms| (terms.plan.clone(), terms.suspended))?;
        let holder =
            |((plan, suspended), in_force)| Holder { account_id, counter, key_id, scope, plan, suspended, in_force };
        Ok(known.map(holder))
    }

    /// An account's plan, and what its terms come to at `now`.
    pub(super) fn terms_in_force(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Option<(PlanId, InForce)>, StoreError> {
        let Some(counter) = self.find_counter(account)? else { return Ok(None) };
        self.terms_of(&counter, now, |terms| terms.plan.clone())
    }

    /// What is asked of an account's terms, and what they come to at `now`; `None` if it is gone. Under the account's lock, so
    /// that no plan goes that they name: who removes a plan has moved or removed its accounts first.
    fn terms_of<T>(
        &self,
        counter: &AccountCounter,
        now: Timestamp,
        ask: impl FnOnce(&Terms) -> T,
    ) -> Result<Option<(T, InForce)>, StoreError> {
        let state = counter.0.state.lock();
        match self.plans.read().in_force(&state.terms, now) {
            Ok(in_force) => Ok(Some((ask(&state.terms), in_force))),
            // It was removed since it was found, and its plan after it.
            Err(_dangling) if self.known_counter(counter.0.id).as_ref() != Some(counter) => Ok(None),
            Err(dangling) => Err(dangling),
        }
    }

    pub(super) fn has_account(&self, account: AccountId) -> Result<bool, StoreError> {
        Ok(self.find_counter(account)?.is_some())
    }

    /// Where the units of an account are counted that is in the table. Who is not has used nothing since the start.
    pub(super) fn known_counter(&self, account: AccountId) -> Option<AccountCounter> {
        self.accounts.get(&account).map(|account| AccountCounter(Shared::clone(&account.0)))
    }

    /// The counters of all accounts in the table: of all that may have used anything since the start.
    pub(super) fn all_counters(&self) -> Vec<AccountCounter> {
        self.accounts.iter().map(|account| AccountCounter(Shared::clone(&account.0))).collect()
    }

    pub(super) fn find_terms(&self, account: AccountId) -> Result<Option<Terms>, StoreError> {
        Ok(self.find_counter(account)?.map(|account| Terms::clone(&account.0.state.lock().terms)))
    }

    /// The plans with API access, the smallest limit first.
    pub(super) fn plans_with_access(&self) -> Vec<Plan> {
        self.plans.read().with_access()
    }

    pub(super) fn has_plan(&self, id: &PlanId) -> bool {
        self.plans.read().has(id)
    }

    /// Whether any account's terms name the plan. Looks at every account: for removing a plan only.
    pub(super) fn is_plan_in_use(&self, id: &PlanId) -> bool {
        self.all_counters().iter().any(|account| account.0.state.lock().terms.names(id))
    }

    /// How many plans, accounts and keys are in the tables.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.plans.read().count(), self.accounts.len(), self.keys.len())
    }

    pub(super) fn clear(&self) {
        self.keys.clear();
        self.accounts.clear();
        self.plans.write().clear();
    }

    pub(super) fn put_plan(&self, plan: Plan) {
        self.plans.write().put(plan);
    }

    pub(super) fn remove_plan(&self, id: &PlanId) {
        self.plans.write().remove(id);
    }

    /// What makes terms shared, for a thread that reads accounts.
    pub(super) fn shared_terms(&self) -> SharedTerms {
        self.plans.read().shared_terms()
    }

    /// Keeps an account's terms.
    pub(super) fn put_terms(&self, account: AccountId, terms: Terms) -> Result<(), StoreError> {
        let terms = self.plans.write().share(terms)?;
        match self.known_counter(account) {
            Some(known) => known.0.state.lock().terms = terms,
            None => self.add_account(account, terms),
        }
        Ok(())
    }

    /// Keeps an account, unless it is there.
    pub(super) fn add_account(&self, account: AccountId, terms: Arc<Terms>) {
        let state = Mutex::new(AccountState { terms, lease: Lease::NONE, usage: None });
        self.accounts.insert(ByAccount(Shared::new(AccountEntry { id: account, state })));
    }

    /// Removes an account. What is counted and noted of it from now on, by requests that have found it before, is kept nowhere:
    /// it goes with the last of them.
    pub(super) fn remove_account(&self, account: AccountId) -> Option<AccountCounter> {
        let removed = AccountCounter(self.accounts.remove(&account)?.0);
        *removed.usage() = None;
        Some(removed)
    }

    /// Keeps a key of an account that is there; what was known of its last use stays.
    pub(super) fn put_key(&self, key: &Key) -> Result<(), StoreError> {
        let Some(entry) = self.keys.get(&key.hash) else {
            let account = self.known_counter(key.account_id).ok_or_else(|| dangling("accounts", &key.account_id))?;
            self.add_key(key, None, account);
            return Ok(());
        };
        entry.0.may_write.store(may_write(key), Ordering::Relaxed);
        entry.0.ends_at_ms.store(ends_at_ms(key), Ordering::Relaxed);
        Ok(())
    }

    /// Keeps a key of an account, unless it is there, and what the disk knows of its last use.
    pub(super) fn add_key(&self, key: &Key, last_used: Option<Timestamp>, account: AccountCounter) {
        self.keys.insert(ByHash(Box::new(KeyEntry {
            hash: key.hash,
            id: key.id,
            account: account.0,
            ends_at_ms: AtomicI64::new(ends_at_ms(key)),
            last_used_ms: AtomicI64::new(last_used.map_or(NEVER_USED_MS, Timestamp::as_millis)),
            is_touched: AtomicBool::new(false),
            may_write: AtomicBool::new(may_write(key)),
        })));
    }

    pub(super) fn remove_key(&self, hash: &KeyHash) {
        self.keys.remove(hash);
    }
}

/// The first instant at which a key does not work.
fn ends_at_ms(key: &Key) -> i64 {
    match (key.revoked_at, key.expires_at) {
        // Not the instant of the revocation: a clock that steps back must not revive the key.
        (Some(_revoked), _) => i64::MIN,
        (None, Some(end)) => end.as_millis(),
        (None, None) => i64::MAX,
    }
}

fn may_write(key: &Key) -> bool {
    match key.scope {
        Scope::ReadWrite => true,
        Scope::ReadOnly => false,
    }
}

impl AccountCounter {
    /// Whose it is.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        self.0.id
    }

    /// The block of units that it takes from. Nothing else of the account is to be had meanwhile.
    pub(super) fn lease(&self) -> MappedMutexGuard<'_, Lease> {
        MutexGuard::map(self.0.state.lock(), |state| &mut state.lease)
    }

    /// What its requests came to. Nothing else of the account is to be had meanwhile.
    pub(super) fn usage(&self) -> MappedMutexGuard<'_, Option<Box<HourUsage>>> {
        MutexGuard::map(self.0.state.lock(), |state| &mut state.usage)
    }
}

/// The same one.
impl PartialEq for AccountCounter {
    fn eq(&self, other: &Self) -> bool {
        Shared::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AccountCounter {}

impl fmt::Debug for AccountCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountCounter({:?})", self.0.id)
    }
}

impl Borrow<AccountId> for ByAccount {
    fn borrow(&self) -> &AccountId {
        &self.0.id
    }
}

impl PartialEq for ByAccount {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ByAccount {}

impl Hash for ByAccount {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl Borrow<KeyHash> for ByHash {
    fn borrow(&self) -> &KeyHash {
        &self.0.hash
    }
}

impl PartialEq for ByHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for ByHash {}

impl Hash for ByHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash.hash(state);
    }
}

pub(super) fn dangling(tree: &'static str, key: &dyn std::fmt::Display) -> StoreError {
    StoreError::Dangling { tree, key: key.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_takes_64_bytes_and_a_key_80() {
        // What is shared is counted in a word before it.
        assert_eq!(size_of::<usize>() + size_of::<AccountEntry>(), 64);
        assert_eq!(size_of::<KeyEntry>(), 80);
    }
}
