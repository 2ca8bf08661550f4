//! Counting: windows by the clock, exactness under concurrency, what is counted for whom.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Account, Server};

/// Sends `requests` pings on each of `threads` threads, the keys in turn, all at once.
/// Answers how many were let through and how many were stopped.
fn race(server: &Server, keys: &[&str], threads: usize, requests: usize) -> (usize, usize) {
    let barrier = Barrier::new(threads);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..threads)
            .map(|racer| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let key = |n: usize| keys[(racer + n) % keys.len()];
                    (0..requests).map(|n| server.ping(key(n)).status).collect::<Vec<_>>()
                })
            })
            .collect();
        racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
    });
    let count = |wanted| statuses.iter().filter(|&&status| status == wanted).count();
    assert_eq!(count(200) + count(429), threads * requests, "{statuses:?}");
    (count(200), count(429))
}

fn set_limit(server: &Server, account: &Account, limit: u32) {
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": limit}));
}

#[test]
fn exactly_the_limit_passes_over_several_keys_and_connections() {
    let server = Server::start();
    let account = server.account("growth");
    let (second, third) = (server.key(&account.id).1, server.key(&account.id).1);

    let (passed, stopped) = race(&server, &[&account.key, &second, &third], 8, 30);

    assert_eq!((passed, stopped), (100, 140));
    assert_eq!(server.used(&account.id), 100);
}

#[test]
fn exactly_the_limit_passes_where_every_unit_is_on_disk_before_its_answer() {
    let server = Server::start_with(|settings| settings.flush_within = Duration::ZERO);
    let account = server.account("growth");

    let (passed, stopped) = race(&server, &[&account.key], 8, 20);

    assert_eq!((passed, stopped), (100, 60));
    assert_eq!(server.used(&account.id), 100);
}

#[test]
fn racing_accounts_do_not_share_a_counter() {
    let server = Server::start();
    let (one, other) = (server.account("growth"), server.account("growth"));
    set_limit(&server, &one, 10);
    set_limit(&server, &other, 20);

    race(&server, &[&one.key, &other.key], 6, 20);

    assert_eq!((server.used(&one.id), server.used(&other.id)), (10, 20));
}

#[test]
fn the_window_ends_at_the_top_of_the_hour_and_not_a_second_before() {
    let server = Server::start();
    let account = server.account("growth");
    set_limit(&server, &account, 1);
    assert_eq!(server.ping(&account.key).status, 200);

    server.set_clock("2024-01-15T14:59:59Z");
    insta::assert_snapshot!(server.ping(&account.key), @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    429
    content-type: application/json
    ratelimit: "hour";r=0;t=1
    ratelimit-policy: "hour";q=1;w=3600
    retry-after: 1
    x-ratelimit-limit: 1
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"detail":"Rate limit exceeded. Please try again later."}
    "#);

    server.set_clock("2024-01-15T15:00:00Z");
    insta::assert_snapshot!(server.ping(&account.key), @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=0;t=3600
    ratelimit-policy: "hour";q=1;w=3600
    x-ratelimit-limit: 1
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705334400

    {"items":[],"total":0,"page":1,"per_page":20,"pages":0}
    "#);

    server.set_clock("2024-01-15T15:00:01Z");
    insta::assert_snapshot!(server.ping(&account.key), @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    429
    content-type: application/json
    ratelimit: "hour";r=0;t=3599
    ratelimit-policy: "hour";q=1;w=3600
    retry-after: 3599
    x-ratelimit-limit: 1
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705334400

    {"detail":"Rate limit exceeded. Please try again later."}
    "#);
}

#[test]
fn the_wait_is_rounded_up_to_whole_seconds() {
    let server = Server::start();
    let account = server.account("growth");
    set_limit(&server, &account, 0);

    for (now, wait) in [("14:00:00Z", "3600"), ("14:59:58.001Z", "2"), ("14:59:59.999Z", "1")] {
        server.set_clock(&format!("2024-01-15T{now}"));
        let answer = server.ping(&account.key);

        assert_eq!(answer.header("retry-after"), Some(wait));
        assert_eq!(answer.header("ratelimit"), Some(format!("\"hour\";r=0;t={wait}").as_str()));
    }
}

#[test]
fn a_clock_that_steps_back_finds_the_counter_of_the_hour_it_steps_into() {
    let server = Server::start();
    let account = server.account("growth");
    set_limit(&server, &account, 2);
    assert_eq!(server.ping(&account.key).status, 200);
    server.set_clock("2024-01-15T15:00:05Z");
    assert_eq!(server.ping(&account.key).remaining(), 1);

    server.set_clock("2024-01-15T14:59:58Z");
    let (last, stopped) = (server.ping(&account.key), server.ping(&account.key));

    assert_eq!((last.status, last.remaining(), stopped.status), (200, 0, 429));
    server.set_clock("2024-01-15T15:00:06Z");
    assert_eq!(server.ping(&account.key).remaining(), 0);
}

#[test]
fn a_restart_in_the_middle_of_the_window_keeps_what_was_used() {
    let server = Server::start();
    let account = server.account("growth");
    for _ in 0..3 {
        server.ping(&account.key);
    }

    let server = server.restart();

    assert_eq!(server.ping(&account.key).remaining(), 96);
}

#[test]
fn a_denied_request_uses_no_quota() {
    let server = Server::start();
    let account = server.account("growth");
    set_limit(&server, &account, 1);
    server.ping(&account.key);
    for _ in 0..5 {
        assert_eq!(server.ping(&account.key).status, 429);
    }

    set_limit(&server, &account, 2);

    assert_eq!(server.used(&account.id), 1);
    assert_eq!(server.ping(&account.key).status, 200);
}

#[test]
fn the_last_use_of_a_key_is_shown_at_once_and_survives_a_restart() {
    let server = Server::start();
    let account = server.account("growth");
    let last_used = |server: &Server| {
        server.admin_ok("GET", &format!("/keys/{}", account.key_id), &Value::Null)["last_used_at"].clone()
    };
    assert_eq!(last_used(&server), Value::Null);

    server.set_clock("2024-01-15T14:31:00.250Z");
    server.ping(&account.key);

    assert_eq!(last_used(&server), json!("2024-01-15T14:31:00.250Z"));
    let server = server.restart();
    assert_eq!(last_used(&server), json!("2024-01-15T14:31:00.250Z"));
}
