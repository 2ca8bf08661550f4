//! Leases: the blocks of units that an account takes from the store, and that nobody is to notice but after a crash.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use klinky::accounts::{self, AccountDraft};
use klinky::domain::decision::{Cost, Decision, Limit, Used};
use klinky::domain::id::AccountId;
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::window::Window;
use klinky::store::Store;
use serde_json::json;

use crate::harness::{START, at};
use crate::process::{Process, pass};
use crate::store::{author, open};

const LAX: Duration = Duration::from_millis(100);

fn window() -> Window {
    Window::at(at(START))
}

pub(crate) fn account(store: &Store) -> AccountId {
    let draft = AccountDraft {
        name: Name::new("leases").unwrap(),
        email: None,
        plan: PlanId::new("scale").unwrap(),
        custom_limit: None,
        trial: None,
    };
    accounts::create(store, draft, &author()).unwrap().id
}

fn passes(store: &Store, account: AccountId, window: Window, limit: u32) -> bool {
    let counter = store.find_counter(account).unwrap().unwrap();
    let (decision, _used) = store.take(&counter, window, Limit::new(limit), Cost::ONE).unwrap();
    matches!(decision, Decision::Allowed(_))
}

fn take(store: &Store, account: AccountId, window: Window, limit: u32, units: u32) {
    for _ in 0..units {
        assert!(passes(store, account, window, limit));
    }
}

fn used(store: &Store, account: AccountId, window: Window) -> u32 {
    store.used(account, window).unwrap().as_units()
}

/// Opens the store of a directory as a crash has left it: what was written is there, and nothing was closed.
fn after_a_crash(dir: &Path) -> (tempfile::TempDir, Store) {
    let copy = tempfile::tempdir().unwrap();
    let files = std::process::Command::new("cp").arg("-r").arg(dir.join(".")).arg(copy.path()).status().unwrap();
    assert!(files.success());
    let store = open(copy.path(), LAX);
    (copy, store)
}

#[test]
fn after_a_crash_a_counter_goes_on_at_the_end_of_its_block() {
    // Limit, units taken, and what is counted after the crash: a hundredth of the limit more at most, and never 64.
    for (limit, taken, counted) in [
        (99, 7, 7),
        (100, 1, 2),
        (199, 6, 6),
        (199, 7, 8),
        (1000, 1, 11),
        (1000, 11, 11),
        (1000, 12, 22),
        (1000, 995, 1000),
        (10_000, 1, 64),
        (10_000, 9_985, 10_000),
        (u32::MAX, 65, 128),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), LAX);
        let account = account(&store);
        take(&store, account, window(), limit, taken);
        store.probe().unwrap();

        let (_copy, crashed) = after_a_crash(dir.path());

        assert_eq!(used(&store, account, window()), taken);
        assert_eq!(used(&crashed, account, window()), counted, "{taken} of {limit}");
    }
}

#[test]
fn a_clean_stop_and_a_new_hour_write_what_was_really_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAX);
    let account = account(&store);
    let (first, second) = (window().previous(), window());
    take(&store, account, first, 10_000, 5);
    take(&store, account, second, 10_000, 3);
    // A clock that steps back, and forth.
    take(&store, account, first, 10_000, 1);
    take(&store, account, second, 10_000, 1);
    assert_eq!((used(&store, account, first), used(&store, account, second)), (6, 4));
    store.probe().unwrap();

    let (_copy, crashed) = after_a_crash(dir.path());
    assert_eq!(used(&crashed, account, first), 6);

    store.close().unwrap();
    drop(store);
    let store = open(dir.path(), LAX);
    assert_eq!((used(&store, account, first), used(&store, account, second)), (6, 4));
}

#[test]
fn what_is_listed_beside_requests_is_what_was_really_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAX);
    let accounts: Vec<AccountId> = (0..20).map(|_| account(&store)).collect();
    for (units, account) in (1..).zip(&accounts) {
        take(&store, *account, window().previous(), 10_000, 1);
        take(&store, *account, window(), 10_000, units);
    }

    let listed: Vec<u32> = store.counters_in(window()).map(|counter| counter.unwrap().used.as_units()).collect();
    let all: u32 = store.counters().map(|counter| counter.unwrap().used.as_units()).sum();

    assert_eq!(listed, (1..=20).collect::<Vec<_>>());
    assert_eq!(all, 210 + 20);
}

#[test]
fn a_limit_that_changes_acts_in_the_middle_of_a_block() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAX);
    let account = account(&store);
    take(&store, account, window(), 10_000, 10);

    assert!(!passes(&store, account, window(), 10));
    assert!(passes(&store, account, window(), 11));
    assert!(!passes(&store, account, window(), 11));
    take(&store, account, window(), 500, 489);
    assert!(!passes(&store, account, window(), 500));
    assert_eq!(used(&store, account, window()), 500);
}

#[test]
fn units_come_back_to_the_block_that_they_were_taken_from() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAX);
    let account = account(&store);
    take(&store, account, window(), 100, 100);

    store.give_back(account, window(), Cost::new(30).unwrap()).unwrap();

    assert_eq!(used(&store, account, window()), 70);
    take(&store, account, window(), 100, 30);
    assert!(!passes(&store, account, window(), 100));
}

#[test]
fn an_account_that_is_removed_leaves_no_lease() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAX);
    let account = account(&store);
    take(&store, account, window(), 10_000, 10);

    store.remove_account(account, &author()).unwrap();

    assert_eq!(store.counters().count(), 0);
    assert_eq!(used(&store, account, window()), 0);
}

/// A counter is set while a request takes the next block: the request comes before it or after it, and nothing else.
#[test]
fn a_counter_that_is_set_beside_a_request_gives_and_loses_no_unit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_secs(3600));
    let account = account(&store);
    let mut after = BTreeSet::new();
    for _ in 0..150 {
        take(&store, account, window(), 500, 5);
        let together = Barrier::new(2);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                together.wait();
                store.set_used(account, window(), Used::new(0), &author()).unwrap();
            });
            threads.spawn(|| {
                together.wait();
                take(&store, account, window(), 500, 1);
            });
        });
        after.insert(used(&store, account, window()));
        store.set_used(account, window(), Used::new(0), &author()).unwrap();
    }

    assert!(after.is_subset(&BTreeSet::from([0, 1])), "{after:?}");
}

/// Threads take on both sides of the top of an hour: each hour lets exactly its limit through.
#[test]
fn the_top_of_an_hour_gives_and_loses_no_unit() {
    const LIMIT: u32 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAX);
    let account = account(&store);
    let hours = [window().previous(), window()];
    let passed = hours.map(|_| AtomicU64::new(0));
    std::thread::scope(|threads| {
        for thread in 0..4_usize {
            let (store, passed, hours) = (&store, &passed, &hours);
            threads.spawn(move || {
                for turn in 0..3000_usize {
                    let hour = (thread + turn / 7) % 2;
                    if passes(store, account, hours[hour], LIMIT) {
                        passed[hour].fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });

    for (hour, passed) in hours.into_iter().zip(passed) {
        assert_eq!(passed.into_inner(), u64::from(LIMIT));
        assert_eq!(used(&store, account, hour), LIMIT);
    }
}

#[test]
fn a_strict_store_waits_for_the_disk_once_per_block() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::ZERO);
    let account = account(&store);
    let counter = store.find_counter(account).unwrap().unwrap();
    let mut waits = 0;
    for _ in 0..640 {
        assert!(passes(&store, account, window(), 10_000));
        if let Some(commit) = store.commit_if_due(&counter, window()) {
            commit.wait().unwrap();
            waits += 1;
        }
    }

    assert_eq!(waits, 10);
    let (_copy, crashed) = after_a_crash(dir.path());
    assert_eq!(used(&crashed, account, window()), 640);
}

#[test]
fn a_killed_server_costs_a_client_a_hundredth_of_its_limit_at_most() {
    let temp = tempfile::tempdir().unwrap();
    let flags = ["--flush-every-ms", "20", "--log", "warn,klinky::run=info"];
    let process = Process::serve(temp.path(), &flags);
    let (id, key) = process.account("scale");
    for _ in 0..5 {
        assert_eq!(process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}")).status, 200);
    }
    let standing = format!("/accounts/{id}/rate-limit");
    assert_eq!(process.admin_ok("GET", &standing, &json!(null))["remaining"], 995);
    pass(Duration::from_millis(200));

    process.kill();
    let process = Process::serve(temp.path(), &flags);

    let remaining = process.admin_ok("GET", &standing, &json!(null))["remaining"].as_u64().unwrap();
    // 1000 when the hour has turned in between.
    assert!(remaining == 989 || remaining == 1000, "{remaining}");
}
