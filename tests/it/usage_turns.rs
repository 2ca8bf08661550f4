//! Turns of the journal of usage: what is in files that go is in later ones, and is not written there more often than it
//! must be.

use std::fs;
use std::path::Path;
use std::time::Duration;

use klinky::domain::id::AccountId;
use klinky::domain::window::Window;
use klinky::store::Store;

use crate::harness::{START, at};
use crate::store::open;
use crate::usage_journal::{add, killed, opened, rows};
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

fn files(dir: &Path) -> usize {
    fs::read_dir(dir.join("usage-journal")).unwrap().count()
}

fn step(store: &Store) {
    store.fold_usage(Window::at(at(START))).unwrap();
}

#[test]
fn the_journal_is_bounded_by_what_is_in_memory_however_often_that_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, active) = opened(dir.path());
    let idle = account(&store);
    let (mut most, mut ends) = (0, 0);
    // 840,000 rows: more than one turn's worth.
    for round in 0..1200 {
        if round == 0 {
            add_to_journal(&store, [unit(idle, at(START), 1, "/a")]);
        }
        add(&store, active);
        let before = bytes(dir.path());
        step(&store);
        if round % 50 == 0 {
            store.probe().unwrap();
        }
        most = most.max(before);
        ends += usize::from(bytes(dir.path()) < before);
    }
    assert!(ends > 0 && most < 60_000_000, "{ends} turns, {most} bytes");
    drop(store);

    let store = open(dir.path(), FLUSH);
    store.fold_all_usage().unwrap();
    assert_eq!(rows(&store), [(1, 1), (1200, 700)].into(), "what was idle is in a later file");
}

/// A turn of the running hour begins, as an account has left an hour, and makes its first step.
fn begun(dir: &Path) -> (Store, Vec<AccountId>) {
    let store = open(dir, NEVER);
    let accounts: Vec<AccountId> = (1..2 * STEP).map(|_| account(&store)).collect();
    add_to_each(&store, &[account(&store)]);
    store.probe().unwrap();
    drop(store);
    let store = open(dir, NEVER);
    add_to_each(&store, &accounts);
    step(&store);
    (store, accounts)
}

fn add_to_each(store: &Store, accounts: &[AccountId]) {
    add_to_journal(store, accounts.iter().map(|account| unit(*account, at(START), 2, "/a")));
}

#[test]
fn a_turn_writes_again_what_was_not_written_since_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _accounts) = begun(dir.path());
    let before = bytes(dir.path());
    step(&store);
    assert!(bytes(dir.path()) - before > 40 * 400, "the other half of the accounts");
    // The files go that were there before; and then the machine.
    for _step in 0..20 {
        store.probe().unwrap();
        step(&store);
    }
    assert_eq!(files(dir.path()), 1);
    let store = open(killed(dir.path()).path(), NEVER);
    store.fold_all_usage().unwrap();
    assert_eq!(rows(&store), [(1, 2 * STEP)].into());

    let dir = tempfile::tempdir().unwrap();
    let (store, accounts) = begun(dir.path());
    add_to_each(&store, &accounts);
    let before = bytes(dir.path());
    step(&store);
    assert_eq!(bytes(dir.path()), before, "all accounts were written since");
}
