//! Keys that are refused: missing, malformed, unknown, and no longer alive.

use serde_json::{Value, json};

use crate::harness::{Exchange, Server};

fn assert_invalid_key(answer: &Exchange) {
    assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid API key."), "{answer}");
    assert_eq!(answer.header("x-ratelimit-limit"), None, "{answer}");
}

/// The key with its last character changed to another digit.
fn mistype(key: &str) -> String {
    let (head, last) = key.split_at(key.len() - 1);
    format!("{head}{}", if last == "0" { "1" } else { "0" })
}

#[test]
fn a_request_without_a_key_is_told_which_header_to_send() {
    let server = Server::start();

    let answer = server.public.exchange("GET /api/v1/public/links");

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links

    401
    content-type: application/json
    www-authenticate: ApiKey header="X-API-Key"

    {"detail":"Missing API key. Include X-API-Key header."}
    "#);
}

#[test]
fn a_mistyped_key_is_refused() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.ping(&mistype(&account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    401
    content-type: application/json
    www-authenticate: ApiKey header="X-API-Key"

    {"detail":"Invalid API key."}
    "#);
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn what_is_no_key_is_refused_like_a_wrong_one() {
    let server = Server::start();
    let key = server.account("growth").key;
    let (prefix, tail) = key.rsplit_once('_').unwrap();

    for shown in [
        "",
        "x",
        "klinky_live_",
        "\u{e9}\u{e9}\u{e9}",
        &key[..key.len() - 1],
        &format!("{key}0"),
        &format!("{key}, {key}"),
        &format!("acme_live_{tail}"),
        &format!("klinky_test_{tail}"),
        &format!("{prefix}_{}", "\u{e9}".repeat(16)),
        &key.to_uppercase(),
        &format!("\"{key}\""),
        &format!("Bearer {key}"),
    ] {
        assert_invalid_key(&server.ping(shown));
    }
}

#[test]
fn a_key_that_was_never_issued_is_refused_like_a_wrong_one() {
    let server = Server::start();
    let elsewhere = Server::start();

    // Its checksum is right.
    let answer = server.ping(&elsewhere.account("growth").key);

    assert_invalid_key(&answer);
}

#[test]
fn two_key_headers_are_refused_even_if_both_are_right() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.ping(&format!("{0}\nX-API-Key: {0}", account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>
    X-API-Key: <key>

    401
    content-type: application/json
    www-authenticate: ApiKey header="X-API-Key"

    {"detail":"Invalid API key."}
    "#);
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_revoked_key_is_refused_on_the_next_request() {
    let server = Server::start();
    let account = server.account("growth");
    assert_eq!(server.ping(&account.key).status, 200);

    server.admin_ok("DELETE", &format!("/keys/{}", account.key_id), &Value::Null);

    assert_invalid_key(&server.ping(&account.key));
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn an_expired_key_is_refused_from_its_expiry_on() {
    let server = Server::start();
    let account = server.account("growth");
    let patch = json!({"expires_at": "2024-01-15T14:40:00Z"});
    server.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &patch);

    server.set_clock("2024-01-15T14:39:59.999Z");
    let last = server.ping(&account.key);
    server.set_clock("2024-01-15T14:40:00Z");
    let after = server.ping(&account.key);

    assert_eq!(last.status, 200);
    assert_invalid_key(&after);
}

#[test]
fn a_deleted_accounts_key_is_refused() {
    let server = Server::start();
    let account = server.account("growth");
    assert_eq!(server.ping(&account.key).status, 200);

    server.admin_ok("DELETE", &format!("/accounts/{}", account.id), &Value::Null);

    assert_invalid_key(&server.ping(&account.key));
}
