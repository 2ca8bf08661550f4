//! What the admin API refuses of an account's fields, and how it says so.

use serde_json::json;

use crate::admin::{answers, call, send};
use crate::harness::{ADMIN_TOKEN, Server};

#[test]
fn values_at_the_edges_of_their_ranges_are_accepted() {
    let server = Server::start();
    let bodies = [
        json!({"name": "x"}),
        json!({"name": "é".repeat(100)}),
        json!({"name": "🚀".repeat(100)}),
        json!({"name": "Acme", "email": "a@b"}),
        json!({"name": "Acme", "email": format!("{}@b", "a".repeat(252))}),
        json!({"name": "Acme", "custom_limit": 0}),
        json!({"name": "Acme", "custom_limit": 4_294_967_295_u32}),
        json!({"name": "Acme", "trial": {"ends_at": "2024-01-15T14:30:00.001Z"}}),
        json!({"name": "Acme", "trial": {"ends_at": "9999-12-31T23:59:59.999Z"}}),
        json!({"name": "Acme", "email": null, "custom_limit": null, "trial": null}),
    ];

    for body in bodies {
        let created = server.admin_ok("POST", "/accounts", &body);
        assert_eq!(created["name"], body["name"]);
    }
}

/// Objects with a value out of its range.
const OUT_OF_RANGE: &[&str] = &[
    r#"{"name": ""}"#,
    r#"{"name": "   "}"#,
    r#"{"name": "line\nbreak"}"#,
    r#"{"name": "nul\u0000"}"#,
    r#"{"name": "a\u007f"}"#,
    r#"{"name": "a\u0085"}"#,
    r#"{"name": "Acme", "email": "nobody"}"#,
    r#"{"name": "Acme", "email": "@b"}"#,
    r#"{"name": "Acme", "email": "a b@c"}"#,
    r#"{"name": "Acme", "plan": "none"}"#,
    r#"{"name": "Acme", "plan": "Growth"}"#,
    r#"{"name": "Acme", "plan": ""}"#,
    r#"{"name": "Acme", "custom_limit": -1}"#,
    r#"{"name": "Acme", "custom_limit": 4294967296}"#,
    r#"{"name": "Acme", "custom_limit": 1e400}"#,
    r#"{"name": "Acme", "custom_limit": 99999999999999999999999999}"#,
    r#"{"name": "Acme", "custom_limit": 1.5}"#,
    r#"{"name": "Acme", "custom_limit": 1.0}"#,
    r#"{"name": "Acme", "trial": {"plan": "none"}}"#,
    r#"{"name": "Acme", "plan": "growth", "trial": {"plan": "No Plan"}}"#,
    r#"{"name": "Acme", "trial": {"ends_at": "2024-01-15T14:30:00Z"}}"#,
    r#"{"name": "Acme", "trial": {"ends_at": "2024-01-15T15:29:59+01:00"}}"#,
    r#"{"name": "Acme", "trial": {"ends_at": "2024-02-30T00:00:00Z"}}"#,
    r#"{"name": "Acme", "trial": {"ends_at": "tomorrow"}}"#,
    r#"{"name": "Acme", "trial": {"ends_at": "+10000-01-01T00:00:00Z"}}"#,
];

#[test]
fn values_out_of_range_are_refused_by_the_name_of_their_field() {
    let server = Server::start();
    let long_name = format!(r#"{{"name": "{}"}}"#, "é".repeat(101));
    let long_email = format!(r#"{{"name": "Acme", "email": "{}@b"}}"#, "a".repeat(253));

    let answers = answers(&server, "POST", "/accounts", &[OUT_OF_RANGE, &[&long_name, &long_email]].concat());

    insta::assert_snapshot!(answers, @r#"
    {"name": ""} → 422 name: must be 1 to 100 characters, got 0
    {"name": "   "} → 422 name: must not be blank
    {"name": "line\nbreak"} → 422 name: must not contain control characters
    {"name": "nul\u0000"} → 422 name: must not contain control characters
    {"name": "a\u007f"} → 422 name: must not contain control characters
    {"name": "a\u0085"} → 422 name: must not contain control characters
    {"name": "Acme", "email": "nobody"} → 422 email: must be an email address such as ops@example.com
    {"name": "Acme", "email": "@b"} → 422 email: must be 3 to 254 characters, got 2
    {"name": "Acme", "email": "a b@c"} → 422 email: must be an email address such as ops@example.com
    {"name": "Acme", "plan": "none"} → 422 plan: no such plan: none
    {"name": "Acme", "plan": "Growth"} → 422 plan: must be 1 to 32 characters of a-z, 0-9, - and _
    {"name": "Acme", "plan": ""} → 422 plan: must be 1 to 32 characters of a-z, 0-9, - and _
    {"name": "Acme", "custom_limit": -1} → 422 custom_limit: invalid value: integer `-1`, expected a whole number from 0 to 4294967295
    {"name": "Acme", "custom_limit": 4294967296} → 422 custom_limit: invalid value: integer `4294967296`, expected a whole number from 0 to 4294967295
    {"name": "Acme", "custom_limit": 1e400} → 422 Invalid JSON in request body
    {"name": "Acme", "custom_limit": 99999999999999999999999999} → 422 custom_limit: invalid type: floating point `1e+26`, expected a whole number from 0 to 4294967295
    {"name": "Acme", "custom_limit": 1.5} → 422 custom_limit: invalid type: floating point `1.5`, expected a whole number from 0 to 4294967295
    {"name": "Acme", "custom_limit": 1.0} → 422 custom_limit: invalid type: floating point `1.0`, expected a whole number from 0 to 4294967295
    {"name": "Acme", "trial": {"plan": "none"}} → 422 trial.plan: no such plan: none
    {"name": "Acme", "plan": "growth", "trial": {"plan": "No Plan"}} → 422 trial.plan: must be 1 to 32 characters of a-z, 0-9, - and _
    {"name": "Acme", "trial": {"ends_at": "2024-01-15T14:30:00Z"}} → 422 trial.ends_at: must lie in the future
    {"name": "Acme", "trial": {"ends_at": "2024-01-15T15:29:59+01:00"}} → 422 trial.ends_at: must lie in the future
    {"name": "Acme", "trial": {"ends_at": "2024-02-30T00:00:00Z"}} → 422 trial.ends_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    {"name": "Acme", "trial": {"ends_at": "tomorrow"}} → 422 trial.ends_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    {"name": "Acme", "trial": {"ends_at": "+10000-01-01T00:00:00Z"}} → 422 trial.ends_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    {"name": "éééééééééééééééééééééééééééééé … éééééééééééééééééé"} (113 characters) → 422 name: must be 1 to 100 characters, got 101
    {"name": "Acme", "email": "aaaaaaaaaaaaa … aaaaaaaaaaaaaaaa@b"} (284 characters) → 422 email: must be 3 to 254 characters, got 255
    "#);
}

/// Objects with a field that is missing, unknown, doubled, or of another type.
const OF_ANOTHER_TYPE: &[&str] = &[
    r#"{}"#,
    r#"{"name": null}"#,
    r#"{"name": 5}"#,
    r#"{"name": ["Acme"]}"#,
    r#"{"name": {"name": "Acme"}}"#,
    r#"{"name": true}"#,
    r#"{"name": "Acme", "name": "Acme"}"#,
    r#"{"name": "Acme", "email": 5}"#,
    r#"{"name": "Acme", "plan": null}"#,
    r#"{"name": "Acme", "plan": 1}"#,
    r#"{"name": "Acme", "custom_limit": "5"}"#,
    r#"{"name": "Acme", "custom_limit": true}"#,
    r#"{"name": "Acme", "custom_limit": [5]}"#,
    r#"{"name": "Acme", "trial": true}"#,
    r#"{"name": "Acme", "trial": "growth"}"#,
    r#"{"name": "Acme", "trial": []}"#,
    r#"{"name": "Acme", "trial": ["growth"]}"#,
    r#"{"name": "Acme", "trial": ["growth", "2024-02-01T00:00:00Z"]}"#,
    r#"{"name": "Acme", "trial": {"plan": 5}}"#,
    r#"{"name": "Acme", "trial": {"days": 14}}"#,
    r#"{"name": "Acme", "trial": {"plan": "growth", "plan": "scale"}}"#,
    r#"{"name": "Acme", "trial": {"ends_at": 1706745600}}"#,
    r#"{"name": "Acme", "suspended": true}"#,
    r#"{"name": "Acme", "id": "0190a3c4-0000-7000-8000-000000000000"}"#,
    r#"{"Name": "Acme"}"#,
];

#[test]
fn what_has_another_type_or_is_unknown_is_refused() {
    let server = Server::start();

    let answers = answers(&server, "POST", "/accounts", OF_ANOTHER_TYPE);

    insta::assert_snapshot!(answers, @r#"
    {} → 422 field required: name
    {"name": null} → 422 name: invalid type: null, expected a string
    {"name": 5} → 422 name: invalid type: integer `5`, expected a string
    {"name": ["Acme"]} → 422 name: invalid type: sequence, expected a string
    {"name": {"name": "Acme"}} → 422 name: invalid type: map, expected a string
    {"name": true} → 422 name: invalid type: boolean `true`, expected a string
    {"name": "Acme", "name": "Acme"} → 422 duplicate field `name`
    {"name": "Acme", "email": 5} → 422 email: invalid type: integer `5`, expected a string
    {"name": "Acme", "plan": null} → 422 plan: invalid type: null, expected a string
    {"name": "Acme", "plan": 1} → 422 plan: invalid type: integer `1`, expected a string
    {"name": "Acme", "custom_limit": "5"} → 422 custom_limit: invalid type: string "5", expected a whole number from 0 to 4294967295
    {"name": "Acme", "custom_limit": true} → 422 custom_limit: invalid type: boolean `true`, expected a whole number from 0 to 4294967295
    {"name": "Acme", "custom_limit": [5]} → 422 custom_limit: invalid type: sequence, expected a whole number from 0 to 4294967295
    {"name": "Acme", "trial": true} → 422 trial: invalid type: boolean `true`, expected an object
    {"name": "Acme", "trial": "growth"} → 422 trial: invalid type: string "growth", expected an object
    {"name": "Acme", "trial": []} → 422 trial: invalid type: sequence, expected an object
    {"name": "Acme", "trial": ["growth"]} → 422 trial: invalid type: sequence, expected an object
    {"name": "Acme", "trial": ["growth", "2024-02-01T00:00:00Z"]} → 422 trial: invalid type: sequence, expected an object
    {"name": "Acme", "trial": {"plan": 5}} → 422 trial.plan: invalid type: integer `5`, expected a string
    {"name": "Acme", "trial": {"days": 14}} → 422 trial.days: unknown field `days`, expected `plan` or `ends_at`
    {"name": "Acme", "trial": {"plan": "growth", "plan": "scale"}} → 422 trial: duplicate field `plan`
    {"name": "Acme", "trial": {"ends_at": 1706745600}} → 422 trial.ends_at: invalid type: integer `1706745600`, expected a string
    {"name": "Acme", "suspended": true} → 422 suspended: unknown field `suspended`, expected one of `name`, `email`, `plan`, `custom_limit`, `trial`
    {"name": "Acme", "id": "<id>"} → 422 id: unknown field `id`, expected one of `name`, `email`, `plan`, `custom_limit`, `trial`
    {"Name": "Acme"} → 422 Name: unknown field `Name`, expected one of `name`, `email`, `plan`, `custom_limit`, `trial`
    "#);
}

/// Bodies that are no JSON object.
const NO_OBJECT: &[&str] = &[
    "",
    " ",
    "null",
    "5",
    "\"Acme\"",
    r#"["Acme", null, "growth", null, null]"#,
    r#"[{"name": "Acme"}]"#,
    "{",
    r#"{"name": "Acme""#,
    r#"{"name": "Acme"} {}"#,
    r#"{"name": "Acme"}x"#,
    r#"{"name": "Acme",}"#,
    r#"{name: "Acme"}"#,
    r#"{'name': 'Acme'}"#,
    r#"{"name": "Acme", "custom_limit": NaN}"#,
    r#"{"name": "Acme", "custom_limit": 05}"#,
    "{\"name\": \"Acme\0\"}",
    "{\"name\": \"Acme\"}\0",
    "\u{feff}{\"name\": \"Acme\"}",
    r#"{"name": "\ud800"}"#,
    "name=Acme",
];

#[test]
fn what_is_no_json_object_is_refused() {
    let server = Server::start();
    let deep = format!(r#"{{"name": {}"#, "[".repeat(10_000));

    let answers = answers(&server, "POST", "/accounts", &[NO_OBJECT, &[&deep]].concat());

    insta::assert_snapshot!(answers, @r#"
     → 422 Invalid JSON in request body
      → 422 Invalid JSON in request body
    null → 422 request body: must be a JSON object
    5 → 422 request body: must be a JSON object
    "Acme" → 422 request body: must be a JSON object
    ["Acme", null, "growth", null, null] → 422 request body: must be a JSON object
    [{"name": "Acme"}] → 422 request body: must be a JSON object
    { → 422 Invalid JSON in request body
    {"name": "Acme" → 422 Invalid JSON in request body
    {"name": "Acme"} {} → 422 Invalid JSON in request body
    {"name": "Acme"}x → 422 Invalid JSON in request body
    {"name": "Acme",} → 422 Invalid JSON in request body
    {name: "Acme"} → 422 Invalid JSON in request body
    {'name': 'Acme'} → 422 Invalid JSON in request body
    {"name": "Acme", "custom_limit": NaN} → 422 Invalid JSON in request body
    {"name": "Acme", "custom_limit": 05} → 422 Invalid JSON in request body
    {"name": "Acme\u{0}"} → 422 Invalid JSON in request body
    {"name": "Acme"}\u{0} → 422 Invalid JSON in request body
    \u{feff}{"name": "Acme"} → 422 Invalid JSON in request body
    {"name": "\ud800"} → 422 Invalid JSON in request body
    name=Acme → 422 Invalid JSON in request body
    {"name": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ … [[[[[[[[[[[[[[[[[[[[ (10009 characters) → 422 name: invalid type: sequence, expected a string
    "#);
}

#[test]
fn what_is_not_utf_8_is_refused() {
    let server = Server::start();

    let latin1 = send(&server, "POST", "/accounts", b"{\"name\": \"Caf\xe9\"}");
    let lone_surrogate = send(&server, "POST", "/accounts", b"{\"name\": \"\xed\xa0\x80\"}");
    let in_a_name = send(&server, "POST", "/accounts", b"{\"na\xffme\": \"x\"}");

    for answer in [latin1, lone_surrogate, in_a_name] {
        assert_eq!((answer.status, answer.detail().as_str()), (422, "Invalid JSON in request body"));
    }
}

#[test]
fn a_refused_account_is_not_there() {
    let server = Server::start();

    for body in [r#"{"name": ""}"#, r#"{"name": "Acme", "plan": "none"}"#, r#"{"name": "Acme"} x"#, "[]"] {
        assert_eq!(send(&server, "POST", "/accounts", body.as_bytes()).status, 422);
    }

    assert_eq!(call(&server, "GET", "/accounts").json(), json!({"items": [], "next": null}));
    assert_eq!(call(&server, "GET", "/audit").json()["items"], json!([]));
}

#[test]
fn a_body_over_its_bound_is_refused() {
    let server = Server::start();
    let body = format!(r#"{{"name": "{}"}}"#, "x".repeat(1024 * 1024));
    let head = format!(
        "POST /admin/v1/accounts HTTP/1.1\r\nHost: klinky\r\nAuthorization: Bearer {}\r\n\
        Content-Length: {}\r\n\r\n",
        ADMIN_TOKEN,
        body.len()
    );

    let answer = server.admin.exchange_raw("POST /accounts, too large", head.as_bytes());

    insta::assert_snapshot!(answer, @r#"
    POST /accounts, too large

    413
    content-type: application/json

    {"detail":"Request body exceeds 1048576 bytes."}
    "#);
}
