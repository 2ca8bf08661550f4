//! A store serves before all accounts and keys are read, and what it answers is the same as afterwards.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use klinky::accounts::{self, AccountDraft};
use klinky::domain::account::{Account, Terms};
use klinky::domain::decision::{Cost, Limit, Used};
use klinky::domain::id::AccountId;
use klinky::domain::key::{KeyFormat, KeyHash, Scope};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::window::Window;
use klinky::dump::{self, DumpError, DumpFilter};
use klinky::keys::{self, KeyDraft};
use klinky::plans::first_plans;
use klinky::store::{DirectoryError, OpenError, Store, StoreError, StoreOptions, Unfinished};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{START, at};
use crate::process::{klinky, run};
use crate::store::{author, open};
use crate::usage_store::{add_to_journal, note, unit};
use crate::verify::{change_engine, flip};

const LATER: &str = "2024-01-15T14:31:00Z";
const PLENTY: Limit = Limit::new(1_000_000);

pub(crate) fn open_early(dir: &Path, flush_within: Duration) -> (Store, Unfinished) {
    Store::open_early(&StoreOptions { dir: dir.to_owned(), flush_within }, &first_plans().unwrap()).unwrap()
}

fn early(dir: &Path) -> (Store, Unfinished) {
    open_early(dir, Duration::from_millis(100))
}

fn add_account(store: &Store) -> Result<AccountId, DirectoryError> {
    let (name, plan) = (Name::new("early").unwrap(), PlanId::new("growth").unwrap());
    let draft = AccountDraft { name, email: None, plan, custom_limit: None, trial: None };
    Ok(accounts::create(store, draft, &author())?.id)
}

fn add_key(store: &Store, account: AccountId) -> KeyHash {
    let draft = KeyDraft { name: Name::new("ci").unwrap(), scope: Scope::ReadWrite, expires_at: None };
    keys::issue(store, &KeyFormat::new("klinky").unwrap(), account, draft, &author()).unwrap().key.hash
}

/// A closed store of so many accounts with a key each.
fn closed(accounts: usize) -> (TempDir, Vec<(AccountId, KeyHash)>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let made = (0..accounts).map(|_| add_account(&store).unwrap()).map(|id| (id, add_key(&store, id))).collect();
    store.close().unwrap();
    (dir, made)
}

fn take(store: &Store, key: &KeyHash) -> u32 {
    let holder = store.find_holder(key, at(START)).unwrap().unwrap();
    store.take(&holder.counter, Window::at(at(START)), PLENTY, Cost::ONE).unwrap().1.as_units()
}

#[test]
fn what_is_asked_for_before_it_was_read_is_found_and_goes_on_as_it_was_afterwards() {
    let (dir, made) = closed(3);
    let [(first, key), (second, _), _] = made[..] else { panic!() };
    let (store, unfinished) = early(dir.path());

    assert_eq!([take(&store, &key), take(&store, &key)], [1, 2]);
    let early = store.find_counter(first).unwrap().unwrap();
    let other = store.find_counter(second).unwrap().unwrap();
    let (plan, terms) = store.terms_in_force(second, at(START)).unwrap().unwrap();
    assert_eq!((plan.as_str(), terms.limit), ("growth", Limit::new(100)));
    assert!(store.find_terms(AccountId::from_bytes([9; 16])).unwrap().is_none());
    assert!(store.find_holder(&KeyHash::from_bytes([9; 32]), at(START)).unwrap().is_none());

    unfinished.finish(&store).unwrap();

    assert_eq!(take(&store, &key), 3);
    assert_eq!(store.find_counter(first).unwrap(), Some(early));
    assert_eq!(store.find_counter(second).unwrap(), Some(other));
    let (_plans, accounts, keys) = store.stats().map(|stats| (stats.plans, stats.accounts, stats.keys)).unwrap();
    assert_eq!((accounts, keys), (3, 3));
    let listed = store.list_keys(first, None, 10).unwrap().items;
    assert_eq!(listed[0].last_used_at, Some(at(START)));
}

#[test]
fn the_last_use_of_a_key_is_known_before_all_are_read() {
    let (dir, made) = closed(1);
    let (account, key) = made[0];
    let store = open(dir.path(), Duration::from_millis(100));
    assert!(store.find_holder(&key, at(LATER)).unwrap().is_some());
    store.close().unwrap();
    drop(store);

    let (store, _unfinished) = early(dir.path());

    assert_eq!(store.list_keys(account, None, 10).unwrap().items[0].last_used_at, Some(at(LATER)));
}

#[test]
fn an_ended_key_does_not_work_before_all_are_read() {
    let (dir, made) = closed(1);
    let store = open(dir.path(), Duration::from_millis(100));
    let id = store.list_keys(made[0].0, None, 10).unwrap().items[0].key.id;
    store.revoke_key(id, None, &author()).unwrap();
    store.close().unwrap();
    drop(store);

    let (store, _unfinished) = early(dir.path());

    assert!(store.find_holder(&made[0].1, at(LATER)).unwrap().is_none());
}

#[test]
fn requests_beside_the_reading_are_counted_exactly() {
    const THREADS: u32 = 4;
    const EACH: u32 = 3;
    let (dir, made) = closed(200);
    let (store, unfinished) = early(dir.path());

    thread::scope(|scope| {
        for _thread in 0..THREADS {
            scope.spawn(|| (0..EACH).for_each(|_| made.iter().for_each(|(_, key)| assert!(take(&store, key) > 0))));
        }
        scope.spawn(|| unfinished.finish(&store).unwrap());
    });

    for (account, _key) in &made {
        assert_eq!(store.used(*account, Window::at(at(START))).unwrap(), Used::new(THREADS * EACH));
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.accounts, stats.keys), (200, 200));
}

#[test]
fn usage_of_before_a_crash_and_of_while_the_journal_is_read_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let account = add_account(&store).unwrap();
    add_to_journal(&store, [unit(account, at(START), 1, "/a")]);
    store.probe().unwrap();
    drop(store);

    let (store, unfinished) = early(dir.path());
    note(&store, [unit(account, at(START), 1, "/a")]);
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(store.fold_all_usage()).unwrap());
        assert!(matches!(receiver.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout)));
        unfinished.finish(&store).unwrap();
        receiver.recv().unwrap().unwrap();
    });

    let rows = store.usage_of(account, Window::from_hours(0), Window::from_hours(u32::MAX));
    let used: Vec<u64> = rows.map(|row| row.unwrap().tally.used).collect();
    assert_eq!(used, [2]);
}

#[test]
fn writes_of_operators_wait_until_all_is_read() {
    let (dir, made) = closed(1);
    let (store, unfinished) = early(dir.path());
    let (sender, receiver) = channel();

    thread::scope(|scope| {
        scope.spawn(|| sender.send(add_account(&store).unwrap()).unwrap());
        let early = receiver.recv_timeout(Duration::from_millis(100));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        // What no rule of theirs needs does not wait.
        assert_eq!(take(&store, &made[0].1), 1);
        unfinished.finish(&store).unwrap();
        let added = receiver.recv().unwrap();
        assert!(store.find_terms(added).unwrap().is_some());
    });
}

#[test]
fn a_crash_while_it_is_read_forgets_nothing_that_was_on_disk() {
    let (dir, made) = closed(2);
    let (store, _unfinished) = early(dir.path());
    assert_eq!(take(&store, &made[0].1), 1);
    store.probe().unwrap();
    drop(store);

    let store = open(dir.path(), Duration::from_millis(100));

    // Blocks of 64 units: the counter goes on at the end of one.
    assert_eq!(store.used(made[0].0, Window::at(at(START))).unwrap(), Used::new(64));
    assert_eq!(store.stats().unwrap().accounts, 2);
}

#[test]
fn a_store_that_is_refused_late_takes_no_writes_and_is_refused_again() {
    let (dir, made) = closed(2);
    let [(whole, key), (damaged, other)] = made[..] else { panic!() };
    change_engine(dir.path(), |db| flip(&db.open_tree("accounts").unwrap(), damaged.as_bytes()));
    for _start in 0..2 {
        let (store, unfinished) = early(dir.path());

        // Whose record is whole is served meanwhile, the other one's is an error and no wrong key.
        assert!(store.find_holder(&key, at(START)).unwrap().is_some());
        assert!(matches!(store.find_holder(&other, at(START)), Err(StoreError::Damaged { tree: "accounts", .. })));
        let refused = unfinished.finish(&store);
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
        let written = store.revoke_key(store.list_keys(whole, None, 1).unwrap().items[0].key.id, None, &author());
        assert!(matches!(written, Err(DirectoryError::Store(StoreError::GivenUp))), "{written:?}");
        store.close().unwrap();
    }
}

#[test]
fn a_store_with_a_row_less_is_refused_each_time() {
    let (dir, made) = closed(2);
    change_engine(dir.path(), |db| drop(db.open_tree("keys").unwrap().remove(made[0].1.as_bytes()).unwrap()));
    for _start in 0..2 {
        let (store, unfinished) = early(dir.path());
        let refused = unfinished.finish(&store).unwrap_err().to_string();
        assert!(refused.contains("it was closed with 2 keys and now has 1"), "{refused}");
    }
}

#[test]
fn a_store_that_is_closed_while_it_is_read_loses_nothing() {
    let (dir, made) = closed(2);
    let (account, key) = made[0];
    let (store, unfinished) = early(dir.path());
    assert_eq!(take(&store, &key), 1);
    note(&store, [unit(account, at(START), 1, "/a")]);
    store.stop_opening();
    unfinished.finish(&store).unwrap();

    assert!(matches!(store.wait_until_open(), Err(StoreError::GivenUp)));
    assert!(matches!(add_account(&store), Err(DirectoryError::Store(StoreError::GivenUp))));
    store.close().unwrap();
    drop(store);

    let store = open(dir.path(), Duration::from_millis(100));
    assert_eq!(store.used(account, Window::at(at(START))).unwrap(), Used::new(1));
    store.fold_all_usage().unwrap();
    assert_eq!(store.usage_of(account, Window::from_hours(0), Window::from_hours(u32::MAX)).count(), 1);
    assert_eq!(store.stats().unwrap().accounts, 2);
}

#[test]
fn a_stop_of_the_opening_that_comes_after_it_stops_no_restore() {
    let (dir, _made) = closed(0);
    let (store, unfinished) = early(dir.path());
    unfinished.finish(&store).unwrap();
    let by = author();
    let restore = store.start_restore(&by).unwrap();
    first_plans().unwrap().iter().for_each(|plan| restore.put_plan(plan).unwrap());
    let terms = Terms::on(first_plans().unwrap()[0].id.clone());
    let (id, name) = (AccountId::from_bytes([1; 16]), Name::new("restored").unwrap());
    let account = Account { id, name, email: None, terms, created_at: at(START), updated_at: at(START) };
    restore.put_account(&account).unwrap();

    store.stop_opening();
    restore.finish().unwrap();

    assert_eq!(store.stats().unwrap().accounts, 1);
}

#[test]
fn a_store_whose_opening_nobody_finishes_takes_no_writes_and_can_be_closed() {
    let (dir, _made) = closed(1);
    let (store, unfinished) = early(dir.path());
    drop(unfinished);

    assert!(matches!(add_account(&store), Err(DirectoryError::Store(StoreError::GivenUp))));
    store.close().unwrap();
    drop(store);
    assert_eq!(open(dir.path(), Duration::from_millis(100)).stats().unwrap().accounts, 1);
}

#[test]
fn a_directory_of_an_earlier_version_says_that_it_is_of_this_one_before_anything_is_counted() {
    let (dir, _made) = closed(1);
    let marker = dir.path().join("klinky.json");
    let read = || serde_json::from_slice::<Value>(&fs::read(&marker).unwrap()).unwrap();
    let version = read()["version"].clone();
    let mut earlier = read();
    earlier["version"] = json!(1);
    fs::write(&marker, earlier.to_string()).unwrap();

    let (_store, _unfinished) = early(dir.path());

    let found = read();
    assert_eq!((&found["version"], &found["closed"]), (&version, &json!(true)));
}

#[test]
fn a_store_that_is_refused_late_is_not_dumped() {
    let (dir, made) = closed(2);
    change_engine(dir.path(), |db| drop(db.open_tree("keys").unwrap().remove(made[0].1.as_bytes()).unwrap()));
    let (store, unfinished) = early(dir.path());
    assert!(unfinished.finish(&store).is_err());

    let mut out = Vec::new();
    let dumped = dump::write(&store, &DumpFilter::default(), at(START), &mut out);

    assert!(matches!(dumped, Err(DumpError::Store(StoreError::GivenUp))), "{dumped:?}");
    assert!(out.is_empty());
}

#[test]
fn a_server_whose_store_is_refused_late_says_why_makes_no_backup_and_exits_with_1() {
    let (dir, made) = closed(2);
    change_engine(dir.path(), |db| drop(db.open_tree("keys").unwrap().remove(made[0].1.as_bytes()).unwrap()));
    let backups = tempfile::tempdir().unwrap();
    for _start in 0..2 {
        let [data, backups] = [dir.path(), backups.path()].map(|path| path.to_str().unwrap());
        let ended = run(&mut klinky(&[
            "serve",
            "--data-dir",
            data,
            "--backup-dir",
            backups,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]));

        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let why = "it was closed with 2 keys and now has 1";
        let stopping = ended.stderr.lines().find(|line| line.contains("stopping")).unwrap();
        assert!(stopping.contains(why) && ended.stderr.lines().last().unwrap().contains(why), "{}", ended.stderr);
    }
    assert_eq!(fs::read_dir(backups.path()).unwrap().count(), 0);
}
