//! What the account holder sees of the account, and of where it stands.

use serde_json::json;

use crate::harness::{Exchange, Server};

fn rate_limit(server: &Server, headers: &str) -> Exchange {
    server.public.exchange(&format!("GET /api/v1/public/keys/rate-limit\n{headers}"))
}

#[test]
fn the_holder_sees_name_plan_trial_and_limit() {
    let server = Server::start();
    let account = server.account("free");
    let trial = json!({"trial": {"plan": "growth", "ends_at": "2024-01-29T14:30:00Z"}});
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &trial);

    let answer = server
        .public
        .exchange(&format!("GET /api/v1/public/account\nAuthorization: Bearer {}", server.token(&account.id)));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/account
    Authorization: Bearer <jwt>

    200
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Acme","plan":"free","trial":{"plan":"growth","ends_at":"2024-01-29T14:30:00Z"},"suspended":false,"api_access":true,"limit":100}
    "#);
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_session_sees_where_its_account_stands_and_uses_nothing() {
    let server = Server::start();
    let account = server.account("scale");
    server.ping(&account.key);
    let token = server.token(&account.id);

    let first = rate_limit(&server, &format!("Authorization: Bearer {token}"));
    let second = rate_limit(&server, &format!("Authorization: Bearer {token}"));

    insta::assert_snapshot!(first, @r#"
    GET /api/v1/public/keys/rate-limit
    Authorization: Bearer <jwt>

    200
    content-type: application/json
    ratelimit: "hour";r=999;t=1800
    ratelimit-policy: "hour";q=1000;w=3600
    x-ratelimit-limit: 1000
    x-ratelimit-remaining: 999
    x-ratelimit-reset: 1705330800

    {"limit":1000,"remaining":999,"reset_at":"2024-01-15T15:00:00Z"}
    "#);
    assert_eq!((second.remaining(), server.used(&account.id)), (999, 1));
}

#[test]
fn a_key_sees_where_its_account_stands_and_uses_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));

    let answer = rate_limit(&server, &format!("X-API-Key: {}", account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/keys/rate-limit
    X-API-Key: <key>

    200
    content-type: application/json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"limit":100,"remaining":0,"reset_at":"2024-01-15T15:00:00Z"}
    "#);
    assert_eq!(server.used(&account.id), 100);
}

#[test]
fn a_wrong_key_does_not_see_the_status_even_beside_a_session() {
    let server = Server::start();
    let token = server.token(&server.account("growth").id);

    let answer = rate_limit(&server, &format!("X-API-Key: x\nAuthorization: Bearer {token}"));

    assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid API key."));
}

#[test]
fn a_key_without_api_access_is_told_so_instead_of_its_status() {
    let server = Server::start();
    let account = server.account("free");

    let answer = rate_limit(&server, &format!("X-API-Key: {}", account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/keys/rate-limit
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
}

#[test]
fn the_status_asked_for_with_nothing_is_refused() {
    let server = Server::start();

    let answer = rate_limit(&server, "");

    assert_eq!(answer.status, 401, "{answer}");
}

#[test]
fn a_key_opens_only_the_status_among_a_sessions_calls() {
    let server = Server::start();
    let account = server.account("growth");

    for path in ["/account", "/usage", "/keys", "/keys/rate-limit/", "/keys//rate-limit"] {
        let answer = server.public.exchange(&format!("GET /api/v1/public{path}\nX-API-Key: {}", account.key));
        assert_eq!(answer.status, 401, "{answer}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_key_opens_the_status_however_its_path_is_escaped() {
    let server = Server::start();
    let account = server.account("growth");

    for path in ["/keys/rate%2Dlimit", "/keys/%72ate-limit", "/%6beys/rate-limit"] {
        let answer = server.public.exchange(&format!("GET /api/v1/public{path}\nX-API-Key: {}", account.key));
        assert_eq!((answer.status, answer.remaining()), (200, 100), "{answer}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_new_hour_shows_a_new_window() {
    let server = Server::start();
    let account = server.account("growth");
    server.ping(&account.key);

    server.set_clock("2024-01-15T15:00:00Z");
    let answer = rate_limit(&server, &format!("X-API-Key: {}", account.key));

    assert_eq!(answer.json(), json!({"limit": 100, "remaining": 100, "reset_at": "2024-01-15T16:00:00Z"}));
}
