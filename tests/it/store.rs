//! The store by itself: purging, durability on request, what a close leaves behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use klinky::clock::{Clock, ManualClock};
use klinky::domain::account::{Account, Terms};
use klinky::domain::decision::{Cost, Decision, Limit};
use klinky::domain::id::AccountId;
use klinky::domain::key::{KeyFormat, KeyHash, Scope};
use klinky::domain::plan::{Plan, PlanId};
use klinky::domain::text::Name;
use klinky::domain::window::Window;
use klinky::housekeeping::{Housekeeping, Retention};
use klinky::keys::{self, KeyDraft};
use klinky::plans::first_plans;
use klinky::store::{AccountCounter, Author, Store, StoreOptions};

use crate::harness::{START, at};
use crate::process::wait_until;

/// Days as a server has them that nothing else was said to.
pub(crate) const RETENTION: Retention = Retention { click_days: 90, usage_days: 30 };

/// Opens the store in `dir`, with commits at the given interval.
pub(crate) fn open(dir: &Path, flush_within: Duration) -> Store {
    Store::open(&StoreOptions { dir: dir.to_owned(), flush_within }, &first_plans().unwrap()).unwrap()
}

/// Who makes changes in tests that have no request.
pub(crate) fn author() -> Author {
    Author { actor: "test".to_owned(), request_id: "-".to_owned(), at: at(START) }
}

/// Fills the store with so many accounts; their counters.
fn filled(store: &Store, accounts: u16) -> Vec<AccountCounter> {
    let by = author();
    let restore = store.start_restore(&by).unwrap();
    let plans = first_plans().unwrap();
    plans.iter().for_each(|plan| restore.put_plan(plan).unwrap());
    let ids: Vec<AccountId> = (0..accounts).map(|n| AccountId::from_bytes(u128::from(n).to_be_bytes())).collect();
    for &id in &ids {
        let terms = Terms::on(plans[0].id.clone());
        let name = Name::new("filled").unwrap();
        restore
            .put_account(&Account { id, name, email: None, terms, created_at: at(START), updated_at: at(START) })
            .unwrap();
    }
    restore.finish().unwrap();
    ids.into_iter().map(|id| store.find_counter(id).unwrap().unwrap()).collect()
}

fn count(store: &Store, window: Window, counters: &[AccountCounter]) {
    for counter in counters {
        let taken = store.take(counter, window, Limit::new(1), Cost::ONE).unwrap();
        assert!(matches!(taken.0, Decision::Allowed(_)));
    }
}

#[test]
fn housekeeping_purges_old_hours_and_keeps_the_running_one_and_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_millis(100)));
    let clock = ManualClock::at(at(START));
    let window = Window::at(clock.now());
    let older = window.previous().previous();
    let counters = filled(&store, 200);
    for kept_or_not in [older.previous(), older, window.previous(), window] {
        count(&store, kept_or_not, &counters);
    }

    let mut housekeeping = Housekeeping::start(Arc::clone(&store), Arc::new(clock), RETENTION).unwrap();
    wait_until("the old hours are purged", || store.counters_in(older).next().is_none());
    housekeeping.stop();

    let left: Vec<Window> = store.counters().map(|counter| counter.unwrap().window).collect();
    assert_eq!(left.iter().filter(|&&kept| kept == window.previous()).count(), 200);
    assert_eq!(left.iter().filter(|&&kept| kept == window).count(), 200);
    assert_eq!(left.len(), 400);
}

#[test]
fn a_purge_goes_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let window = Window::at(at(START));
    count(&store, window.previous(), &filled(&store, 150));

    let more_after: Vec<bool> = (0..2).map(|_| store.purge_counters_step(window).unwrap()).collect();

    assert_eq!(more_after, [true, false]);
    assert_eq!(store.counters().count(), 0);
}

#[test]
fn last_uses_are_written_in_steps_and_all_of_them_by_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let account = filled(&store, 1).remove(0).account_id();
    let format = KeyFormat::new("klinky").unwrap();
    let draft = || KeyDraft { name: Name::new("ci").unwrap(), scope: Scope::ReadWrite, expires_at: None };
    let hashes: Vec<KeyHash> =
        (0..3).map(|_| keys::issue(&store, &format, account, draft(), &author()).unwrap().key.hash).collect();
    for (hash, used_at) in hashes.iter().zip([START, "2024-01-15T14:30:01Z", "2024-01-15T14:30:02Z"]) {
        assert!(store.find_holder(hash, at(used_at)).unwrap().is_some());
    }

    assert_eq!(store.gather_last_uses(), 3);
    assert!(store.write_last_uses(2).unwrap());
    assert_eq!(store.gather_last_uses(), 1);
    assert!(!store.write_last_uses(2).unwrap());
    assert_eq!(store.gather_last_uses(), 0);
    assert!(store.find_holder(&hashes[1], at("2024-01-15T14:30:03Z")).unwrap().is_some());
    store.close().unwrap();
    drop(store);
    let mut last_uses: Vec<_> =
        open(dir.path(), Duration::ZERO).keys().map(|key| key.unwrap().last_used_at.unwrap().to_string()).collect();
    last_uses.sort();
    assert_eq!(last_uses, [START, "2024-01-15T14:30:02Z", "2024-01-15T14:30:03Z"]);
}

#[test]
fn a_store_that_is_not_strict_commits_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(20));
    let counters = filled(&store, 1);
    let before = store.stats().unwrap().commits;

    count(&store, Window::at(at(START)), &counters);

    assert!(store.commit_if_due(&counters[0], Window::at(at(START))).is_none());
    wait_until("the store commits", || store.stats().unwrap().commits > before);
}

#[test]
fn one_commit_serves_many_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::ZERO);
    // Of an account that was never counted nothing is known to be on disk, so whoever asks waits.
    let uncounted = filled(&store, 1).remove(0);
    let before = store.stats().unwrap().commits;
    let window = Window::at(at(START));

    let waiting: Vec<_> = (0..1000).map(|_| store.commit_if_due(&uncounted, window).unwrap()).collect();
    for commit in waiting {
        commit.wait().unwrap();
    }

    let commits = store.stats().unwrap().commits - before;
    assert!((1..500).contains(&commits), "{commits} commits for 1000 who waited");
}

#[test]
fn a_closed_store_says_so_instead_of_waiting_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::ZERO);
    let counter = filled(&store, 1).remove(0);

    store.close().unwrap();

    let commit = store.commit_if_due(&counter, Window::at(at(START))).unwrap();
    assert_eq!(commit.wait().unwrap_err().to_string(), "could not commit: the store is closed");
}

#[test]
fn a_write_after_the_close_is_refused_and_does_not_look_like_damage_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::ZERO);
    store.close().unwrap();

    let plan = Plan { id: PlanId::new("late").unwrap(), ..first_plans().unwrap().remove(0) };
    let late = store.create_plan(plan, &author());

    assert_eq!(late.unwrap_err().to_string(), "could not commit: the store is closed");
    drop(store);
    open(dir.path(), Duration::ZERO).close().unwrap();
}

#[test]
fn a_directory_of_an_earlier_version_opens_and_is_of_this_one_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), Duration::ZERO).close().unwrap();
    let path = dir.path().join("klinky.json");
    let marker = || std::fs::read_to_string(&path).unwrap();
    let earlier = marker().replace("\"version\":3", "\"version\":1");
    std::fs::write(&path, &earlier).unwrap();

    open(dir.path(), Duration::ZERO).close().unwrap();

    assert_ne!(marker(), earlier);
    assert!(marker().contains("\"version\":3"), "{}", marker());
}
