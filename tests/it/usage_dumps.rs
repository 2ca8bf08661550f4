//! Usage in dumps, there and back again, and under `klinky verify`.

use serde_json::{Value, json};

use crate::dumps::{dump, restore, rows};
use crate::harness::{Account, Server, admin_request};
use crate::usage::usage;
use crate::verify::{Whole, faults};

/// A dump of version 1 as a server wrote it, with usage. It must be read for ever.
const GOLDEN: &str = include_str!("../../data/dumps/v1-usage.jsonl");

/// A server with usage of two hours and two accounts: units, denials, errors, a name with HTML.
fn furnished() -> (Server, Account) {
    let server = Server::start();
    let (account, other) = (server.account("growth"), server.account("scale"));
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": 40}));
    let (_id, second) = server.key(&account.id);
    let ask = |head: &str, key: &str| server.public.exchange(&format!("{head}\nX-API-Key: {key}")).status;
    assert_eq!(ask("GET /api/v1/public/links", &account.key), 200);
    assert_eq!(ask("GET /api/v1/public/links/x", &second), 404);
    assert_eq!(ask("GET /check?cost=37\nX-Original-URI: /<script>?x", &second), 200);
    server.set_clock("2024-01-15T15:10:00Z");
    assert_eq!(ask("POST /check/reports/17", &account.key), 200);
    assert_eq!(ask("GET /check?cost=40", &account.key), 429);
    assert_eq!(ask("GET /check?cost=7", &other.key), 200);
    (server, account)
}

fn used(server: &Server, account: &Account) -> Value {
    usage(server, account, "").json()
}

#[test]
fn usage_comes_back_as_it_was_and_goes_on() {
    let (server, account) = furnished();
    let before = used(&server, &account);
    let dumped = dump(&server);

    let other = Server::start();
    other.set_clock("2024-01-15T15:10:00Z");
    let answer = restore(&other, &dumped);

    assert_eq!(
        answer.body,
        r#"{"plans":4,"accounts":2,"keys":3,"counters":3,"links":0,"click_days":0,"clicks":0,"conversions":0,"taken_slugs":0,"usage":6}"#
    );
    assert_eq!(rows(&dump(&other)), rows(&dumped));
    assert_eq!(used(&other, &account), before);
    assert_eq!(before["total"]["used"], 40);
    other.public.exchange(&format!("POST /check/reports/18\nX-API-Key: {}", account.key));
    let after = used(&other, &account);
    assert_eq!((&after["total"]["used"], &after["hours"][1]["by_endpoint"][0]["used"]), (&json!(41), &json!(2)));
}

#[test]
fn the_golden_dump_of_usage_comes_back_as_it_is() {
    let server = Server::start();

    let answer = restore(&server, GOLDEN);

    assert_eq!(
        answer.body,
        r#"{"plans":4,"accounts":2,"keys":3,"counters":3,"links":0,"click_days":0,"clicks":0,"conversions":0,"taken_slugs":0,"usage":6}"#
    );
    assert_eq!(rows(&dump(&server)), rows(GOLDEN));
}

#[test]
fn a_dump_of_usage_alone_or_of_one_account_has_just_that() {
    let (server, account) = furnished();
    let of = |query: &str| {
        let answer = server.admin.exchange(&admin_request("GET", &format!("/dump?{query}"), ""));
        answer.body.lines().filter(|line| line.contains(r#""kind":"usage""#)).count()
    };

    assert_eq!(of("only=usage"), 6);
    assert_eq!(of(&format!("only=usage&account={}", account.id)), 5);
    assert_eq!(of("only=counters"), 0);
}

#[test]
fn a_row_of_usage_that_is_none_is_refused() {
    let line = GOLDEN.lines().find(|line| line.contains("<script>")).unwrap();
    let number = GOLDEN.lines().position(|found| found == line).unwrap() + 1;
    let mut said = String::new();
    for (was, is) in [
        ("GET /<script>", ""),
        ("GET /<script>", "GET /\u{e9}"),
        ("\"denied\":0", "\"denied\":-1"),
        ("T14:00:00Z", "T14:00:01Z"),
        ("\"latency\":[", "\"latency\":[1,"),
        ("\"account_id\":\"0", "\"account_id\":\"1"),
        ("\"errors\":0", "\"error\":0"),
    ] {
        let wrong = GOLDEN.replace(line, &line.replacen(was, is, 1));
        let answer = restore(&Server::start(), &wrong);
        said.push_str(&format!("{was} → {is}: {}\n", answer.detail().replace(&format!("line {number}"), "line N")));
    }
    let twice = GOLDEN.replace(line, &format!("{line}\n{line}"));
    said.push_str(&format!("twice: {}\n", restore(&Server::start(), &twice).detail()));
    insta::assert_snapshot!(said, @r#"
    GET /<script> → : line N: endpoint: must be 1 to 128 visible ASCII characters and spaces
    GET /<script> → GET /é: line N: endpoint: must be 1 to 128 visible ASCII characters and spaces
    "denied":0 → "denied":-1: line N: invalid value: integer `-1`, expected u64
    T14:00:00Z → T14:00:01Z: line N: hour: must be the top of an hour
    "latency":[ → "latency":[1,: line N: invalid length 13, expected 12 elements in sequence
    "account_id":"0 → "account_id":"1: line N: account 118d0d87-7e40-7794-a5af-91c39faca859 does not exist; what a row names must stand before it
    "errors":0 → "error":0: line N: unknown field `error`, expected one of `account_id`, `hour`, `key_id`, `endpoint`, `used`, `denied`, `errors`, `latency`
    twice: line 16: usage of 018d0d87-7e40-7794-a5af-91c77616cc53 for GET /<script> at 2024-01-15T14:00:00Z stands twice
    "#);
}

#[test]
fn a_damaged_row_of_usage_is_a_fault() {
    let whole = Whole::new();

    let copy = whole.damaged(|db| {
        let usage = db.open_tree("usage").unwrap();
        let (key, mut value) = usage.first().unwrap().unwrap();
        value[3] ^= 1;
        usage.insert(&key, value).unwrap();
        usage.insert(&key[..35], b"short").unwrap();
    });

    let faults = faults(copy.path());
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("usage ") && faults[0].ends_with(": it is too short"), "{faults:?}");
    assert!(faults[1].starts_with("usage ") && faults[1].ends_with(": its checksum does not match"), "{faults:?}");
}
