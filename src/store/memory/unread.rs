//! The moment after a start in which not all accounts and keys are in memory: a request that comes for one of the others
//! reads it from disk.
//!
//! None is written meanwhile (`opening.rs`), so that it does not matter who brings one first, such a request or who reads
//! all of them: what is there stays, with what was counted since.

use dashmap::setref::one::Ref;

use super::{AccountCounter, ByHash, Memory, dangling};
use crate::domain::id::AccountId;
use crate::domain::key::KeyHash;
use crate::store::{StoreError, load};

/// Where accounts and keys are that are not in memory.
pub(in crate::store) struct Unread {
    pub(in crate::store) accounts: sled::Tree,
    pub(in crate::store) keys: sled::Tree,
    pub(in crate::store) last_used: sled::Tree,
}

impl Memory {
    /// Where an account's units are counted; `None` if there is no such account.
    pub(in crate::store) fn find_counter(&self, account: AccountId) -> Result<Option<AccountCounter>, StoreError> {
        if let Some(known) = self.known_counter(account) {
            return Ok(Some(known));
        }
        match self.unread.read().as_ref() {
            Some(unread) => self.fetch_account(unread, account),
            // Looked for again: it may have been read since, or made.
            None => Ok(self.known_counter(account)),
        }
    }

    /// The key with this hash, if there is one.
    pub(super) fn find_key(&self, hash: &KeyHash) -> Result<Option<Ref<'_, ByHash>>, StoreError> {
        if let Some(known) = self.keys.get(hash) {
            return Ok(Some(known));
        }
        if let Some(unread) = self.unread.read().as_ref()
            && let Some((key, last_used)) = load::one_key(unread, hash)?
        {
            let account = self.fetch_account(unread, key.account_id)?;
            self.add_key(&key, last_used, account.ok_or_else(|| dangling("accounts", &key.account_id))?);
        }
        Ok(self.keys.get(hash))
    }

    /// To be called when all accounts and keys are here: what is not, does not exist.
    pub(in crate::store) fn all_are_read(&self) {
        *self.unread.write() = None;
    }

    /// Called while nobody can say that all are read: afterwards an account may be removed, and must not come back.
    fn fetch_account(&self, unread: &Unread, account: AccountId) -> Result<Option<AccountCounter>, StoreError> {
        if let Some(terms) = load::one_account(unread, account)? {
            let terms = self.plans.write().share(terms)?;
            self.add_account(account, terms);
        }
        Ok(self.known_counter(account))
    }
}
