//! `POST /check` with JSON, for API servers that ask by themselves.

use serde_json::{Value, json};

use crate::harness::{Exchange, Server};

fn ask(server: &Server, question: &Value) -> Exchange {
    ask_raw(server, &question.to_string())
}

fn ask_raw(server: &Server, body: &str) -> Exchange {
    server.public.exchange(&format!("POST /check\nContent-Type: application/json\n\n{body}"))
}

#[test]
fn an_allowed_question_is_answered_with_where_the_account_stands() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = ask(&server, &json!({"key": account.key, "cost": 5, "endpoint": "GET /v1/reports"}));

    insta::assert_snapshot!(answer, @r#"
    POST /check
    Content-Type: application/json

    {"cost":5,"endpoint":"GET /v1/reports","key":"<key>"}

    200
    content-type: application/json
    ratelimit: "hour";r=95;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-klinky-account: <id>
    x-klinky-key: <id>
    x-klinky-plan: growth
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 95
    x-ratelimit-reset: 1705330800

    {"allowed":true,"account_id":"<id>","key_id":"<id>","plan":"growth","limit":100,"remaining":95,"reset_at":"2024-01-15T15:00:00Z"}
    "#);
    assert_eq!((answer.json()["account_id"].clone(), server.used(&account.id)), (json!(account.id), 5));
}

#[test]
fn a_question_costs_one_unless_said() {
    let server = Server::start();
    let account = server.account("growth");

    let answers = [json!({"key": account.key}), json!({"key": account.key, "cost": null, "endpoint": null})]
        .map(|question| ask(&server, &question).remaining());

    assert_eq!(answers, [99, 98]);
}

#[test]
fn a_question_over_the_limit_is_answered_429() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 98}));

    let answer = ask(&server, &json!({"key": account.key, "cost": 3}));

    insta::assert_snapshot!(answer, @r#"
    POST /check
    Content-Type: application/json

    {"cost":3,"key":"<key>"}

    429
    content-type: application/json
    ratelimit: "hour";r=2;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    retry-after: 1800
    x-klinky-account: <id>
    x-klinky-key: <id>
    x-klinky-plan: growth
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 2
    x-ratelimit-reset: 1705330800

    {"allowed":false,"detail":"Rate limit exceeded. Please try again later.","account_id":"<id>","key_id":"<id>","plan":"growth","limit":100,"remaining":2,"reset_at":"2024-01-15T15:00:00Z"}
    "#);
    assert_eq!(server.used(&account.id), 98);
}

#[test]
fn a_question_with_a_wrong_key_is_answered_401() {
    let server = Server::start();

    let answer = ask(&server, &json!({"key": "klinky_live_x"}));

    insta::assert_snapshot!(answer, @r#"
    POST /check
    Content-Type: application/json

    {"key":"klinky_live_x"}

    401
    content-type: application/json
    www-authenticate: ApiKey header="X-API-Key"

    {"allowed":false,"detail":"Invalid API key."}
    "#);
    for key in ["", "\0", "é", &"x".repeat(10_000)] {
        assert_eq!(ask(&server, &json!({"key": key})).status, 401, "{key:?}");
    }
}

#[test]
fn a_question_for_an_account_without_access_is_answered_403() {
    let server = Server::start();

    let answer = ask(&server, &json!({"key": server.account("free").key}));

    insta::assert_snapshot!(answer, @r#"
    POST /check
    Content-Type: application/json

    {"key":"<key>"}

    403
    content-type: application/json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=0;w=3600
    x-klinky-account: <id>
    x-klinky-key: <id>
    x-klinky-plan: free
    x-ratelimit-limit: 0
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"allowed":false,"detail":"Your plan (free) does not include API access. Upgrade to Growth or Scale.","account_id":"<id>","key_id":"<id>","plan":"free","limit":0,"remaining":0,"reset_at":"2024-01-15T15:00:00Z"}
    "#);
}

#[test]
fn a_read_only_key_is_denied_an_endpoint_that_writes() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &json!({"scope": "read_only"}));
    let at = |endpoint: &str| ask(&server, &json!({"key": account.key, "endpoint": endpoint})).status;

    let statuses = ["GET /v1/x", "HEAD /v1/x", "POST /v1/x", "DELETE /", "get /v1/x"].map(at);

    assert_eq!(statuses, [200, 200, 403, 403, 403]);
}

#[test]
fn a_fault_of_a_question_names_its_field_and_counts_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    let key = &account.key;
    let endpoint = "endpoint: must be a method and a path such as GET /v1/reports";
    let cost = "cost: must be 1 to 1000";

    for (question, detail) in [
        (json!({}), "field required: key"),
        (json!({"key": null}), "key: invalid type: null, expected a string"),
        (json!({"key": 7}), "key: invalid type: integer `7`, expected a string"),
        (json!({"key": key, "cost": 0}), cost),
        (json!({"key": key, "cost": 1001}), cost),
        (json!({"key": key, "cost": -1}), "cost: invalid value: integer `-1`, expected a whole number of at least 0"),
        (json!({"key": key, "cost": 4_294_967_297_u64}), cost),
        (
            json!({"key": key, "cost": 1.5}),
            "cost: invalid type: floating point `1.5`, expected a whole number of at least 0",
        ),
        (json!({"key": key, "cost": "1"}), "cost: invalid type: string \"1\", expected a whole number of at least 0"),
        (json!({"key": key, "endpoint": ""}), endpoint),
        (json!({"key": key, "endpoint": "GET"}), endpoint),
        (json!({"key": key, "endpoint": "/v1/x"}), endpoint),
        (json!({"key": key, "endpoint": "G\0T /v1/x"}), endpoint),
        (json!({"key": key, "endpoint": "GET v1"}), endpoint),
        (json!({"key": key, "endpoint": 7}), "endpoint: invalid type: integer `7`, expected a string"),
    ] {
        let answer = ask(&server, &question);
        assert_eq!((answer.status, answer.detail().as_str()), (422, detail), "{answer}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_question_that_is_no_json_object_is_refused() {
    let server = Server::start();

    for (body, detail) in [
        ("", "Invalid JSON in request body"),
        ("{", "Invalid JSON in request body"),
        ("{\"key\": \"x\"}}", "Invalid JSON in request body"),
        ("[\"x\", 1, \"GET /\"]", "request body: must be a JSON object"),
        ("7", "request body: must be a JSON object"),
        ("{\"key\": \"a\", \"key\": \"b\"}", "duplicate field `key`"),
    ] {
        let answer = ask_raw(&server, body);
        assert_eq!((answer.status, answer.detail().as_str()), (422, detail), "{answer}");
    }
}

#[test]
fn a_question_that_is_not_utf8_is_refused() {
    let server = Server::start();

    let body = b"{\"key\": \"\xff\xfe\"}";
    let head = format!(
        "POST /check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = server.public.exchange_raw("POST /check", &[head.as_bytes(), body].concat());

    assert_eq!((answer.status, answer.detail().as_str()), (422, "Invalid JSON in request body"));
}

#[test]
fn a_question_nested_without_end_is_refused() {
    let server = Server::start();

    let answer = ask_raw(&server, &format!("{{\"key\": {}", "[".repeat(15_000)));

    assert_eq!(answer.status, 422, "{}", answer.body);
}

#[test]
fn a_content_type_may_name_its_charset() {
    let server = Server::start();
    let account = server.account("growth");
    let body = json!({"key": account.key});

    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let answer = server.public.exchange(&format!("POST /check\nContent-Type: {content_type}\n\n{body}"));
        assert_eq!(answer.status, 200, "{answer}");
    }
}

#[test]
fn a_post_that_a_proxy_asks_about_is_not_read_as_a_question() {
    let server = Server::start();
    let account = server.account("growth");
    let body = json!({"key": account.key, "endpoint": "GET /"});

    for header in ["X-Forwarded-Method: POST", "X-Original-URI: /v1/x", "X-API-Key: x"] {
        let request = format!("POST /check\nContent-Type: application/json\n{header}\n\n{body}");
        assert_eq!(server.public.exchange(&request).status, 401, "{header}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_client_cannot_put_a_question_in_place_of_the_proxys() {
    let server = Server::start();
    let account = server.account("growth");
    // It would cost 1 instead of 50, and say of itself that it only reads.
    let body = json!({"key": account.key, "cost": 1, "endpoint": "GET /"});

    let answers = ["?cost=50", "?deny=403", "?"].map(|query| {
        server.public.exchange(&format!("POST /check{query}\nContent-Type: application/json\n\n{body}")).status
    });

    assert_eq!(answers, [401, 401, 200]);
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn a_denied_question_is_a_problem_for_who_asks_for_one() {
    let server = Server::start();

    let request = "POST /check\nContent-Type: application/json\nAccept: application/problem+json\n\n{\"key\": \"x\"}";
    let answer = server.public.exchange(request);

    insta::assert_snapshot!(answer, @r#"
    POST /check
    Content-Type: application/json
    Accept: application/problem+json

    {"key": "x"}

    401
    content-type: application/problem+json
    www-authenticate: ApiKey header="X-API-Key"

    {"type":"about:blank","title":"Unauthorized","status":401,"detail":"Invalid API key."}
    "#);
}
