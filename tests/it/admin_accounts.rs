//! Accounts over the admin API: their fields, their changes, their end, their tokens and counters.

use serde_json::{Value, json};

use crate::admin::{answers, call, call_with, full_account};
use crate::harness::Server;

fn create(server: &Server, body: &Value) -> String {
    server.admin_ok("POST", "/accounts", body)["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_name_is_enough_for_an_account() {
    let server = Server::start();

    let answer = call_with(&server, "POST", "/accounts", &json!({"name": "Acme"}));

    insta::assert_snapshot!(answer, @r#"
    POST /admin/v1/accounts
    Authorization: Bearer <admin token>

    {"name":"Acme"}

    201
    content-type: application/json

    {"id":"<id>","name":"Acme","email":null,"plan":"free","custom_limit":null,"trial":null,"suspended":false,"api_access":false,"limit":0,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z"}
    "#);
}

#[test]
fn an_account_is_created_with_all_that_may_be_said_of_it() {
    let server = Server::start();

    let answer = call_with(&server, "POST", "/accounts", &full_account());

    insta::assert_snapshot!(answer, @r#"
    POST /admin/v1/accounts
    Authorization: Bearer <admin token>

    {"custom_limit":4294967295,"email":"ops@example.com","name":"Ünïcode & Söhne 株式会社 🚀","plan":"starter","trial":{"ends_at":"2024-02-01T00:00:00.250+02:00","plan":"scale"}}

    201
    content-type: application/json

    {"id":"<id>","name":"Ünïcode & Söhne 株式会社 🚀","email":"ops@example.com","plan":"starter","custom_limit":4294967295,"trial":{"plan":"scale","ends_at":"2024-01-31T22:00:00.250Z"},"suspended":false,"api_access":true,"limit":4294967295,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z"}
    "#);
}

#[test]
fn an_account_is_shown_as_it_was_answered_also_after_a_restart() {
    let server = Server::start();
    let created = server.admin_ok("POST", "/accounts", &full_account());
    let path = format!("/accounts/{}", created["id"].as_str().unwrap());

    let shown = call(&server, "GET", &path).json();
    let server = server.restart();
    let later = call(&server, "GET", &path).json();

    assert_eq!((&shown, &later), (&created, &created));
}

#[test]
fn a_trial_that_says_nothing_is_growth_for_14_days() {
    let server = Server::start();

    let created = server.admin_ok("POST", "/accounts", &json!({"name": "Acme", "trial": {}}));

    assert_eq!(created["trial"], json!({"plan": "growth", "ends_at": "2024-01-29T14:30:00Z"}));
    assert_eq!(
        (&created["plan"], &created["api_access"], &created["limit"]),
        (&json!("free"), &json!(true), &json!(100))
    );
}

#[test]
fn an_account_that_does_not_exist_is_not_found_by_any_call() {
    let server = Server::start();
    let unknown = "01900000-0000-7000-8000-000000000000";
    let calls = [
        ("GET", "", json!(null)),
        ("PATCH", "", json!({"name": "x"})),
        ("DELETE", "", json!(null)),
        ("GET", "/keys", json!(null)),
        ("POST", "/keys", json!({"name": "x"})),
        ("POST", "/tokens", json!({})),
        ("GET", "/rate-limit", json!(null)),
        ("PUT", "/rate-limit", json!({"used": 0})),
    ];

    for id in [unknown, "1", "%20", "0190000000007000800000000000000g", "{01900000-0000-7000-8000-000000000000}"] {
        for (method, path, body) in &calls {
            let answer = call_with(&server, method, &format!("/accounts/{id}{path}"), body);
            assert_eq!((answer.status, answer.detail().as_str()), (404, "No such account."), "{method} {id}{path}");
        }
    }
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let server = Server::start();
    let mut expected = server.admin_ok("POST", "/accounts", &full_account());
    let path = format!("/accounts/{}", expected["id"].as_str().unwrap());
    server.set_clock("2024-01-15T14:45:00Z");

    for (field, value) in [
        ("name", json!("Zenith")),
        ("email", json!("new@example.com")),
        ("suspended", json!(true)),
        ("custom_limit", json!(7)),
        ("trial", json!({"plan": "growth", "ends_at": "2024-03-01T00:00:00Z"})),
    ] {
        let changed = server.admin_ok("PATCH", &path, &json!({field: value}));
        expected[field] = value;
        expected["updated_at"] = json!("2024-01-15T14:45:00Z");
        expected["limit"] = changed["limit"].clone();
        assert_eq!(changed, expected);
    }
    assert_eq!(call(&server, "GET", &path).json(), expected);
}

#[test]
fn null_empties_what_may_be_empty() {
    let server = Server::start();
    let id = create(&server, &full_account());

    let empty = json!({"email": null, "custom_limit": null, "trial": null});
    let answer = call_with(&server, "PATCH", &format!("/accounts/{id}"), &empty);

    insta::assert_snapshot!(answer, @r#"
    PATCH /admin/v1/accounts/<id>
    Authorization: Bearer <admin token>

    {"custom_limit":null,"email":null,"trial":null}

    200
    content-type: application/json

    {"id":"<id>","name":"Ünïcode & Söhne 株式会社 🚀","email":null,"plan":"starter","custom_limit":null,"trial":null,"suspended":false,"api_access":false,"limit":0,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z"}
    "#);
}

#[test]
fn a_trial_that_is_changed_to_nothing_said_begins_anew() {
    let server = Server::start();
    let id = create(&server, &full_account());
    server.set_clock("2024-01-16T00:00:00Z");

    let changed = server.admin_ok("PATCH", &format!("/accounts/{id}"), &json!({"trial": {}}));

    assert_eq!(changed["trial"], json!({"plan": "growth", "ends_at": "2024-01-30T00:00:00Z"}));
}

#[test]
fn an_account_goes_with_its_keys_and_counters_and_sessions() {
    let server = Server::start();
    let account = server.account("growth");
    let (second_id, second) = server.key(&account.id);
    let token = server.token(&account.id);
    assert_eq!((server.ping(&account.key).status, server.ping(&second).status), (200, 200));

    let answer = call(&server, "DELETE", &format!("/accounts/{}", account.id));

    insta::assert_snapshot!(answer, @"
    DELETE /admin/v1/accounts/<id>
    Authorization: Bearer <admin token>

    204
    ");
    assert_eq!((server.ping(&account.key).status, server.ping(&second).status), (401, 401));
    for id in [&account.key_id, &second_id] {
        assert_eq!(call(&server, "GET", &format!("/keys/{id}")).status, 404);
    }
    let session = server.public.exchange(&format!("GET /api/v1/public/account\nAuthorization: Bearer {token}"));
    assert_eq!(session.status, 401);
    assert_eq!(call(&server, "DELETE", &format!("/accounts/{}", account.id)).status, 404);
    let dump = call(&server, "GET", "/dump?only=accounts,keys,counters").body;
    assert_eq!(dump.lines().count(), 2, "{dump}");
}

#[test]
fn the_end_of_one_account_leaves_the_others() {
    let server = Server::start();
    let (first, second, third) = (server.account("growth"), server.account("growth"), server.account("growth"));

    server.admin_ok("DELETE", &format!("/accounts/{}", second.id), &json!(null));

    let server = server.restart();
    let statuses = [&first, &second, &third].map(|account| server.ping(&account.key).status);
    assert_eq!(statuses, [200, 401, 200]);
}

/// Changes that are refused.
const BAD_CHANGES: &[&str] = &[
    "",
    r#"["Zenith"]"#,
    r#"{"name": null}"#,
    r#"{"name": ""}"#,
    r#"{"name": "Zenith", "plan": null}"#,
    r#"{"name": "Zenith", "plan": "none"}"#,
    r#"{"name": "Zenith", "suspended": null}"#,
    r#"{"name": "Zenith", "suspended": "yes"}"#,
    r#"{"name": "Zenith", "suspended": 1}"#,
    r#"{"name": "Zenith", "email": ""}"#,
    r#"{"name": "Zenith", "custom_limit": 4294967296}"#,
    r#"{"name": "Zenith", "custom_limit": -0.5}"#,
    r#"{"name": "Zenith", "trial": ["growth"]}"#,
    r#"{"name": "Zenith", "trial": ["growth", "2024-02-01T00:00:00Z"]}"#,
    r#"{"name": "Zenith", "trial": {"plan": "none"}}"#,
    r#"{"name": "Zenith", "trial": {"ends_at": "2024-01-15T14:45:00Z"}}"#,
    r#"{"name": "Zenith", "limit": 5}"#,
    r#"{"name": "Zenith", "name": "Zenith"}"#,
];

#[test]
fn a_change_that_is_out_of_range_or_of_another_type_changes_nothing() {
    let server = Server::start();
    let created = server.admin_ok("POST", "/accounts", &full_account());
    let path = format!("/accounts/{}", created["id"].as_str().unwrap());
    server.set_clock("2024-01-15T14:45:00Z");

    let answers = answers(&server, "PATCH", &path, BAD_CHANGES);

    insta::assert_snapshot!(answers, @r#"
     → 422 Invalid JSON in request body
    ["Zenith"] → 422 request body: must be a JSON object
    {"name": null} → 422 name: invalid type: null, expected a string
    {"name": ""} → 422 name: must be 1 to 100 characters, got 0
    {"name": "Zenith", "plan": null} → 422 plan: invalid type: null, expected a string
    {"name": "Zenith", "plan": "none"} → 422 plan: no such plan: none
    {"name": "Zenith", "suspended": null} → 422 suspended: invalid type: null, expected a boolean
    {"name": "Zenith", "suspended": "yes"} → 422 suspended: invalid type: string "yes", expected a boolean
    {"name": "Zenith", "suspended": 1} → 422 suspended: invalid type: integer `1`, expected a boolean
    {"name": "Zenith", "email": ""} → 422 email: must be 3 to 254 characters, got 0
    {"name": "Zenith", "custom_limit": 4294967296} → 422 custom_limit: invalid value: integer `4294967296`, expected a whole number from 0 to 4294967295
    {"name": "Zenith", "custom_limit": -0.5} → 422 custom_limit: invalid type: floating point `-0.5`, expected a whole number from 0 to 4294967295
    {"name": "Zenith", "trial": ["growth"]} → 422 trial: invalid type: sequence, expected an object
    {"name": "Zenith", "trial": ["growth", "2024-02-01T00:00:00Z"]} → 422 trial: invalid type: sequence, expected an object
    {"name": "Zenith", "trial": {"plan": "none"}} → 422 trial.plan: no such plan: none
    {"name": "Zenith", "trial": {"ends_at": "2024-01-15T14:45:00Z"}} → 422 trial.ends_at: must lie in the future
    {"name": "Zenith", "limit": 5} → 422 limit: unknown field `limit`, expected one of `name`, `email`, `plan`, `custom_limit`, `trial`, `suspended`
    {"name": "Zenith", "name": "Zenith"} → 422 duplicate field `name`
    "#);
    assert_eq!(call(&server, "GET", &path).json(), created);
}
