//! Counters: units used, one counter per account and window. [`Counters::take`] is the product.
//!
//! An account's units are taken from sled in blocks, by compare-and-swap, and from the block one by one in memory. The
//! rules of such a lease:
//! - The row in sled is the end of the block: never less than what is used. A block is taken with its first unit and
//!   has up to a hundredth of the limit besides, at most 64 in all, and ends at the limit. So a crash, after which the
//!   counter goes on at the end of the block, costs a client at most a hundredth of its limit, and gives it nothing
//!   that was on disk.
//! - There is one lease per account, for all threads, behind the account's lock. The decision is made on the units really
//!   used, under that lock, so that it is as exact as a compare-and-swap per request.
//! - The limit comes along with each request. A lower one stops requests in the middle of a block.
//! - A unit is durable once the row of its block is: who is counted waits for at most that.
//! - Whoever reads a counter reads the lease, if there is one. Whoever sets one holds the lease and ends it.
//! - A lease ends with its window, or at a clean stop, and then writes what was really used.

use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::codec::{self, Damage};
use super::commits::{CommitNumber, Commits};
use super::memory::{AccountCounter, Memory};
use super::{StoreError, codec_numbers, damaged, engine, steps};
use crate::domain::decision::{Cost, Decision, Limit, Used, decide};
use crate::domain::id::AccountId;
use crate::domain::window::Window;

/// Most units of a block: what a crash may cost a client with the largest limits. Larger ones save next to nothing.
const BLOCK_UNITS_MAX: u32 = 64;
/// What a crash may cost of a limit is one in so many of its units.
const LIMIT_PER_LOSS: u32 = 100;

/// The tree of counters. The leases on it are with the accounts in memory.
pub(super) struct Counters {
    tree: sled::Tree,
    memory: Arc<Memory>,
    commits: Arc<Commits>,
    /// Blocks that were taken from sled since the start.
    blocks: AtomicU64,
}

/// The block of units that an account takes from.
#[derive(Clone, Copy)]
pub(super) struct Lease {
    window: Window,
    /// Units really used.
    used: Used,
    /// The row in sled; `None` before the first.
    row: Option<Row>,
}

/// What sled has of a lease.
#[derive(Clone, Copy)]
struct Row {
    /// Where the block ends.
    end: Used,
    /// The commit with which that is on disk.
    durable_with: CommitNumber,
}

impl Lease {
    /// None: of a window that never comes, in the place of an `Option`, for which there is no room.
    pub(super) const NONE: Self = Self { window: Window::from_hours(u32::MAX), used: Used::new(0), row: None };

    fn stored(&self) -> Option<Used> {
        self.row.map(|row| row.end)
    }
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
    pub(super) fn new(tree: sled::Tree, memory: Arc<Memory>, commits: Arc<Commits>) -> Self {
        Self { tree, memory, commits, blocks: AtomicU64::new(0) }
    }

    /// Decides and counts in one atomic step. Answers the decision and what is used after it.
    ///
    /// Any number of callers may race; the account's lock lets them through one by one. The
    /// compare-and-swap fails only when a clock has stepped back into an hour whose rows are being purged; then what is left
    /// counts. Exactly `limit` units are let through. A denial writes nothing.
    pub(super) fn take(
        &self,
        counter: &AccountCounter,
        window: Window,
        limit: Limit,
        cost: Cost,
    ) -> Result<(Decision, Used), StoreError> {
        let account = counter.account_id();
        let mut held = counter.lease();
        let lease = self.renew(account, &mut held, window)?;
        loop {
            let decision = decide(limit, lease.used, cost);
            let Decision::Allowed(after) = decision else { return Ok((decision, lease.used)) };
            let needs_no_block = match lease.row {
                Some(row) => after <= row.end,
                // The account was removed since the request found it, and a row would outlive it.
                None => self.memory.known_counter(account).as_ref() != Some(counter),
            };
            if needs_no_block {
                lease.used = after;
                return Ok((decision, after));
            }
            let end = block_end(after, limit);
            let key = codec::counter_key(window, account);
            match self.swap(&key, lease.stored(), end)? {
                ControlFlow::Break(()) => {
                    self.blocks.fetch_add(1, Ordering::Relaxed);
                    // After the write: a commit that begins from now on has it.
                    *lease = Lease { window, used: after, row: Some(Row { end, durable_with: self.commits.next() }) };
                    return Ok((decision, after));
                }
                ControlFlow::Continue(current) => *lease = self.lease_of(window, read(&key, current.as_deref())?),
            }
        }
    }

    /// Blocks of units that were taken from sled since the start.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Whether all that an account was let through in a window is on disk, or at least counted there.
    pub(super) fn is_durable(&self, counter: &AccountCounter, window: Window) -> bool {
        let lease = *counter.lease();
        lease.window == window && lease.row.is_some_and(|row| self.commits.is_done(row.durable_with))
    }

    /// Gives a counted request's units back, for one that could not be stored after all. An account that was removed
    /// meanwhile has no use for them.
    pub(super) fn give_back(&self, account: AccountId, window: Window, cost: Cost) -> Result<(), StoreError> {
        let Some(counter) = self.memory.find_counter(account)? else { return Ok(()) };
        let mut held = counter.lease();
        let lease = self.renew(account, &mut held, window)?;
        lease.used = lease.used.minus(cost);
        Ok(())
    }

    /// Units used by an account in a window.
    pub(super) fn used(&self, account: AccountId, window: Window) -> Result<Used, StoreError> {
        if let Some(counter) = self.memory.find_counter(account)? {
            let lease = *counter.lease();
            if lease.window == window {
                return Ok(lease.used);
            }
        }
        Ok(self.stored(account, window)?.unwrap_or_default())
    }

    /// Runs a write that sets counters of `account`, while nobody takes from them.
    pub(super) fn set_with(
        &self,
        account: AccountId,
        write: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(counter) = self.memory.find_counter(account)? else { return write() };
        let mut held = counter.lease();
        self.settle(account, &held)?;
        let written = write();
        *held = Lease::NONE;
        written
    }

    /// Ends the lease of an account that is no longer in memory, and removes its row, which a request may have written since the
    /// account was removed from sled.
    pub(super) fn forget(&self, counter: &AccountCounter) -> Result<(), StoreError> {
        // Held until the row is gone: who takes meanwhile would read it.
        let mut held = counter.lease();
        let lease = mem::replace(&mut *held, Lease::NONE);
        if lease.row.is_none() {
            return Ok(());
        }
        let key = codec::counter_key(lease.window, counter.account_id());
        self.tree.remove(key).map_err(engine("remove a counter"))?;
        Ok(())
    }

    /// Ends all leases, for a clean stop: the rows say what was really used.
    pub(super) fn settle_all(&self) -> Result<(), StoreError> {
        let mut counters = self.memory.all_counters();
        // In the order of the rows, since with many accounts most leaves are on disk alone: each is read once for all its rows.
        counters.sort_by_cached_key(AccountCounter::account_id);
        counters.iter().try_for_each(|counter| {
            let mut held = counter.lease();
            let lease = mem::replace(&mut *held, Lease::NONE);
            self.settle(counter.account_id(), &lease)
        })
    }

    /// All counters, the oldest hour first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
        self.list(self.tree.iter())
    }

    /// The counters of one window, in the order of the accounts' ids.
    pub(super) fn in_window(
        &self,
        window: Window,
    ) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
        self.list(self.tree.scan_prefix(codec::window_prefix(window)))
    }

    /// Deletes up to a step of counters of windows before `first_kept`, oldest first. Answers how many it deleted.
    pub(super) fn purge_step(&self, first_kept: Window) -> Result<usize, StoreError> {
        let end = codec::window_prefix(first_kept);
        steps::delete(&self.tree, self.tree.range::<[u8; 4], _>(..end).keys(), "purge counters")
    }

    /// The lease for `window` in a counter that is held. One for another window ends.
    fn renew<'l>(&self, account: AccountId, held: &'l mut Lease, window: Window) -> Result<&'l mut Lease, StoreError> {
        if held.window != window {
            self.settle(account, held)?;
            *held = self.lease_of(window, self.stored(account, window)?);
        }
        Ok(held)
    }

    /// A lease of no units yet. What was stored may have been written just now, by the end of an earlier lease or by an
    /// operator, so it is on disk with the next commit.
    fn lease_of(&self, window: Window, stored: Option<Used>) -> Lease {
        let row = stored.map(|end| Row { end, durable_with: self.commits.next() });
        Lease { window, used: stored.unwrap_or_default(), row }
    }

    /// Writes what was really used, unless the row is purged. A damaged row stays as it is: it must not keep others from being
    /// written, nor the next hour from beginning.
    fn settle(&self, account: AccountId, lease: &Lease) -> Result<(), StoreError> {
        if lease.stored().is_none_or(|end| end == lease.used) {
            return Ok(());
        }
        match self.swap(&codec::counter_key(lease.window, account), lease.stored(), lease.used) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a counter stays at the end of its block");
                Ok(())
            }
            settled => settled.map(|_set_since| ()),
        }
    }

    fn stored(&self, account: AccountId, window: Window) -> Result<Option<Used>, StoreError> {
        let key = codec::counter_key(window, account);
        let stored = self.tree.get(key).map_err(engine("read a counter"))?;
        read(&key, stored.as_deref())
    }

    /// Breaks when the swap was made, goes on with the value that somebody else left.
    fn swap(
        &self,
        key: &[u8],
        old: Option<Used>,
        new: Used,
    ) -> Result<ControlFlow<(), Option<sled::IVec>>, StoreError> {
        let new = codec_numbers::used_value(key, new);
        let mut value = old.map(|old| sled::IVec::from(&codec_numbers::used_value(key, old)));
        loop {
            let swapped =
                self.tree.compare_and_swap(key, value.as_ref(), Some(&new)).map_err(engine("count a request"))?;
            let Err(lost) = swapped else { return Ok(ControlFlow::Break(())) };
            if lost.current == value || read(key, lost.current.as_deref())? != old {
                return Ok(ControlFlow::Continue(lost.current));
            }
            // It is the same number, as an earlier version wrote it.
            value = lost.current;
        }
    }

    fn list(&self, rows: sled::Iter) -> impl Iterator<Item = Result<Counter, StoreError>> + Send + 'static {
        let memory = Arc::clone(&self.memory);
        rows.map(move |row| {
            let (key, value) = row.map_err(engine("list counters"))?;
            let counter = || -> Result<Counter, Damage> {
                let (window, account_id) = codec::parse_counter_key(&key)?;
                let stored = codec_numbers::parse_used(&key, &value)?;
                let counter = memory.known_counter(account_id);
                let lease = counter.map(|counter| *counter.lease()).filter(|lease| lease.window == window);
                Ok(Counter { account_id, window, used: lease.map_or(stored, |lease| lease.used) })
            };
            counter().map_err(damaged("counters", &key))
        })
    }
}

/// Where the block ends whose first units lead to `after`, which is at most `limit`.
fn block_end(after: Used, limit: Limit) -> Used {
    let unused = (limit.as_units() / LIMIT_PER_LOSS).min(BLOCK_UNITS_MAX.saturating_sub(1));
    Used::new(after.as_units().saturating_add(unused).min(limit.as_units()))
}

fn read(key: &[u8], stored: Option<&[u8]>) -> Result<Option<Used>, StoreError> {
    stored.map(|bytes| codec_numbers::parse_used(key, bytes).map_err(damaged("counters", key))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Terms;
    use crate::domain::plan::PlanId;

    #[test]
    fn an_account_that_is_removed_leaves_no_row_behind_whatever_its_last_requests_do() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap();
        let tree = db.open_tree("counters").unwrap();
        let memory = Arc::new(Memory::with_room(0, 0, None));
        let counters = Counters::new(tree.clone(), Arc::clone(&memory), Arc::default());
        let account = AccountId::from_bytes([1; 16]);
        memory.add_account(account, Arc::new(Terms::on(PlanId::new("scale").unwrap())));
        let counter = memory.find_counter(account).unwrap().unwrap();
        let take = |window| {
            let taken = counters.take(&counter, Window::from_hours(window), Limit::new(1), Cost::ONE).unwrap();
            taken.0 != Decision::Denied
        };
        assert!(take(7));
        assert_eq!(tree.len(), 1);

        counters.forget(&memory.remove_account(account).unwrap()).unwrap();

        assert!(tree.is_empty());
        assert_eq!([take(7), take(7), take(8)], [true, false, true]);
        counters.settle_all().unwrap();
        assert!(tree.is_empty());
    }

    #[test]
    fn a_row_that_is_damaged_under_a_lease_keeps_no_other_from_being_settled_nor_the_next_hour_from_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::Config::new().path(dir.path()).flush_every_ms(None).open().unwrap();
        let tree = db.open_tree("counters").unwrap();
        let memory = Arc::new(Memory::with_room(0, 0, None));
        let counters = Counters::new(tree.clone(), Arc::clone(&memory), Arc::default());
        let (hour, next) = (Window::from_hours(7), Window::from_hours(8));
        let [damaged, whole] = [1, 2].map(|id| AccountId::from_bytes([id; 16]));
        let take = |account, window| {
            let counter = memory.find_counter(account).unwrap().unwrap();
            counters.take(&counter, window, Limit::new(1000), Cost::ONE).unwrap().1.as_units()
        };
        let plan = PlanId::new("scale").unwrap();
        for account in [damaged, whole] {
            memory.add_account(account, Arc::new(Terms::on(plan.clone())));
            assert_eq!(take(account, hour), 1);
        }
        tree.insert(codec::counter_key(hour, damaged), &[0; 8]).unwrap();

        assert_eq!(take(damaged, next), 1);
        tree.insert(codec::counter_key(next, damaged), &[0; 8]).unwrap();
        counters.settle_all().unwrap();

        assert_eq!(counters.used(whole, hour).unwrap(), Used::new(1));
        for window in [hour, next] {
            assert!(matches!(counters.used(damaged, window), Err(StoreError::Damaged { .. })));
        }
    }
}
