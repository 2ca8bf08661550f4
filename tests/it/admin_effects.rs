//! What an operator changes acts on the very next request of the running window.

use serde_json::{Value, json};

use crate::harness::{Account, Server};

fn change(server: &Server, account: &Account, body: &Value) {
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), body);
}

fn set_used(server: &Server, account: &Account, used: u32) {
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": used}));
}

fn status(server: &Server, account: &Account) -> u16 {
    server.ping(&account.key).status
}

#[test]
fn an_upgrade_lets_the_next_request_through_with_what_was_used_kept() {
    let server = Server::start();
    let account = server.account("growth");
    set_used(&server, &account, 100);
    assert_eq!(status(&server, &account), 429);

    change(&server, &account, &json!({"plan": "scale"}));

    assert_eq!((status(&server, &account), server.used(&account.id)), (200, 101));
}

#[test]
fn a_downgrade_below_what_was_used_stops_the_next_request() {
    let server = Server::start();
    let account = server.account("scale");
    set_used(&server, &account, 400);

    change(&server, &account, &json!({"plan": "growth"}));

    insta::assert_snapshot!(server.ping(&account.key), @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    429
    content-type: application/json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    retry-after: 1800
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"detail":"Rate limit exceeded. Please try again later."}
    "#);
    assert_eq!(server.used(&account.id), 400);
}

#[test]
fn a_downgrade_to_a_plan_without_access_closes_the_api() {
    let server = Server::start();
    let account = server.account("growth");
    assert_eq!(status(&server, &account), 200);

    change(&server, &account, &json!({"plan": "free"}));

    insta::assert_snapshot!(server.ping(&account.key), @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    403
    content-type: application/json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=0;w=3600
    x-ratelimit-limit: 0
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"detail":"Your plan (free) does not include API access. Upgrade to Growth or Scale."}
    "#);
}

#[test]
fn a_custom_limit_replaces_the_plans_at_once() {
    let server = Server::start();
    let account = server.account("growth");
    assert_eq!(server.ping(&account.key).remaining(), 99);

    change(&server, &account, &json!({"custom_limit": 3}));
    assert_eq!(server.ping(&account.key).remaining(), 1);
    change(&server, &account, &json!({"custom_limit": 4_294_967_295_u32}));
    assert_eq!(server.ping(&account.key).remaining(), 4_294_967_292);
    change(&server, &account, &json!({"custom_limit": 0}));
    assert_eq!(status(&server, &account), 429);
    change(&server, &account, &json!({"custom_limit": null}));
    assert_eq!(server.ping(&account.key).remaining(), 96);
}

#[test]
fn a_suspension_closes_every_key_until_it_is_lifted() {
    let server = Server::start();
    let account = server.account("growth");
    let (_id, second) = server.key(&account.id);

    change(&server, &account, &json!({"suspended": true}));
    let suspended = (status(&server, &account), server.ping(&second).status);
    change(&server, &account, &json!({"suspended": false}));

    assert_eq!(suspended, (403, 403));
    assert_eq!((status(&server, &account), server.used(&account.id)), (200, 1));
}

#[test]
fn a_revoked_key_fails_at_its_next_request_and_the_others_go_on() {
    let server = Server::start();
    let account = server.account("growth");
    let (_id, second) = server.key(&account.id);

    server.admin_ok("DELETE", &format!("/keys/{}", account.key_id), &json!(null));

    assert_eq!((status(&server, &account), server.ping(&second).status), (401, 200));
}

#[test]
fn an_expiry_that_is_set_or_taken_away_acts_at_once() {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/keys/{}", account.key_id);

    server.admin_ok("PATCH", &path, &json!({"expires_at": "2024-01-15T14:31:00Z"}));
    server.set_clock("2024-01-15T14:30:59.999Z");
    server.admin_ok("PATCH", &path, &json!({"expires_at": null}));
    server.set_clock("2024-01-15T14:31:00Z");
    assert_eq!(status(&server, &account), 200);

    server.admin_ok("PATCH", &path, &json!({"expires_at": "2024-01-15T14:32:00Z"}));
    server.set_clock("2024-01-15T14:32:00Z");
    assert_eq!(status(&server, &account), 401);
}

#[test]
fn a_change_of_a_plan_reaches_all_of_its_accounts() {
    let server = Server::start();
    let accounts = [server.account("growth"), server.account("growth")];

    server.admin_ok("PATCH", "/plans/growth", &json!({"requests_per_hour": 1}));
    let first = accounts.each_ref().map(|account| status(&server, account));
    let second = accounts.each_ref().map(|account| status(&server, account));
    server.admin_ok("PATCH", "/plans/growth", &json!({"api_access": false}));
    let closed = accounts.each_ref().map(|account| status(&server, account));
    server.admin_ok("PATCH", "/plans/growth", &json!({"api_access": true, "requests_per_hour": 2}));
    let open = accounts.each_ref().map(|account| status(&server, account));

    assert_eq!([first, second, closed, open], [[200, 200], [429, 429], [403, 403], [200, 200]]);
}

#[test]
fn a_trial_opens_the_api_when_it_is_given_and_closes_it_when_it_is_taken() {
    let server = Server::start();
    let account = server.account("free");
    assert_eq!(status(&server, &account), 403);

    change(&server, &account, &json!({"trial": {"plan": "scale"}}));
    assert_eq!(server.ping(&account.key).remaining(), 999);
    change(&server, &account, &json!({"trial": null}));

    assert_eq!(status(&server, &account), 403);
}

#[test]
fn a_trial_ends_by_the_clock_with_what_was_used_kept() {
    let server = Server::start();
    let account = server.account("growth");
    change(&server, &account, &json!({"trial": {"plan": "scale", "ends_at": "2024-01-15T14:45:00Z"}}));
    set_used(&server, &account, 150);

    server.set_clock("2024-01-15T14:44:59.999Z");
    let before = server.ping(&account.key);
    server.set_clock("2024-01-15T14:45:00Z");
    let at_its_end = server.ping(&account.key);

    assert_eq!((before.status, before.remaining()), (200, 849));
    assert_eq!((at_its_end.status, at_its_end.header("x-ratelimit-limit")), (429, Some("100")));
    let shown = server.admin_ok("GET", &format!("/accounts/{}", account.id), &Value::Null);
    assert_eq!((&shown["limit"], &shown["trial"]["plan"]), (&json!(100), &json!("scale")));
}

#[test]
fn changes_outlast_a_restart() {
    let server = Server::start();
    let account = server.account("growth");
    change(&server, &account, &json!({"custom_limit": 2}));
    assert_eq!(status(&server, &account), 200);

    let server = server.restart();

    assert_eq!([status(&server, &account), status(&server, &account)], [200, 429]);
}
