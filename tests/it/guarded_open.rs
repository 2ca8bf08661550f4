//! The guard around opening a data directory: what is not as it was left is refused, with a message
//! that names the directory and the way back, and is left as it is. Contract section 10.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use klinky::accounts::{self, AccountDraft};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::dump::{self, DumpFilter};
use klinky::plans::first_plans;
use klinky::store::{Author, OpenError, Store, StoreOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::harness::{START, at};
use crate::process::{big_dump, klinky, rows, run};

fn open(dir: &Path) -> Result<Store, OpenError> {
    let options = StoreOptions { dir: dir.to_owned(), flush_within: Duration::from_millis(100) };
    Store::open(&options, &first_plans().unwrap())
}

fn author() -> Author {
    Author { actor: "admin".to_owned(), request_id: "test".to_owned(), at: at(START) }
}

fn add_account(store: &Store, name: &str) {
    let plan = PlanId::new("growth").unwrap();
    let draft = AccountDraft { name: Name::new(name).unwrap(), email: None, plan, custom_limit: None, trial: None };
    accounts::create(store, draft, &author()).unwrap();
}

/// All rows of an open store.
fn all_rows(store: &Store) -> Vec<String> {
    let mut out = Vec::new();
    dump::write(store, &DumpFilter::default(), at(START), &mut out).unwrap();
    rows(&String::from_utf8(out).unwrap()).into_iter().map(str::to_owned).collect()
}

/// A directory that can be damaged.
struct Dir {
    _temp: TempDir,
    path: PathBuf,
}

impl Dir {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("db");
        Self { _temp: temp, path }
    }

    /// Of a store that was opened twice and written in both times, then closed. And its rows.
    fn closed() -> (Self, Vec<String>) {
        let dir = Self::new();
        let store = open(&dir.path).unwrap();
        dump::restore(&store, big_dump(100).as_bytes(), &author()).unwrap();
        store.close().unwrap();
        drop(store);
        let store = open(&dir.path).unwrap();
        (0..20).for_each(|number| add_account(&store, &format!("Late {number}")));
        let rows = all_rows(&store);
        store.close().unwrap();
        drop(store);
        (dir, rows)
    }

    /// What `kill -9` leaves of the same store. And its rows.
    fn crashed() -> (Self, Vec<String>) {
        let (dir, _rows) = Self::closed();
        let store = open(&dir.path).unwrap();
        (0..20).for_each(|number| add_account(&store, &format!("Last {number}")));
        let rows = all_rows(&store);
        (dir.copy(), rows)
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        copy_files(&self.path, &copy.path);
        copy
    }

    fn change(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path.join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// Opens what must be refused, and left as it is. Answers why.
    fn refused(&self) -> String {
        let before = files(&self.path);
        let error = open(&self.path).err().expect("it opened");
        assert!(files(&self.path) == before, "{error}, but its files were changed");
        self.message(&error)
    }

    fn message(&self, error: &OpenError) -> String {
        error.to_string().replace(self.path.to_str().unwrap(), "DIR")
    }
}

pub(crate) fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy_files(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// What every file below a directory holds.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
            files.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, Some(bytes));
        }
    }
    files
}

const DB: &str = "store/db";
const MARKER: &str = "klinky.json";
const DB_CHANGED: &str = "the store in DIR is damaged: store/db is not as the last clean stop left it; nothing was changed. Move DIR away and run `klinky restore BACKUP --data-dir DIR` with your newest dump";

#[test]
fn a_closed_store_opens_as_it_was() {
    let (dir, rows) = Dir::closed();

    let store = open(&dir.path).unwrap();

    assert_eq!(all_rows(&store), rows);
    assert_eq!(rows.len(), 1 + 120 + 100 + 100);
}

#[test]
fn what_was_committed_before_a_crash_is_there_after_it() {
    let (dir, rows) = Dir::crashed();

    let store = open(&dir.path).unwrap();

    assert_eq!(all_rows(&store), rows);
}

#[test]
fn a_store_that_is_open_is_refused_as_in_use() {
    let dir = Dir::new();
    let store = open(&dir.path).unwrap();

    let refused = open(&dir.path);

    assert!(matches!(&refused, Err(OpenError::InUse { .. })));
    insta::assert_snapshot!(dir.message(&refused.err().unwrap()), @"DIR is in use by another klinky process; stop that one first, or name another directory with --data-dir");
    add_account(&store, "Still writable");
}

#[test]
fn a_directory_of_others_is_refused_and_untouched() {
    let dir = Dir::new();
    fs::create_dir(&dir.path).unwrap();
    fs::write(dir.path.join("photo.jpg"), "mine").unwrap();

    insta::assert_snapshot!(dir.refused(), @"DIR is not a klinky data directory: it holds photo.jpg without a klinky.json; name an empty or new directory with --data-dir");
}

#[test]
fn another_programs_sled_database_is_refused_and_untouched() {
    let dir = Dir::new();
    let db = sled::open(dir.path.join("store")).unwrap();
    db.open_tree("accounts").unwrap().insert("id", "of another").unwrap();
    db.flush().unwrap();
    drop(db);

    insta::assert_snapshot!(dir.refused(), @"DIR is not a klinky data directory: it holds store without a klinky.json; name an empty or new directory with --data-dir");
}

#[test]
fn an_emptied_or_removed_database_is_refused() {
    let (dir, _rows) = Dir::closed();
    let (emptied, removed, all_removed) = (dir.copy(), dir.copy(), dir.copy());
    emptied.change(DB, Vec::clear);
    fs::remove_file(removed.path.join(DB)).unwrap();
    fs::remove_dir_all(all_removed.path.join("store")).unwrap();

    assert_eq!(emptied.refused(), DB_CHANGED);
    insta::assert_snapshot!(removed.refused(), @"the store in DIR is damaged: its database file store/db is missing; nothing was changed. Move DIR away and run `klinky restore BACKUP --data-dir DIR` with your newest dump");
    assert_eq!(all_removed.refused(), removed.refused());
}

#[test]
fn a_truncated_database_is_refused_at_any_length() {
    let (dir, _rows) = Dir::closed();
    let bytes = fs::metadata(dir.path.join(DB)).unwrap().len();

    for length in (0..20).map(|part| bytes * part / 20).chain([1, bytes - 1]) {
        let copy = dir.copy();
        copy.change(DB, |db| db.truncate(usize::try_from(length).unwrap()));
        assert_eq!(copy.refused(), DB_CHANGED, "cut to {length} of {bytes}");
    }
}

#[test]
fn a_flipped_bit_is_refused_anywhere() {
    let (dir, _rows) = Dir::closed();
    let mut random = StdRng::seed_from_u64(2);

    for _ in 0..50 {
        let copy = dir.copy();
        copy.change(DB, |db| {
            let at = random.random_range(0..db.len());
            db[at] ^= 1 << random.random_range(0..8);
        });
        assert_eq!(copy.refused(), DB_CHANGED);
    }
}

#[test]
fn a_damaged_snapshot_file_of_the_engine_is_refused() {
    let (dir, _rows) = Dir::closed();
    let snapshot = fs::read_dir(dir.path.join("store")).unwrap().map(|entry| entry.unwrap().file_name());
    let snapshot = snapshot.map(|name| format!("store/{}", name.to_str().unwrap())).find(|name| name.contains("snap."));
    let snapshot = snapshot.expect("no snapshot file");

    let (flipped, removed) = (dir.copy(), dir.copy());
    flipped.change(&snapshot, |bytes| bytes[20] ^= 4);
    fs::remove_file(removed.path.join(&snapshot)).unwrap();

    assert_eq!(flipped.refused(), DB_CHANGED.replace(DB, &snapshot));
    assert_eq!(removed.refused(), DB_CHANGED.replace(DB, &snapshot));
}

/// sled 0.34 takes it for the newest snapshot and would refuse the whole store.
#[test]
fn a_snapshot_file_that_the_engine_did_not_finish_is_no_damage() {
    let (dir, rows) = Dir::crashed();
    fs::write(dir.path.join("store/snap.0000000000FFFFFF.generating"), "half").unwrap();

    let store = open(&dir.path).unwrap();

    assert_eq!(all_rows(&store), rows);
}

#[test]
fn an_older_copy_of_the_database_is_refused() {
    let (dir, _rows) = Dir::closed();
    let older = dir.copy();
    let store = open(&dir.path).unwrap();
    add_account(&store, "Newer");
    let (crashed, _closed) = (dir.copy(), store.close().unwrap());
    drop(store);

    for newer in [&crashed, &dir] {
        fs::remove_dir_all(newer.path.join("store")).unwrap();
        copy_files(&older.path.join("store"), &newer.path.join("store"));
    }

    assert_eq!(dir.refused(), DB_CHANGED);
    let error = open(&crashed.path).err().expect("it opened");
    insta::assert_snapshot!(crashed.message(&error), @"the store in DIR is damaged: its database is older than the directory: opening 2 of 3. Move DIR away and run `klinky restore BACKUP --data-dir DIR` with your newest dump");
}

#[test]
fn a_missing_marker_is_refused() {
    let (dir, _rows) = Dir::closed();
    fs::remove_file(dir.path.join(MARKER)).unwrap();

    insta::assert_snapshot!(dir.refused(), @"DIR is not a klinky data directory: it holds store without a klinky.json; name an empty or new directory with --data-dir");
}

#[test]
fn a_marker_that_is_not_ours_is_refused() {
    let (dir, _rows) = Dir::closed();
    let with = |change: fn(&str) -> String| {
        let copy = dir.copy();
        copy.change(MARKER, |bytes| *bytes = change(std::str::from_utf8(bytes).unwrap()).into_bytes());
        copy.refused()
    };

    insta::assert_snapshot!(with(|_marker| String::new()), @"the store in DIR is damaged: its klinky.json does not read: EOF while parsing a value at line 1 column 0; nothing was changed. Move DIR away and run `klinky restore BACKUP --data-dir DIR` with your newest dump");
    insta::assert_snapshot!(with(|_marker| "{}".to_owned()), @"the store in DIR is damaged: its klinky.json does not read: missing field `format` at line 1 column 2; nothing was changed. Move DIR away and run `klinky restore BACKUP --data-dir DIR` with your newest dump");
    insta::assert_snapshot!(with(|marker| marker.replace("\"version\":3", "\"version\":4")), @"DIR was written by a later version of klinky (store version 4, this one knows 3); run that version");
    insta::assert_snapshot!(with(|marker| marker.replace("klinky-store", "other")), @r#"DIR is not a klinky data directory: it holds a klinky.json of format "other"; name an empty or new directory with --data-dir"#);
}

/// A process may end between closing its store and noting what the files hold.
#[test]
fn a_closed_store_that_lost_its_end_is_refused_without_the_note_of_its_files() {
    let (dir, rows) = Dir::closed();
    dir.change(MARKER, |bytes| {
        let mut marker: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        marker["files"] = serde_json::Value::Null;
        *bytes = serde_json::to_vec(&marker).unwrap();
    });
    let length = usize::try_from(fs::metadata(dir.path.join(DB)).unwrap().len()).unwrap();
    let mut refusals = 0;

    for at in (0..length).step_by(length / 60) {
        let copy = dir.copy();
        copy.change(DB, |db| db[at] ^= 0x10);
        match open(&copy.path) {
            Ok(store) => assert_eq!(all_rows(&store), rows, "flipped at {at}"),
            Err(error) => {
                refusals += 1;
                let message = copy.message(&error);
                assert!(message.starts_with("the store in DIR is damaged: "), "flipped at {at}: {message}");
            }
        }
    }

    assert!(refusals > 0);
    assert_eq!(all_rows(&open(&dir.path).unwrap()), rows);
}

/// The limit of the guard: after a crash, sled takes damage in what was written since the last
/// opening for the torn end of its log. Then the store is as it was at an instant since that
/// opening. Damage in what is older is refused. A mixture never opens.
#[test]
fn damage_after_a_crash_is_refused_or_goes_back_to_an_earlier_instant() {
    let (dir, rows) = Dir::crashed();
    let opened_with = rows.len() - 20;
    let length = usize::try_from(fs::metadata(dir.path.join(DB)).unwrap().len()).unwrap();
    let damages: [fn(&mut [u8]); 2] = [|page| page[0] ^= 0x10, |page| page.fill(0)];

    for (at, damage) in (0..length).step_by(length / 60).zip(damages.into_iter().cycle()) {
        let copy = dir.copy();
        copy.change(DB, |db| damage(&mut db[at..length.min(at + 4096)]));
        match open(&copy.path) {
            Ok(store) => {
                let found = all_rows(&store);
                assert!(found.len() >= opened_with, "flipped at {at}: {} of {}", found.len(), rows.len());
                assert!(found.iter().all(|row| rows.contains(row)), "flipped at {at}");
            }
            Err(error) => {
                let message = copy.message(&error);
                assert!(message.starts_with("the store in DIR is damaged: "), "flipped at {at}: {message}");
            }
        }
    }
}

#[test]
fn a_first_start_that_was_interrupted_is_started_again() {
    let (started, fresh) = (Dir::new(), Dir::new());
    let store = open(&started.path).unwrap();
    let before_the_marker = started.copy();
    drop(store);
    let new_marker = |dir: &Dir, name: &str| {
        let marker = r#"{"format":"klinky-store","version":1,"generation":0,"closed":false,"files":null}"#;
        fs::create_dir_all(&dir.path).unwrap();
        fs::write(dir.path.join(name), marker).unwrap();
    };
    new_marker(&before_the_marker, MARKER);
    let (half_a_marker, no_database, half_a_database) = (fresh, Dir::new(), before_the_marker.copy());
    new_marker(&half_a_marker, "klinky.json.new");
    new_marker(&no_database, MARKER);
    half_a_database.change(DB, |db| db.truncate(db.len() / 2));

    for dir in [before_the_marker, half_a_marker, no_database, half_a_database] {
        let store = open(&dir.path).unwrap();
        assert_eq!(all_rows(&store).len(), first_plans().unwrap().len());
        add_account(&store, "First");
    }
}

#[test]
fn an_interrupted_restore_is_refused() {
    let dir = Dir::new();
    let dump = big_dump(20_000);
    let mut command = klinky(&["restore", "--data-dir", dir.path.to_str().unwrap()]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // A pipe takes little: once this is written, most of it was read.
    std::io::Write::write_all(&mut input, &dump.as_bytes()[..dump.len() / 2]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let error = open(&dir.path).err().expect("it opened");
    let command = run(&mut klinky(&["dump", "--data-dir", dir.path.to_str().unwrap()]));

    insta::assert_snapshot!(dir.message(&error), @"a restore into DIR did not finish; delete DIR and run `klinky restore` again");
    assert_eq!((command.code, command.stdout.as_str()), (Some(1), ""));
}
