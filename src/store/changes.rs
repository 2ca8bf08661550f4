//! Changes: the one way in which plans, accounts, keys and counters are written by an operator.
//!
//! A write is a list of changes and one audit entry. They reach the disk in one sled transaction
//! over all trees (recovered whole or not at all), and the copy in memory right after it.

use std::convert::Infallible;

use parking_lot::MutexGuard;
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use super::audit::{Author, Deed, ENTRIES_MAX, Writing};
use super::records;
use super::{Store, StoreError, Trees, codec, codec_numbers, engine, records_links};
use crate::domain::account::Account;
use crate::domain::decision::Used;
use crate::domain::id::AccountId;
use crate::domain::key::Key;
use crate::domain::link::Link;
use crate::domain::plan::{Plan, PlanId};
use crate::domain::window::Window;

/// One thing that a write does.
pub(super) enum Change {
    PutPlan(Plan),
    RemovePlan(PlanId),
    PutAccount(Account),
    RemoveAccount(AccountId),
    PutKey(Key),
    RemoveKey(Key),
    PutCounter(AccountId, Window, Used),
    RemoveCounter(AccountId, Window),
    PutLink(Link),
    RemoveLink(Link),
}

impl Change {
    /// Whose counter it changes. A write changes those of one account at most.
    fn counted(&self) -> Option<AccountId> {
        let (Self::PutCounter(account, _, _) | Self::RemoveCounter(account, _)) = self else { return None };
        Some(*account)
    }
}

/// One batch per tree.
#[derive(Default)]
struct Batches {
    plans: sled::Batch,
    accounts: sled::Batch,
    keys: sled::Batch,
    key_ids: sled::Batch,
    account_keys: sled::Batch,
    last_used: sled::Batch,
    counters: sled::Batch,
    links: sled::Batch,
    slugs: sled::Batch,
    account_links: sled::Batch,
    doomed_links: sled::Batch,
    audit: sled::Batch,
}

impl Store {
    /// Writes `changes` and the audit entry of `deed` in one transaction, and then to memory.
    /// The lock shows that nothing comes between the rules that led to the changes and the write.
    pub(super) fn apply(
        &self,
        lock: &mut MutexGuard<'_, Writing>,
        changes: Vec<Change>,
        by: &Author,
        deed: Deed,
    ) -> Result<(), StoreError> {
        let entry = by.entry(lock.next_number, deed);
        let mut batches = Batches::default();
        batches
            .audit
            .insert(&codec::number_key(entry.number), records::audit_to_bytes(&entry).map_err(encode("audit"))?);
        if let Some(oldest) = entry.number.checked_sub(ENTRIES_MAX) {
            batches.audit.remove(&codec::number_key(oldest));
        }
        self.write_changes(lock, batches, changes)?;
        lock.next_number = lock.next_number.saturating_add(1);
        tracing::info!(
            audit.number = entry.number,
            audit.actor = entry.actor,
            audit.action = entry.action,
            audit.target = entry.target,
            "administrative write"
        );
        Ok(())
    }

    /// The same for what the audit trail does not note: links, which are the account holder's daily work.
    pub(super) fn apply_unnoted(
        &self,
        lock: &mut MutexGuard<'_, Writing>,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        self.write_changes(lock, Batches::default(), changes)
    }

    fn write_changes(
        &self,
        lock: &mut MutexGuard<'_, Writing>,
        mut batches: Batches,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        if lock.is_closed {
            return Err(StoreError::Commit { reason: "the store is closed".to_owned() });
        }
        self.room.check()?;
        for change in &changes {
            batches.add(change)?;
        }
        match changes.iter().find_map(Change::counted) {
            Some(account) => self.counters.set_with(account, || batches.commit(&self.trees))?,
            None => batches.commit(&self.trees)?,
        }
        self.committer.mark_dirty();
        self.writes.note_change();
        changes.into_iter().try_for_each(|change| self.remember(change))
    }

    fn remember(&self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::PutPlan(plan) => self.memory.put_plan(plan),
            Change::RemovePlan(id) => self.memory.remove_plan(&id),
            // Their plans are there: that was checked under the lock that is still held.
            Change::PutAccount(account) => self.memory.put_terms(account.id, account.terms)?,
            Change::RemoveAccount(id) => {
                let removed = self.memory.remove_account(id);
                if let Some(Err(error)) = removed.map(|counter| self.counters.forget(&counter)) {
                    // The account is gone; its counter is purged with the hour.
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, account.id = %id, "could not remove the counter of a removed account");
                }
            }
            Change::PutKey(key) => self.memory.put_key(&key)?,
            Change::RemoveKey(key) => self.memory.remove_key(&key.hash),
            Change::PutLink(link) => self.remember_link(link),
            Change::RemoveLink(link) => self.links.remove(&link),
            Change::PutCounter(_, _, _) | Change::RemoveCounter(_, _) => {}
        }
        Ok(())
    }

    fn remember_link(&self, link: Link) {
        let id = link.id;
        self.links.put(link);
        match self.click_totals(id) {
            Ok(totals) => self.links.note_sums(id, &totals),
            // The link itself is written; it goes by weight.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(link.id = %id, error, "the sums of a link cannot be read");
            }
        }
    }
}

impl Batches {
    fn add(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutPlan(plan) => {
                let bytes = records::plan_to_bytes(plan).map_err(encode("plans"))?;
                self.plans.insert(plan.id.as_str().as_bytes(), bytes);
            }
            Change::RemovePlan(id) => self.plans.remove(id.as_str().as_bytes()),
            Change::PutAccount(account) => {
                let bytes = records::account_to_bytes(account).map_err(encode("accounts"))?;
                self.accounts.insert(account.id.as_bytes(), bytes);
            }
            Change::RemoveAccount(id) => self.accounts.remove(id.as_bytes()),
            Change::PutKey(key) => self.put_key(key)?,
            Change::RemoveKey(key) => self.remove_key(key),
            Change::PutCounter(account, window, used) => {
                let key = codec::counter_key(*window, *account);
                self.counters.insert(&key, &codec_numbers::used_value(&key, *used));
            }
            Change::RemoveCounter(account, window) => {
                self.counters.remove(&codec::counter_key(*window, *account));
            }
            Change::PutLink(link) => self.put_link(link)?,
            Change::RemoveLink(link) => {
                // Its slug stays taken: what was printed must not lead to somebody else's place.
                self.links.remove(link.id.as_bytes());
                self.account_links.remove(&codec::account_link_key(link.account_id, link.id));
                self.doomed_links.insert(link.id.as_bytes(), &[]);
            }
        }
        Ok(())
    }

    fn put_key(&mut self, key: &Key) -> Result<(), StoreError> {
        let bytes = records::key_to_bytes(key).map_err(encode("keys"))?;
        self.keys.insert(key.hash.as_bytes(), bytes);
        self.key_ids.insert(key.id.as_bytes(), key.hash.as_bytes());
        self.account_keys.insert(&codec::account_key(key.account_id, key.id), key.hash.as_bytes());
        Ok(())
    }

    /// A deleted link keeps its record and its slug.
    fn put_link(&mut self, link: &Link) -> Result<(), StoreError> {
        let bytes = records_links::link_to_bytes(link).map_err(encode("links"))?;
        self.links.insert(link.id.as_bytes(), bytes);
        self.slugs.insert(link.slug.as_str().as_bytes(), link.id.as_bytes());
        let listed = codec::account_link_key(link.account_id, link.id);
        self.account_links
            .insert(&listed, if link.deleted_at.is_none() { codec::LINK_LIVE } else { codec::LINK_DELETED });
        Ok(())
    }

    fn remove_key(&mut self, key: &Key) {
        self.keys.remove(key.hash.as_bytes());
        self.key_ids.remove(key.id.as_bytes());
        self.account_keys.remove(&codec::account_key(key.account_id, key.id));
        self.last_used.remove(key.hash.as_bytes());
    }

    /// Writes all batches in one transaction.
    fn commit(self, trees: &Trees) -> Result<(), StoreError> {
        let pairs = [
            (&trees.plans, self.plans),
            (&trees.accounts, self.accounts),
            (&trees.keys, self.keys),
            (&trees.key_ids, self.key_ids),
            (&trees.account_keys, self.account_keys),
            (&trees.last_used, self.last_used),
            (&trees.counters, self.counters),
            (&trees.links, self.links),
            (&trees.slugs, self.slugs),
            (&trees.account_links, self.account_links),
            (&trees.doomed_links, self.doomed_links),
            (&trees.audit, self.audit),
        ];
        transact(&pairs)
    }
}

/// Writes batches, each to its tree, in one transaction: recovered whole or not at all.
pub(super) fn transact(pairs: &[(&sled::Tree, sled::Batch)]) -> Result<(), StoreError> {
    let trees: Vec<&sled::Tree> = pairs.iter().map(|(tree, _batch)| *tree).collect();
    let written = trees[..].transaction(|views| {
        for (view, (_tree, batch)) in views.iter().zip(pairs) {
            view.apply_batch(batch)?;
        }
        Ok::<(), ConflictableTransactionError<Infallible>>(())
    });
    written.map_err(|error| match error {
        TransactionError::Storage(source) => engine("write a transaction")(source),
        TransactionError::Abort(never) => match never {},
    })
}

pub(super) fn encode(tree: &'static str) -> impl Fn(bincode::Error) -> StoreError {
    move |source| StoreError::Encode { tree, source }
}
