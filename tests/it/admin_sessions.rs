//! Session tokens and the running window of an account over the admin API.

use serde_json::json;

use crate::admin::{answers, call, call_with};
use crate::harness::Server;

#[test]
fn a_token_opens_the_accounts_own_calls_until_its_end() {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/accounts/{}/tokens", account.id);

    let answer = call_with(&server, "POST", &path, &json!({"ttl_seconds": 60}));

    insta::assert_snapshot!(answer, @r#"
    POST /admin/v1/accounts/<id>/tokens
    Authorization: Bearer <admin token>

    {"ttl_seconds":60}

    201
    content-type: application/json

    {"expires_at":"2024-01-15T14:31:00Z","token":"<jwt>"}
    "#);
    let own = format!("GET /api/v1/public/account\nAuthorization: Bearer {}", answer.json()["token"].as_str().unwrap());
    insta::assert_snapshot!(server.public.exchange(&own), @r#"
    GET /api/v1/public/account
    Authorization: Bearer <jwt>

    200
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Acme","plan":"growth","trial":null,"suspended":false,"api_access":true,"limit":100}
    "#);
    server.set_clock("2024-01-15T14:30:59.999Z");
    assert_eq!(server.public.exchange(&own).status, 200);
    server.set_clock("2024-01-15T14:31:00Z");
    assert_eq!(server.public.exchange(&own).status, 401);
}

#[test]
fn a_token_lives_an_hour_unless_said_and_a_month_at_most() {
    let server = Server::start();
    let path = format!("/accounts/{}/tokens", server.account("growth").id);
    let bodies = [
        "",
        "{}",
        r#"{"ttl_seconds": 1}"#,
        r#"{"ttl_seconds": 2592000}"#,
        r#"{"ttl_seconds": 0}"#,
        r#"{"ttl_seconds": 2592001}"#,
        r#"{"ttl_seconds": -1}"#,
        r#"{"ttl_seconds": 4294967296}"#,
        r#"{"ttl_seconds": 1.5}"#,
        r#"{"ttl_seconds": "60"}"#,
        r#"{"ttl_seconds": null}"#,
        r#"{"ttl": 60}"#,
        "[60]",
        "null",
    ];

    let answers = answers(&server, "POST", &path, &bodies);
    let usual = server.admin_ok("POST", &path, &json!({}));
    let longest = server.admin_ok("POST", &path, &json!({"ttl_seconds": 2_592_000}));

    insta::assert_snapshot!(answers, @r#"
     → 201 accepted
    {} → 201 accepted
    {"ttl_seconds": 1} → 201 accepted
    {"ttl_seconds": 2592000} → 201 accepted
    {"ttl_seconds": 0} → 422 ttl_seconds: must be 1 to 2592000
    {"ttl_seconds": 2592001} → 422 ttl_seconds: must be 1 to 2592000
    {"ttl_seconds": -1} → 422 ttl_seconds: invalid value: integer `-1`, expected a whole number from 0 to 4294967295
    {"ttl_seconds": 4294967296} → 422 ttl_seconds: invalid value: integer `4294967296`, expected a whole number from 0 to 4294967295
    {"ttl_seconds": 1.5} → 422 ttl_seconds: invalid type: floating point `1.5`, expected a whole number from 0 to 4294967295
    {"ttl_seconds": "60"} → 422 ttl_seconds: invalid type: string "60", expected a whole number from 0 to 4294967295
    {"ttl_seconds": null} → 422 ttl_seconds: invalid type: null, expected a whole number from 0 to 4294967295
    {"ttl": 60} → 422 ttl: unknown field `ttl`, expected `ttl_seconds`
    [60] → 422 request body: must be a JSON object
    null → 422 request body: must be a JSON object
    "#);
    assert_eq!(usual["expires_at"], "2024-01-15T15:30:00Z");
    assert_eq!(longest["expires_at"], "2024-02-14T14:30:00Z");
}

#[test]
fn the_running_window_is_shown_and_not_counted() {
    let server = Server::start();
    let account = server.account("growth");
    server.ping(&account.key);
    let path = format!("/accounts/{}/rate-limit", account.id);

    let first = call(&server, "GET", &path);
    let second = call(&server, "GET", &path);

    insta::assert_snapshot!(first, @r#"
    GET /admin/v1/accounts/<id>/rate-limit
    Authorization: Bearer <admin token>

    200
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"limit":100,"used":1,"remaining":99,"reset_at":"2024-01-15T15:00:00Z"}
    "#);
    assert_eq!(first.body, second.body);
}

#[test]
fn the_counter_of_the_running_window_can_be_set() {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/accounts/{}/rate-limit", account.id);

    let answer = call_with(&server, "PUT", &path, &json!({"used": 99}));

    insta::assert_snapshot!(answer, @r#"
    PUT /admin/v1/accounts/<id>/rate-limit
    Authorization: Bearer <admin token>

    {"used":99}

    200
    content-type: application/json
    ratelimit: "hour";r=1;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 1
    x-ratelimit-reset: 1705330800

    {"limit":100,"used":99,"remaining":1,"reset_at":"2024-01-15T15:00:00Z"}
    "#);
    assert_eq!((server.ping(&account.key).status, server.ping(&account.key).status), (200, 429));
    server.admin_ok("PUT", &path, &json!({"used": 0}));
    assert_eq!(server.ping(&account.key).remaining(), 99);
    server.set_clock("2024-01-15T15:00:00Z");
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_counter_is_set_to_whole_units_only() {
    let server = Server::start();
    let account = server.account("growth");
    let bodies = [
        r#"{"used": 4294967295}"#,
        r#"{"used": 4294967296}"#,
        r#"{"used": -1}"#,
        r#"{"used": 0.5}"#,
        r#"{"used": "0"}"#,
        r#"{"used": null}"#,
        r#"{"used": 1, "used": 2}"#,
        r#"{"used": 1, "limit": 2}"#,
        "{}",
        "[1]",
        "1",
        "",
    ];

    let answers = answers(&server, "PUT", &format!("/accounts/{}/rate-limit", account.id), &bodies);

    insta::assert_snapshot!(answers, @r#"
    {"used": 4294967295} → 200 accepted
    {"used": 4294967296} → 422 used: invalid value: integer `4294967296`, expected a whole number from 0 to 4294967295
    {"used": -1} → 422 used: invalid value: integer `-1`, expected a whole number from 0 to 4294967295
    {"used": 0.5} → 422 used: invalid type: floating point `0.5`, expected a whole number from 0 to 4294967295
    {"used": "0"} → 422 used: invalid type: string "0", expected a whole number from 0 to 4294967295
    {"used": null} → 422 used: invalid type: null, expected a whole number from 0 to 4294967295
    {"used": 1, "used": 2} → 422 duplicate field `used`
    {"used": 1, "limit": 2} → 422 limit: unknown field `limit`, expected `used`
    {} → 422 field required: used
    [1] → 422 request body: must be a JSON object
    1 → 422 request body: must be a JSON object
     → 422 Invalid JSON in request body
    "#);
    assert_eq!(server.used(&account.id), 4_294_967_295);
    assert_eq!(server.ping(&account.key).status, 429);
}
