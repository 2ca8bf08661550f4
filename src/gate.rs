//! One request's way through: key → holder → terms → take → decision. Knows no HTTP.
//!
//! The steps are the order of the code. What can stop a request is a [`Refusal`]; what is known of
//! its account goes along with either outcome, for the headers of the answer.

use std::sync::Arc;

use crate::domain::decision::{Cost, Decision, Standing, Used};
use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{KeyFormat, Scope};
use crate::domain::plan::PlanId;
use crate::domain::time::Timestamp;
use crate::domain::usage::Change;
use crate::domain::window::Window;
use crate::store::{AccountCounter, Commit, Holder, Store, StoreError};

/// Lets requests through, or does not.
#[derive(Clone)]
pub struct Gate {
    store: Arc<Store>,
    key_format: KeyFormat,
}

/// What a request wants to do, as far as a key's scope cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    Read,
    /// It may change something.
    Write,
}

/// A request whose account is known, and how that account stands after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The account.
    pub account_id: AccountId,
    /// Where its requests are counted.
    pub counter: AccountCounter,
    /// The key that was shown; `None` for an account holder's session.
    pub key_id: Option<KeyId>,
    /// The account's plan.
    pub plan: PlanId,
    /// Where it stands, this request included if it was counted.
    pub standing: Standing,
}

/// Why a request does not pass. Nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Malformed, unknown, revoked or expired: all the same to who shows it.
    #[error("the key is not valid")]
    InvalidKey,
    /// Valid, but stopped.
    #[error("{1}")]
    Stopped(Box<Known>, Stop),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What stops a request with a valid key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The operator suspended the account.
    #[error("the account is suspended")]
    Suspended,
    /// The account's plan does not open the API; these plans do.
    #[error("the plan {plan} has no API access")]
    NoApiAccess {
        /// The account's plan.
        plan: PlanId,
        /// Names of the plans with access, the smallest limit first.
        offers: Vec<String>,
    },
    /// A read-only key on a request that may write.
    #[error("the key is read-only")]
    ReadOnlyKey,
    /// The limit of the window is reached.
    #[error("the limit is reached")]
    LimitReached,
}

impl Gate {
    /// A gate to `store` for keys of `key_format`.
    #[must_use]
    pub fn new(store: Arc<Store>, key_format: KeyFormat) -> Self {
        Self { store, key_format }
    }

    /// Decides on a request that shows `key`, and counts it if it passes, also as usage of `endpoint`. When this
    /// returns, the count is as durable as the store was opened to make it.
    ///
    /// # Errors
    /// When the request does not pass.
    pub async fn admit(
        &self,
        key: &[u8],
        access: Access,
        cost: Cost,
        endpoint: &EndpointName,
        now: Timestamp,
    ) -> Result<Known, Refusal> {
        let holder = self.holder(key, access, now)?;
        let window = Window::at(now);
        let (decision, used) = self.store.take(&holder.counter, window, holder.in_force.limit, cost)?;
        let note = |change| self.store.note_usage(&holder.counter, window, holder.key_id, endpoint, &change);
        match decision {
            Decision::Denied => {
                note(Change::denied());
                Err(stopped(holder, used, now, Stop::LimitReached))
            }
            Decision::Allowed(_) => {
                // Before anything is waited for: a client may go away meanwhile.
                note(Change::counted(cost));
                let known = known(holder, used, now);
                match self.store.commit_if_due(&known.counter, window) {
                    None => Ok(known),
                    // In a box: most requests wait for no commit, and need not carry along what that takes.
                    Some(commit) => Box::pin(self.admit_with(commit, known, endpoint, cost)).await,
                }
            }
        }
    }

    /// Lets a request through once its count is on disk. What is answered as an error was not counted.
    async fn admit_with(
        &self,
        commit: Commit,
        mut known: Known,
        endpoint: &EndpointName,
        cost: Cost,
    ) -> Result<Known, Refusal> {
        if let Err(refused) = commit.done().await {
            self.give_back(&mut known, endpoint, cost)?;
            return Err(refused.into());
        }
        Ok(known)
    }

    /// Gives the units of a request back that was let through and then failed in the store.
    ///
    /// # Errors
    /// When the counter cannot be written either.
    pub fn give_back(&self, known: &mut Known, endpoint: &EndpointName, cost: Cost) -> Result<(), StoreError> {
        let window = known.standing.window();
        self.store.give_back(known.account_id, window, cost)?;
        if let Some(key_id) = known.key_id {
            self.store.note_usage(&known.counter, window, key_id, endpoint, &Change::given_back(cost));
        }
        let standing = &mut known.standing;
        standing.used = standing.used.minus(cost);
        Ok(())
    }

    /// Who shows `key` and where the account stands. Counts nothing.
    ///
    /// # Errors
    /// When a request with this key and `access` would not pass for another reason than the limit.
    pub fn look(&self, key: &[u8], access: Access, now: Timestamp) -> Result<Known, Refusal> {
        let holder = self.holder(key, access, now)?;
        let used = self.store.used(holder.account_id, Window::at(now))?;
        Ok(known(holder, used, now))
    }

    /// Where an account stands; `None` if there is none. Counts nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub fn standing(&self, account_id: AccountId, now: Timestamp) -> Result<Option<Known>, StoreError> {
        let Some((plan, in_force)) = self.store.terms_in_force(account_id, now)? else { return Ok(None) };
        let Some(counter) = self.store.find_counter(account_id)? else { return Ok(None) };
        let used = self.store.used(account_id, Window::at(now))?;
        let standing = Standing { limit: in_force.limit, used, now };
        Ok(Some(Known { account_id, counter, key_id: None, plan, standing }))
    }

    fn holder(&self, key: &[u8], access: Access, now: Timestamp) -> Result<Holder, Refusal> {
        let hash = self.key_format.hash(key).map_err(|_malformed| Refusal::InvalidKey)?;
        let holder = self.store.find_holder(&hash, now)?.ok_or(Refusal::InvalidKey)?;
        match self.stop(&holder, access) {
            None => Ok(holder),
            Some(stop) => {
                let used = self.store.used(holder.account_id, Window::at(now))?;
                Err(stopped(holder, used, now, stop))
            }
        }
    }

    fn stop(&self, holder: &Holder, access: Access) -> Option<Stop> {
        if holder.suspended {
            return Some(Stop::Suspended);
        }
        if !holder.in_force.api_access {
            let offers = self.store.plans_with_access().into_iter().map(|plan| plan.name.to_string()).collect();
            return Some(Stop::NoApiAccess { plan: holder.plan.clone(), offers });
        }
        match (holder.scope, access) {
            (Scope::ReadOnly, Access::Write) => Some(Stop::ReadOnlyKey),
            (Scope::ReadOnly, Access::Read) | (Scope::ReadWrite, Access::Read | Access::Write) => None,
        }
    }
}

fn known(holder: Holder, used: Used, now: Timestamp) -> Known {
    Known {
        account_id: holder.account_id,
        counter: holder.counter,
        key_id: Some(holder.key_id),
        plan: holder.plan,
        standing: Standing { limit: holder.in_force.limit, used, now },
    }
}

fn stopped(holder: Holder, used: Used, now: Timestamp, stop: Stop) -> Refusal {
    Refusal::Stopped(Box::new(known(holder, used, now)), stop)
}
