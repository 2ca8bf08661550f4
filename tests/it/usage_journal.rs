//! Usage on its way to its rows: what a crash leaves of the journal ends in the right figures, wherever it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use bincode::Options;
use klinky::domain::decision::Cost;
use klinky::domain::id::AccountId;
use klinky::domain::time::Timestamp;
use klinky::domain::usage::{Change, RowKey, Spender};
use klinky::domain::window::Window;
use klinky::store::Store;

use crate::early::open_early;
use crate::guarded_open::copy_files;
use crate::harness::{START, at};
use crate::process::{klinky, run};
use crate::store::{author, open};
use crate::usage_store::{account, add_to_journal, unit};
use crate::verify::{change_engine, flip};

const FLUSH: Duration = Duration::from_millis(100);
/// Nothing is on disk but what a test asks for.
const NEVER: Duration = Duration::from_secs(3600);
/// Keys: more than are written to the journal at a time.
const KEYS: u16 = 700;
/// An hour after the one in which they are used.
pub(crate) const LATER: &str = "2024-01-15T15:10:00Z";

pub(crate) fn opened(dir: &Path) -> (Store, AccountId) {
    let store = open(dir, FLUSH);
    let account = account(&store);
    (store, account)
}

/// A unit for each key; nothing is folded.
pub(crate) fn add(store: &Store, account: AccountId) {
    add_to_journal(store, (0..KEYS).map(|key| unit(account, at(START), key, "/a")));
}

/// How many rows have so many units.
pub(crate) fn rows(store: &Store) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    store.usage().for_each(|row| *found.entry(row.unwrap().tally.used).or_default() += 1);
    found
}

fn hour(at: Timestamp) -> Window {
    Window::at(at)
}

/// Steps until a turn is over, and what it leaves is on disk and gone.
fn fold(store: &Store, now: &str) {
    for _step in 0..20 {
        store.fold_usage(hour(at(now))).unwrap();
        store.probe().unwrap();
    }
}

fn verify(dir: &Path) -> String {
    run(&mut klinky(&["verify", "--data-dir", dir.to_str().unwrap()])).stdout
}

#[test]
fn what_is_added_is_in_the_journal_until_its_hour_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    add(&store, account);
    fold(&store, START);
    assert_eq!(rows(&store), BTreeMap::new());
    // A crash, as far as the store knows.
    drop(store);
    let left = verify(dir.path());
    assert!(left.starts_with("0 faults in ") && left.contains(" 0 usage, 2 usage-journal, "), "{left}");

    let store = open(dir.path(), FLUSH);
    fold(&store, LATER);

    assert_eq!(rows(&store), [(1, 700)].into());
    store.close().unwrap();
    drop(store);
    let left = verify(dir.path());
    assert!(left.starts_with("0 faults in ") && left.contains(" 700 usage, 0 usage-journal, "), "{left}");
}

/// What a kill leaves: sled has on disk what it has, which may be what it had some steps ago, and the journal has all.
pub(crate) fn killed(dir: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    copy_files(dir, left.path());
    left
}

/// Of accounts of which there are more than a step writes, a unit for each in the hour of `START`, and one in the later.
fn add_to_each(store: &Store, accounts: &[AccountId]) {
    add_to_journal(store, accounts.iter().map(|account| unit(*account, at(START), 1, "/a")));
}

#[test]
fn kill_after_kill_at_any_step_of_folding_counts_each_unit_once() {
    let all = (0..=5).flat_map(|steps| (0..=steps).map(move |synced| (steps, synced)));
    let all = all.flat_map(|(steps, synced)| (0..=3).map(move |later_steps| (steps, synced, later_steps)));
    let made = tempfile::tempdir().unwrap();
    let store = open(made.path(), NEVER);
    let accounts: Vec<AccountId> = (0..150).map(|_| account(&store)).collect();
    add_to_each(&store, &accounts);
    store.probe().unwrap();
    drop(store);
    let mut stages = BTreeSet::new();
    for ((steps, synced, later_steps), is_later_synced) in all.flat_map(|case| [(case, false), (case, true)]) {
        let dir = killed(made.path());
        let store = open(dir.path(), NEVER);
        for step in 0..steps {
            store.fold_usage(hour(at(LATER))).unwrap();
            if step == 1 {
                // To rows that are folded and to rows that are not; some of them late.
                add_to_each(&store, &accounts[..120]);
                add_to_journal(&store, accounts.iter().take(50).map(|account| unit(*account, at(LATER), 1, "/a")));
            }
            if step < synced {
                store.probe().unwrap();
            }
        }
        stages.insert(store.usage().count());
        let first_kill = killed(dir.path());
        let store = open(first_kill.path(), NEVER);
        add_to_each(&store, &accounts);
        for _step in 0..later_steps {
            store.fold_usage(hour(at(LATER))).unwrap();
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
        let wanted: &[(u64, usize)] = if steps > 1 { &[(1, 50), (2, 30), (3, 120)] } else { &[(2, 150)] };
        assert_eq!(rows(&store), wanted.iter().copied().collect(), "{at}");
    }
    assert_eq!(stages, [0, 100, 130].into(), "the steps are other ones");
}

/// A start, a look at the usage, and a turn write rows of an hour that goes on.
#[test]
fn an_hour_goes_on_wherever_its_rows_are() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, account) = opened(dir.path());
    for round in 1..=12_u64 {
        add(&store, account);
        match round % 4 {
            0 => store.fold_usage_of(account).unwrap(),
            1 => fold(&store, START),
            // It is over for a clock that is wrong.
            2 => fold(&store, LATER),
            _ => store.close().unwrap(),
        }
        if round % 4 == 3 {
            drop(store);
            store = open(dir.path(), FLUSH);
        }
        let now = if round % 2 == 0 { START } else { LATER };
        add_to_journal(&store, [unit(account, at(now), 1, "/b")]);
        store.fold_usage_of(account).unwrap();

        let of_hours = [(round, usize::from(KEYS)), (round / 2, 1), (round.div_ceil(2), 1)];
        let mut wanted = BTreeMap::new();
        of_hours
            .iter()
            .filter(|(units, _)| *units > 0)
            .for_each(|(units, rows)| *wanted.entry(*units).or_default() += rows);
        assert_eq!(rows(&store), wanted, "round {round}");
    }
}

/// For a week of November 2026 the journal said what is to be added to rows, and a record of sled's how far it was.
#[test]
fn a_journal_that_an_earlier_version_left_is_added_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    let key = |key: u16| {
        let (RowKey { spender, endpoint }, _change) = unit(account, at(START), key, "/a");
        let Spender { account_id, window, key_id } = spender;
        let hour = window.as_hours().to_be_bytes();
        [account_id.as_bytes(), &hour[..], key_id.as_bytes(), endpoint.as_str().as_bytes()].concat()
    };
    let sealed = |version: u8, body: Vec<u8>| {
        let mut bytes = [vec![version], body].concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    };
    let record = |rows: std::ops::Range<u16>, units: u64| {
        let rows: Vec<_> = rows.map(|number| (key(number), units, 0_u64, 0_u64, [0_u64; 12], 1_u64)).collect();
        let bytes = sealed(2, bincode::DefaultOptions::new().serialize(&rows).unwrap());
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes[..]].concat()
    };
    // Of file 1 all was folded. Of 2 and 3 it was begun, and came to key 99; of 4 there is nothing in the rows.
    add(&store, account);
    store.fold_all_usage().unwrap();
    store.close().unwrap();
    drop(store);
    let journal = dir.path().join("usage-journal");
    fs::remove_dir_all(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    for (file, units) in [(1, 1001), (2, 11), (3, 101), (4, 1001)] {
        fs::write(journal.join(file.to_string()), record(0..700, units)).unwrap();
    }
    let marker = sealed(1, bincode::serialize(&(1_u64, 3_u64, Some(key(99)))).unwrap());
    change_engine(dir.path(), |db| drop(db.open_tree("meta").unwrap().insert("usage_folded", marker).unwrap()));
    assert!(verify(dir.path()).starts_with("0 faults in "), "{}", verify(dir.path()));

    // The files stay until what was added is on disk.
    let left = killed(dir.path());
    change_engine(left.path(), |db| flip(&db.open_tree("accounts").unwrap(), account.as_bytes()));
    let (store, unfinished) = open_early(left.path(), NEVER);
    assert!(unfinished.finish(&store).is_err());
    let files = || fs::read_dir(left.path().join("usage-journal")).unwrap().count();
    store.fold_usage(hour(at(START))).unwrap();
    assert_eq!(files(), 4);
    store.probe().unwrap();
    store.fold_usage(hour(at(START))).unwrap();
    assert_eq!(files(), 0);

    for start in 0..3 {
        let store = open(dir.path(), FLUSH);
        assert_eq!(rows(&store), [(1001, 100), (1111, 600)].into(), "start {start}");
        assert_eq!(fs::read_dir(&journal).unwrap().count(), 0);
    }
}

#[test]
fn units_are_taken_off_that_are_given_back_after_they_were_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, account) = opened(dir.path());
    add(&store, account);
    store.fold_all_usage().unwrap();
    let back = |key| (unit(account, at(START), key, "/a").0, Change::given_back(Cost::ONE));
    add_to_journal(&store, (0..300).map(back));
    drop(store);

    let store = open(dir.path(), FLUSH);
    store.fold_all_usage().unwrap();

    assert_eq!(rows(&store), [(0, 300), (1, 400)].into());
}

/// Also after a crash, and when its rows are in the journal or in sled alone.
#[test]
fn the_bounds_of_an_hour_hold_wherever_its_rows_are() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, account) = opened(dir.path());
    for (turn, paths) in [0..150, 150..190, 190..300, 300..400].into_iter().enumerate() {
        add_to_journal(&store, paths.map(|path: u32| unit(account, at(START), 1, &format!("/{path:x}"))));
        if turn % 2 == 1 {
            fold(&store, LATER);
        }
        drop(store);
        store = open(dir.path(), FLUSH);
    }
    store.fold_all_usage().unwrap();

    let by_name: BTreeMap<String, u64> =
        store.usage().map(Result::unwrap).map(|row| (row.endpoint.to_string(), row.tally.used)).collect();
    assert_eq!((by_name.len(), by_name["other"], by_name.values().sum::<u64>()), (201, 200, 400));
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
    fold(&store, LATER);

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
fn files_go_once_a_turn_is_over_and_that_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), NEVER);
    let account = account(&store);
    let files = || fs::read_dir(dir.path().join("usage-journal")).unwrap().count();
    add(&store, account);
    drop(store);
    let store = open(dir.path(), NEVER);
    assert_eq!(files(), 1);
    for _step in 0..20 {
        store.fold_usage(hour(at(LATER))).unwrap();
    }
    assert_eq!((rows(&store), files()), ([(1, 700)].into(), 1));

    store.probe().unwrap();
    store.fold_usage(hour(at(LATER))).unwrap();
    assert_eq!(files(), 0);

    // Not even a kill brings it back.
    let store = open(killed(dir.path()).path(), NEVER);
    assert_eq!(rows(&store), [(1, 700)].into());
}
