//! Idempotency without HTTP: who may run a request, which answers are kept, for how long and how many.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use klinky::clock::{Clock, ManualClock};
use klinky::domain::account::{Account, Terms};
use klinky::domain::id::AccountId;
use klinky::domain::idempotency::{Answer, Fingerprint, IdempotencyKey, KEPT_FOR, KeptAnswer};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::time::Timestamp;
use klinky::housekeeping::Housekeeping;
use klinky::idempotency::{Claim, ClaimError, Idempotency, Running};
use klinky::store::{KEPT_PER_ACCOUNT_MAX, Store};
use tempfile::TempDir;

use crate::harness::{START, at};
use crate::process::wait_until;
use crate::store::{RETENTION, author, open};

const ACCOUNT: [u8; 16] = [1; 16];
const OTHER_ACCOUNT: [u8; 16] = [2; 16];

fn account() -> AccountId {
    AccountId::from_bytes(ACCOUNT)
}

fn other_account() -> AccountId {
    AccountId::from_bytes(OTHER_ACCOUNT)
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text.as_bytes()).unwrap()
}

fn request(body: &str) -> Fingerprint {
    Fingerprint::of("POST", "/links", body.as_bytes())
}

fn answer(status: u16, body: Vec<u8>) -> Answer {
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    Answer { status, headers, body, detail: Some("said".to_owned()), body_is_final: false }
}

fn kept_until(expires_at: Timestamp) -> KeptAnswer {
    KeptAnswer { fingerprint: request("{}"), expires_at, answer: answer(201, b"{}".to_vec()) }
}

/// A store in a directory of its own, and idempotency over it.
fn idempotency() -> (TempDir, Arc<Store>, Idempotency) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_secs(3600)));
    (dir, Arc::clone(&store), Idempotency::new(store))
}

fn run(claimed: Result<Claim, ClaimError>) -> Running {
    match claimed.unwrap() {
        Claim::Run(running) => running,
        Claim::Replay(answer) => panic!("{answer:?} is given again"),
    }
}

fn replay(claimed: Result<Claim, ClaimError>) -> Answer {
    match claimed.unwrap() {
        Claim::Run(_) => panic!("the request runs again"),
        Claim::Replay(answer) => answer,
    }
}

#[test]
fn of_many_that_race_one_runs() {
    let (_dir, _store, idempotency) = idempotency();
    let barrier = Barrier::new(8);

    let claims: Vec<_> = std::thread::scope(|scope| {
        let claim = || {
            barrier.wait();
            idempotency.claim(account(), key("k"), request("{}"), at(START))
        };
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });

    assert_eq!(claims.iter().filter(|claim| matches!(claim, Ok(Claim::Run(_)))).count(), 1);
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Err(ClaimError::StillRunning))).count(), 7);
}

#[test]
fn a_request_that_ended_without_an_answer_runs_again() {
    let (_dir, _store, idempotency) = idempotency();
    drop(run(idempotency.claim(account(), key("k"), request("{}"), at(START))));

    let again = idempotency.claim(account(), key("k"), request("{}"), at(START));

    run(again);
}

#[test]
fn a_key_of_a_running_request_does_not_do_for_another_one() {
    let (_dir, _store, idempotency) = idempotency();
    let _running = run(idempotency.claim(account(), key("k"), request("{}"), at(START)));

    let other = idempotency.claim(account(), key("k"), request("[]"), at(START));

    assert!(matches!(other, Err(ClaimError::OtherRequest)));
}

#[test]
fn a_key_of_an_answered_request_does_not_do_for_another_one() {
    let (_dir, _store, idempotency) = idempotency();
    let running = run(idempotency.claim(account(), key("k"), request("{}"), at(START)));
    running.keep(answer(201, b"{}".to_vec())).unwrap();

    let other = idempotency.claim(account(), key("k"), request("[]"), at(START));

    assert!(matches!(other, Err(ClaimError::OtherRequest)));
    assert!(matches!(idempotency.claim(account(), key("k"), request("{}"), at(START)), Ok(Claim::Replay(_))));
}

#[test]
fn accounts_do_not_share_keys() {
    let (_dir, _store, idempotency) = idempotency();
    let running = run(idempotency.claim(account(), key("k"), request("{}"), at(START)));
    running.keep(answer(201, b"{}".to_vec())).unwrap();

    let other = idempotency.claim(other_account(), key("k"), request("[]"), at(START));

    run(other);
}

#[test]
fn failures_of_ours_and_denials_are_not_kept() {
    for status in [500, 503, 429, 502] {
        let (_dir, store, idempotency) = idempotency();
        let running = run(idempotency.claim(account(), key("k"), request("{}"), at(START)));

        running.keep(answer(status, Vec::new())).unwrap();

        run(idempotency.claim(account(), key("k"), request("{}"), at(START)));
        assert_eq!(store.count_kept(account()), 0);
    }
}

#[test]
fn an_answer_of_any_length_to_2_mib_is_kept_whole_and_a_longer_one_is_not() {
    const MIB: usize = 1024 * 1024;
    for (length, kept) in [(0, 1), (1, 1), (4096, 1), (4097, 1), (2 * MIB, 1), (2 * MIB + 1, 0)] {
        let (_dir, store, idempotency) = idempotency();
        let whole = answer(422, (0..=255).cycle().take(length).collect());
        let running = run(idempotency.claim(account(), key("k"), request("{}"), at(START)));

        running.keep(whole.clone()).unwrap();

        assert_eq!(store.count_kept(account()), kept, "{length}");
        if kept == 1 {
            assert!(replay(idempotency.claim(account(), key("k"), request("{}"), at(START))) == whole, "{length}");
        }
    }
}

#[test]
fn an_answer_is_given_again_for_24_hours_and_then_the_key_is_free() {
    let (_dir, store, idempotency) = idempotency();
    let running = run(idempotency.claim(account(), key("k"), request("{}"), at(START)));
    running.keep(answer(201, b"first".to_vec())).unwrap();

    let last = replay(idempotency.claim(account(), key("k"), request("{}"), at("2024-01-16T14:29:59.999Z")));
    let free = run(idempotency.claim(account(), key("k"), request("[]"), at("2024-01-16T14:30:00Z")));
    free.keep(answer(201, b"second".to_vec())).unwrap();

    assert_eq!(last.body, b"first");
    assert_eq!(
        replay(idempotency.claim(account(), key("k"), request("[]"), at("2024-01-16T14:30:00Z"))).body,
        b"second"
    );
    assert_eq!(store.count_kept(account()), 1);
}

#[test]
fn a_crash_right_after_an_answer_was_kept_does_not_lose_it() {
    let (dir, _store, idempotency) = idempotency();
    let crashed = tempfile::tempdir().unwrap();
    let running = run(idempotency.claim(account(), key("k"), request("{}"), at(START)));
    running.keep(answer(201, vec![b'x'; 10_000])).unwrap();

    copy(dir.path(), crashed.path());
    let store = Arc::new(open(crashed.path(), Duration::ZERO));
    let after = Idempotency::new(Arc::clone(&store)).claim(account(), key("k"), request("{}"), at(START));

    assert_eq!(replay(after), answer(201, vec![b'x'; 10_000]));
    assert_eq!(store.count_kept(account()), 1);
}

/// Copies what is on disk, while it is in use: what a killed process leaves.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_key_that_was_running_is_free_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::ZERO));
    let before = Idempotency::new(Arc::clone(&store));
    let _running = run(before.claim(account(), key("k"), request("{}"), at(START)));

    let after = Idempotency::new(store).claim(account(), key("k"), request("{}"), at(START));

    run(after);
}

#[test]
fn housekeeping_forgets_what_has_expired_and_nothing_else() {
    let (_dir, store, _idempotency) = idempotency();
    let clock = ManualClock::at(at(START));
    let (expired, running) = (kept_until(at("2024-01-15T14:29:59.999Z")), kept_until(at("2024-01-15T14:30:00.001Z")));
    for n in 0..50 {
        store.keep_answer(account(), key(&format!("old {n}")), &expired).unwrap().wait().unwrap();
        store.keep_answer(account(), key(&format!("new {n}")), &running).unwrap().wait().unwrap();
    }

    let mut housekeeping = Housekeeping::start(Arc::clone(&store), Arc::new(clock.clone()), RETENTION).unwrap();
    wait_until("the expired answers are purged", || store.count_kept(account()) <= 50);
    housekeeping.stop();

    assert_eq!(store.find_kept(account(), &key("old 7"), at("2024-01-01T00:00:00Z")).unwrap(), None);
    assert_eq!(store.find_kept(account(), &key("new 7"), clock.now()).unwrap(), Some(running));
}

#[test]
fn a_purge_of_answers_goes_step_by_step() {
    let (_dir, store, _idempotency) = idempotency();
    for n in 0..150 {
        let _commit = store.keep_answer(account(), key(&n.to_string()), &kept_until(at(START))).unwrap();
    }

    let more_after: Vec<bool> = (0..2).map(|_| store.purge_kept_step(at(START).plus(KEPT_FOR)).unwrap()).collect();

    assert_eq!(more_after, [true, false]);
    assert_eq!(store.count_kept(account()), 0);
}

#[test]
fn a_full_account_forgets_the_answer_that_expires_first() {
    let (_dir, store, _idempotency) = idempotency();
    let expires_at = |n: usize| at(START).plus(Duration::from_millis(n.try_into().unwrap()));
    let _commit = store.keep_answer(other_account(), key("0"), &kept_until(at(START))).unwrap();
    for n in 0..KEPT_PER_ACCOUNT_MAX {
        let _commit = store.keep_answer(account(), key(&n.to_string()), &kept_until(expires_at(n))).unwrap();
    }
    let find = |id, text: &str| store.find_kept(id, &key(text), at("2024-01-01T00:00:00Z")).unwrap();
    assert!(find(account(), "0").is_some());

    let _commit = store.keep_answer(account(), key("one more"), &kept_until(expires_at(200_000))).unwrap();

    assert_eq!(store.count_kept(account()), KEPT_PER_ACCOUNT_MAX);
    assert!(find(account(), "0").is_none());
    assert!(find(account(), "1").is_some() && find(account(), "one more").is_some());
    assert!(find(other_account(), "0").is_some());
}

#[test]
fn of_large_answers_an_account_has_64_mib() {
    let (dir, store, _idempotency) = idempotency();
    let keep = |store: &Store, n: u64| {
        let mut kept = kept_until(at(START).plus(Duration::from_secs(n)));
        kept.answer.body = vec![7; 2 * 1024 * 1024];
        store.keep_answer(account(), key(&n.to_string()), &kept).unwrap().wait().unwrap();
    };
    for n in 1..=33 {
        keep(&store, n);
    }
    assert_eq!(store.count_kept(account()), 31);

    store.close().unwrap();
    drop((store, _idempotency));
    let store = open(dir.path(), Duration::ZERO);
    keep(&store, 34);

    assert_eq!(store.count_kept(account()), 31);
    let find = |n: &str| store.find_kept(account(), &key(n), at("2024-01-01T00:00:00Z")).unwrap();
    assert!(find("3").is_none() && find("4").is_some() && find("34").is_some());
}

#[test]
fn a_removed_account_leaves_no_answers() {
    let (_dir, store, _idempotency) = idempotency();
    let terms = Terms { plan: PlanId::new("growth").unwrap(), custom_limit: None, trial: None, suspended: false };
    let (name, created_at) = (Name::new("Acme").unwrap(), at(START));
    let acme = Account { id: account(), name, email: None, terms, created_at, updated_at: created_at };
    store.create_account(acme, &author()).unwrap();
    for id in [account(), other_account()] {
        store.keep_answer(id, key("k"), &kept_until(at(START).plus(KEPT_FOR))).unwrap().wait().unwrap();
    }

    store.remove_account(account(), &author()).unwrap();

    let find = |id| store.find_kept(id, &key("k"), at(START)).unwrap();
    assert_eq!((find(account()), store.count_kept(account())), (None, 0));
    assert!(find(other_account()).is_some());
}

#[test]
fn a_restore_begins_without_answers() {
    let (_dir, store, _idempotency) = idempotency();
    store.keep_answer(account(), key("k"), &kept_until(at(START).plus(KEPT_FOR))).unwrap().wait().unwrap();

    store.start_restore(&author()).unwrap().finish().unwrap();

    assert_eq!(store.find_kept(account(), &key("k"), at(START)).unwrap(), None);
    assert_eq!(store.count_kept(account()), 0);
}
