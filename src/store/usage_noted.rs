//! Usage on its way from a request: noted with the account in memory right after its units are counted, with nothing between
//! that could fail, so that the sum of an hour's usage is its counter, whatever becomes of the request.
//!
//! What is noted is written by one thread, which looks for it every some milliseconds (`usage_journal.rs`). So that it
//! need not look at all accounts, each that has something unwritten is on a list, once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Store;
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
    /// Of accounts that have gone on to a later hour, what was noted of the one before, also what came too late for it:
    /// of requests that run over the top of the hour, or of all while a clock has stepped back.
    ended: Mutex<Ended>,
}

/// Hours that accounts have left. What came later stands for itself alone, and is added to what came before. Boxed, as all
/// accounts leave an hour at about the same time, and nodes of a tree are half empty.
pub(super) type Ended = BTreeMap<(AccountId, Window), Box<HourUsage>>;

impl Store {
    /// Notes what a request came to that was decided on in an hour. It waits for others of the account's at most, some
    /// tens of nanoseconds each, and is on disk as soon as it is [written](Self::write_usage) and committed.
    pub fn note_usage(
        &self,
        counter: &AccountCounter,
        window: Window,
        key_id: KeyId,
        endpoint: &EndpointName,
        change: &Change,
    ) {
        let mut held = counter.usage();
        if held.as_ref().is_some_and(|hour| hour.window() > window) {
            // Held until it is there: who makes an hour complete must not come between.
            let place = (counter.account_id(), window);
            let mut ended = self.noted.ended.lock();
            ended.entry(place).or_insert_with(|| Box::new(HourUsage::new(window))).add(key_id, endpoint, change);
            return;
        }
        if let Some(left) = held.take_if(|hour| hour.window() < window) {
            self.noted.put_back_ended([((counter.account_id(), left.window()), left)]);
        }
        let hour = held.get_or_insert_with(|| Box::new(HourUsage::new(window)));
        let is_first = hour.add(key_id, endpoint, change);
        drop(held);
        if is_first {
            self.noted.put_back([counter.clone()]);
        }
    }
}

impl NotedUsage {
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

    pub(super) fn take_ended(&self) -> Ended {
        std::mem::take(&mut *self.ended.lock())
    }

    /// Whether there are hours that an account has left.
    pub(super) fn has_ended(&self, account: AccountId) -> bool {
        let of_account = (account, Window::from_hours(0))..=(account, Window::from_hours(u32::MAX));
        self.ended.lock().range(of_account).next().is_some()
    }

    /// Hours that accounts have left, before what came too late for them.
    pub(super) fn put_back_ended(&self, hours: impl IntoIterator<Item = ((AccountId, Window), Box<HourUsage>)>) {
        let mut ended = self.ended.lock();
        for (place, mut hour) in hours {
            if let Some(late) = ended.remove(&place) {
                hour.add_later(*late);
            }
            ended.insert(place, hour);
        }
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
