//! Usage per key and endpoint: what is shown of it, and that it adds up to the counter.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use crate::harness::{Account, Exchange, Server};

/// An account holder's usage.
pub(crate) fn usage(server: &Server, account: &Account, query: &str) -> Exchange {
    let token = server.token(&account.id);
    let answer = server.public.exchange(&format!("GET /api/v1/public/usage{query}\nAuthorization: Bearer {token}"));
    without_times(answer)
}

/// Times differ from run to run, if they are there.
fn without_times(mut answer: Exchange) -> Exchange {
    static TIMES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""p(50|99)_ms":\d+"#).unwrap());
    answer.body = TIMES.replace_all(&answer.body, "\"p${1}_ms\":\"<ms>\"").into_owned();
    answer
}

/// What each endpoint used, was denied and failed, in the running hour.
pub(crate) fn endpoints(server: &Server, account_id: &str) -> Vec<(String, u64, u64, u64)> {
    let shown = server.admin_ok("GET", &format!("/accounts/{account_id}/usage"), &Value::Null);
    let hour = shown["hours"].as_array().unwrap().last().unwrap_or(&Value::Null).clone();
    let number = |entry: &Value, name: &str| entry[name].as_u64().unwrap();
    let entries = hour["by_endpoint"].as_array().cloned().unwrap_or_default();
    let entry = |entry: &Value| {
        let name = entry["endpoint"].as_str().unwrap().to_owned();
        (name, number(entry, "used"), number(entry, "denied"), number(entry, "errors"))
    };
    entries.iter().map(entry).collect()
}

fn get(server: &Server, key: &str, path: &str) -> u16 {
    server.public.exchange(&format!("GET /api/v1/public{path}\nX-API-Key: {key}")).status
}

fn create_link(server: &Server, key: &str) -> String {
    let body = json!({"name": "Sale", "destination_url": "https://example.com/"});
    let answer = server.public.exchange(&format!("POST /api/v1/public/links\nX-API-Key: {key}\n\n{body}"));
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_holder_sees_what_was_used_by_key_and_by_endpoint() {
    let server = Server::start();
    let account = server.account("growth");
    let (_second_id, second) = server.key(&account.id);
    let link = create_link(&server, &account.key);
    for _ in 0..3 {
        assert_eq!(get(&server, &account.key, &format!("/links/{link}")), 200);
    }
    assert_eq!(get(&server, &second, &format!("/links/{}", account.id)), 404);
    assert_eq!(get(&server, &second, "/nothing"), 404);

    let answer = usage(&server, &account, "");

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/usage
    Authorization: Bearer <jwt>

    200
    content-type: application/json
    ratelimit: "hour";r=94;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 94
    x-ratelimit-reset: 1705330800

    {"from":"2024-01-14T15:00:00Z","to":"2024-01-15T15:00:00Z","total":{"used":6,"denied":0,"errors":2,"by_key":[{"key_id":"<id>","used":4,"denied":0,"errors":0},{"key_id":"<id>","used":2,"denied":0,"errors":2}],"by_endpoint":[{"endpoint":"GET /public/links/{id}","used":4,"denied":0,"errors":1,"p50_ms":"<ms>","p99_ms":"<ms>"},{"endpoint":"POST /public/links","used":1,"denied":0,"errors":0,"p50_ms":"<ms>","p99_ms":"<ms>"},{"endpoint":"unknown","used":1,"denied":0,"errors":1,"p50_ms":"<ms>","p99_ms":"<ms>"}]},"hours":[{"hour":"2024-01-15T14:00:00Z","used":6,"denied":0,"errors":2,"by_key":[{"key_id":"<id>","used":4,"denied":0,"errors":0},{"key_id":"<id>","used":2,"denied":0,"errors":2}],"by_endpoint":[{"endpoint":"GET /public/links/{id}","used":4,"denied":0,"errors":1,"p50_ms":"<ms>","p99_ms":"<ms>"},{"endpoint":"POST /public/links","used":1,"denied":0,"errors":0,"p50_ms":"<ms>","p99_ms":"<ms>"},{"endpoint":"unknown","used":1,"denied":0,"errors":1,"p50_ms":"<ms>","p99_ms":"<ms>"}]}]}
    "#);
    assert_eq!(server.used(&account.id), 6);
}

#[test]
fn the_operator_sees_the_same_of_any_account() {
    let server = Server::start();
    let account = server.account("growth");
    server.ping(&account.key);

    let answer =
        server.admin.exchange(&crate::harness::admin_request("GET", &format!("/accounts/{}/usage", account.id), ""));

    insta::assert_snapshot!(without_times(answer), @r#"
    GET /admin/v1/accounts/<id>/usage
    Authorization: Bearer <admin token>

    200
    content-type: application/json

    {"from":"2024-01-14T15:00:00Z","to":"2024-01-15T15:00:00Z","total":{"used":1,"denied":0,"errors":0,"by_key":[{"key_id":"<id>","used":1,"denied":0,"errors":0}],"by_endpoint":[{"endpoint":"GET /public/links","used":1,"denied":0,"errors":0,"p50_ms":"<ms>","p99_ms":"<ms>"}]},"hours":[{"hour":"2024-01-15T14:00:00Z","used":1,"denied":0,"errors":0,"by_key":[{"key_id":"<id>","used":1,"denied":0,"errors":0}],"by_endpoint":[{"endpoint":"GET /public/links","used":1,"denied":0,"errors":0,"p50_ms":"<ms>","p99_ms":"<ms>"}]}]}
    "#);
    let unknown = server.admin.exchange(&crate::harness::admin_request("GET", "/accounts/x/usage", ""));
    assert_eq!((unknown.status, unknown.detail().as_str()), (404, "No such account."));
}

#[test]
fn denied_requests_are_counted_as_denied_and_use_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": 2}));

    let statuses: Vec<u16> = (0..5).map(|_| get(&server, &account.key, "/links")).collect();

    assert_eq!(statuses, [200, 200, 429, 429, 429]);
    assert_eq!(endpoints(&server, &account.id), [("GET /public/links".to_owned(), 2, 3, 0)]);
}

#[test]
fn what_is_refused_for_another_reason_than_the_limit_is_no_usage() {
    let server = Server::start();
    let (free, suspended) = (server.account("free"), server.account("growth"));
    server.admin_ok("PATCH", &format!("/accounts/{}", suspended.id), &json!({"suspended": true}));

    assert_eq!((get(&server, &free.key, "/links"), get(&server, &suspended.key, "/links")), (403, 403));
    assert_eq!(get(&server, "nonsense", "/links"), 401);

    assert_eq!(endpoints(&server, &free.id), []);
    assert_eq!(endpoints(&server, &suspended.id), []);
}

#[test]
fn a_bulk_call_uses_as_many_units_as_it_costs() {
    let server = Server::start();
    let account = server.account("growth");
    let link = json!({"name": "Sale", "destination_url": "https://example.com/"});
    let body = json!({"links": [link, link, link, link, link]});

    let answer =
        server.public.exchange(&format!("POST /api/v1/public/links/bulk\nX-API-Key: {}\n\n{body}", account.key));

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(endpoints(&server, &account.id), [("POST /public/links/bulk".to_owned(), 5, 0, 0)]);
    assert_eq!(server.used(&account.id), 5);
}

#[test]
fn usage_outlives_a_restart_and_goes_on() {
    let server = Server::start();
    let account = server.account("growth");
    (0..7).for_each(|_| assert_eq!(server.ping(&account.key).status, 200));

    let server = server.restart();
    (0..4).for_each(|_| assert_eq!(server.ping(&account.key).status, 200));

    assert_eq!(endpoints(&server, &account.id), [("GET /public/links".to_owned(), 11, 0, 0)]);
    let shown = usage(&server, &account, "").json();
    assert_eq!(shown["total"]["by_key"][0]["key_id"], json!(account.key_id));
    assert_eq!(server.used(&account.id), 11);
}

#[test]
fn hours_are_told_apart_and_summed() {
    let server = Server::start();
    let account = server.account("growth");
    for (clock, requests) in [("2024-01-14T15:59:59Z", 1), ("2024-01-15T14:30:00Z", 2), ("2024-01-15T15:00:00Z", 3)] {
        server.set_clock(clock);
        (0..requests).for_each(|_| assert_eq!(server.ping(&account.key).status, 200));
    }
    let hours = |query: &str| -> Vec<(String, u64)> {
        let shown = usage(&server, &account, query).json();
        let hours: Vec<(String, u64)> = shown["hours"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hour| (hour["hour"].as_str().unwrap().to_owned(), hour["used"].as_u64().unwrap()))
            .collect();
        assert_eq!(shown["total"]["used"].as_u64().unwrap(), hours.iter().map(|(_hour, used)| used).sum::<u64>());
        hours
    };
    let all = [
        ("2024-01-14T15:00:00Z".to_owned(), 1),
        ("2024-01-15T14:00:00Z".to_owned(), 2),
        ("2024-01-15T15:00:00Z".to_owned(), 3),
    ];

    // The last day begins with the hour after the one of the day before.
    assert_eq!(hours(""), all[1..]);
    assert_eq!(hours("?from=2024-01-14"), all);
    assert_eq!(hours("?from=2024-01-14&to=2024-01-14"), all[..1]);
    assert_eq!(hours("?from=2024-01-14T15:59:59.999Z&to=2024-01-15T15:00:00Z"), all[..2]);
    assert_eq!(hours("?from=2024-01-15T15:30:00%2B01:00&to=2024-01-15T14:00:00.001Z"), all[1..2]);
    assert_eq!(hours("?to=2024-01-14T16:00:00Z"), all[..1]);
    assert_eq!(hours("?from=2024-01-16&to=2024-01-17"), []);
}

#[test]
fn a_span_that_is_none_is_refused() {
    let server = Server::start();
    let account = server.account("growth");
    let mut said = String::new();
    for query in [
        "?from=yesterday",
        "?to=2024-13-01",
        "?from=",
        "?from=2024-01-15T15:00:00Z",
        "?from=2024-01-15&to=2024-01-14",
        "?from=2024-01-01&to=2024-02-01",
        "?from=2024-01-01&from=2024-01-02",
        "?from=%ff",
    ] {
        let answer = usage(&server, &account, query);
        said.push_str(&format!("{query} → {} {}\n", answer.status, answer.detail()));
    }
    insta::assert_snapshot!(said, @r#"
    ?from=yesterday → 422 from: must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z
    ?to=2024-13-01 → 422 to: must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z
    ?from= → 422 from: must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z
    ?from=2024-01-15T15:00:00Z → 422 from: must lie before to
    ?from=2024-01-15&to=2024-01-14 → 422 from: must lie before to
    ?from=2024-01-01&to=2024-02-01 → 422 from: must lie at most 31 days before to
    ?from=2024-01-01&from=2024-01-02 → 422 from: must stand once
    ?from=%ff → 422 from: must be UTF-8
    "#);
    assert_eq!(usage(&server, &account, "?from=2024-01-01&to=2024-01-31").status, 200);
}

#[test]
fn usage_is_open_to_a_session_alone() {
    let server = Server::start();
    let account = server.account("growth");

    let by_key = server.public.exchange(&format!("GET /api/v1/public/usage\nX-API-Key: {}", account.key));
    let below = server
        .public
        .exchange(&format!("GET /api/v1/public/usage/x\nAuthorization: Bearer {}", server.token(&account.id)));
    let posted = server
        .public
        .exchange(&format!("POST /api/v1/public/usage\nAuthorization: Bearer {}", server.token(&account.id)));

    assert_eq!((by_key.status, below.status, posted.status), (401, 404, 405));
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
    assert_eq!(server.used(&account.id), 0);
    assert_eq!(endpoints(&server, &account.id), []);
}

#[test]
fn usage_adds_up_to_the_counter_whoever_races() {
    const THREADS: usize = 8;
    const REQUESTS: usize = 60;
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": 350}));
    let keys: Vec<String> = (0..4).map(|_| server.key(&account.id).1).collect();
    let paths = ["/links", "/links/x", "/links/x/stats", "/links/x/clicks", "/nothing"];
    let count = |thread: usize| {
        let mut passed = 0;
        for turn in 0..REQUESTS {
            let at = thread * 7 + turn;
            passed += u64::from(get(&server, &keys[at % keys.len()], paths[at % paths.len()]) != 429);
        }
        passed
    };

    let passed: u64 = std::thread::scope(|threads| {
        let running: Vec<_> = (0..THREADS).map(|thread| threads.spawn(move || count(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });

    assert_eq!((passed, server.used(&account.id)), (350, 350));
    let total = usage(&server, &account, "").json()["total"].clone();
    let sum = |list: &str, name: &str| -> u64 {
        total[list].as_array().unwrap().iter().map(|entry| entry[name].as_u64().unwrap()).sum()
    };
    let denied = u64::try_from(THREADS * REQUESTS).unwrap() - 350;
    for list in ["by_key", "by_endpoint"] {
        assert_eq!((sum(list, "used"), sum(list, "denied")), (350, denied), "{list} in {total}");
    }
    assert_eq!((total["used"].as_u64(), total["denied"].as_u64()), (Some(350), Some(denied)));
    assert_eq!((total["by_key"].as_array().unwrap().len(), total["by_endpoint"].as_array().unwrap().len()), (4, 5));
}

#[test]
fn a_counter_that_an_operator_sets_changes_no_usage() {
    let server = Server::start();
    let account = server.account("growth");
    server.ping(&account.key);

    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 0}));
    server.ping(&account.key);

    assert_eq!(server.used(&account.id), 1);
    assert_eq!(endpoints(&server, &account.id), [("GET /public/links".to_owned(), 2, 0, 0)]);
}

#[test]
fn the_statistics_name_the_busiest_accounts_keys_and_endpoints_of_the_hour() {
    let server = Server::start();
    let (busy, other) = (server.account("growth"), server.account("growth"));
    server.ping(&busy.key);
    server.set_clock("2024-01-15T15:00:00Z");
    let (second_id, second) = server.key(&busy.id);
    (0..3).for_each(|_| assert_eq!(get(&server, &busy.key, "/links"), 200));
    (0..2).for_each(|_| assert_eq!(get(&server, &second, "/links/x"), 404));
    assert_eq!(get(&server, &other.key, "/links/x/stats"), 404);

    let hour = server.admin_ok("GET", "/stats", &Value::Null)["hour"].clone();

    assert_eq!(hour["used"], 6);
    assert_eq!(hour["top_accounts"], json!([{"account_id": busy.id, "used": 5}, {"account_id": other.id, "used": 1}]));
    assert_eq!(
        hour["top_keys"],
        json!([
            {"account_id": busy.id, "key_id": busy.key_id, "used": 3},
            {"account_id": busy.id, "key_id": second_id, "used": 2},
            {"account_id": other.id, "key_id": other.key_id, "used": 1},
        ])
    );
    assert_eq!(
        hour["top_endpoints"],
        json!([
            {"endpoint": "GET /public/links", "used": 3},
            {"endpoint": "GET /public/links/{id}", "used": 2},
            {"endpoint": "GET /public/links/{id}/stats", "used": 1},
        ])
    );
}
