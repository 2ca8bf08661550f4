//! The admin API as a whole: who may, and what is where. The other tests of it call it by these functions.

use serde_json::{Value, json};

use crate::harness::{ADMIN_TOKEN, Exchange, Server, admin_request, redact};

/// Calls with each of these bodies, a line each: the body, the status, and what the answer says.
pub(crate) fn answers(server: &Server, method: &str, path: &str, bodies: &[&str]) -> String {
    let lines = bodies.iter().map(|body| {
        let answer = send(server, method, path, body.as_bytes());
        let said = if answer.status < 400 { "accepted".to_owned() } else { answer.detail() };
        format!("{} → {} {said}", shortened(body), answer.status)
    });
    redact(&lines.collect::<Vec<_>>().join("\n"))
}

/// An admin call with these very bytes as its body.
pub(crate) fn send(server: &Server, method: &str, path: &str, body: &[u8]) -> Exchange {
    let head = format!(
        "{method} /admin/v1{path} HTTP/1.1\r\nHost: klinky\r\nConnection: close\r\n\
         Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    server.admin.exchange_raw(&format!("{method} {path}"), &[head.as_bytes(), body].concat())
}

/// An admin call without a body.
pub(crate) fn call(server: &Server, method: &str, path: &str) -> Exchange {
    server.admin.exchange(&admin_request(method, path, ""))
}

/// An admin call with a JSON body.
pub(crate) fn call_with(server: &Server, method: &str, path: &str, body: &Value) -> Exchange {
    server.admin.exchange(&admin_request(method, path, &body.to_string()))
}

/// An account of which everything is said that may be.
pub(crate) fn full_account() -> Value {
    json!({
        "name": "Ünïcode & Söhne 株式会社 🚀",
        "email": "ops@example.com",
        "plan": "starter",
        "custom_limit": 4_294_967_295_u32,
        "trial": {"plan": "scale", "ends_at": "2024-02-01T00:00:00.250+02:00"},
    })
}

fn shortened(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 90 {
        let visible =
            |c: char| if c.is_control() || c == '\u{feff}' { c.escape_unicode().to_string() } else { c.to_string() };
        return chars.into_iter().map(visible).collect();
    }
    let (head, tail): (String, String) = (chars[..40].iter().collect(), chars[chars.len() - 20..].iter().collect());
    format!("{head} … {tail} ({} characters)", chars.len())
}

#[test]
fn without_a_token_nothing_is_answered() {
    let server = Server::start();

    let answer = server.admin.exchange("GET /admin/v1/plans");

    insta::assert_snapshot!(answer, @r#"
    GET /admin/v1/plans

    401
    content-type: application/json
    www-authenticate: Bearer

    {"detail":"Missing or wrong admin token. Include Authorization: Bearer header."}
    "#);
}

#[test]
fn only_the_token_itself_as_one_bearer_opens() {
    let server = Server::start();
    let shown = [
        format!("Authorization: Bearer {ADMIN_TOKEN}"),
        format!("Authorization: bearer {ADMIN_TOKEN}"),
        format!("Authorization: Bearer {ADMIN_TOKEN}x"),
        format!("Authorization: Bearer {}", &ADMIN_TOKEN[1..]),
        "Authorization: Bearer".to_owned(),
        "Authorization: Bearer ".to_owned(),
        format!("Authorization: {ADMIN_TOKEN}"),
        format!("Authorization: Basic {ADMIN_TOKEN}"),
        format!("X-API-Key: {ADMIN_TOKEN}"),
        format!("Authorization: Bearer {ADMIN_TOKEN}\nAuthorization: Bearer {ADMIN_TOKEN}"),
    ];

    let statuses =
        shown.map(|header| server.admin.exchange(&format!("GET /admin/v1/plans\n{header}")).status.to_string());

    assert_eq!(statuses.join(" "), "200 200 401 401 401 401 401 401 401 401");
}

#[test]
fn a_session_token_or_a_key_is_no_admin_token() {
    let server = Server::start();
    let account = server.account("growth");
    let token = server.token(&account.id);

    let by_session = server.admin.exchange(&format!("GET /admin/v1/plans\nAuthorization: Bearer {token}"));
    let by_key = server.admin.exchange(&format!("GET /admin/v1/plans\nAuthorization: Bearer {}", account.key));

    assert_eq!((by_session.status, by_key.status), (401, 401));
}

#[test]
fn ten_wrong_tokens_in_a_minute_lock_an_address_out_for_a_minute() {
    let server = Server::start();
    let wrong = "GET /admin/v1/plans\nAuthorization: Bearer wrong";
    for _try in 0..10 {
        assert_eq!(server.admin.exchange(wrong).status, 401);
    }
    server.set_clock("2024-01-15T14:30:10.500Z");

    let locked_out = call(&server, "GET", "/plans");
    server.set_clock("2024-01-15T14:31:00Z");
    let later = call(&server, "GET", "/plans");

    insta::assert_snapshot!(locked_out, @r#"
    GET /admin/v1/plans
    Authorization: Bearer <admin token>

    429
    content-type: application/json
    retry-after: 50

    {"detail":"Too many wrong admin tokens from this address. Try again in 50 seconds."}
    "#);
    assert_eq!(later.status, 200);
}

#[test]
fn wrong_tokens_of_different_minutes_do_not_add_up() {
    let server = Server::start();
    let wrong = "GET /admin/v1/plans\nAuthorization: Bearer wrong";
    for _try in 0..9 {
        assert_eq!(server.admin.exchange(wrong).status, 401);
    }

    server.set_clock("2024-01-15T14:31:00Z");
    let tenth = server.admin.exchange(wrong);
    let right = call(&server, "GET", "/plans");

    assert_eq!((tenth.status, right.status), (401, 200));
}

#[test]
fn requests_without_a_token_lock_nobody_out() {
    let server = Server::start();

    for _try in 0..20 {
        assert_eq!(server.admin.exchange("GET /admin/v1/plans").status, 401);
    }

    assert_eq!(call(&server, "GET", "/plans").status, 200);
}

#[test]
fn each_path_names_the_methods_that_it_has() {
    let server = Server::start();
    let paths = [
        "/plans",
        "/plans/growth",
        "/accounts",
        "/accounts/x",
        "/accounts/x/keys",
        "/accounts/x/tokens",
        "/accounts/x/rate-limit",
        "/keys/x",
        "/keys/x/rotate",
        "/dump",
        "/restore",
        "/audit",
        "/stats",
    ];

    let lines = paths.map(|path| {
        let answer = call(&server, "TRACE", path);
        format!("{path}: {} {}", answer.status, answer.header("allow").unwrap_or("-"))
    });

    insta::assert_snapshot!(lines.join("\n"), @"
    /plans: 405 GET, HEAD, POST
    /plans/growth: 405 GET, HEAD, PATCH, DELETE
    /accounts: 405 GET, HEAD, POST
    /accounts/x: 405 GET, HEAD, PATCH, DELETE
    /accounts/x/keys: 405 GET, HEAD, POST
    /accounts/x/tokens: 405 POST
    /accounts/x/rate-limit: 405 GET, HEAD, PUT
    /keys/x: 405 GET, HEAD, PATCH, DELETE
    /keys/x/rotate: 405 POST
    /dump: 405 GET
    /restore: 405 POST
    /audit: 405 GET, HEAD
    /stats: 405 GET, HEAD
    ");
}

#[test]
fn a_method_that_a_path_has_not_is_refused() {
    let server = Server::start();

    let answer = call(&server, "PUT", "/plans");

    insta::assert_snapshot!(answer, @r#"
    PUT /admin/v1/plans
    Authorization: Bearer <admin token>

    405
    allow: GET, HEAD, POST
    content-type: application/json

    {"detail":"Method not allowed. Allowed: GET, HEAD, POST."}
    "#);
}

#[test]
fn a_path_that_leads_nowhere_is_not_found() {
    let server = Server::start();

    insta::assert_snapshot!(call(&server, "GET", "/nothing"), @r#"
    GET /admin/v1/nothing
    Authorization: Bearer <admin token>

    404
    content-type: application/json

    {"detail":"No such resource."}
    "#);
    for path in ["", "/", "/plans/", "/accounts//keys", "/accounts/%FF", "/accounts/%00", "/keys/..%2f..", "/Plans"] {
        assert_eq!(call(&server, "GET", path).status, 404, "{path}");
    }
    assert_eq!(server.admin.exchange("GET /api/v1/public/links").status, 404);
    assert_eq!(server.public.exchange("GET /admin/v1/plans").status, 404);
}

#[test]
fn an_error_is_a_problem_for_who_asks_for_one() {
    let server = Server::start();

    let answer = server.admin.exchange(&format!(
        "GET /admin/v1/plans/none\nAuthorization: Bearer {ADMIN_TOKEN}\nAccept: application/problem+json"
    ));

    insta::assert_snapshot!(answer, @r#"
    GET /admin/v1/plans/none
    Authorization: Bearer <admin token>
    Accept: application/problem+json

    404
    content-type: application/problem+json

    {"type":"about:blank","title":"Not Found","status":404,"detail":"No such plan."}
    "#);
}

#[test]
fn a_head_answer_is_a_get_answer_without_its_body() {
    let server = Server::start();

    for path in ["/plans", "/accounts", "/audit", "/stats"] {
        let answer = call(&server, "HEAD", path);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
    }
}
