//! Dumps beside all else: of many pages, to clients that leave, while the store is changed.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klinky::accounts::{self, AccountDraft};
use klinky::domain::account::AccountPatch;
use klinky::domain::decision::Limit;
use klinky::domain::key::KeyFormat;
use klinky::domain::plan::{Plan, PlanId};
use klinky::domain::text::{Name, Note};
use klinky::dump::{self, DumpFilter};
use klinky::keys::{self, Grace};
use klinky::plans::first_plans;
use klinky::store::{Author, KEYS_PER_ACCOUNT_MAX, Store, StoreOptions};
use serde_json::{Value, json};

use crate::admin::call_with;
use crate::dumps::{GOLDEN, dump, restore, rows};
use crate::harness::{ADMIN_TOKEN, START, Server, at};
use crate::store::author;

/// Rows of each kind in [`many`]: some pages of 1000.
const MANY: u32 = 3_050;

/// A dump of many accounts with a key and a counter each.
fn many() -> String {
    let head = GOLDEN.lines().filter(|line| line.contains(r#""header""#) || line.contains(r#""kind":"plan""#));
    let row = |kind: &str, n: u32| match kind {
        "account" => format!(
            r#"{{"kind":"account","id":"018d0d80-0000-7000-8000-{n:012x}","name":"Account {n}","email":null,"plan":"growth","custom_limit":null,"trial":null,"suspended":false,"created_at":"2024-01-01T00:00:00Z","updated_at":"2024-01-01T00:00:00Z"}}"#
        ),
        "key" => format!(
            r#"{{"kind":"key","id":"018d0d81-0000-7000-8000-{n:012x}","account_id":"018d0d80-0000-7000-8000-{n:012x}","sha256":"{n:064x}","name":"ci","display":"klinky_live_0000…","scope":"read_only","created_at":"2024-01-05T00:00:00Z","expires_at":null,"revoked_at":null,"last_used_at":"2024-01-05T00:00:00.001Z"}}"#
        ),
        _ => format!(
            r#"{{"kind":"counter","account_id":"018d0d80-0000-7000-8000-{n:012x}","hour":"2024-01-15T14:00:00Z","used":{n}}}"#
        ),
    };
    let rows = ["account", "key", "counter"].into_iter().flat_map(|kind| (0..MANY).map(move |n| row(kind, n)));
    let end = format!(r#"{{"kind":"end","rows":{}}}"#, 5 + 3 * MANY);
    head.map(str::to_owned).chain(rows).chain([end]).map(|line| line + "\n").collect()
}

#[test]
fn a_dump_of_many_pages_is_streamed_whole() {
    let (server, many) = (Server::start(), many());

    let answer = restore(&server, &many);

    assert_eq!(
        answer.body,
        r#"{"plans":5,"accounts":3050,"keys":3050,"counters":3050,"links":0,"click_days":0,"clicks":0,"conversions":0,"taken_slugs":0,"usage":0}"#
    );
    // Not assert_eq: on a failure it would print two megabytes.
    assert!(dump(&server) == many, "the dump differs");
}

#[test]
fn a_client_that_leaves_a_dump_hurts_nobody() {
    let server = Server::start();
    restore(&server, &many());
    let mut stream = server.admin.connect();
    let head = format!("GET /admin/v1/dump HTTP/1.1\r\nHost: klinky\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();

    drop(stream);

    assert_eq!(call_with(&server, "POST", "/accounts", &json!({"name": "Acme"})).status, 201);
    assert_eq!(dump(&server).lines().count(), many().lines().count() + 1);
}

#[test]
fn a_dump_beside_writes_is_always_whole() {
    let server = Server::start();
    let done = AtomicBool::new(false);
    let dumps: Vec<String> = std::thread::scope(|scope| {
        let (server, done) = (&server, &done);
        for writer in 0..2 {
            scope.spawn(move || {
                for round in 0.. {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    churn(server, &format!("plan-{writer}-{round}"));
                }
            });
        }
        let dumps = (0..25).map(|_dump| dump(server)).collect();
        done.store(true, Ordering::SeqCst);
        dumps
    });

    for dump in dumps {
        let answer = restore(&Server::start(), &dump);
        assert_eq!(answer.status, 201, "{answer}\n{dump}");
    }
}

/// Adds a plan, an account on it and a key, uses it, and takes the plan or all of it away again.
fn churn(server: &Server, plan: &str) {
    let body = json!({"id": plan, "name": plan, "api_access": true, "requests_per_hour": 5});
    server.admin_ok("POST", "/plans", &body);
    let account = server.account(plan);
    server.ping(&account.key);
    server.admin_ok("POST", &format!("/keys/{}/rotate", account.key_id), &json!({"grace_seconds": 0}));
    let path = format!("/accounts/{}", account.id);
    if plan.ends_with(['1', '3', '5', '7', '9']) {
        server.admin_ok("DELETE", &path, &Value::Null);
    } else {
        server.admin_ok("PATCH", &path, &json!({"plan": "growth"}));
    }
    server.admin_ok("DELETE", &format!("/plans/{plan}"), &Value::Null);
}

fn draft(name: &str) -> AccountDraft {
    let (name, plan) = (Name::new(name).unwrap(), PlanId::new("growth").unwrap());
    AccountDraft { name, email: None, plan, custom_limit: None, trial: None }
}

/// Takes a dump, and changes the store when the first account goes out.
struct Meddler<'a> {
    store: &'a Store,
    by: &'a Author,
    dump: Vec<u8>,
    on_plan: bool,
}

impl Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dump.extend_from_slice(bytes);
        let dump = String::from_utf8_lossy(&self.dump);
        let lines = |kind: &str| dump.lines().filter(|line| line.contains(kind)).count();
        let (plan, account) = (lines("\"kind\":\"plan\""), lines("\"kind\":\"account\""));
        let late = PlanId::new("late").unwrap();
        let second = self.store.list_accounts(None, 2).unwrap().items[1].id;
        let change = |plan: &PlanId| AccountPatch { plan: Some(plan.clone()), ..AccountPatch::default() };
        if plan == 1 && !self.on_plan {
            let name = Name::new("Late").unwrap();
            let plan = Plan {
                id: late.clone(),
                name,
                api_access: true,
                requests_per_hour: Limit::new(1),
                best_for: Note::default(),
            };
            self.store.create_plan(plan, self.by).unwrap();
            self.store.update_account(second, change(&late), self.by).unwrap();
            self.on_plan = true;
        } else if account == 1 && self.on_plan && self.store.get_plan(&late).is_ok() {
            self.store.update_account(second, change(&PlanId::new("scale").unwrap()), self.by).unwrap();
            self.store.remove_plan(&late, self.by).unwrap();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a dump, and does something once, as soon as so much of it has gone out.
struct Interrupted<A> {
    dump: Vec<u8>,
    end: &'static str,
    act: Option<A>,
}

impl<A: FnOnce()> Write for Interrupted<A> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dump.extend_from_slice(bytes);
        if self.dump.ends_with(self.end.as_bytes())
            && let Some(act) = self.act.take()
        {
            act();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A dump of all, during which something happens.
fn interrupted(store: &Store, end: &'static str, act: impl FnOnce()) -> String {
    let mut out = Interrupted { dump: Vec::new(), end, act: Some(act) };
    dump::write(store, &DumpFilter::default(), at(START), &mut out).unwrap();
    assert!(out.act.is_none());
    String::from_utf8(out.dump).unwrap()
}

#[test]
fn an_account_full_of_keys_of_which_one_is_rotated_while_they_are_dumped_can_be_restored() {
    let (dir, by) =
        (tempfile::tempdir().unwrap(), Author { actor: "test".to_owned(), request_id: "-".to_owned(), at: at(START) });
    let options = StoreOptions { dir: dir.path().join("db"), flush_within: Duration::ZERO };
    let store = Store::open(&options, &first_plans().unwrap()).unwrap();
    let format = KeyFormat::new("klinky").unwrap();
    dump::restore(&store, many().as_bytes(), &by).unwrap();
    let first = store.keys().next().unwrap().unwrap().key;
    let (account, mut key) = (first.account_id, first.id);
    // The others' keys lie between the first one and these, so that sled reads them later.
    let rotate = |key| keys::rotate(&store, &format, key, None, Grace::from_secs(0).unwrap(), &by).unwrap().key.id;
    for _rotation in 1..KEYS_PER_ACCOUNT_MAX {
        key = rotate(key);
    }

    let mut live = None;
    let dumped = interrupted(&store, r#""kind":"key""#, || live = Some(rotate(key)));

    assert_eq!(dumped.matches(r#""kind":"key""#).count(), MANY as usize + KEYS_PER_ACCOUNT_MAX);
    let server = Server::start();
    let answer = restore(&server, &dumped);
    assert_eq!(answer.status, 201, "{answer}");
    let keys = server.admin_ok("GET", &format!("/accounts/{account}/keys?limit=1000"), &Value::Null);
    let kept: Vec<&Value> = keys["items"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
    let live = live.unwrap().to_string();
    assert_eq!((kept.len(), kept.last().unwrap().as_str()), (KEYS_PER_ACCOUNT_MAX, Some(live.as_str())));
}

#[test]
fn an_account_that_leaves_a_new_plan_while_it_is_dumped_goes_out_as_it_is_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { dir: dir.path().join("db"), flush_within: Duration::ZERO };
    let store = Store::open(&options, &first_plans().unwrap()).unwrap();
    let by = author();
    for name in ["First", "Second"] {
        accounts::create(&store, draft(name), &by).unwrap();
    }
    let mut out = Meddler { store: &store, by: &by, dump: Vec::new(), on_plan: false };

    dump::write(&store, &DumpFilter::default(), at(START), &mut out).unwrap();

    let dumped = String::from_utf8(out.dump).unwrap();
    assert!(out.on_plan && !dumped.contains("late"), "{dumped}");
    assert!(
        dumped.lines().rev().nth(1).unwrap().contains(r#""name":"Second","email":null,"plan":"scale""#),
        "{dumped}"
    );
    assert_eq!(restore(&Server::start(), &dumped).status, 201);
}

#[test]
fn a_link_that_goes_with_its_account_while_it_is_dumped_is_dumped_once() {
    let (dir, by) = (tempfile::tempdir().unwrap(), author());
    let options = StoreOptions { dir: dir.path().join("db"), flush_within: Duration::ZERO };
    let store = Store::open(&options, &first_plans().unwrap()).unwrap();
    dump::restore(&store, include_bytes!("../../data/dumps/v1-links.jsonl").as_slice(), &by).unwrap();
    let account = store.list_accounts(None, 1).unwrap().items[0].id;

    let dumped = interrupted(&store, r#""kind":"link""#, || store.remove_account(account, &by).unwrap());

    let server = Server::start();
    assert_eq!(restore(&server, &dumped).status, 201);
    assert!(rows(&dump(&server)) == rows(&dumped), "{dumped}");
}
