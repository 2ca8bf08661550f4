//! Keys over the admin API: their fields, their changes, their end and their successors.

use serde_json::{Value, json};

use crate::admin::{answers, call, call_with};
use crate::harness::Server;

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A server with an account, and the paths of its keys and of its one key.
fn with_key() -> (Server, String, String) {
    let server = Server::start();
    let account = server.account("growth");
    (server, format!("/accounts/{}/keys", account.id), format!("/keys/{}", account.key_id))
}

#[test]
fn a_key_is_shown_whole_once() {
    let (server, keys, _key) = with_key();

    let created = call_with(&server, "POST", &keys, &json!({"name": "ci"}));
    let shown = call(&server, "GET", &format!("/keys/{}", text(&created.json()["id"])));

    insta::assert_snapshot!(created, @r#"
    POST /admin/v1/accounts/<id>/keys
    Authorization: Bearer <admin token>

    {"name":"ci"}

    201
    content-type: application/json

    {"id":"<id>","account_id":"<id>","name":"ci","key":"<key>","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":null}
    "#);
    insta::assert_snapshot!(shown, @r#"
    GET /admin/v1/keys/<id>
    Authorization: Bearer <admin token>

    200
    content-type: application/json

    {"id":"<id>","account_id":"<id>","name":"ci","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":null}
    "#);
    let secret = text(&created.json()["key"]);
    assert_eq!(text(&created.json()["display"]), format!("{}…", &secret[.."klinky_live_1234".len()]));
    assert!(!call(&server, "GET", &keys).body.contains(&secret));
    assert!(!call(&server, "GET", "/dump").body.contains(&secret));
}

#[test]
fn a_key_is_created_with_all_that_may_be_said_of_it() {
    let (server, keys, _key) = with_key();
    let body = json!({"name": "デプロイ", "scope": "read_only", "expires_at": "2024-01-15T17:30:00.5+02:00"});

    let answer = call_with(&server, "POST", &keys, &body);

    insta::assert_snapshot!(answer, @r#"
    POST /admin/v1/accounts/<id>/keys
    Authorization: Bearer <admin token>

    {"expires_at":"2024-01-15T17:30:00.5+02:00","name":"デプロイ","scope":"read_only"}

    201
    content-type: application/json

    {"id":"<id>","account_id":"<id>","name":"デプロイ","key":"<key>","display":"<display>","scope":"read_only","created_at":"2024-01-15T14:30:00Z","expires_at":"2024-01-15T15:30:00.500Z","revoked_at":null,"last_used_at":null}
    "#);
}

/// Keys that are refused, but for the last two.
const BAD_KEYS: &[&str] = &[
    "",
    "[\"ci\"]",
    "{}",
    r#"{"name": ""}"#,
    r#"{"name": null}"#,
    r#"{"name": "ci", "name": "ci"}"#,
    r#"{"name": "nul\u0000"}"#,
    r#"{"name": "ci", "scope": "all"}"#,
    r#"{"name": "ci", "scope": null}"#,
    r#"{"name": "ci", "scope": ["read_only"]}"#,
    r#"{"name": "ci", "expires_at": "2024-01-15T14:30:00Z"}"#,
    r#"{"name": "ci", "expires_at": "2024-01-15T15:29:59.999+01:00"}"#,
    r#"{"name": "ci", "expires_at": "2024-01-16"}"#,
    r#"{"name": "ci", "expires_at": ""}"#,
    r#"{"name": "ci", "expires_at": 1705330800}"#,
    r#"{"name": "ci", "expires_at": "10000-01-01T00:00:00Z"}"#,
    r#"{"name": "ci", "key": "klinky_live_00000000000000000000000000000000"}"#,
    r#"{"name": "ci", "expires_at": null, "scope": "read_write"}"#,
    r#"{"name": "ci", "expires_at": "2024-01-15T14:30:00.001Z"}"#,
];

#[test]
fn a_key_out_of_range_or_of_another_type_is_refused() {
    let (server, keys, _key) = with_key();

    let answers = answers(&server, "POST", &keys, BAD_KEYS);

    insta::assert_snapshot!(answers, @r#"
     → 422 Invalid JSON in request body
    ["ci"] → 422 request body: must be a JSON object
    {} → 422 field required: name
    {"name": ""} → 422 name: must be 1 to 100 characters, got 0
    {"name": null} → 422 name: invalid type: null, expected a string
    {"name": "ci", "name": "ci"} → 422 duplicate field `name`
    {"name": "nul\u0000"} → 422 name: must not contain control characters
    {"name": "ci", "scope": "all"} → 422 scope: must be read_write or read_only
    {"name": "ci", "scope": null} → 422 scope: invalid type: null, expected a string
    {"name": "ci", "scope": ["read_only"]} → 422 scope: invalid type: sequence, expected a string
    {"name": "ci", "expires_at": "2024-01-15T14:30:00Z"} → 422 expires_at: must lie in the future
    {"name": "ci", "expires_at": "2024-01-15T15:29:59.999+01:00"} → 422 expires_at: must lie in the future
    {"name": "ci", "expires_at": "2024-01-16"} → 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    {"name": "ci", "expires_at": ""} → 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    {"name": "ci", "expires_at": 1705330800} → 422 expires_at: invalid type: integer `1705330800`, expected a string
    {"name": "ci", "expires_at": "10000-01-01T00:00:00Z"} → 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    {"name": "ci", "key": "<key>"} → 422 key: unknown field `key`, expected one of `name`, `scope`, `expires_at`
    {"name": "ci", "expires_at": null, "scope": "read_write"} → 201 accepted
    {"name": "ci", "expires_at": "2024-01-15T14:30:00.001Z"} → 201 accepted
    "#);
    assert_eq!(call(&server, "GET", &keys).json()["items"].as_array().unwrap().len(), 3);
}

#[test]
fn a_key_that_does_not_exist_is_not_found_by_any_call() {
    let server = Server::start();

    for id in ["01900000-0000-7000-8000-000000000000", "1", "klinky_live_00000000000000000000000000000000", "%FE"] {
        let path = format!("/keys/{id}");
        let answers = [
            call(&server, "GET", &path),
            call_with(&server, "PATCH", &path, &json!({"name": "x"})),
            call(&server, "DELETE", &path),
            call(&server, "POST", &format!("{path}/rotate")),
        ];
        assert_eq!(answers.map(|answer| answer.status), [404; 4], "{id}");
    }
    let path = "/keys/01900000-0000-7000-8000-000000000000";
    assert_eq!(call(&server, "GET", path).detail(), "No such key.");
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let (server, _keys, key) = with_key();
    let mut expected = call(&server, "GET", &key).json();

    for (field, value) in [
        ("name", json!("deploy")),
        ("scope", json!("read_only")),
        ("expires_at", json!("2024-01-16T00:00:00Z")),
        ("expires_at", json!(null)),
    ] {
        expected[field] = value.clone();
        assert_eq!(server.admin_ok("PATCH", &key, &json!({field: value})), expected);
    }
    assert_eq!(server.admin_ok("PATCH", &key, &json!({})), expected);
    assert_eq!(call(&server.restart(), "GET", &key).json(), expected);
}

#[test]
fn a_change_out_of_range_or_of_another_type_changes_nothing() {
    let (server, _keys, key) = with_key();
    let before = call(&server, "GET", &key).json();
    let bodies = [
        "",
        "null",
        r#"{"name": null}"#,
        r#"{"name": "deploy", "scope": null}"#,
        r#"{"name": "deploy", "scope": "write"}"#,
        r#"{"name": "deploy", "expires_at": "2024-01-15T14:29:59Z"}"#,
        r#"{"name": "deploy", "expires_at": false}"#,
        r#"{"name": "deploy", "revoked_at": null}"#,
        r#"{"name": "deploy", "expires_at": null, "expires_at": null}"#,
    ];

    let answers = answers(&server, "PATCH", &key, &bodies);

    insta::assert_snapshot!(answers, @r#"
     → 422 Invalid JSON in request body
    null → 422 request body: must be a JSON object
    {"name": null} → 422 name: invalid type: null, expected a string
    {"name": "deploy", "scope": null} → 422 scope: invalid type: null, expected a string
    {"name": "deploy", "scope": "write"} → 422 scope: must be read_write or read_only
    {"name": "deploy", "expires_at": "2024-01-15T14:29:59Z"} → 422 expires_at: must lie in the future
    {"name": "deploy", "expires_at": false} → 422 expires_at: invalid type: boolean `false`, expected a string
    {"name": "deploy", "revoked_at": null} → 422 revoked_at: unknown field `revoked_at`, expected one of `name`, `scope`, `expires_at`
    {"name": "deploy", "expires_at": null, "expires_at": null} → 422 duplicate field `expires_at`
    "#);
    assert_eq!(call(&server, "GET", &key).json(), before);
}

#[test]
fn a_key_is_revoked_once_and_for_all() {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/keys/{}", account.key_id);

    let answer = call(&server, "DELETE", &path);

    insta::assert_snapshot!(answer, @"
    DELETE /admin/v1/keys/<id>
    Authorization: Bearer <admin token>

    204
    ");
    assert_eq!(server.ping(&account.key).status, 401);
    server.set_clock("2024-01-15T14:00:00Z");
    assert_eq!(server.ping(&account.key).status, 401);
    assert_eq!(call(&server, "DELETE", &path).status, 204);
    let shown = call(&server, "GET", &path).json();
    assert_eq!(shown["revoked_at"], "2024-01-15T14:30:00Z");
    assert_eq!(server.restart().ping(&account.key).status, 401);
}

#[test]
fn a_key_that_has_ended_is_neither_changed_nor_rotated() {
    let server = Server::start();
    let account = server.account("growth");
    let revoked = format!("/keys/{}", account.key_id);
    server.admin_ok("DELETE", &revoked, &json!(null));
    let body = json!({"name": "short", "expires_at": "2024-01-15T14:31:00Z"});
    let short = server.admin_ok("POST", &format!("/accounts/{}/keys", account.id), &body);
    let expired = format!("/keys/{}", text(&short["id"]));
    server.set_clock("2024-01-15T14:31:00Z");

    insta::assert_snapshot!(call_with(&server, "PATCH", &revoked, &json!({"expires_at": null})), @r#"
    PATCH /admin/v1/keys/<id>
    Authorization: Bearer <admin token>

    {"expires_at":null}

    409
    content-type: application/json

    {"detail":"The key is revoked or expired. Create a new one instead."}
    "#);
    assert_eq!(call_with(&server, "PATCH", &expired, &json!({"expires_at": null})).status, 409);
    assert_eq!(call(&server, "POST", &format!("{revoked}/rotate")).status, 409);
    assert_eq!(call(&server, "POST", &format!("{expired}/rotate")).status, 409);
    assert_eq!(call(&server, "DELETE", &expired).status, 204);
}

#[test]
fn a_rotation_lets_the_old_key_live_for_an_hour_unless_said() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = call(&server, "POST", &format!("/keys/{}/rotate", account.key_id));

    insta::assert_snapshot!(answer, @r#"
    POST /admin/v1/keys/<id>/rotate
    Authorization: Bearer <admin token>

    201
    content-type: application/json

    {"id":"<id>","account_id":"<id>","name":"test","key":"<key>","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":null}
    "#);
    let new = text(&answer.json()["key"]);
    server.set_clock("2024-01-15T15:29:59.999Z");
    assert_eq!((server.ping(&account.key).status, server.ping(&new).status), (200, 200));
    server.set_clock("2024-01-15T15:30:00Z");
    assert_eq!((server.ping(&account.key).status, server.ping(&new).status), (401, 200));
}

#[test]
fn a_rotation_without_grace_ends_the_old_key_at_once() {
    let server = Server::start();
    let account = server.account("growth");

    let rotated = server.admin_ok("POST", &format!("/keys/{}/rotate", account.key_id), &json!({"grace_seconds": 0}));

    assert_eq!((server.ping(&account.key).status, server.ping(&text(&rotated["key"])).status), (401, 200));
}

#[test]
fn a_rotated_key_never_outlives_its_own_expiry() {
    let (server, keys, _key) = with_key();
    let body = json!({"name": "ci", "scope": "read_only", "expires_at": "2024-01-15T14:40:00Z"});
    let old = server.admin_ok("POST", &keys, &body);
    let path = format!("/keys/{}", text(&old["id"]));

    let new = server.admin_ok("POST", &format!("{path}/rotate"), &json!({"grace_seconds": 86_400}));

    assert_eq!(call(&server, "GET", &path).json()["expires_at"], "2024-01-15T14:40:00Z");
    assert_eq!((&new["name"], &new["scope"]), (&json!("ci"), &json!("read_only")));
    server.set_clock("2024-01-15T14:40:00Z");
    assert_eq!(server.ping(&text(&old["key"])).status, 401);
}

#[test]
fn a_grace_period_is_30_days_at_most() {
    let (server, keys, _key) = with_key();
    let lines = ["2592000", "2592001", "-1", "1.5", "null", "\"60\"", "18446744073709551616"].map(|grace| {
        let key = server.admin_ok("POST", &keys, &json!({"name": "ci"}));
        let path = format!("/keys/{}/rotate", text(&key["id"]));
        answers(&server, "POST", &path, &[&format!(r#"{{"grace_seconds": {grace}}}"#)])
    });

    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"grace_seconds": 2592000} → 201 accepted
    {"grace_seconds": 2592001} → 422 grace_seconds: must be 0 to 2592000
    {"grace_seconds": -1} → 422 grace_seconds: invalid value: integer `-1`, expected a whole number of at least 0
    {"grace_seconds": 1.5} → 422 grace_seconds: invalid type: floating point `1.5`, expected a whole number of at least 0
    {"grace_seconds": null} → 422 grace_seconds: invalid type: null, expected a whole number of at least 0
    {"grace_seconds": "60"} → 422 grace_seconds: invalid type: string "60", expected a whole number of at least 0
    {"grace_seconds": 18446744073709551616} → 422 grace_seconds: invalid type: floating point `1.8446744073709552e+19`, expected a whole number of at least 0
    "#);
}

#[test]
fn an_account_has_100_live_keys_at_most_and_ended_ones_make_room() {
    let (server, keys, first) = with_key();
    for _key in 1..100 {
        server.admin_ok("POST", &keys, &json!({"name": "ci"}));
    }

    let one_too_many = call_with(&server, "POST", &keys, &json!({"name": "ci"}));
    let rotated_with_grace = call(&server, "POST", &format!("{first}/rotate"));
    server.admin_ok("DELETE", &first, &json!(null));
    let in_its_place = call_with(&server, "POST", &keys, &json!({"name": "ci"}));

    insta::assert_snapshot!(one_too_many, @r#"
    POST /admin/v1/accounts/<id>/keys
    Authorization: Bearer <admin token>

    {"name":"ci"}

    409
    content-type: application/json

    {"detail":"The account has 100 live keys, the most that it may have. Revoke one first."}
    "#);
    assert_eq!((rotated_with_grace.status, in_its_place.status), (409, 201));
    assert_eq!(call(&server, "GET", &first).status, 404);
    assert_eq!(call(&server, "GET", &keys).json()["items"].as_array().unwrap().len(), 100);
}

#[test]
fn the_last_use_of_a_key_is_shown_and_kept() {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/keys/{}", account.key_id);
    server.set_clock("2024-01-15T14:31:00.250Z");

    server.ping(&account.key);

    assert_eq!(call(&server, "GET", &path).json()["last_used_at"], "2024-01-15T14:31:00.250Z");
    let server = server.restart();
    assert_eq!(call(&server, "GET", &path).json()["last_used_at"], "2024-01-15T14:31:00.250Z");
}
