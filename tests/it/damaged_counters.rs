//! Counters whose bytes are not what was written: a damaged one stops its account, and no other, until it is set.

use std::time::Duration;

use klinky::domain::decision::{Cost, Decision, Limit, Used};
use klinky::domain::id::AccountId;
use klinky::domain::window::Window;
use klinky::store::{Store, StoreError};

use crate::harness::{START, at};
use crate::leases::account;
use crate::store::{author, open};
use crate::verify::change_engine;

const FLUSH: Duration = Duration::from_millis(100);
const LIMIT: u32 = 1000;

fn window() -> Window {
    Window::at(at(START))
}

fn take(store: &Store, account: AccountId) -> Result<(Decision, Used), StoreError> {
    store.take(&store.find_counter(account).unwrap().unwrap(), window(), Limit::new(LIMIT), Cost::ONE)
}

fn used(store: &Store, account: AccountId) -> u32 {
    store.used(account, window()).unwrap().as_units()
}

/// A closed store in which some accounts have used seven units each.
fn closed(dir: &std::path::Path, accounts: usize) -> Vec<AccountId> {
    let store = open(dir, FLUSH);
    let ids: Vec<AccountId> = (0..accounts).map(|_account| account(&store)).collect();
    for id in &ids {
        for _unit in 0..7 {
            take(&store, *id).unwrap();
        }
    }
    store.close().unwrap();
    ids
}

/// Changes the value of the account's counter.
fn change(dir: &std::path::Path, account: AccountId, change: impl Fn(&[u8]) -> Vec<u8>) {
    change_engine(dir, |db| {
        let counters = db.open_tree("counters").unwrap();
        let key = [&window().as_hours().to_be_bytes(), &account.as_bytes()[..]].concat();
        let value = counters.get(&key).unwrap().unwrap();
        counters.insert(key, change(&value)).unwrap();
    });
}

#[test]
fn a_damaged_counter_is_named_and_stops_its_account_until_it_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let [damaged, whole] = closed(dir.path(), 2)[..] else { unreachable!() };
    change(dir.path(), damaged, |value| [&[value[0] ^ 1], &value[1..]].concat());
    let store = open(dir.path(), FLUSH);

    let refused = take(&store, damaged).unwrap_err().to_string();
    take(&store, whole).unwrap();
    store.set_used(damaged, window(), Used::new(3), &author()).unwrap();
    take(&store, damaged).unwrap();

    assert!(refused.starts_with("damaged record in counters under "), "{refused}");
    assert!(refused.ends_with("its checksum does not match"), "{refused}");
    assert_eq!((used(&store, damaged), used(&store, whole)), (4, 8));
    store.close().unwrap();
}

/// Until November 2026 there was no checksum behind the number.
#[test]
fn a_counter_of_an_earlier_version_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let ids = closed(dir.path(), 1);
    change(dir.path(), ids[0], |value| value[..4].to_vec());
    let store = open(dir.path(), FLUSH);

    let passed = (0..LIMIT).filter(|_unit| matches!(take(&store, ids[0]).unwrap().0, Decision::Allowed(_))).count();

    assert_eq!(passed, 993);
    assert_eq!(used(&store, ids[0]), LIMIT);
    store.close().unwrap();
}

#[test]
fn a_damaged_last_use_of_a_key_stops_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let ids = closed(dir.path(), 1);
    change_engine(dir.path(), |db| {
        db.open_tree("last_used").unwrap().insert([7; 32], &[1; 12]).unwrap();
    });

    let store = open(dir.path(), FLUSH);

    assert_eq!(used(&store, ids[0]), 7);
}
