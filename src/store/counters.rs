//! Counters: units used, one counter per account and window. [`Counters::take`] is the product.

use std::ops::ControlFlow;

use super::codec::{self, Damage};
use super::{StoreError, damaged, engine};
use crate::domain::decision::{Cost, Decision, Limit, Used, decide};
use crate::domain::id::AccountId;
use crate::domain::window::Window;

/// Rows that one purge step deletes: sled re-uses space, but never gives it back, so deletes must
/// keep up; in steps, so that no request waits behind a large one.
pub(crate) const PURGE_STEP_ROWS: usize = 1000;

/// The tree of counters.
pub(super) struct Counters {
    tree: sled::Tree,
}

/// One counter, as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Whose it is.
    pub account_id: AccountId,
    /// The hour it counts.
    pub window: Window,
    /// Units used.
    pub used: Used,
}

impl Counters {
    pub(super) fn new(tree: sled::Tree) -> Self {
        Self { tree }
    }

    /// Decides and counts in one atomic step. Answers the decision and what is used after it.
    ///
    /// Any number of callers may race. The compare-and-swap lets exactly one of them change a
    /// counter from a value that they all read; the others read again. A caller loses only when
    /// another request was counted, so after at most `limit` losses the answer is a denial: the
    /// loop ends, and exactly `limit` units are let through. A denial writes nothing.
    pub(super) fn take(
        &self,
        account: AccountId,
        window: Window,
        limit: Limit,
        cost: Cost,
    ) -> Result<(Decision, Used), StoreError> {
        let key = codec::counter_key(window, account);
        let mut stored = self.tree.get(key).map_err(engine("read a counter"))?;
        loop {
            let used = read(&key, stored.as_deref())?;
            let decision = decide(limit, used, cost);
            let after = match decision {
                Decision::Denied => return Ok((decision, used)),
                Decision::Allowed(after) => after,
            };
            match self.swap(&key, stored.as_deref(), after)? {
                ControlFlow::Break(()) => return Ok((decision, after)),
                ControlFlow::Continue(current) => stored = current,
            }
        }
    }

    /// Gives a counted request's units back, for one that could not be stored after all.
    pub(super) fn give_back(&self, account: AccountId, window: Window, cost: Cost) -> Result<(), StoreError> {
        let key = codec::counter_key(window, account);
        let mut stored = self.tree.get(key).map_err(engine("read a counter"))?;
        loop {
            let after = read(&key, stored.as_deref())?.minus(cost);
            match self.swap(&key, stored.as_deref(), after)? {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(current) => stored = current,
            }
        }
    }

    /// Units used by an account in a window.
    pub(super) fn used(&self, account: AccountId, window: Window) -> Result<Used, StoreError> {
        let key = codec::counter_key(window, account);
        let stored = self.tree.get(key).map_err(engine("read a counter"))?;
        read(&key, stored.as_deref())
    }

    /// All counters, the oldest hour first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
        list(self.tree.iter())
    }

    /// The counters of one window, in the order of the accounts' ids.
    pub(super) fn in_window(
        &self,
        window: Window,
    ) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
        list(self.tree.scan_prefix(codec::window_prefix(window)))
    }

    /// Deletes up to [`PURGE_STEP_ROWS`] counters of windows before `first_kept`, oldest first.
    /// Answers how many it deleted; fewer than the step means that none is left.
    pub(super) fn purge_step(&self, first_kept: Window) -> Result<usize, StoreError> {
        let end = codec::window_prefix(first_kept);
        let mut batch = sled::Batch::default();
        let mut rows: usize = 0;
        for key in self.tree.range::<[u8; 4], _>(..end).keys().take(PURGE_STEP_ROWS) {
            batch.remove(key.map_err(engine("list counters"))?);
            rows = rows.saturating_add(1);
        }
        self.tree.apply_batch(batch).map_err(engine("purge counters"))?;
        Ok(rows)
    }

    /// Breaks when the swap was made, goes on with the value that another request left.
    fn swap(
        &self,
        key: &[u8],
        old: Option<&[u8]>,
        new: Used,
    ) -> Result<ControlFlow<(), Option<sled::IVec>>, StoreError> {
        let swapped =
            self.tree.compare_and_swap(key, old, Some(&codec::used_value(new))).map_err(engine("count a request"))?;
        Ok(match swapped {
            Ok(()) => ControlFlow::Break(()),
            Err(lost) => ControlFlow::Continue(lost.current),
        })
    }
}

fn list(rows: sled::Iter) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
    rows.map(|row| {
        let (key, value) = row.map_err(engine("list counters"))?;
        let counter = || -> Result<Counter, Damage> {
            let (window, account_id) = codec::parse_counter_key(&key)?;
            Ok(Counter { account_id, window, used: codec::parse_used(&value)? })
        };
        counter().map_err(damaged("counters", &key))
    })
}

fn read(key: &[u8], stored: Option<&[u8]>) -> Result<Used, StoreError> {
    match stored {
        Some(bytes) => codec::parse_used(bytes).map_err(damaged("counters", key)),
        None => Ok(Used::default()),
    }
}
