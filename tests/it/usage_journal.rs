//! Usage on its way to its rows: what a crash leaves of the journal ends in the right figures, wherever it comes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bincode::Options;
use klinky::domain::decision::Cost;
use klinky::domain::id::AccountId;
use klinky::domain::usage::{Change, RowKey, Spender};
use klinky::store::{Store, UsageChange};

use crate::guarded_open::copy_files;
use crate::harness::{START, at};
use crate::process::{klinky, run};
use crate::store::{author, open};
use crate::usage_store::{account, add_to_journal, unit};

const FLUSH: Duration = Duration::from_millis(100);
/// Nothing is on disk but what a test asks for.
const NEVER: Duration = Duration::from_secs(3600);
/// Keys: more than are written to the journal at a time, or folded.
const KEYS: u16 = 700;

fn opened(dir: &Path) -> (Store, AccountId) {
    let store = open(dir, FLUSH);
    let account = account(&store);
    (store, account)
}

/// A unit for each key; nothing is folded.
fn add(store: &Store, account: AccountId) {
    add_to_journal(store, (0..KEYS).map(|key| unit(account, at(START), key, "/a")));
}

/// How many rows have so many units.
fn rows(store: &Store) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    store.usage().for_each(|row| *found.entry(row.unwrap().tally.used).or_default() += 1);
    found
}

fn verify(dir: &Path) -> String {
    run(&mut klinky(&["verify", "--data-dir", dir.to_str().unwrap()])).stdout
}

#[test]
fn what_is_added_is_in_the_journal_until_it_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    add(&store, account);
    assert_eq!(rows(&store), BTreeMap::new());
    // A crash, as far as the store knows.
    drop(store);
    let left = verify(dir.path());
    assert!(left.starts_with("0 faults in ") && left.contains(" 0 usage, 2 usage-journal, "), "{left}");

    let store = open(dir.path(), FLUSH);
    store.fold_all_usage().unwrap();

    assert_eq!(rows(&store), [(1, 700)].into());
    store.close().unwrap();
    drop(store);
    let left = verify(dir.path());
    assert!(left.starts_with("0 faults in ") && left.contains(" 700 usage, 0 usage-journal, "), "{left}");
}

#[test]
fn a_crash_at_any_step_of_folding_counts_each_unit_once() {
    for steps in 0..=6 {
        let dir = tempfile::tempdir().unwrap();
        let (store, account) = opened(dir.path());
        add(&store, account);
        for step in 0..steps {
            store.fold_usage().unwrap();
            if step == 1 {
                // To rows that are folded and to rows that are not.
                add(&store, account);
            }
        }
        let wanted = if steps > 1 { 2 } else { 1 };
        drop(store);

        let store = open(dir.path(), FLUSH);
        assert_eq!(store.usage().count(), [0, 300, 600, 700, 700, 700, 700][steps], "the steps are other ones");
        add(&store, account);
        store.fold_all_usage().unwrap();

        assert_eq!(rows(&store), [(wanted + 1, 700)].into(), "after {steps} steps");
    }
}

/// What a kill leaves: sled has on disk what it has, which may be what it had some steps ago, and the journal has all.
fn killed(dir: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    copy_files(dir, left.path());
    left
}

#[test]
fn kill_after_kill_at_any_step_of_folding_counts_each_unit_once() {
    let all = (0..=4).flat_map(|steps| (0..=steps).map(move |synced| (steps, synced)));
    let all = all.flat_map(|(steps, synced)| (0..=3).map(move |later_steps| (steps, synced, later_steps)));
    for ((steps, synced, later_steps), is_later_synced) in all.flat_map(|case| [(case, false), (case, true)]) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), NEVER);
        let account = account(&store);
        add(&store, account);
        store.probe().unwrap();
        for step in 0..steps {
            store.fold_usage().unwrap();
            if step == 1 {
                add(&store, account);
            }
            if step < synced {
                store.probe().unwrap();
            }
        }
        let wanted = if steps > 1 { 2 } else { 1 };
        let first_kill = killed(dir.path());
        let store = open(first_kill.path(), NEVER);
        add(&store, account);
        for _step in 0..later_steps {
            store.fold_usage().unwrap();
        }
        if is_later_synced {
            store.probe().unwrap();
        }
        let second_kill = killed(first_kill.path());
        let store = open(second_kill.path(), FLUSH);
        store.fold_all_usage().unwrap();

        let at = format!(
            "killed after {steps} steps, {synced} of them synced, and {later_steps} later ones, synced: {is_later_synced}"
        );
        assert_eq!(rows(&store), [(wanted + 1, 700)].into(), "{at}");
    }
}

/// Files get numbers that none had before, although all of those are removed: what is folded is told by them.
#[test]
fn what_comes_after_all_is_folded_and_the_store_was_closed_is_added_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    for _file in 0..3 {
        add(&store, account);
        store.fold_all_usage().unwrap();
    }
    store.close().unwrap();
    drop(store);
    let store = open(dir.path(), FLUSH);
    add(&store, account);
    drop(store);

    let store = open(dir.path(), FLUSH);
    store.fold_all_usage().unwrap();

    assert_eq!(rows(&store), [(4, 700)].into());
}

/// Until November 2026 the journal said what rows are to be, not what is to be added to them.
#[test]
fn a_journal_that_an_earlier_version_left_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    add(&store, account);
    store.fold_all_usage().unwrap();
    store.close().unwrap();
    drop(store);
    let row = |key: u16, used: u64| {
        let RowKey { spender, endpoint } = unit(account, at(START), key, "/a").row;
        let Spender { account_id, window, key_id } = spender;
        let hour = window.as_hours().to_be_bytes();
        let key = [account_id.as_bytes(), &hour[..], key_id.as_bytes(), endpoint.as_str().as_bytes()].concat();
        (key, used, 0_u64, 0_u64, [0_u64; 12])
    };
    let record = |rows: &[_]| {
        let mut bytes = vec![1];
        bytes.extend(bincode::DefaultOptions::new().serialize(rows).unwrap());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes[..]].concat()
    };
    let file = dir.path().join("usage-journal/9");
    fs::write(&file, [record(&[row(1, 5), row(2, 5)]), record(&[row(2, 7)])].concat()).unwrap();
    assert!(verify(dir.path()).starts_with("0 faults in "));

    for units in 1..=3 {
        let store = open(dir.path(), FLUSH);
        assert!(!file.exists());
        if units > 1 {
            add(&store, account);
            store.fold_all_usage().unwrap();
        }
        assert_eq!(rows(&store), [(units, 698), (units + 4, 1), (units + 6, 1)].into());
    }
}

#[test]
fn units_are_taken_off_that_are_given_back_after_they_were_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    add(&store, account);
    store.fold_all_usage().unwrap();
    let back = |key| UsageChange { change: Change::given_back(Cost::ONE), ..unit(account, at(START), key, "/a") };
    add_to_journal(&store, (0..300).map(back));
    drop(store);

    let store = open(dir.path(), FLUSH);
    store.fold_all_usage().unwrap();

    assert_eq!(rows(&store), [(0, 300), (1, 400)].into());
}

/// While it folds, the bounds of an hour hold for the rows that are ahead, too.
#[test]
fn rows_that_are_ahead_count_for_the_bounds_of_their_hour() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    let add = |paths: std::ops::Range<u32>| {
        add_to_journal(&store, paths.map(|path| unit(account, at(START), 1, &format!("/{path:x}"))));
    };
    add(0..150);
    store.fold_usage().unwrap();
    add(150..190);
    store.fold_usage().unwrap();
    add(190..300);
    store.fold_all_usage().unwrap();
    add(300..400);
    store.fold_all_usage().unwrap();

    let by_name: BTreeMap<String, u64> =
        store.usage().map(Result::unwrap).map(|row| (row.endpoint.to_string(), row.tally.used)).collect();
    assert_eq!((by_name.len(), by_name["other"], by_name.values().sum::<u64>()), (201, 200, 400));
}

/// After a crash, too, when they are in the journal alone.
#[test]
fn rows_that_a_crash_left_in_the_journal_count_for_the_bounds_of_their_hour() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    let add = |store: &Store, paths: std::ops::Range<u32>| {
        add_to_journal(store, paths.map(|path| unit(account, at(START), 1, &format!("/{path:x}"))));
    };
    add(&store, 0..200);
    drop(store);

    let store = open(dir.path(), FLUSH);
    add(&store, 200..300);
    store.fold_all_usage().unwrap();

    assert_eq!(store.usage().count(), 201);
}

#[test]
fn a_dump_of_a_crashed_server_has_what_was_not_folded_and_nothing_of_accounts_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, gone) = opened(dir.path());
    let stays = account(&store);
    add(&store, gone);
    add(&store, stays);
    store.remove_account(gone, &author()).unwrap();
    drop(store);

    let dir = dir.path().to_str().unwrap();
    let dumped = run(&mut klinky(&["dump", "--data-dir", dir, "--format", "json", "--only", "usage"]));

    let lines = dumped.stdout.lines().filter(|line| line.starts_with(r#"{"kind":"usage","#));
    assert_eq!(lines.count(), 700, "{}", dumped.stderr);
}

#[test]
fn a_damaged_record_of_the_journal_is_found_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    add(&store, account);
    drop(store);
    let file = dir.path().join("usage-journal/1");
    let mut bytes = fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let found = verify(dir.path());
    assert!(found.starts_with("usage-journal 1.0: its checksum does not match\n1 faults in "), "{found}");

    let store = open(dir.path(), FLUSH);
    store.fold_all_usage().unwrap();

    assert_eq!(rows(&store), [(1, 300)].into(), "those of the second record");
    store.close().unwrap();
    drop(store);
    assert!(verify(dir.path()).starts_with("0 faults in "));
}

/// As a power cut leaves it: what was being written was never on disk as a whole.
#[test]
fn the_torn_end_of_the_journal_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    add(&store, account);
    drop(store);
    let file = dir.path().join("usage-journal/1");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    assert!(verify(dir.path()).starts_with("0 faults in "));

    let store = open(dir.path(), FLUSH);
    add(&store, account);
    store.fold_all_usage().unwrap();

    assert_eq!(rows(&store), [(1, 300), (2, 400)].into());
}

#[test]
fn files_of_what_is_folded_go_once_that_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    let files = || fs::read_dir(dir.path().join("usage-journal")).unwrap().count();
    for _round in 0..3 {
        add(&store, account);
        store.fold_all_usage().unwrap();
    }
    assert_eq!(files(), 3);

    store.probe().unwrap();
    store.fold_usage().unwrap();
    assert_eq!(files(), 0);

    add(&store, account);
    store.fold_all_usage().unwrap();
    assert_eq!(files(), 1);
    store.close().unwrap();
    assert_eq!(files(), 0);
}
