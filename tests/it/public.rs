//! What a key opens, and each refusal of contract section 4 as a client meets it.

use serde_json::json;

use crate::harness::Server;

#[test]
fn a_valid_key_is_let_through_and_counted() {
    let server = Server::start();
    let account = server.account("scale");

    let answer = server.ping(&account.key);

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=999;t=1800
    ratelimit-policy: "hour";q=1000;w=3600
    x-ratelimit-limit: 1000
    x-ratelimit-remaining: 999
    x-ratelimit-reset: 1705330800

    {"items":[],"total":0,"page":1,"per_page":20,"pages":0}
    "#);
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn a_plan_without_api_access_is_named_with_the_plans_that_have_it() {
    let server = Server::start();
    let account = server.account("free");

    let answer = server.ping(&account.key);

    insta::assert_snapshot!(answer, @r#"
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
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn the_plans_to_upgrade_to_are_those_of_today_by_their_limit() {
    let server = Server::start();
    let account = server.account("starter");
    let enterprise = json!({"id": "enterprise", "name": "Enterprise", "api_access": true, "requests_per_hour": 9000,
        "best_for": "all"});
    server.admin_ok("POST", "/plans", &enterprise);
    let basic = json!({"id": "basic", "name": "Basic", "api_access": true, "requests_per_hour": 10, "best_for": "few"});
    server.admin_ok("POST", "/plans", &basic);

    let answer = server.ping(&account.key);

    assert_eq!(
        answer.detail(),
        "Your plan (starter) does not include API access. Upgrade to Basic, Growth, Scale or Enterprise."
    );
}

#[test]
fn a_suspended_account_is_stopped_until_it_is_lifted() {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/accounts/{}", account.id);
    server.admin_ok("PATCH", &path, &json!({"suspended": true}));

    let suspended = server.ping(&account.key);
    server.admin_ok("PATCH", &path, &json!({"suspended": false}));
    let lifted = server.ping(&account.key);

    insta::assert_snapshot!(suspended, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    403
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"This account is suspended. Contact the operator of this API."}
    "#);
    assert_eq!((lifted.status, server.used(&account.id)), (200, 1));
}

#[test]
fn a_read_only_key_reads() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &json!({"scope": "read_only"}));
    let send =
        |method: &str| server.public.exchange(&format!("{method} /api/v1/public/links\nX-API-Key: {}", account.key));

    let read = ["GET", "HEAD", "OPTIONS", "TRACE"].map(|method| send(method).status);

    assert_eq!(read, [200, 200, 405, 405]);
    assert_eq!(server.used(&account.id), 4);
}

#[test]
fn a_read_only_key_does_not_write() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &json!({"scope": "read_only"}));
    let send =
        |method: &str| server.public.exchange(&format!("{method} /api/v1/public/links\nX-API-Key: {}", account.key));

    let written = ["PUT", "PATCH", "DELETE", "CONNECTX", "get"].map(|method| send(method).status);

    assert_eq!(written, [403; 5]);
    insta::assert_snapshot!(send("POST"), @r#"
    POST /api/v1/public/links
    X-API-Key: <key>

    403
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"This API key is read-only. Use a read_write key for this request."}
    "#);
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn an_unknown_path_is_counted_and_answered_404() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.public.exchange(&format!("GET /api/v1/public/nothing/here\nX-API-Key: {}", account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/nothing/here
    X-API-Key: <key>

    404
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"detail":"No such resource."}
    "#);
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn another_method_is_counted_and_answered_405_with_what_is_allowed() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.public.exchange(&format!(
        "DELETE /api/v1/public/links/018d0d80-0000-7000-8000-000000000001/clicks\nX-API-Key: {}",
        account.key
    ));

    insta::assert_snapshot!(answer, @r#"
    DELETE /api/v1/public/links/<id>/clicks
    X-API-Key: <key>

    405
    allow: GET, HEAD
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"detail":"Method not allowed. Allowed: GET, HEAD."}
    "#);
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn a_request_over_the_limit_is_told_when_to_come_again() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));

    let answer = server.ping(&account.key);

    insta::assert_snapshot!(answer, @r#"
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
    assert_eq!(server.used(&account.id), 100);
}

#[test]
fn the_figures_of_an_answer_come_from_one_reading_of_the_clock() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));

    // 12.3 seconds before the hour.
    server.set_clock("2024-01-15T14:59:47.700Z");
    let denied = server.ping(&account.key);

    assert_eq!(denied.header("x-ratelimit-reset"), Some("1705330800"));
    assert_eq!(denied.header("ratelimit"), Some("\"hour\";r=0;t=13"));
    assert_eq!(denied.header("retry-after"), Some("13"));
}

#[test]
fn a_head_request_is_answered_like_a_get_without_its_body() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.public.exchange(&format!("HEAD /api/v1/public/links\nX-API-Key: {}", account.key));

    insta::assert_snapshot!(answer, @r#"
    HEAD /api/v1/public/links
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800
    "#);
    assert_eq!(answer.header("content-length"), Some("55"));
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn the_base_itself_is_guarded() {
    let server = Server::start();
    let account = server.account("growth");

    for path in ["/api/v1/public", "/api/v1/public/"] {
        let without = server.public.exchange(&format!("GET {path}"));
        let with = server.public.exchange(&format!("GET {path}\nX-API-Key: {}", account.key));
        assert_eq!((without.status, with.status), (401, 404));
    }
    assert_eq!(server.used(&account.id), 2);
}

#[test]
fn a_path_outside_of_the_api_needs_no_key_and_counts_nothing() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.public.exchange(&format!("GET /nothing\nX-API-Key: {}", account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /nothing
    X-API-Key: <key>

    404
    cache-control: private, no-store
    content-type: application/json

    {"detail":"No such link."}
    "#);
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn the_admin_api_is_not_on_the_public_listener() {
    let server = Server::start();

    for path in ["/admin/v1/accounts", "/metrics", "/healthz", "/readyz"] {
        let request = format!("GET {path}\nAuthorization: Bearer {}", crate::harness::ADMIN_TOKEN);
        assert_eq!(server.public.exchange(&request).status, 404, "{path}");
    }
}
