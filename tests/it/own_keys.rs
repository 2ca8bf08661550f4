//! Key management by the account holder's session.

use serde_json::{Value, json};

use crate::harness::{Account, Exchange, Server};

/// A server with one account, and that account's session.
pub(crate) struct Holder {
    pub(crate) server: Server,
    pub(crate) account: Account,
    token: String,
}

impl Holder {
    pub(crate) fn on(plan: &str) -> Self {
        let server = Server::start();
        let account = server.account(plan);
        let token = server.token(&account.id);
        Self { server, account, token }
    }

    /// A call below `/api/v1/public/keys`.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Exchange {
        let head = format!("{method} /api/v1/public/keys{path}\nAuthorization: Bearer {}", self.token);
        self.server.public.exchange(&format!("{head}\n\n{body}"))
    }

    pub(crate) fn create(&self, body: &Value) -> Exchange {
        self.call("POST", "", &body.to_string())
    }

    pub(crate) fn rotate(&self, body: &Value) -> Exchange {
        self.call("POST", &format!("/{}/rotate", self.account.key_id), &body.to_string())
    }

    pub(crate) fn ping_status(&self, key: &Value) -> u16 {
        self.server.ping(key.as_str().unwrap()).status
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_key_is_created_by_its_name_in_the_query() {
    let holder = Holder::on("growth");

    let answer = holder.call("POST", "?name=Zapier%20%26%20co", "");

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/keys?name=Zapier%20%26%20co
    Authorization: Bearer <jwt>

    201
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"id":"<id>","account_id":"<id>","name":"Zapier & co","key":"<key>","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":null}
    "#);
    assert_eq!(holder.ping_status(&answer.json()["key"]), 200);
}

#[test]
fn a_key_is_created_from_a_json_body() {
    let holder = Holder::on("growth");

    let answer = holder.create(&json!({"name": "CI", "scope": "read_only", "expires_at": "2024-02-01T00:00:00+01:00"}));

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/keys
    Authorization: Bearer <jwt>

    {"expires_at":"2024-02-01T00:00:00+01:00","name":"CI","scope":"read_only"}

    201
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"id":"<id>","account_id":"<id>","name":"CI","key":"<key>","display":"<display>","scope":"read_only","created_at":"2024-01-15T14:30:00Z","expires_at":"2024-01-31T23:00:00Z","revoked_at":null,"last_used_at":null}
    "#);
    let key = answer.json()["key"].clone();
    let write =
        format!("POST /api/v1/public/links/018d0d80-0000-7000-8000-000000000001/clicks\nX-API-Key: {}", text(&key));
    assert_eq!((holder.ping_status(&key), holder.server.public.exchange(&write).status), (200, 403));
}

#[test]
fn a_field_in_the_body_goes_before_one_in_the_query() {
    let holder = Holder::on("growth");

    let answer = holder.call("POST", "?name=query&scope=read_only", r#"{"name": "body", "scope": "read_write"}"#);

    assert_eq!((&answer.json()["name"], &answer.json()["scope"]), (&json!("body"), &json!("read_write")));
}

#[test]
fn scope_and_expiry_may_stand_in_the_query() {
    let holder = Holder::on("growth");

    let made = holder.call("POST", "?name=a&scope=read_only&expires_at=2024-02-01T00:00:00%2B01:00", "").json();
    let beside = holder.call("POST", "?scope=read_only", r#"{"name": "b", "scope": null}"#).json();

    assert_eq!((&made["scope"], &made["expires_at"]), (&json!("read_only"), &json!("2024-01-31T23:00:00Z")));
    assert_eq!(beside["scope"], json!("read_only"));
    let write = format!("POST /api/v1/public/links\nX-API-Key: {}\n\n{{}}", text(&made["key"]));
    assert_eq!(holder.server.public.exchange(&write).status, 403);
}

#[test]
fn a_query_that_is_not_understood_makes_no_key() {
    let holder = Holder::on("growth");
    let expected = "expected name, scope, expires_at";

    for (query, detail) in [
        ("?name=a&scope=admin", "scope: must be read_write or read_only".to_owned()),
        ("?name=a&scope=", "scope: must be read_write or read_only".to_owned()),
        ("?name=a&scope=read_only&scope=read_write", "scope: must stand once".to_owned()),
        ("?name=a&expires_at=2024-01-15T14:30:00Z", "expires_at: must lie in the future".to_owned()),
        ("?name=a&scopes=read_only", format!("unknown query parameter \"scopes\", {expected}")),
        ("?name=a&Scope=read_only", format!("unknown query parameter \"Scope\", {expected}")),
    ] {
        for body in ["", r#"{"name": "b"}"#] {
            let answer = holder.call("POST", query, body);
            assert_eq!((answer.status, answer.detail()), (422, detail.clone()), "{answer}");
        }
    }
    assert_eq!(holder.call("GET", "", "").json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn fields_that_are_not_known_are_ignored() {
    let holder = Holder::on("growth");

    let answer = holder.create(&json!({"name": "CI", "colour": "red", "account_id": "x", "id": 7}));

    assert_eq!((answer.status, answer.json()["account_id"].clone()), (201, json!(holder.account.id)));
}

#[test]
fn a_key_without_a_name_is_refused() {
    let holder = Holder::on("growth");

    let answer = holder.call("POST", "", "{}");

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/keys
    Authorization: Bearer <jwt>

    {}

    422
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"field required: name"}
    "#);
    assert_eq!(holder.call("POST", "", "").detail(), "field required: name");
    assert_eq!(holder.create(&json!({"name": null})).detail(), "field required: name");
}

#[test]
fn a_fault_of_a_new_key_names_its_field() {
    let holder = Holder::on("growth");
    let long = "x".repeat(101);

    for (body, detail) in [
        (json!({"name": ""}), "name: must be 1 to 100 characters, got 0"),
        (json!({"name": long}), "name: must be 1 to 100 characters, got 101"),
        (json!({"name": "  "}), "name: must not be blank"),
        (json!({"name": "a\0b"}), "name: must not contain control characters"),
        (json!({"name": 7}), "name: invalid type: integer `7`, expected a string"),
        (json!({"name": ["x"]}), "name: invalid type: sequence, expected a string"),
        (json!({"name": "x", "scope": "admin"}), "scope: must be read_write or read_only"),
        (json!({"name": "x", "scope": ""}), "scope: must be read_write or read_only"),
        (json!({"name": "x", "scope": true}), "scope: invalid type: boolean `true`, expected a string"),
        (
            json!({"name": "x", "expires_at": "soon"}),
            "expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z",
        ),
        (json!({"name": "x", "expires_at": "2024-01-15T14:30:00Z"}), "expires_at: must lie in the future"),
        (
            json!({"name": "x", "expires_at": "1969-12-31T23:59:59Z"}),
            "expires_at: must lie between the years 1970 and 9999",
        ),
        (
            json!({"name": "x", "expires_at": 1_705_330_800}),
            "expires_at: invalid type: integer `1705330800`, expected a string",
        ),
    ] {
        let answer = holder.create(&body);
        assert_eq!((answer.status, answer.detail().as_str()), (422, detail), "{answer}");
    }
    assert_eq!(holder.call("GET", "", "").json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    let holder = Holder::on("growth");
    let doubled = r#"{"name": "a", "name": "b"}"#;

    for (body, detail) in [
        ("{", "Invalid JSON in request body"),
        (r#"{"name": "x"} trailing"#, "Invalid JSON in request body"),
        ("name=x", "Invalid JSON in request body"),
        (r#"["x"]"#, "request body: must be a JSON object"),
        ("null", "request body: must be a JSON object"),
        (doubled, "duplicate field `name`"),
    ] {
        let answer = holder.call("POST", "", body);
        assert_eq!((answer.status, answer.detail().as_str()), (422, detail), "{answer}");
    }
    insta::assert_snapshot!(holder.call("POST", "", "{"), @r#"
    POST /api/v1/public/keys
    Authorization: Bearer <jwt>

    {

    422
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"Invalid JSON in request body"}
    "#);
}

#[test]
fn a_name_that_stands_twice_in_the_query_is_refused() {
    let holder = Holder::on("growth");

    let answer = holder.call("POST", "?name=a&name=b", "");

    assert_eq!((answer.status, answer.detail().as_str()), (422, "name: must stand once"));
}

#[test]
fn a_name_in_the_query_that_is_not_utf8_is_refused() {
    let holder = Holder::on("growth");

    let answers = ["%ff", "caf%e9", "%c3%28"].map(|name| holder.call("POST", &format!("?name={name}"), ""));

    for answer in &answers {
        assert_eq!((answer.status, answer.detail().as_str()), (422, "name: must be UTF-8"), "{answer}");
    }
    let named = holder.call("POST", "?name=caf%C3%A9+2", "");
    assert_eq!(named.json()["name"], json!("café 2"));
}

#[test]
fn the_list_shows_all_keys_and_no_secret() {
    let holder = Holder::on("growth");
    let issued = holder.create(&json!({"name": "second"})).json();
    holder.server.account("growth");
    holder.server.set_clock("2024-01-15T14:31:00Z");
    holder.server.ping(text(&issued["key"]));

    let answer = holder.call("GET", "", "");

    assert!(!answer.body.contains(text(&issued["key"])) && !answer.body.contains(&holder.account.key));
    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/keys
    Authorization: Bearer <jwt>

    200
    content-type: application/json
    ratelimit: "hour";r=99;t=1740
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"items":[{"id":"<id>","account_id":"<id>","name":"test","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":null},{"id":"<id>","account_id":"<id>","name":"second","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":"2024-01-15T14:31:00Z"}]}
    "#);
}

#[test]
fn an_account_without_api_access_manages_its_keys_all_the_same() {
    let holder = Holder::on("free");

    let answer = holder.create(&json!({"name": "for later"}));

    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (201, Some("0")));
    assert_eq!(holder.ping_status(&answer.json()["key"]), 403);
}

#[test]
fn a_key_manages_no_keys() {
    let holder = Holder::on("growth");

    for (method, path) in [("GET", ""), ("POST", "?name=x"), ("DELETE", "/x"), ("POST", "/x/rotate")] {
        let request = format!("{method} /api/v1/public/keys{path}\nX-API-Key: {}", holder.account.key);
        assert_eq!(holder.server.public.exchange(&request).status, 401, "{method} {path}");
    }
}

#[test]
fn every_answer_to_a_session_carries_the_limit_and_counts_nothing() {
    let holder = Holder::on("growth");
    holder.server.ping(&holder.account.key);

    let answers = [
        holder.call("GET", "", ""),
        holder.call("HEAD", "", ""),
        holder.create(&json!({"name": "x"})),
        holder.create(&json!({})),
        holder.call("POST", "", &"x".repeat(1024 * 1024 + 1)),
        holder.call("DELETE", "/x", ""),
        holder.call("PUT", "", ""),
        holder.call("GET", "/x/y/z", ""),
        holder.call("GET", "/rate-limit", ""),
        holder.rotate(&json!({"grace_seconds": 0})),
    ];

    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 201, 422, 413, 404, 405, 404, 200, 201]);
    for answer in &answers {
        assert_eq!(answer.header("x-ratelimit-limit"), Some("100"), "{answer}");
        assert_eq!(answer.remaining(), 99, "{answer}");
    }
    assert_eq!(holder.server.used(&holder.account.id), 1);
}
