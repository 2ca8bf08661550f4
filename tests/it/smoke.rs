//! The way of the first issue, from a new account to a clean stop.

use serde_json::json;

use crate::harness::Server;

#[test]
fn an_account_is_stopped_at_its_limit_upgraded_and_goes_on() {
    let server = Server::start();
    let account = server.account("growth");

    for left in (0..100).rev() {
        let answer = server.ping(&account.key);
        assert_eq!((answer.status, answer.remaining()), (200, left));
    }
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

    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"plan": "scale"}));

    insta::assert_snapshot!(server.ping(&account.key), @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=899;t=1800
    ratelimit-policy: "hour";q=1000;w=3600
    x-ratelimit-limit: 1000
    x-ratelimit-remaining: 899
    x-ratelimit-reset: 1705330800

    {"items":[],"total":0,"page":1,"per_page":20,"pages":0}
    "#);
    let server = server.restart();
    assert_eq!(server.used(&account.id), 101);
}
