//! Turns of the journal of usage: what is in files that go is in later ones or in rows, and is not written again without
//! need.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use klinky::domain::id::AccountId;
use klinky::domain::window::Window;
use klinky::store::Store;

use crate::harness::{START, at};
use crate::store::open;
use crate::usage_journal::{LATER, add, killed, opened, rows};
use crate::usage_store::{account, add_to_journal, unit};

const FLUSH: Duration = Duration::from_millis(100);
/// Nothing is on disk but what a test asks for.
const NEVER: Duration = Duration::from_secs(3600);
/// Accounts that a step of a turn looks at.
const STEP: usize = 500;

/// Bytes of all files of the journal.
fn bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("usage-journal")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn step(store: &Store, now: &str) {
    store.fold_usage(Window::at(at(now))).unwrap();
}

#[test]
fn the_journal_is_bounded_by_what_is_in_memory_however_often_that_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, active) = opened(dir.path());
    let idle = account(&store);
    let (mut most, mut ends) = (0, 0);
    // 1,190,000 rows: two turns' worth.
    for round in 0..1700 {
        if round == 0 {
            add_to_journal(&store, [unit(idle, at(START), 1, "/a")]);
        }
        add(&store, active);
        let before = bytes(dir.path());
        step(&store, START);
        if round % 50 == 0 {
            store.probe().unwrap();
        }
        most = most.max(before);
        ends += usize::from(bytes(dir.path()) < before);
    }
    assert!(ends > 1 && most < 60_000_000, "{ends} turns, {most} bytes");
    drop(store);

    let store = open(dir.path(), FLUSH);
    store.fold_all_usage().unwrap();
    assert_eq!(rows(&store), [(1, 1), (1700, 700)].into(), "what was idle is in a later file");
}

/// A turn begins, since an earlier process has left something, and makes its first step: half of the accounts are looked
/// at.
fn begun(dir: &Path) -> (Store, Vec<AccountId>) {
    let store = open(dir, NEVER);
    let accounts: Vec<AccountId> = (1..2 * STEP).map(|_| account(&store)).collect();
    add_to_each(&store, &[account(&store)], START);
    store.probe().unwrap();
    drop(store);
    let store = open(dir, NEVER);
    add_to_each(&store, &accounts, START);
    step(&store, START);
    (store, accounts)
}

fn add_to_each(store: &Store, accounts: &[AccountId], now: &str) {
    add_to_journal(store, accounts.iter().map(|account| unit(*account, at(now), 2, "/a")));
}

/// Bytes that the next step writes to the journal.
fn written(dir: &Path, store: &Store, now: &str) -> u64 {
    let before = bytes(dir);
    step(store, now);
    bytes(dir) - before
}

/// Steps until the files are gone that were there before. Then a kill, and the rows of a later start.
fn left(dir: &Path, store: &Store, now: &str) -> BTreeMap<u64, usize> {
    for _step in 0..40 {
        store.probe().unwrap();
        step(store, now);
    }
    let files = fs::read_dir(dir.join("usage-journal")).unwrap();
    assert!(files.count() <= 1);
    let store = open(killed(dir).path(), NEVER);
    store.fold_all_usage().unwrap();
    rows(&store)
}

#[test]
fn a_turn_writes_again_what_is_in_the_journal_alone_and_was_not_written_since_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _accounts) = begun(dir.path());
    let bytes_of_half = written(dir.path(), &store, START);
    assert!((40 * 499..80 * 500).contains(&bytes_of_half), "{bytes_of_half}");
    assert_eq!(left(dir.path(), &store, START), [(1, 2 * STEP)].into());

    // What is in sled as well, the journal need not have.
    let dir = tempfile::tempdir().unwrap();
    let (store, accounts) = begun(dir.path());
    accounts.iter().for_each(|account| store.fold_usage_of(*account).unwrap());
    assert_eq!(written(dir.path(), &store, START), 0);
    assert_eq!(left(dir.path(), &store, START), [(1, 2 * STEP)].into());

    let dir = tempfile::tempdir().unwrap();
    let (store, accounts) = begun(dir.path());
    add_to_each(&store, &accounts, START);
    assert_eq!(written(dir.path(), &store, START), 0);
    assert_eq!(left(dir.path(), &store, START), [(1, 1), (2, 2 * STEP - 1)].into());
}

#[test]
fn a_turn_writes_nothing_again_of_hours_that_are_over() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _accounts) = begun(dir.path());
    assert_eq!(written(dir.path(), &store, LATER), 0);
    assert_eq!(left(dir.path(), &store, LATER), [(1, 2 * STEP)].into());

    // Accounts that go on by themselves, half of them before they are looked at.
    let dir = tempfile::tempdir().unwrap();
    let (store, accounts) = begun(dir.path());
    let before = bytes(dir.path());
    add_to_each(&store, &accounts, LATER);
    let bytes_of_all = bytes(dir.path()) - before;
    assert!((40 * 900..80 * 999).contains(&bytes_of_all), "{bytes_of_all}");
    assert_eq!(written(dir.path(), &store, LATER), 0);
    assert_eq!(left(dir.path(), &store, LATER), [(1, 4 * STEP - 1)].into());
}
