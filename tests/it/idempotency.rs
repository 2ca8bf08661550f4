//! `Idempotency-Key` over HTTP: replays, refusals, races, restarts.

use std::io::Write as _;
use std::sync::Barrier;

use serde_json::json;

use crate::harness::{Account, Exchange, Server};
use crate::process::wait_until;

const MIB: usize = 1024 * 1024;

/// A path that takes no POST: its 405 is an answer that is kept like any other.
const CLOSED: &str = "/links/018d0d80-0000-7000-8000-000000000001/clicks";

/// A POST to a path below `/api/v1/public`; the header lines are added to the API key's.
fn post(server: &Server, account: &Account, path: &str, headers: &str, body: &str) -> Exchange {
    server.public.exchange(&format!("POST /api/v1/public{path}\nX-API-Key: {}\n{headers}\n\n{body}", account.key))
}

fn is_replayed(answer: &Exchange) -> bool {
    match answer.header("idempotent-replayed") {
        None => false,
        Some("true") => true,
        Some(other) => panic!("Idempotent-Replayed: {other}"),
    }
}

#[test]
fn a_repeated_request_is_answered_the_same_and_counted() {
    let server = Server::start();
    let account = server.account("growth");

    let first = post(&server, &account, CLOSED, "Idempotency-Key: order-7", "{}");
    let second = post(&server, &account, CLOSED, "Idempotency-Key: order-7", "{}");

    insta::assert_snapshot!(first, @r#"
    POST /api/v1/public/links/<id>/clicks
    X-API-Key: <key>
    Idempotency-Key: order-7

    {}

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
    insta::assert_snapshot!(second, @r#"
    POST /api/v1/public/links/<id>/clicks
    X-API-Key: <key>
    Idempotency-Key: order-7

    {}

    405
    allow: GET, HEAD
    content-type: application/json
    idempotent-replayed: true
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"detail":"Method not allowed. Allowed: GET, HEAD."}
    "#);
    assert_eq!(server.used(&account.id), 2);
}

#[test]
fn a_replay_carries_the_limits_of_its_own_time() {
    let server = Server::start();
    let account = server.account("growth");
    post(&server, &account, "/nowhere", "Idempotency-Key: k", "");

    server.set_clock("2024-01-15T15:00:30Z");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": 7}));
    let replay = post(&server, &account, "/nowhere", "Idempotency-Key: k", "");

    insta::assert_snapshot!(replay, @r#"
    POST /api/v1/public/nowhere
    X-API-Key: <key>
    Idempotency-Key: k

    404
    content-type: application/json
    idempotent-replayed: true
    ratelimit: "hour";r=6;t=3570
    ratelimit-policy: "hour";q=7;w=3600
    x-ratelimit-limit: 7
    x-ratelimit-remaining: 6
    x-ratelimit-reset: 1705334400

    {"detail":"No such resource."}
    "#);
}

#[test]
fn a_key_that_was_used_for_another_request_is_refused() {
    let server = Server::start();
    let account = server.account("growth");
    post(&server, &account, CLOSED, "Idempotency-Key: k", "{}");

    let other_body = post(&server, &account, CLOSED, "Idempotency-Key: k", "[]");
    let other_path = post(&server, &account, "/pong", "Idempotency-Key: k", "{}");
    let other_query =
        post(&server, &account, "/links/018d0d80-0000-7000-8000-000000000001/clicks?a=1", "Idempotency-Key: k", "{}");

    insta::assert_snapshot!(other_body, @r#"
    POST /api/v1/public/links/<id>/clicks
    X-API-Key: <key>
    Idempotency-Key: k

    []

    422
    content-type: application/json
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"detail":"Idempotency-Key: was used for another request; take a new one"}
    "#);
    assert_eq!([other_path.status, other_query.status], [422, 422]);
    assert!(is_replayed(&post(&server, &account, CLOSED, "Idempotency-Key: k", "{}")));
}

#[test]
fn a_key_is_the_same_quoted_and_bare() {
    let server = Server::start();
    let account = server.account("growth");
    post(&server, &account, CLOSED, "Idempotency-Key: \"order 7\"", "");

    let bare = post(&server, &account, CLOSED, "Idempotency-Key: order 7", "");

    assert!(is_replayed(&bare), "{bare}");
}

#[test]
fn keys_that_are_none_are_refused_and_counted() {
    let server = Server::start();
    let account = server.account("growth");
    let long = format!("Idempotency-Key: {}", "x".repeat(256));

    let empty = post(&server, &account, CLOSED, "Idempotency-Key:", "{}");
    let twice = post(&server, &account, CLOSED, "Idempotency-Key: a\nIdempotency-Key: a", "{}");
    let others = [&long, "Idempotency-Key: \"\"", "Idempotency-Key: a\tb", "Idempotency-Key: \"a"];
    let others = others.map(|header| post(&server, &account, CLOSED, header, "{}"));

    insta::assert_snapshot!(empty, @r#"
    POST /api/v1/public/links/<id>/clicks
    X-API-Key: <key>
    Idempotency-Key:

    {}

    422
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"detail":"Idempotency-Key: must be 1 to 255 characters, got 0"}
    "#);
    assert_eq!((twice.status, twice.detail().as_str()), (422, "Idempotency-Key: must stand once"));
    let details: Vec<String> = others.iter().map(|answer| format!("{} {}", answer.status, answer.detail())).collect();
    insta::assert_snapshot!(details.join("\n"), @"
    422 Idempotency-Key: must be 1 to 255 characters, got 256
    422 Idempotency-Key: must be 1 to 255 characters, got 0
    422 Idempotency-Key: must not contain control characters
    422 Idempotency-Key: must end with the quote that it begins with
    ");
    assert_eq!(server.used(&account.id), 6);
}

#[test]
fn a_key_of_255_characters_is_taken() {
    let server = Server::start();
    let account = server.account("growth");
    let header = format!("Idempotency-Key: {}", "x".repeat(255));

    let answers = [(); 2].map(|()| post(&server, &account, CLOSED, &header, ""));

    assert_eq!(answers.map(|answer| (answer.status, is_replayed(&answer))), [(405, false), (405, true)]);
}

#[test]
fn accounts_do_not_share_keys_but_the_keys_of_an_account_do() {
    let server = Server::start();
    let (account, other) = (server.account("growth"), server.account("growth"));
    let second_key = Account { key: server.key(&account.id).1, ..server.account("growth") };
    post(&server, &account, CLOSED, "Idempotency-Key: k", "");

    let by_other = post(&server, &other, CLOSED, "Idempotency-Key: k", "");
    let by_second_key = post(&server, &second_key, CLOSED, "Idempotency-Key: k", "");

    assert!(!is_replayed(&by_other));
    assert!(is_replayed(&by_second_key));
}

#[test]
fn only_a_post_is_kept() {
    let server = Server::start();
    let account = server.account("growth");

    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        let text = format!("{method} /api/v1/public/nowhere\nX-API-Key: {}\nIdempotency-Key: k", account.key);
        let answers = [(); 2].map(|()| server.public.exchange(&text));
        assert!(!answers.iter().any(is_replayed), "{method}");
    }
}

#[test]
fn a_replay_is_a_problem_for_who_asks_for_one() {
    let server = Server::start();
    let account = server.account("growth");
    post(&server, &account, CLOSED, "Idempotency-Key: k", "");

    let replay = post(&server, &account, CLOSED, "Idempotency-Key: k\nAccept: application/problem+json", "");

    insta::assert_snapshot!(replay, @r#"
    POST /api/v1/public/links/<id>/clicks
    X-API-Key: <key>
    Idempotency-Key: k
    Accept: application/problem+json

    405
    allow: GET, HEAD
    content-type: application/problem+json
    idempotent-replayed: true
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"Method not allowed. Allowed: GET, HEAD."}
    "#);
}

#[test]
fn a_denied_request_is_not_kept() {
    let server = Server::start();
    let account = server.account("growth");
    let set_used = |used: u32| {
        server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": used}));
    };
    set_used(100);
    let denied = post(&server, &account, CLOSED, "Idempotency-Key: k", "");

    set_used(0);
    let passed = post(&server, &account, CLOSED, "Idempotency-Key: k", "");

    assert_eq!((denied.status, passed.status, is_replayed(&passed)), (429, 405, false));
}

#[test]
fn a_replay_needs_units_too() {
    let server = Server::start();
    let account = server.account("growth");
    post(&server, &account, CLOSED, "Idempotency-Key: k", "");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));

    let denied = post(&server, &account, CLOSED, "Idempotency-Key: k", "");

    assert_eq!((denied.status, is_replayed(&denied)), (429, false));
}

#[test]
fn an_answer_survives_a_restart_and_ends_after_24_hours() {
    let server = Server::start();
    let account = server.account("growth");
    post(&server, &account, CLOSED, "Idempotency-Key: k", "");

    let server = server.restart();
    server.set_clock("2024-01-16T14:29:59Z");
    let in_time = post(&server, &account, CLOSED, "Idempotency-Key: k", "");
    server.set_clock("2024-01-16T14:30:00Z");
    let too_late = post(&server, &account, CLOSED, "Idempotency-Key: k", "{\"another\": true}");

    assert_eq!((in_time.status, is_replayed(&in_time)), (405, true));
    assert_eq!((too_late.status, is_replayed(&too_late)), (405, false));
}

#[test]
fn of_racing_requests_one_runs_and_the_others_are_replays_or_told_to_wait() {
    let server = Server::start();
    let account = server.account("scale");
    let mut told_to_wait = None;

    for round in 0..50 {
        let key = format!("Idempotency-Key: round-{round}");
        let barrier = Barrier::new(8);
        let race = || {
            barrier.wait();
            post(&server, &account, CLOSED, &key, "{}")
        };
        let answers: Vec<Exchange> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let ran = answers.iter().filter(|answer| answer.status == 405 && !is_replayed(answer)).count();
        assert_eq!(ran, 1, "round {round}");
        assert!(answers.iter().all(|answer| answer.status == 409 || answer.status == 405));
        told_to_wait = answers.into_iter().find(|answer| answer.status == 409);
        if told_to_wait.is_some() {
            break;
        }
    }

    let told_to_wait = told_to_wait.expect("in 50 rounds nobody met a running request");
    assert_eq!(told_to_wait.detail(), "A request with this Idempotency-Key is still running. Repeat it later.");
    assert!(told_to_wait.remaining() < 1000);
}

#[test]
fn a_body_over_its_bound_is_refused_and_the_key_stays_free() {
    let server = Server::start();
    let account = server.account("growth");
    let mut stream = server.public.connect();
    let head = "POST /api/v1/public/links/018d0d80-0000-7000-8000-000000000001/clicks HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n";
    write!(stream, "{head}X-API-Key: {}\r\nContent-Length: {}\r\n\r\n", account.key, MIB + 1).unwrap();

    let refused = Exchange::read("POST /api/v1/public/links/018d0d80-0000-7000-8000-000000000001/clicks", &mut stream);
    let smaller = post(&server, &account, CLOSED, "Idempotency-Key: k", &" ".repeat(MIB));

    assert_eq!((refused.status, refused.detail().as_str()), (413, "Request body exceeds 1048576 bytes."));
    assert_eq!((smaller.status, is_replayed(&smaller)), (405, false));
}

#[test]
fn a_client_that_goes_away_while_it_sends_leaves_the_key_free() {
    let server = Server::start();
    let account = server.account("growth");
    let mut stream = server.public.connect();
    let head = "POST /api/v1/public/links/018d0d80-0000-7000-8000-000000000001/clicks HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n";
    write!(stream, "{head}X-API-Key: {}\r\nContent-Length: 9\r\n\r\nhalf", account.key).unwrap();
    wait_until("the request is counted", || server.used(&account.id) > 0);
    drop(stream);

    let answer = post(&server, &account, CLOSED, "Idempotency-Key: k", "{}");

    assert_eq!((answer.status, is_replayed(&answer)), (405, false));
}

#[test]
fn key_management_keeps_no_answers_for_they_hold_secrets() {
    let server = Server::start();
    let account = server.account("growth");
    let text = format!(
        "POST /api/v1/public/keys?name=CI\nAuthorization: Bearer {}\nIdempotency-Key: k",
        server.token(&account.id)
    );

    let answers = [(); 2].map(|()| server.public.exchange(&text));

    assert_eq!(answers.each_ref().map(|answer| (answer.status, is_replayed(answer))), [(201, false), (201, false)]);
    assert_ne!(answers[0].json()["key"], answers[1].json()["key"]);
}
