//! All that asks for the same accounts at once: requests, the thread that writes usage, operators, a dump.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use klinky::domain::account::AccountPatch;
use klinky::domain::decision::{Cost, Decision, Limit, Used};
use klinky::domain::endpoint::EndpointName;
use klinky::domain::id::{AccountId, KeyId};
use klinky::domain::plan::{Plan, PlanId};
use klinky::domain::usage::Change;
use klinky::domain::window::Window;
use klinky::plans::first_plans;
use klinky::store::Store;

use crate::harness::{START, at};
use crate::store::{author, open};
use crate::usage_store::account;

/// Longer than a busy machine takes: who has not ended by then waits for ever.
const ENDED_WITHIN: Duration = Duration::from_secs(120);
const REQUESTS: u32 = 20_000;

/// Takes units of all accounts in turn, and notes them. Answers how many were let through.
fn request(store: &Store, accounts: &[AccountId], hour: Window) -> u32 {
    let (key, endpoint) = (KeyId::from_bytes([7; 16]), EndpointName::of_route("GET", "/a"));
    let mut granted = 0;
    for account in accounts.iter().cycle().take(REQUESTS as usize) {
        let counter = store.find_counter(*account).unwrap().unwrap();
        let (_plan, terms) = store.terms_in_force(*account, at(START)).unwrap().unwrap();
        let (decision, _used) = store.take(&counter, hour, terms.limit, Cost::ONE).unwrap();
        if let Decision::Allowed(_) = decision {
            granted += 1;
            store.note_usage(&counter, hour, key, &endpoint, &Change::counted(Cost::ONE));
        }
    }
    granted
}

/// Changes accounts that are in use, and others that come and go, with a plan of their own.
fn operate(store: &Store, accounts: &[AccountId], passing: AccountId, hour: Window) {
    let own = PlanId::new("own").unwrap();
    let plan = Plan { id: own.clone(), ..first_plans().unwrap().remove(0) };
    store.create_plan(plan, &author()).unwrap();
    let gone = account(store);
    let moved = AccountPatch { plan: Some(own.clone()), ..AccountPatch::default() };
    store.update_account(gone, moved, &author()).unwrap();
    store.remove_plan(&own, &author()).unwrap_err();
    for account in accounts {
        let limited = AccountPatch { custom_limit: Some(Some(Limit::new(u32::MAX))), ..AccountPatch::default() };
        store.update_account(*account, limited, &author()).unwrap();
    }
    store.set_used(passing, hour, Used::new(1), &author()).unwrap();
    store.remove_account(gone, &author()).unwrap();
    store.remove_plan(&own, &author()).unwrap();
}

fn until(is_over: &AtomicBool, mut act: impl FnMut()) -> u32 {
    while !is_over.load(Ordering::SeqCst) {
        act();
    }
    0
}

#[test]
fn nobody_waits_for_ever_and_each_unit_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_millis(100)));
    let hour = Window::at(at(START));
    let accounts: Arc<[AccountId]> = (0..4).map(|_nth| account(&store)).collect();
    let (passing, is_over) = (account(&store), Arc::new(AtomicBool::new(false)));
    for account in accounts.iter() {
        let limited = AccountPatch { custom_limit: Some(Some(Limit::new(u32::MAX))), ..AccountPatch::default() };
        store.update_account(*account, limited, &author()).unwrap();
    }

    let (ended, done) = mpsc::channel();
    let start = |act: fn(&Store, &[AccountId], AccountId, &AtomicBool) -> u32| {
        let (store, accounts, is_over, ended) = (store.clone(), accounts.clone(), is_over.clone(), ended.clone());
        thread::spawn(move || ended.send(act(&store, &accounts, passing, &is_over)).unwrap());
    };
    start(|store, accounts, _passing, _over| request(store, accounts, Window::at(at(START))));
    start(|store, accounts, _passing, _over| request(store, accounts, Window::at(at(START))));
    start(|store, accounts, passing, over| until(over, || operate(store, accounts, passing, Window::at(at(START)))));
    start(|store, accounts, passing, over| {
        until(over, || {
            request(store, &[passing], Window::at(at(START)));
            store.fold_usage_of(accounts[0]).unwrap();
            store.fold_all_usage().unwrap();
            assert!(store.counters().all(|counter| counter.is_ok()));
        })
    });

    let end = || done.recv_timeout(ENDED_WITHIN).expect("they wait for each other");
    let granted = end() + end();
    is_over.store(true, Ordering::SeqCst);
    end();
    end();

    assert_eq!(granted, 2 * REQUESTS);
    let used = accounts.iter().map(|account| store.used(*account, hour).unwrap().as_units()).sum::<u32>();
    store.fold_all_usage().unwrap();
    let noted =
        accounts.iter().flat_map(|account| store.usage_of(*account, hour, hour.plus(1))).map(|row| row.unwrap());
    assert_eq!((used, noted.map(|row| row.tally.used).sum::<u64>()), (granted, granted.into()));
}
