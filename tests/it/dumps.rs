//! Dumps over HTTP, and back: what they hold, and that nothing is lost on the way.

use serde_json::{Value, json};

use crate::admin::{call, full_account, send};
use crate::harness::{Exchange, Server};

/// A dump of version 1 that is kept by hand; what it holds may never change.
pub(crate) const GOLDEN: &str = include_str!("../../data/dumps/v1.jsonl");
/// The key of the first account in [`GOLDEN`].
const GOLDEN_KEY: &str = "klinky_live_09IRajs1AJSbkt2BKTclu3CLUd3mQ4Tc";

/// The whole dump of a server.
pub(crate) fn dump(server: &Server) -> String {
    let answer = call(server, "GET", "/dump");
    assert_eq!(answer.status, 200, "{answer}");
    answer.body
}

/// All lines but the header.
pub(crate) fn rows(dump: &str) -> &str {
    dump.split_once('\n').unwrap().1
}

pub(crate) fn restore(server: &Server, dump: &str) -> Exchange {
    send(server, "POST", "/restore", dump.as_bytes())
}

fn kinds(dump: &str) -> String {
    let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned();
    dump.lines().map(kind).collect::<Vec<_>>().join(" ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// One key of each fate, by the status of a request with it.
struct Furnished {
    server: Server,
    live: String,
    others: Vec<(String, u16)>,
}

/// A server with something of everything.
fn furnished() -> Furnished {
    let server = Server::start();
    let plan = json!({"id": "team-5", "name": "Tëam", "api_access": true, "requests_per_hour": 5, "best_for": "fünf"});
    server.admin_ok("POST", "/plans", &plan);
    server.admin_ok("PATCH", "/plans/starter", &json!({"best_for": "", "requests_per_hour": 1}));
    server.admin_ok("POST", "/accounts", &full_account());
    let account = server.account("team-5");
    let key = |body: Value| server.admin_ok("POST", &format!("/accounts/{}/keys", account.id), &body);
    let (revoked, rotated) = (key(json!({"name": "revoked"})), key(json!({"name": "rotated"})));
    let expiring = key(json!({"name": "kurz ⏳", "expires_at": "2024-01-15T14:30:01Z"}));
    let reader = key(json!({"name": "reader", "scope": "read_only"}));
    server.admin_ok("DELETE", &format!("/keys/{}", text(&revoked["id"])), &Value::Null);
    let path = format!("/keys/{}/rotate", text(&rotated["id"]));
    let successor = server.admin_ok("POST", &path, &json!({"grace_seconds": 0}));
    let suspended = server.account("growth");
    server.admin_ok("PATCH", &format!("/accounts/{}", suspended.id), &json!({"suspended": true}));
    server.ping(&account.key);
    server.set_clock("2024-01-15T15:10:00.001Z");
    server.ping(&account.key);
    server.ping(&account.key);
    let others = vec![
        (text(&revoked["key"]), 401),
        (text(&rotated["key"]), 401),
        (text(&expiring["key"]), 401),
        (text(&successor["key"]), 200),
        (text(&reader["key"]), 200),
        (suspended.key, 403),
    ];
    Furnished { server, live: account.key, others }
}

#[test]
fn a_dump_is_a_header_and_a_line_for_each_record() {
    let server = Server::start();
    let account = server.account("growth");
    server.ping(&account.key);

    let answer = call(&server, "GET", "/dump");

    insta::assert_snapshot!(answer, @r#"
    GET /admin/v1/dump
    Authorization: Bearer <admin token>

    200
    content-type: application/jsonl

    {"kind":"header","format":"klinky","version":1,"created_at":"2024-01-15T14:30:00Z"}
    {"kind":"plan","id":"free","name":"Free","api_access":false,"requests_per_hour":0,"best_for":"dashboard only"}
    {"kind":"plan","id":"growth","name":"Growth","api_access":true,"requests_per_hour":100,"best_for":"small teams, basic automation"}
    {"kind":"plan","id":"scale","name":"Scale","api_access":true,"requests_per_hour":1000,"best_for":"large teams, heavy API use"}
    {"kind":"plan","id":"starter","name":"Starter","api_access":false,"requests_per_hour":0,"best_for":"dashboard only"}
    {"kind":"account","id":"<id>","name":"Acme","email":null,"plan":"growth","custom_limit":null,"trial":null,"suspended":false,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z"}
    {"kind":"key","id":"<id>","account_id":"<id>","sha256":"<hash>","name":"test","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":"2024-01-15T14:30:00Z"}
    {"kind":"counter","account_id":"<id>","hour":"2024-01-15T14:00:00Z","used":1}
    {"kind":"usage","account_id":"<id>","hour":"2024-01-15T14:00:00Z","key_id":"<id>","endpoint":"GET /public/links","used":1,"denied":0,"errors":0,"latency":[<counts>]}
    {"kind":"end","rows":8}
    "#);
}

#[test]
fn a_dump_of_a_new_store_holds_the_first_plans() {
    let server = Server::start();

    assert_eq!(kinds(&dump(&server)), "header plan plan plan plan end");
}

#[test]
fn a_dump_holds_no_secret() {
    let Furnished { server, live, others } = furnished();

    let dump = dump(&server);

    assert!(!dump.contains(&live) && others.iter().all(|(key, _status)| !dump.contains(key)));
}

#[test]
fn a_dump_of_some_kinds_holds_these_in_the_usual_order() {
    let server = Server::start();
    let account = server.account("growth");
    server.ping(&account.key);

    let of = |query: &str| kinds(&call(&server, "GET", &format!("/dump?{query}")).body);

    assert_eq!(of("only=plans"), "header plan plan plan plan end");
    assert_eq!(of("only=counters,accounts"), "header account counter end");
    assert_eq!(of("only=keys,keys"), "header key end");
    assert_eq!(of("only=counters"), "header counter end");
}

#[test]
fn a_dump_of_an_account_holds_its_plans_and_what_is_its_own_only() {
    let server = Server::start();
    let (account, other) = (server.account("growth"), server.account("scale"));
    let trial = json!({"trial": {"plan": "scale"}});
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &trial);
    server.key(&account.id);
    server.ping(&account.key);
    server.ping(&other.key);

    let answer = call(&server, "GET", &format!("/dump?account={}", account.id)).body;

    assert_eq!(kinds(&answer), "header plan plan account key key counter usage end");
    assert!(!answer.contains(&other.id));
    assert_eq!(
        kinds(&call(&server, "GET", &format!("/dump?only=keys&account={}", account.id)).body),
        "header key key end"
    );
    assert_eq!(restore(&Server::start(), &answer).status, 201);
}

#[test]
fn a_dump_of_what_does_not_exist_is_refused() {
    let server = Server::start();
    let queries = [
        "only=webhooks",
        "only=",
        "only=plans,",
        "only=Plans",
        "only=plans&only=keys",
        "account=",
        "account=x",
        "account=01900000-0000-7000-8000-000000000000",
    ];

    let lines = queries.map(|query| {
        let answer = call(&server, "GET", &format!("/dump?{query}"));
        format!("{query}: {} {}", answer.status, answer.detail())
    });

    insta::assert_snapshot!(lines.join("\n"), @"
    only=webhooks: 422 only: must be plans, accounts, keys, counters, links, usage, or several with commas
    only=: 422 only: must be plans, accounts, keys, counters, links, usage, or several with commas
    only=plans,: 422 only: must be plans, accounts, keys, counters, links, usage, or several with commas
    only=Plans: 422 only: must be plans, accounts, keys, counters, links, usage, or several with commas
    only=plans&only=keys: 422 only: must stand once
    account=: 422 account: must be a UUID
    account=x: 422 account: must be a UUID
    account=01900000-0000-7000-8000-000000000000: 404 No such account.
    ");
}

#[test]
fn a_restored_dump_dumps_as_it_was() {
    let Furnished { server, .. } = furnished();
    let first = dump(&server);
    let second_server = Server::start();
    second_server.set_clock("2024-01-15T15:20:00Z");

    let answer = restore(&second_server, &first);

    insta::assert_snapshot!(answer, @r#"
    POST /restore

    201
    content-type: application/json

    {"plans":5,"accounts":3,"keys":7,"counters":2,"links":0,"click_days":0,"clicks":0,"conversions":0,"taken_slugs":0,"usage":2}
    "#);
    let second = dump(&second_server);
    assert_eq!(rows(&second), rows(&first));
    assert_eq!(second.lines().next().unwrap(), first.lines().next().unwrap().replace("15:10:00.001Z", "15:20:00Z"));
    assert_eq!(rows(&dump(&second_server.restart())), rows(&first));
}

#[test]
fn a_restored_store_answers_as_the_first_one_did() {
    let Furnished { server, live, others } = furnished();
    let restored = Server::start();
    restored.set_clock("2024-01-15T15:10:00.001Z");
    assert_eq!(restore(&restored, &dump(&server)).status, 201);

    assert_eq!(restored.ping(&live).remaining(), 2);
    for (key, status) in others {
        let (first, second) = (server.ping(&key), restored.ping(&key));
        assert_eq!((first.status, second.status), (status, status));
    }
    assert_eq!(restored.ping(&live).status, 429);
}

#[test]
fn a_restore_is_one_line_of_the_trail() {
    let server = Server::start();

    assert_eq!(restore(&server, GOLDEN).status, 201);

    let trail = call(&server, "GET", "/audit").json();
    let entry = &trail["items"][0];
    assert_eq!(
        (&entry["action"], &entry["actor"], &entry["number"]),
        (&json!("store.restore"), &json!("admin"), &json!(1))
    );
}

#[test]
fn a_restore_takes_place_of_the_first_plans_only() {
    let server = Server::start();
    let account = server.account("growth");
    let before = dump(&server);

    let answer = restore(&server, GOLDEN);

    insta::assert_snapshot!(answer.body, @r#"{"detail":"The store is not empty. Restore only into a new one."}"#);
    assert_eq!((answer.status, dump(&server)), (409, before));
    assert_eq!(server.ping(&account.key).status, 200);
    server.admin_ok("DELETE", &format!("/accounts/{}", account.id), &Value::Null);
    assert_eq!(restore(&server, GOLDEN).status, 201);
}

#[test]
fn the_golden_dump_is_restored_and_dumped_byte_by_byte() {
    let server = Server::start();

    assert_eq!(restore(&server, GOLDEN).status, 201);

    assert_eq!(dump(&server), GOLDEN);
    assert_eq!(dump(&server.restart()), GOLDEN);
}

#[test]
fn the_key_of_the_golden_dump_opens_the_api() {
    let server = Server::start();
    restore(&server, GOLDEN);

    let answer = server.ping(GOLDEN_KEY);

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=58;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 58
    x-ratelimit-reset: 1705330800

    {"items":[],"total":0,"page":1,"per_page":20,"pages":0}
    "#);
}

#[test]
fn a_dump_without_a_last_line_break_or_with_other_ones_is_the_same() {
    for dump_text in [GOLDEN.trim_end().to_owned(), GOLDEN.replace('\n', "\r\n")] {
        let server = Server::start();

        assert_eq!(restore(&server, &dump_text).status, 201);

        assert_eq!(dump(&server), GOLDEN);
    }
}

#[test]
fn a_dump_needs_the_token() {
    let server = Server::start();

    let dump = server.admin.exchange("GET /admin/v1/dump");
    let restore = server.admin.exchange(&format!("POST /admin/v1/restore\n\n{GOLDEN}"));

    assert_eq!((dump.status, restore.status), (401, 401));
    assert_eq!(call(&server, "GET", "/accounts").json()["items"], json!([]));
}
