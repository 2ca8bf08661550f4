//! `klinky verify`: finds every kind of damage, and changes nothing. Contract section 10.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guarded_open::{copy_files, files};
use crate::process::{Ended, Process, klinky, run};

/// A data directory with rows in every tree, closed.
pub(crate) struct Whole {
    temp: TempDir,
    dir: PathBuf,
    key: String,
    link_id: String,
}

impl Whole {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("whole");
        let process = Process::serve(&dir, &[]);
        let (key, link_id) = fill(&process);
        process.stop();
        Self { temp, dir, key, link_id }
    }

    /// A copy that a crash might have left, with its database changed.
    pub(crate) fn damaged(&self, change: impl FnOnce(&sled::Db)) -> TempDir {
        let copy = tempfile::tempdir_in(&self.temp).unwrap();
        copy_files(&self.dir, copy.path());
        change_engine(copy.path(), change);
        copy
    }
}

/// Changes the database of a directory as a crash might have left it.
pub(crate) fn change_engine(dir: &Path, change: impl FnOnce(&sled::Db)) {
    let marker = dir.join("klinky.json");
    let mut said: Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
    said["files"] = Value::Null;
    fs::write(&marker, said.to_string()).unwrap();
    let db = sled::open(dir.join("store")).unwrap();
    change(&db);
    db.flush().unwrap();
}

/// Two accounts, one of them with a trial; keys; links, one of them deleted; clicks and a conversion; kept answers.
/// Answers the key, and the id of the link `first`.
fn fill(process: &Process) -> (String, String) {
    let (account_id, key) = process.account("scale");
    let account = json!({"name": "Trial", "plan": "free", "trial": {"plan": "growth"}});
    process.admin_ok("POST", "/accounts", &account);
    let public = |method: &str, path: &str, headers: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = process.public.exchange(&format!("{method} {path}\nX-API-Key: {key}{headers}\n\n{body}"));
        assert!((200..400).contains(&answer.status), "{answer}");
        answer
    };
    let link = |slug: &str| {
        let body = json!({"name": slug, "slug": slug, "destination_url": "https://example.com/",
            "enable_conversion_tracking": true, "conversion_redirect_url": "https://example.com/thanks"});
        let headers = format!("\nIdempotency-Key: {slug}");
        public("POST", "/api/v1/public/links", &headers, &body).json()["id"].as_str().unwrap().to_owned()
    };
    let (first, _second, deleted) = (link("first"), link("second"), link("deleted"));
    public("DELETE", &format!("/api/v1/public/links/{deleted}"), "", &Value::Null);
    let agent = "\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";
    let visit = public("GET", "/first", agent, &Value::Null);
    let cookie = visit.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    public("GET", "/second", agent, &Value::Null);
    public("GET", &format!("/c/{first}"), &format!("\nCookie: {cookie}"), &Value::Null);
    // Who looks at usage has its rows written.
    process.admin_ok("GET", &format!("/accounts/{account_id}/usage"), &Value::Null);
    (key, first)
}

fn verify(dir: &Path) -> Ended {
    run(&mut klinky(&["verify", "--data-dir", dir.to_str().unwrap()]))
}

/// The faults of a store that must have some.
pub(crate) fn faults(dir: &Path) -> Vec<String> {
    let before = files(dir);
    let ended = verify(dir);
    assert!(files(dir) == before, "it changed the directory");
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("is damaged. Move "), "{}", ended.stderr);
    let mut lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
    let totals = lines.pop().unwrap();
    assert!(totals.starts_with(&format!("{} faults in ", lines.len())), "{totals}");
    lines
}

fn assert_found(what: &str, dir: &Path, wanted: &[&str]) {
    let faults = faults(dir);
    for wanted in wanted {
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{what}: no {wanted:?} in {faults:#?}");
    }
}

fn first(tree: &sled::Tree) -> (sled::IVec, sled::IVec) {
    tree.first().unwrap().expect("the tree is empty")
}

#[test]
fn a_whole_store_has_no_faults_and_stays_as_it_is() {
    let whole = Whole::new();
    let before = files(&whole.dir);

    let ended = verify(&whole.dir);

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    // What was noted between two rounds is a record.
    let said = Regex::new(r"\d+ usage-journal").unwrap().replace(&ended.stdout, "<some> usage-journal").into_owned();
    assert_eq!(
        said,
        "0 faults in 4 plans, 2 accounts, 1 keys, 1 key_ids, 1 account_keys, 1 last_used, 1 counters, 3 audit, \
         3 links, 3 slugs, 3 account_links, 0 doomed_links, 2 clicks, 2 click_days, 2 click_totals, 0 deferred_events, \
         1 conversions, 2 usage, <some> usage-journal, 6 idempotency, 3 idempotency_by_time, 3 idempotency_by_account\n"
    );
    assert!(files(&whole.dir) == before);
}

#[test]
fn a_changed_byte_in_any_record_is_found_and_the_record_named() {
    let whole = Whole::new();
    for tree in [
        "plans",
        "accounts",
        "keys",
        "links",
        "clicks",
        "click_days",
        "click_totals",
        "usage",
        "audit",
        "idempotency",
        "meta",
        "counters",
        "last_used",
        "conversions",
    ] {
        let damaged = whole.damaged(|db| {
            let tree = db.open_tree(tree).unwrap();
            let (key, mut value) = first(&tree);
            let middle = value.len() / 2;
            value[middle] ^= 1;
            tree.insert(key, value).unwrap();
        });
        let place = if tree == "meta" { "store: damaged record in meta" } else { tree };

        assert_found(tree, damaged.path(), &[place, "its checksum does not match"]);
    }
}

#[test]
fn a_row_that_is_gone_is_found_by_what_names_it() {
    let whole = Whole::new();
    for (tree, wanted) in [
        (
            "accounts",
            &["keys ", ": accounts has no ", "accounts: the store was closed with 2 of them and now has 1"][..],
        ),
        ("keys", &["key_ids ", "names a key that keys does not have", "keys: the store was closed with 1"]),
        ("key_ids", &[": key_ids does not list it"]),
        ("account_keys", &[": account_keys does not list it"]),
        ("links", &["account_links ", ": links has no ", "clicks "]),
        ("slugs", &[": slugs does not list it"]),
        ("account_links", &[": account_links does not list it"]),
        ("click_days", &["nothing counts them", "click_totals "]),
        ("click_totals", &[": click_totals has no "]),
        ("conversions", &[": 1 visitors converted, and there are 0"]),
        ("idempotency", &["idempotency "]),
        ("idempotency_by_time", &[": idempotency_by_time does not list it"]),
        ("idempotency_by_account", &[": idempotency_by_account does not list it"]),
    ] {
        let damaged = whole.damaged(|db| {
            let tree = db.open_tree(tree).unwrap();
            tree.remove(first(&tree).0).unwrap();
        });

        assert_found(tree, damaged.path(), wanted);
    }
}

#[test]
fn a_value_that_is_too_short_is_found() {
    let whole = Whole::new();
    for name in ["last_used", "counters", "conversions", "key_ids", "account_keys", "slugs"] {
        let damaged = whole.damaged(|db| {
            let tree = db.open_tree(name).unwrap();
            let (key, _value) = first(&tree);
            tree.insert(key, &[0; 3]).unwrap();
        });

        assert_found(name, damaged.path(), &[name, "it is too short"]);
    }
}

#[test]
fn a_row_that_says_what_is_not_so_is_found() {
    let whole = Whole::new();
    let found = |what: &str, change: &dyn Fn(&sled::Db), wanted: &[&str]| {
        let damaged = whole.damaged(change);
        assert_found(what, damaged.path(), wanted);
    };
    let tree = |db: &sled::Db, name: &str| db.open_tree(name).unwrap();
    found(
        "a live link that is listed as deleted",
        &|db| drop(tree(db, "account_links").insert(first(&tree(db, "account_links")).0, &[0]).unwrap()),
        &["links ", ": account_links has another row in its place"],
    );
    found(
        "a slug of another link",
        &|db| {
            let slugs = tree(db, "slugs");
            let other = slugs.get("second").unwrap().unwrap();
            slugs.insert("first", other).unwrap();
        },
        &["slugs first: leads to link ", "whose slug is second", ": slugs has another row in its place"],
    );
    found(
        "a plan that accounts name",
        &|db| drop(tree(db, "plans").remove("growth").unwrap()),
        &["accounts ", ": plans has no growth, which it names"],
    );
    found(
        "a last use of no key",
        &|db| drop(tree(db, "last_used").insert([7; 32], &[0; 8]).unwrap()),
        &["last_used 0707", ": keys has no 0707"],
    );
    found(
        "a link that is to be purged and is there",
        &|db| drop(tree(db, "doomed_links").insert(first(&tree(db, "links")).0, &[]).unwrap()),
        &["doomed_links ", ": the link that is to be purged is there"],
    );
    found(
        "a gap in the audit trail",
        &|db| drop(tree(db, "audit").remove(2_u64.to_be_bytes()).unwrap()),
        &["audit 0000000000000003: entry 3 follows entry 1"],
    );
    found(
        "a click that no sum counts",
        &|db| {
            let clicks = tree(db, "clicks");
            let (mut key, click) = first(&clicks);
            key[31] ^= 1;
            clicks.insert(key, click).unwrap();
        },
        &["click_days ", ": it counts 1 clicks of ", ", and there are 2"],
    );
    found(
        "an index row of another key",
        &|db| {
            let hash = first(&tree(db, "keys")).0;
            tree(db, "key_ids").insert([7; 16], hash).unwrap();
        },
        &["key_ids 07070707-", ": names another key: "],
    );
}

#[test]
fn a_damaged_note_of_how_far_usage_is_folded_is_found() {
    let whole = Whole::new();
    let damaged = whole.damaged(|db| drop(db.open_tree("meta").unwrap().insert("usage_folded", &[1; 9]).unwrap()));

    assert_found("folded", damaged.path(), &["meta usage_folded: ", "its checksum does not match"]);
}

/// Changes a byte in each row of a tree.
fn flip_all(db: &sled::Db, tree: &str) {
    let tree = db.open_tree(tree).unwrap();
    tree.iter().keys().for_each(|key| flip(&tree, &key.unwrap()));
}

/// Changes a byte in the row under a key.
pub(crate) fn flip(tree: &sled::Tree, key: &[u8]) {
    let mut value = tree.get(key).unwrap().unwrap();
    value[3] ^= 1;
    tree.insert(key, value).unwrap();
}

#[test]
fn a_damaged_record_that_is_needed_at_the_start_is_refused_by_name() {
    let whole = Whole::new();
    for tree in ["plans", "accounts", "keys", "links", "audit", "meta"] {
        let damaged = whole.damaged(|db| flip_all(db, tree));

        let ended = run(&mut klinky(&["serve", "--data-dir", damaged.path().to_str().unwrap()]));

        assert_eq!(ended.code, Some(1), "{tree}");
        for part in
            [&format!("damaged record in {tree} under "), "its checksum does not match", "klinky restore BACKUP"]
        {
            assert!(ended.stderr.contains(part), "no {part:?} in {}", ended.stderr);
        }
    }
}

#[test]
fn a_damaged_record_that_a_request_needs_is_refused_and_named_in_the_log() {
    let whole = Whole::new();
    let id = &whole.link_id;
    for (tree, path) in [
        ("clicks", format!("GET /api/v1/public/links/{id}/clicks")),
        ("click_days", format!("GET /api/v1/public/links/{id}/stats")),
        ("click_totals", format!("GET /api/v1/public/links/{id}/stats")),
        ("idempotency", "POST /api/v1/public/links".to_owned()),
    ] {
        let damaged = whole.damaged(|db| flip_all(db, tree));
        let process = Process::serve(damaged.path(), &[]);

        let request = format!("{path}\nX-API-Key: {}\nIdempotency-Key: first\n\n{{}}", whole.key);
        let answer = process.public.exchange(&request);

        let log = process.stop();
        assert_eq!(answer.status, 503, "{tree}: {answer}");
        assert!(log.contains(&format!("damaged record in {tree} under ")), "{tree}: {log}");
    }
}

#[test]
fn what_requests_may_leave_behind_is_no_fault() {
    let whole = Whole::new();
    let left = whole.damaged(|db| {
        let tree = |name: &str| db.open_tree(name).unwrap();
        tree("counters").insert([7; 20], &[0, 0, 0, 1]).unwrap();
        tree("slugs").insert("of-a-removed-account", &[7; 16]).unwrap();
        tree("idempotency_by_time").insert([0; 56], &[]).unwrap();
        tree("idempotency_by_account").insert([0; 56], &[]).unwrap();
    });

    let ended = verify(left.path());

    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
}

#[test]
fn a_database_file_that_is_not_as_it_was_left_is_a_fault() {
    let whole = Whole::new();
    let changed = |change: fn(&mut Vec<u8>)| {
        let copy = tempfile::tempdir_in(&whole.temp).unwrap();
        copy_files(&whole.dir, copy.path());
        let mut bytes = fs::read(copy.path().join("store/db")).unwrap();
        change(&mut bytes);
        fs::write(copy.path().join("store/db"), bytes).unwrap();
        copy
    };
    for (what, change) in [
        ("flipped", (|db| db[1000] ^= 4) as fn(&mut Vec<u8>)),
        ("zeroed", |db| db[..4096].fill(0)),
        ("cut", |db| db.truncate(db.len() / 2)),
        ("emptied", Vec::clear),
    ] {
        assert_found(what, changed(change).path(), &["store/db: is not as the last clean stop left it"]);
    }
    let gone = changed(|_db| ());
    fs::remove_file(gone.path().join("store/db")).unwrap();
    assert_found("gone", gone.path(), &["store/db: is missing"]);
}

#[test]
fn a_store_that_a_crash_left_is_verified_without_being_recovered() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &["--flush-every-ms", "0"]);
    fill(&process);
    process.kill();
    let before = files(temp.path());

    let ended = verify(temp.path());

    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains(" 2 accounts, 1 keys, "), "{}", ended.stdout);
    assert!(files(temp.path()) == before);
}

#[test]
fn what_cannot_be_verified_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    let nothing = verify(temp.path());
    let process = Process::serve(temp.path(), &[]);
    let running = verify(temp.path());
    process.stop();
    let marker = fs::read_to_string(temp.path().join("klinky.json")).unwrap();
    fs::write(temp.path().join("klinky.json"), marker.replace("\"version\":3", "\"version\":9")).unwrap();
    let newer = verify(temp.path());

    let said = |ended: &Ended| {
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        ended.stderr.replace(dir, "DIR")
    };
    insta::assert_snapshot!(said(&nothing), @"klinky: there is no klinky data directory at DIR");
    insta::assert_snapshot!(said(&running), @"klinky: DIR is in use by another klinky process; stop that one first, or name another directory with --data-dir");
    insta::assert_snapshot!(said(&newer), @"klinky: DIR was written by a later version of klinky (store version 9, this one knows 3); run that version");
}
