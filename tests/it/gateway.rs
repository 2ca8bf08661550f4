//! The gateway: what reaches the upstream, for which account, and what it costs.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::Exchange;
use crate::process::{klinky, run};
use crate::upstream::Upstream;

#[test]
fn a_request_reaches_the_upstream_without_its_key_and_with_its_account() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let answer = server.public.exchange(&format!("GET /v1/things?a=1&b=%2F\nX-API-Key: {}", account.key));

    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{answer}");
    let asked = upstream.asked();
    assert_eq!(asked.line, "GET /v1/things?a=1&b=%2F HTTP/1.1");
    assert_eq!(asked.header("x-klinky-account"), Some(account.id.as_str()));
    assert_eq!(asked.header("x-klinky-plan"), Some("growth"));
    assert_eq!(asked.header("x-klinky-key"), Some(account.key_id.as_str()));
    assert_eq!(asked.header("x-api-key"), None);
    assert_eq!(asked.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(asked.header("x-request-id"), answer.header("x-request-id"));
}

#[test]
fn the_answer_carries_our_limits_and_none_of_the_upstreams() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-RateLimit-Limit: 7\r\nX-RateLimit-Used: 7\r\nRateLimit: x\r\n\
         RateLimit-Policy: y\r\nX-Klinky-Account: z\r\nX-Request-Id: own\r\nIdempotent-Replayed: true\r\n\
         ETag: \"abc\"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Own: kept\r\n\r\nok",
    );
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let answer = server.public.exchange(&format!("GET /v1/things\nX-API-Key: {}", account.key));

    assert_eq!(answer.header("x-ratelimit-limit"), Some("100"));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"hour\";q=100;w=3600"));
    assert_eq!(answer.header("ratelimit"), Some("\"hour\";r=99;t=1800"));
    assert_ne!(answer.header("x-request-id"), Some("own"));
    for name in ["x-ratelimit-used", "x-klinky-account", "idempotent-replayed", "cache-control"] {
        assert_eq!(answer.header(name), None, "{answer}");
    }
    assert_eq!(answer.header("etag"), Some("\"abc\""));
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert_eq!(answer.headers.iter().filter(|(name, _value)| name == "set-cookie").count(), 2);
}

#[test]
fn an_error_of_the_upstream_passes_untouched_and_is_counted() {
    let upstream = Upstream::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<none>");
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let answer = server
        .public
        .exchange(&format!("GET /v1/things\nX-API-Key: {}\nAccept: application/problem+json", account.key));

    assert_eq!((answer.status, answer.body.as_str(), answer.remaining()), (404, "<none>", 99), "{answer}");
    assert_eq!(answer.header("content-type"), None);
}

#[test]
fn who_may_not_come_in_does_not_reach_the_upstream() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let (free, growth) = (server.account("free"), server.account("growth"));
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", growth.id), &serde_json::json!({"used": 100}));
    let ask = |key: &str| server.public.exchange(&format!("GET /v1/things{key}")).status;

    assert_eq!(ask(""), 401);
    assert_eq!(ask("\nX-API-Key: klinky_live_x"), 401);
    assert_eq!(ask(&format!("\nX-API-Key: {}", free.key)), 403);
    assert_eq!(ask(&format!("\nX-API-Key: {}", growth.key)), 429);
    upstream.assert_not_asked();
}

#[test]
fn a_read_only_key_does_not_write() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");
    let issued = server.admin_ok(
        "POST",
        &format!("/accounts/{}/keys", account.id),
        &serde_json::json!({"name": "reader", "scope": "read_only"}),
    );
    let key = issued["key"].as_str().unwrap();

    assert_eq!(server.public.exchange(&format!("GET /v1/x\nX-API-Key: {key}")).status, 200);
    assert_eq!(server.public.exchange(&format!("POST /v1/x\nX-API-Key: {key}\n\nx")).status, 403);
    assert_eq!(server.public.exchange(&format!("PURGE /v1/x\nX-API-Key: {key}")).status, 403);
}

#[test]
fn a_call_costs_what_its_rule_says() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&["--cost", "POST /v1/reports=10", "--cost", "* /v1/heavy/**=50"]);
    let account = server.account("growth");
    let ask = |call: &str| server.public.exchange(&format!("{call}\nX-API-Key: {}", account.key));

    assert_eq!(ask("POST /v1/reports").remaining(), 90);
    assert_eq!(ask("POST /v1/%72eports?x").remaining(), 80);
    assert_eq!(ask("GET /v1/reports").remaining(), 79);
    assert_eq!(ask("GET /v1/heavy/a/b").remaining(), 29);
    let denied = ask("GET /v1/heavy/a/b");
    assert_eq!((denied.status, denied.remaining()), (429, 29));
    assert_eq!(ask("GET /v1/light").remaining(), 28);
}

#[test]
fn no_final_slash_and_no_small_letter_makes_a_call_cheaper() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&["--cost", "POST /v1/reports/*=2", "--cost", "POST /v1/reports=10"]);
    let account = server.account("growth");
    let ask = |call: &str| server.public.exchange(&format!("{call}\nX-API-Key: {}", account.key));

    assert_eq!(ask("POST /v1/reports").remaining(), 90);
    assert_eq!(ask("POST /v1/reports/").remaining(), 80);
    assert_eq!(ask("POST /v1/reports/1").remaining(), 78);
    for method in ["post", "Post", "connect", "trace"] {
        let refused = ask(&format!("{method} /v1/reports"));
        assert_eq!((refused.status, refused.detail()), (400, "The method must be in capital letters.".to_owned()));
    }
    assert_eq!(server.used(&account.id), 22);
    for _passed in 0..3 {
        upstream.asked();
    }
    upstream.assert_not_asked();
}

#[test]
fn public_paths_need_no_key_and_are_not_counted() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&["--public-path", "/v1/docs/**", "--public-path", "/status"]);
    let account = server.account("growth");
    let ask = |call: &str| server.public.exchange(call);

    for path in ["/v1/docs/a/b", "/status"] {
        let answer = ask(&format!("GET {path}\nX-API-Key: {}\nX-Klinky-Account: me", account.key));
        assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, None), "{answer}");
        let asked = upstream.asked();
        assert_eq!((asked.header("x-api-key"), asked.header("x-klinky-account")), (None, None));
    }
    assert_eq!(server.used(&account.id), 0);
    assert_eq!(ask("GET /v1/docs").status, 401);
    // Many servers take it for the former.
    assert_eq!(ask("GET /v1/docs/").status, 401);
    assert_eq!(ask("GET /v1/Docs/a").status, 401);
    assert_eq!(ask("GET /status/x").status, 404);
    upstream.assert_not_asked();
}

#[test]
fn what_is_neither_below_the_prefix_nor_public_is_nowhere() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    for path in ["/", "/v1x", "/V1/x", "/v2/x", "/spring", "/c/x", "/api/v1/public/links"] {
        let answer = server.public.exchange(&format!("GET {path}\nX-API-Key: {}", account.key));
        assert_eq!((answer.status, answer.detail().as_str()), (404, "No such resource."), "{answer}");
    }
    upstream.assert_not_asked();
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn what_klinky_serves_itself_comes_before_the_upstream() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&["--upstream-prefix", "/api/v1/public"]);
    let account = server.account("growth");
    let token = server.token(&account.id);

    let keys = server.public.exchange(&format!("GET /api/v1/public/keys\nAuthorization: Bearer {token}"));
    assert!(keys.json()["items"].is_array(), "{keys}");
    assert_eq!(server.public.exchange("GET /api/v1/public/keys").status, 401);
    assert_eq!(server.public.exchange(&format!("GET /check\nX-API-Key: {}", account.key)).status, 200);
    upstream.assert_not_asked();

    let links = server.public.exchange(&format!("POST /api/v1/public/links/bulk\nX-API-Key: {}\n\n{{}}", account.key));
    assert_eq!((links.body.as_str(), links.remaining()), ("hello", 98), "{links}");
}

#[test]
fn a_thousand_requests_in_a_row_are_counted_exactly_over_few_connections() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("scale");
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n", account.key);

    let mut stream = server.public.connect();
    for sent in 1..=1000 {
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let answer = Exchange::read("GET", &mut stream);
        assert_eq!((answer.status, answer.remaining()), (200, 1000 - sent), "{answer}");
    }

    assert_eq!(server.public.exchange(&format!("GET /v1/x\nX-API-Key: {}", account.key)).status, 429);
    assert_eq!(server.used(&account.id), 1000);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn of_two_hundred_concurrent_requests_exactly_the_limit_pass() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");
    let (passed, denied) = (AtomicUsize::new(0), AtomicUsize::new(0));

    std::thread::scope(|threads| {
        for _ in 0..200 {
            threads.spawn(|| {
                let answer = server.public.exchange(&format!("GET /v1/x\nX-API-Key: {}", account.key));
                let count = match answer.status {
                    200 => &passed,
                    429 => &denied,
                    other => panic!("{other}: {answer}"),
                };
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
    });

    assert_eq!((passed.into_inner(), denied.into_inner()), (100, 100));
    assert_eq!(server.used(&account.id), 100);
    assert!((0..100).all(|_| upstream.asked().is_whole));
    upstream.assert_not_asked();
}

#[test]
fn all_faults_of_the_flags_are_reported_in_one_go() {
    let ended = run(&mut klinky(&[
        "serve",
        "--upstream",
        "https://api.example",
        "--upstream-prefix",
        "v1",
        "--public-path",
        "docs",
        "--public-path",
        "/v1/[",
        "--cost",
        "POST /v1/x=0",
        "--cost",
        "post /v1/x=1",
        "--upstream-connect-timeout-ms",
        "0",
        "--upstream-timeout-ms",
        "x",
    ]));

    assert_eq!(ended.code, Some(2));
    for flag in ["--upstream:", "--upstream-prefix:", "--upstream-connect-timeout-ms:", "--upstream-timeout-ms:"] {
        assert_eq!(ended.stderr.matches(flag).count(), 1, "{}", ended.stderr);
    }
    for flag in ["--public-path:", "--cost:"] {
        assert_eq!(ended.stderr.matches(flag).count(), 2, "{}", ended.stderr);
    }
}

#[test]
fn a_list_in_a_variable_with_commas_is_refused_with_its_separator() {
    let mut command = klinky(&["serve", "--upstream", "http://a", "--upstream-prefix", "/"]);
    let ended = run(command.env("KLINKY_COST", "POST /a=20,GET /b=30").env("KLINKY_PUBLIC_PATH", "/docs/**,/open/**"));

    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr.matches("several are separated by ; in a variable").count(), 2, "{}", ended.stderr);
}

#[test]
fn flags_that_do_nothing_by_themselves_are_refused() {
    let ended =
        run(&mut klinky(&["serve", "--upstream-prefix", "/v1", "--public-path", "/v1/docs", "--cost", "GET /v1/x=2"]));
    let outside = run(&mut klinky(&["serve", "--upstream", "http://a", "--cost", "GET /v1/x=2"]));

    assert_eq!((ended.code, outside.code), (Some(2), Some(2)));
    assert_eq!(ended.stderr.matches("goes with --upstream only").count(), 3, "{}", ended.stderr);
    assert!(outside.stderr.contains("/v1/x is not below /api/v1/public"), "{}", outside.stderr);
}
