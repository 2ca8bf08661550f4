//! `/check` as a proxy's sub-request.

use serde_json::{Value, json};

use crate::harness::{Account, Exchange, Server};

fn check(server: &Server, target: &str, account: &Account) -> Exchange {
    check_with(server, "GET", target, account, "")
}

fn check_with(server: &Server, method: &str, target: &str, account: &Account, headers: &str) -> Exchange {
    server.public.exchange(&format!("{method} /check{target}\nX-API-Key: {}\n{headers}", account.key))
}

fn set_used(server: &Server, account: &Account, used: u32) {
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": used}));
}

fn make_read_only(server: &Server, account: &Account) {
    server.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &json!({"scope": "read_only"}));
}

#[test]
fn an_allowed_request_is_200_with_an_empty_body() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = check(&server, "", &account);

    insta::assert_snapshot!(answer, @r#"
    GET /check
    X-API-Key: <key>

    200
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-klinky-account: <id>
    x-klinky-key: <id>
    x-klinky-plan: growth
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800
    "#);
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(answer.header("x-klinky-account"), Some(account.id.as_str()));
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn any_method_asks() {
    let server = Server::start();
    let account = server.account("growth");

    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
        assert_eq!(check_with(&server, method, "", &account, "").status, 200, "{method}");
    }
    assert_eq!(server.used(&account.id), 8);
}

#[test]
fn a_denied_request_says_why_in_json() {
    let server = Server::start();
    let account = server.account("growth");
    set_used(&server, &account, 100);

    let denied = check(&server, "", &account);

    insta::assert_snapshot!(denied, @r#"
    GET /check
    X-API-Key: <key>

    429
    content-type: application/json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    retry-after: 1800
    x-klinky-account: <id>
    x-klinky-key: <id>
    x-klinky-plan: growth
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"detail":"Rate limit exceeded. Please try again later."}
    "#);
    assert_eq!(server.used(&account.id), 100);
}

#[test]
fn a_request_without_a_key_is_denied() {
    let server = Server::start();

    let answer = server.public.exchange("GET /check");

    insta::assert_snapshot!(answer, @r#"
    GET /check

    401
    content-type: application/json
    www-authenticate: ApiKey header="X-API-Key"

    {"detail":"Missing API key. Include X-API-Key header."}
    "#);
}

#[test]
fn an_account_without_access_is_denied_and_named() {
    let server = Server::start();
    let account = server.account("starter");

    let answer = check(&server, "", &account);

    insta::assert_snapshot!(answer, @r#"
    GET /check
    X-API-Key: <key>

    403
    content-type: application/json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=0;w=3600
    x-klinky-account: <id>
    x-klinky-key: <id>
    x-klinky-plan: starter
    x-ratelimit-limit: 0
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"detail":"Your plan (starter) does not include API access. Upgrade to Growth or Scale."}
    "#);
}

#[test]
fn a_cost_is_taken_whole() {
    let server = Server::start();
    let account = server.account("scale");

    let answers = ["?cost=1", "?cost=42", "?cost=957"].map(|target| check(&server, target, &account));

    assert_eq!(
        answers.each_ref().map(|answer| (answer.status, answer.remaining())),
        [(200, 999), (200, 957), (200, 0)]
    );
}

#[test]
fn a_cost_that_does_not_fit_leaves_the_rest_usable() {
    let server = Server::start();
    let account = server.account("growth");
    set_used(&server, &account, 95);

    let too_much = check(&server, "?cost=6", &account);
    let fits = check(&server, "?cost=5", &account);

    assert_eq!((too_much.status, too_much.remaining()), (429, 5));
    assert_eq!((fits.status, fits.remaining()), (200, 0));
}

#[test]
fn a_cost_out_of_range_is_refused_and_counts_nothing() {
    let server = Server::start();
    let account = server.account("growth");

    for cost in ["0", "1001", "-1", "1.5", "x", "", "4294967297", "18446744073709551617", "%00", "1%201", "0x1"] {
        let answer = check(&server, &format!("?cost={cost}"), &account);
        assert_eq!((answer.status, answer.detail().as_str()), (422, "cost: must be 1 to 1000"), "{answer}");
    }
    let doubled = check(&server, "?cost=1&cost=2", &account);
    assert_eq!((doubled.status, doubled.detail().as_str()), (422, "cost: must stand once"));
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn for_nginx_a_429_goes_as_a_403_with_its_body_in_a_header() {
    let server = Server::start();
    let account = server.account("growth");
    set_used(&server, &account, 100);

    let answer = check(&server, "?deny=403", &account);

    insta::assert_snapshot!(answer, @r#"
    GET /check?deny=403
    X-API-Key: <key>

    403
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    retry-after: 1800
    x-klinky-account: <id>
    x-klinky-error-body: {"detail":"Rate limit exceeded. Please try again later."}
    x-klinky-key: <id>
    x-klinky-plan: growth
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800
    x-ratelimit-status: 429
    "#);
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(server.used(&account.id), 100);
}

#[test]
fn for_nginx_a_401_keeps_its_status() {
    let server = Server::start();

    let missing = server.public.exchange("GET /check?deny=403");
    let wrong = server.public.exchange("GET /check?deny=403\nX-API-Key: x");

    insta::assert_snapshot!(missing, @r#"
    GET /check?deny=403

    401
    www-authenticate: ApiKey header="X-API-Key"
    x-klinky-error-body: {"detail":"Missing API key. Include X-API-Key header."}
    "#);
    assert_eq!(wrong.header("x-klinky-error-body"), Some(r#"{"detail":"Invalid API key."}"#));
    assert_eq!((wrong.status, wrong.header("content-length")), (401, Some("0")));
}

#[test]
fn for_nginx_a_403_keeps_its_status() {
    let server = Server::start();
    let account = server.account("free");

    let answer = check(&server, "?deny=403", &account);

    insta::assert_snapshot!(answer, @r#"
    GET /check?deny=403
    X-API-Key: <key>

    403
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=0;w=3600
    x-klinky-account: <id>
    x-klinky-error-body: {"detail":"Your plan (free) does not include API access. Upgrade to Growth or Scale."}
    x-klinky-key: <id>
    x-klinky-plan: free
    x-ratelimit-limit: 0
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800
    "#);
}

#[test]
fn for_nginx_an_allowed_request_looks_the_same() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = check(&server, "?cost=2&deny=403", &account);

    assert_eq!((answer.status, answer.remaining(), answer.body.as_str()), (200, 98, ""));
}

#[test]
fn an_error_body_in_a_header_is_ascii() {
    let server = Server::start();
    let plan = json!({"id": "gross", "name": "Größe 😀", "api_access": true, "requests_per_hour": 1, "best_for": ""});
    server.admin_ok("POST", "/plans", &plan);
    let account = server.account("free");

    let answer = check(&server, "?deny=403", &account);

    let body: Value = serde_json::from_str(answer.header("x-klinky-error-body").unwrap()).unwrap();
    assert!(answer.header("x-klinky-error-body").unwrap().is_ascii());
    assert_eq!(
        body["detail"],
        json!("Your plan (free) does not include API access. Upgrade to Größe 😀, Growth or Scale.")
    );
}

#[test]
fn a_denial_goes_as_403_or_not_at_all() {
    let server = Server::start();
    let account = server.account("growth");

    for target in ["?deny=429", "?deny=", "?deny=401"] {
        let answer = check(&server, target, &account);
        assert_eq!((answer.status, answer.detail().as_str()), (422, "deny: must be 403"), "{answer}");
    }
    assert_eq!(check(&server, "?deny=403&deny=403", &account).detail(), "deny: must stand once");
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_denial_for_nginx_is_no_problem_document() {
    let server = Server::start();

    let answer = server.public.exchange("GET /check?deny=403\nAccept: application/problem+json");

    assert_eq!((answer.status, answer.body.as_str()), (401, ""));
    assert_eq!(answer.header("content-type"), None);
}

#[test]
fn a_read_only_key_is_allowed_what_only_reads() {
    let server = Server::start();
    let account = server.account("growth");
    make_read_only(&server, &account);

    for headers in ["", "X-Forwarded-Method: GET", "X-Original-Method: HEAD", "X-Forwarded-Method: OPTIONS"] {
        assert_eq!(check_with(&server, "GET", "", &account, headers).status, 200, "{headers}");
    }
    assert_eq!(server.used(&account.id), 4);
}

#[test]
fn a_read_only_key_is_denied_what_may_write() {
    let server = Server::start();
    let account = server.account("growth");
    make_read_only(&server, &account);
    let ask = |headers: &str| check_with(&server, "GET", "?deny=403", &account, headers);

    let answer = ask("X-Original-Method: DELETE\nX-Original-URI: /v1/things/7");

    insta::assert_snapshot!(answer, @r#"
    GET /check?deny=403
    X-API-Key: <key>
    X-Original-Method: DELETE
    X-Original-URI: /v1/things/7

    403
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-klinky-account: <id>
    x-klinky-error-body: {"detail":"This API key is read-only. Use a read_write key for this request."}
    x-klinky-key: <id>
    x-klinky-plan: growth
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800
    "#);
    for method in ["POST", "PUT", "PATCH", "get", "PURGE"] {
        assert_eq!(ask(&format!("X-Forwarded-Method: {method}")).status, 403, "{method}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_client_cannot_pass_off_a_write_as_a_read() {
    let server = Server::start();
    let account = server.account("growth");
    make_read_only(&server, &account);

    for (method, headers) in [
        // The proxy sets one of the headers, and passes on the other from the client.
        ("GET", "X-Original-Method: POST\nX-Forwarded-Method: GET"),
        ("GET", "X-Original-Method: GET\nX-Forwarded-Method: POST"),
        // The proxy adds its header instead of replacing the client's.
        ("GET", "X-Forwarded-Method: GET\nX-Forwarded-Method: POST"),
        // The proxy keeps the method itself, and sets no header.
        ("POST", "X-Forwarded-Method: GET"),
        ("DELETE", "X-Original-Method: GET"),
        ("POST", ""),
    ] {
        let answer = check_with(&server, method, "", &account, headers);
        assert_eq!(answer.status, 403, "{answer}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn an_original_method_that_is_none_is_refused() {
    let server = Server::start();
    let account = server.account("growth");

    for value in ["", "GET, POST", "G\u{e9}T", "GET /x"] {
        let answer = check_with(&server, "GET", "", &account, &format!("X-Forwarded-Method: {value}"));
        assert_eq!(
            (answer.status, answer.detail().as_str()),
            (422, "x-forwarded-method: must be an HTTP method"),
            "{answer}"
        );
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_write_with_a_read_write_key_is_allowed() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = check_with(&server, "GET", "", &account, "X-Forwarded-Method: POST\nX-Forwarded-Uri: /v1/x");

    assert_eq!(answer.status, 200);
}

#[test]
fn an_upgrade_acts_on_the_next_question() {
    let server = Server::start();
    let account = server.account("free");
    assert_eq!(check(&server, "", &account).status, 403);

    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"plan": "growth"}));

    assert_eq!(check(&server, "", &account).remaining(), 99);
}
