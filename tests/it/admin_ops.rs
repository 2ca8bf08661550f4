//! Statistics, health and readiness.

use serde_json::{Value, json};

use crate::admin::call;
use crate::harness::Server;

#[test]
fn statistics_count_records_and_name_the_busiest_accounts_of_the_hour() {
    let server = Server::start();
    let mut ids = Vec::new();
    for used in [3, 9, 0, 7] {
        let account = server.account("growth");
        server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": used}));
        ids.push(account.id);
    }

    let stats = call(&server, "GET", "/stats").json();

    assert_eq!((&stats["plans"], &stats["accounts"], &stats["keys"]), (&json!(4), &json!(4), &json!(4)));
    assert!(stats["disk_bytes"].as_u64().unwrap() > 0 && stats["commits"].as_u64().unwrap() > 0, "{stats}");
    assert_eq!((&stats["hour"]["start"], &stats["hour"]["used"]), (&json!("2024-01-15T14:00:00Z"), &json!(19)));
    let top = |index: usize, used: u32| json!({"account_id": ids[index], "used": used});
    assert_eq!(stats["hour"]["top_accounts"], json!([top(1, 9), top(3, 7), top(0, 3)]));
    assert_eq!(stats["hour"]["active_accounts"], json!(3));
}

#[test]
fn statistics_list_ten_accounts_at_most_and_of_equals_the_oldest() {
    let server = Server::start();
    let ids: Vec<Value> = (0..12)
        .map(|_account| {
            let id = server.admin_ok("POST", "/accounts", &json!({"name": "Acme"}))["id"].clone();
            let path = format!("/accounts/{}/rate-limit", id.as_str().unwrap());
            server.admin_ok("PUT", &path, &json!({"used": 1}));
            id
        })
        .collect();

    let stats = call(&server, "GET", "/stats").json();

    let top = stats["hour"]["top_accounts"].as_array().unwrap();
    let top: Vec<Value> = top.iter().map(|account| account["account_id"].clone()).collect();
    assert_eq!(top, ids[..10]);
    assert_eq!(stats["hour"]["active_accounts"], json!(12));
}

#[test]
fn health_and_readiness_need_no_token() {
    let server = Server::start();

    insta::assert_snapshot!(server.admin.exchange("GET /healthz"), @r#"
    GET /healthz

    200
    content-type: application/json

    {"status":"up"}
    "#);
    insta::assert_snapshot!(server.admin.exchange("GET /readyz"), @r#"
    GET /readyz

    200
    content-type: application/json

    {"status":"ready"}
    "#);
    insta::assert_snapshot!(server.admin.exchange("POST /metrics\n\n{}"), @r#"
    POST /metrics

    {}

    405
    allow: GET, HEAD
    content-type: application/json

    {"detail":"Method not allowed. Allowed: GET, HEAD."}
    "#);
}

#[test]
fn health_and_metrics_are_not_on_the_public_listener() {
    let server = Server::start();

    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.public.exchange(&format!("GET {path}")).status, 404, "{path}");
    }
}
