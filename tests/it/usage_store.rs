//! The rows of usage by themselves: their bounds, their end, what stands in their way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klinky::accounts::{self, AccountDraft};
use klinky::clock::ManualClock;
use klinky::domain::decision::Cost;
use klinky::domain::endpoint::EndpointName;
use klinky::domain::id::{AccountId, KeyId};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::time::Timestamp;
use klinky::domain::usage::{Change, OTHER_KEYS, RowKey, Spender};
use klinky::domain::window::Window;
use klinky::housekeeping::{Housekeeping, Retention};
use klinky::store::Store;

use crate::harness::{START, at};
use crate::process::wait_until;
use crate::store::{RETENTION, author, open};

pub(crate) fn account(store: &Store) -> AccountId {
    let draft = AccountDraft {
        name: Name::new("Acme").unwrap(),
        email: None,
        plan: PlanId::new("scale").unwrap(),
        custom_limit: None,
        trial: None,
    };
    accounts::create(store, draft, &author()).unwrap().id
}

fn key(number: u16) -> KeyId {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    KeyId::from_bytes(bytes)
}

/// One unit of a key's for an endpoint.
pub(crate) fn unit(account_id: AccountId, at: Timestamp, key_number: u16, path: &str) -> (RowKey, Change) {
    let spender = Spender { account_id, window: Window::at(at), key_id: key(key_number) };
    (RowKey { spender, endpoint: EndpointName::of_route("GET", path) }, Change::counted(Cost::ONE))
}

pub(crate) fn add(store: &Store, changes: impl IntoIterator<Item = (RowKey, Change)>) {
    note(store, changes);
    store.fold_all_usage().unwrap();
}

/// The same, and nothing is folded.
pub(crate) fn add_to_journal(store: &Store, changes: impl IntoIterator<Item = (RowKey, Change)>) {
    note(store, changes);
    store.write_usage().unwrap();
}

/// The same, and nothing is written.
pub(crate) fn note(store: &Store, changes: impl IntoIterator<Item = (RowKey, Change)>) {
    for (RowKey { spender, endpoint }, change) in changes {
        let counter = store.find_counter(spender.account_id).unwrap().unwrap();
        store.note_usage(&counter, spender.window, spender.key_id, &endpoint, &change);
    }
}

fn rows(store: &Store, account: AccountId) -> BTreeMap<(KeyId, String), u64> {
    let all = store.usage_of(account, Window::from_hours(0), Window::from_hours(u32::MAX));
    all.map(|row| {
        let row = row.unwrap();
        ((row.spender.key_id, row.endpoint.to_string()), row.tally.used)
    })
    .collect()
}

#[test]
fn the_rows_of_an_hour_are_bounded_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let account = account(&store);
    let units =
        (0..2500_u16).flat_map(|key| [unit(account, at(START), key, "/a"), unit(account, at(START), key, "/b")]);

    add(&store, units);
    add(&store, (0..2500).map(|key| unit(account, at(START), key, "/a")));

    let found = rows(&store, account);
    assert_eq!(found.values().sum::<u64>(), 7500);
    assert_eq!(found.len(), 2001);
    let nobodys = found[&(OTHER_KEYS, "other".to_owned())];
    let of_keys: u64 =
        found.iter().filter(|((key, name), _)| *key != OTHER_KEYS && name == "other").map(|(_, used)| used).sum();
    assert!(nobodys > 1000 && of_keys > 1000, "{nobodys} of no key, {of_keys} of keys");
}

#[test]
fn each_account_and_hour_has_endpoints_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let (first, second) = (account(&store), account(&store));
    let paths: Vec<String> = (0..250).map(|number| format!("/word{number}")).collect();
    add(&store, paths.iter().map(|path| unit(first, at(START), 1, path)));

    add(&store, [unit(second, at(START), 1, "/own"), unit(first, at("2024-01-15T15:00:00Z"), 1, "/next")]);

    assert!(rows(&store, second).contains_key(&(key(1), "GET /own".to_owned())));
    let found = rows(&store, first);
    assert!(found.contains_key(&(key(1), "GET /next".to_owned())));
    assert_eq!((found.len(), found[&(key(1), "other".to_owned())]), (202, 50));
}

#[test]
fn usage_goes_with_its_account_also_what_comes_late() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_millis(100)));
    let (gone, stays) = (account(&store), account(&store));
    let instants = (0..2500).map(|hours| at(START).plus(Duration::from_secs(hours * 3600)));
    add(&store, instants.map(|at| unit(gone, at, 1, "/a")));
    add(&store, [unit(stays, at(START), 1, "/a")]);
    let counter = store.find_counter(gone).unwrap().unwrap();
    let note = |path| {
        let (RowKey { spender, endpoint }, change) = unit(gone, at(START), 1, path);
        store.note_usage(&counter, spender.window, spender.key_id, &endpoint, &change);
    };
    note("/before");

    store.remove_account(gone, &author()).unwrap();
    note("/late");
    store.fold_all_usage().unwrap();

    assert_eq!(store.usage().count(), 1);
    assert_eq!(rows(&store, stays).len(), 1);
}

#[test]
fn housekeeping_purges_hours_older_than_the_retention_and_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_millis(100)));
    let (first, second) = (account(&store), account(&store));
    let (old, kept) = (at("2024-01-13T23:59:59Z"), at("2024-01-14T00:00:00Z"));
    add(&store, (0..1500).map(|key| unit(first, old, key, "/a")));
    add(&store, [first, second].into_iter().flat_map(|of| [unit(of, old, 1, "/a"), unit(of, kept, 1, "/a")]));
    add(&store, [unit(second, at(START), 1, "/a")]);

    let retention = Retention { usage_days: 1, ..RETENTION };
    let mut housekeeping =
        Housekeeping::start(Arc::clone(&store), Arc::new(ManualClock::at(at(START))), retention).unwrap();
    wait_until("the old usage is purged", || store.usage().count() <= 3);
    housekeeping.stop();

    let left: Vec<(AccountId, Window)> =
        store.usage().map(|row| row.unwrap().spender).map(|spender| (spender.account_id, spender.window)).collect();
    let mut wanted = [(first, Window::at(kept)), (second, Window::at(kept)), (second, Window::at(at(START)))];
    wanted.sort();
    assert_eq!(left, wanted);
}

#[test]
fn a_closed_store_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let account = account(&store);
    store.close().unwrap();
    note(&store, [unit(account, at(START), 1, "/a")]);

    assert!(store.write_usage().is_err());
    assert!(store.fold_usage_of(account).is_err());
    assert!(store.fold_usage(Window::at(at(START))).is_err());

    drop(store);
    assert_eq!(open(dir.path(), Duration::from_millis(100)).usage().count(), 0);
}
