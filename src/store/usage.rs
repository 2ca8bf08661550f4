//! Usage: rows sorted by account, hour, key and endpoint. They are written by way of memory (`usage_noted.rs`) and a
//! journal (`usage_journal.rs`): what is read here is complete once that is folded (`usage_folding.rs`).

use super::records_usage as records;
use super::steps;
use super::{Store, StoreError, Trees, codec, damaged, engine};
use crate::domain::id::AccountId;
use crate::domain::usage::{Tally, UsageRow};
use crate::domain::usage_hour::{HourUsage, Kept};
use crate::domain::window::Window;

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
        let is_there = self.memory.has_account(account)?;
        let end = if is_there { codec::usage_hour_key(account, first_kept) } else { codec::usage_end_key(account) };
        let (usage, start) = (&self.trees.usage, codec::usage_hour_key(account, Window::from_hours(0)));
        self.purge(|| steps::delete(usage, usage.range(start..end).keys(), "purge usage"))
    }

    /// Deletes all rows of an account that was removed.
    pub(super) fn remove_usage(&self, account: AccountId) -> Result<(), StoreError> {
        while self.purge_usage_step(account, Window::from_hours(u32::MAX))? {}
        Ok(())
    }
}

/// What an account's rows of an hour say. A damaged one is passed over: what is noted of the account must not wait for it.
pub(super) fn read_hour(trees: &Trees, account: AccountId, window: Window) -> Result<HourUsage, StoreError> {
    let mut hour = HourUsage::new(window);
    for row in trees.usage.scan_prefix(codec::usage_hour_key(account, window)) {
        match read(row) {
            Ok(UsageRow { spender, endpoint, tally }) => hour.set(spender.key_id, &endpoint, tally, Kept::InRow),
            Err(error @ StoreError::Damaged { .. }) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "usage of a damaged row is lost");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(hour)
}

/// What the row under a key says, if there is one.
pub(super) fn find_tally(trees: &Trees, key: &[u8]) -> Result<Option<Tally>, StoreError> {
    let bytes = trees.usage.get(key).map_err(engine("read usage"))?;
    bytes.map(|bytes| records::tally_from_bytes(&bytes)).transpose().map_err(damaged("usage", key))
}

fn read(row: sled::Result<(sled::IVec, sled::IVec)>) -> Result<UsageRow, StoreError> {
    let (key, bytes) = row.map_err(engine("list usage"))?;
    records::usage_from_bytes(&key, &bytes).map_err(damaged("usage", &key))
}
