//! Usage: rows sorted by account, hour, key and endpoint. One thread adds to them (`../usage.rs`), by way of a journal
//! (`usage_journal.rs`): what is read here is complete once that is folded (`usage_folding.rs`).
//!
//! An account's rows of one hour are bounded, so that whoever makes endpoints up fills nothing.

use std::collections::BTreeSet;

use super::records_usage as records;
use super::{Store, StoreError, codec, damaged, engine};
use crate::domain::endpoint::EndpointName;
use crate::domain::id::AccountId;
use crate::domain::usage::{Change, OTHER_KEYS, RowKey, Spender, UsageRow};
use crate::domain::window::Window;

/// Endpoints of an account and hour that have rows of their own: more than anybody reads. The rest are `other`.
pub const ENDPOINTS_MAX: usize = 200;
/// Rows of an account and hour, of a key and an endpoint each, before a new one is the key's `other`: five keys with all
/// endpoints, or a hundred keys with ten. Before it is that of [`OTHER_KEYS`]: twice as many.
const ROWS_MAX: usize = 1000;
/// Rows that one purge step deletes, as for counters.
const PURGE_STEP_ROWS: usize = 1000;

/// A change of one row of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageChange {
    /// The row.
    pub row: RowKey,
    /// What came.
    pub change: Change,
}

/// What an account's hour has rows of.
#[derive(Default)]
pub(super) struct Hour {
    endpoints: BTreeSet<EndpointName>,
    rows: usize,
}

impl Store {
    /// An account's rows in the windows from `first` to before `end`, the oldest hour first.
    pub fn usage_of(
        &self,
        account: AccountId,
        first: Window,
        end: Window,
    ) -> impl Iterator<Item = Result<UsageRow, StoreError>> + Send + 'static {
        let range = codec::usage_hour_key(account, first)..codec::usage_hour_key(account, end);
        self.trees.usage.range(range).map(read)
    }

    /// All rows; ordered and safe beside writes, but not a snapshot.
    pub fn usage(&self) -> impl Iterator<Item = Result<UsageRow, StoreError>> + Send + 'static {
        self.trees.usage.iter().map(read)
    }

    /// The first account after `after` that has rows, be it one that was removed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn next_account_with_usage(&self, after: Option<AccountId>) -> Result<Option<AccountId>, StoreError> {
        let start = after.map_or_else(Vec::new, |account| codec::usage_end_key(account).to_vec());
        let next = self.trees.usage.range(start..).keys().next().transpose().map_err(engine("list usage"))?;
        next.map(|key| codec::parse_usage_account(&key).map_err(damaged("usage", &key))).transpose()
    }

    /// Deletes up to a step of an account's rows of windows before `first_kept`, or of all if there is no such account;
    /// answers whether more are left.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge_usage_step(&self, account: AccountId, first_kept: Window) -> Result<bool, StoreError> {
        // A restore may be bringing the account back: it begins before a step or after it, not during it.
        let _lock = self.writing.lock();
        let is_there = self.memory.has_account(account);
        let end = if is_there { codec::usage_hour_key(account, first_kept) } else { codec::usage_end_key(account) };
        let mut batch = sled::Batch::default();
        let mut rows: usize = 0;
        for key in self.trees.usage.range(codec::usage_hour_key(account, Window::from_hours(0))..end).keys() {
            batch.remove(key.map_err(engine("list usage"))?);
            rows = rows.saturating_add(1);
            if rows == PURGE_STEP_ROWS {
                break;
            }
        }
        if rows > 0 {
            self.trees.usage.apply_batch(batch).map_err(engine("purge usage"))?;
            self.committer.mark_dirty();
        }
        Ok(rows == PURGE_STEP_ROWS)
    }

    /// Deletes all rows of an account that was removed.
    pub(super) fn remove_usage(&self, account: AccountId) -> Result<(), StoreError> {
        while self.purge_usage_step(account, Window::from_hours(u32::MAX))? {}
        Ok(())
    }

    /// What an account's hour has rows of.
    pub(super) fn read_hour(&self, (account, window): (AccountId, Window)) -> Result<Hour, StoreError> {
        let mut hour = Hour::default();
        for key in self.trees.usage.scan_prefix(codec::usage_hour_key(account, window)).keys() {
            let key = key.map_err(engine("list usage"))?;
            let RowKey { spender: _, endpoint } = codec::parse_usage_key(&key).map_err(damaged("usage", &key))?;
            hour.note(endpoint);
        }
        Ok(hour)
    }
}

impl Hour {
    pub(super) fn note(&mut self, endpoint: EndpointName) {
        self.rows = self.rows.saturating_add(1);
        if endpoint != EndpointName::OTHER {
            self.endpoints.insert(endpoint);
        }
    }

    /// Where a change goes whose row there is none of yet.
    pub(super) fn place(&self, row: &RowKey) -> RowKey {
        let has_place = self.endpoints.len() < ENDPOINTS_MAX || self.endpoints.contains(&row.endpoint);
        if has_place && self.rows < ROWS_MAX {
            return row.clone();
        }
        let keys_have_place = self.rows < ROWS_MAX.saturating_mul(2);
        let key_id = if keys_have_place { row.spender.key_id } else { OTHER_KEYS };
        RowKey { spender: Spender { key_id, ..row.spender }, endpoint: EndpointName::OTHER }
    }
}

fn read(row: sled::Result<(sled::IVec, sled::IVec)>) -> Result<UsageRow, StoreError> {
    let (key, bytes) = row.map_err(engine("list usage"))?;
    records::usage_from_bytes(&key, &bytes).map_err(damaged("usage", &key))
}
