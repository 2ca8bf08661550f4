//! Usage on its way from a request: noted with the account in memory, in the same step in which its units are counted, so
//! that the sum of an hour's usage is its counter, whatever becomes of the request.
//!
//! What is noted is written by one thread, which looks for it every some milliseconds (`usage_journal.rs`). So that it
//! need not look at all accounts, each that has something unwritten is on a list, once.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::memory::AccountCounter;
use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::usage::Change;
use crate::domain::usage_hour::HourUsage;
use crate::domain::window::Window;

/// Lists of accounts: as long as there are no more workers than that, each has one for itself, whose lock is free
/// whenever it comes.
const LISTS: usize = 16;

/// What the thread that writes usage has to look at.
#[derive(Default)]
pub(super) struct NotedUsage {
    lists: [Mutex<Vec<AccountCounter>>; LISTS],
    /// Of accounts that have gone on to another hour, what was noted of the one before. In the order in which they went.
    ended: Mutex<Vec<(AccountId, HourUsage)>>,
}

impl NotedUsage {
    /// Notes what a request came to that a key of the account's made in an hour.
    pub(super) fn note(
        &self,
        counter: &AccountCounter,
        window: Window,
        key_id: KeyId,
        endpoint: &EndpointName,
        change: &Change,
    ) {
        let mut held = counter.usage();
        if let Some(other) = held.take_if(|hour| hour.window() != window) {
            self.ended.lock().push((counter.account_id(), *other));
        }
        let hour = held.get_or_insert_with(|| Box::new(HourUsage::new(window)));
        let is_first = hour.add(key_id, endpoint, change);
        drop(held);
        if is_first {
            self.put_back([counter.clone()]);
        }
    }

    /// Says of accounts that they have usage that is not written.
    pub(super) fn put_back(&self, counters: impl IntoIterator<Item = AccountCounter>) {
        if let Some(list) = self.lists.get(own_list()) {
            list.lock().extend(counters);
        }
    }

    /// Takes the accounts of one list after the other.
    pub(super) fn take_lists(&self) -> impl Iterator<Item = Vec<AccountCounter>> {
        self.lists.iter().map(|list| std::mem::take(&mut *list.lock()))
    }

    pub(super) fn take_ended(&self) -> Vec<(AccountId, HourUsage)> {
        std::mem::take(&mut *self.ended.lock())
    }

    /// Puts back what was taken and could not be used.
    pub(super) fn put_back_ended(&self, ended: impl IntoIterator<Item = (AccountId, HourUsage)>) {
        self.ended.lock().splice(..0, ended);
    }

    /// Forgets all of it, for a store that is emptied.
    pub(super) fn clear(&self) {
        self.lists.iter().for_each(|list| list.lock().clear());
        self.ended.lock().clear();
    }
}

/// The list of the thread that asks.
fn own_list() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LIST: Cell<Option<usize>> = const { Cell::new(None) };
    }
    LIST.with(|list| {
        list.get().unwrap_or_else(|| {
            let next = THREADS.fetch_add(1, Ordering::Relaxed) % LISTS;
            list.set(Some(next));
            next
        })
    })
}
