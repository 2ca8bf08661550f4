//! Paths in disguise: none reaches a guarded route past its guard, and none is answered 500.

use crate::harness::{Exchange, Server};

/// Sends a target as it stands, as clients do not.
fn send(server: &Server, target: &[u8], headers: &str) -> Exchange {
    let raw = [b"GET ", target, format!(" HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()].concat();
    server.public.exchange_raw(&String::from_utf8_lossy(&raw), &raw)
}

const DISGUISES: [&[u8]; 26] = [
    b"/api/v1/public%2Fping",
    b"/api%2fv1%2fpublic%2fping",
    b"/api/v1/%70ublic/ping",
    b"/api/v1/public/%70ing",
    b"/api/v1/public/pin%67",
    b"//api/v1/public/links",
    b"/api//v1/public/links",
    b"/api/v1/public//ping",
    b"/api/v1/public/links/",
    b"/api/v1/public/links//",
    b"/api/v1/./public/links",
    b"/api/v1/public/./ping",
    b"/api/v1/public/../public/links",
    b"/api/v1/public/keys/../ping",
    b"/api/v1/public/keys%2F..%2Fping",
    b"/api/v1/public/account/../ping",
    b"/nothing/../api/v1/public/links",
    b"/check/../api/v1/public/links",
    b"/API/V1/PUBLIC/PING",
    b"/api/v1/public/links;x=1",
    b"/api/v1/public/links%00",
    b"/api/v1/public/links%ff",
    b"/api/v1/public\\ping",
    b"http://127.0.0.1/api/v1/public/links",
    b"http://elsewhere.example/api/v1/public/links?x",
    b"/api/v1/public/links?/../keys",
];

#[test]
fn no_disguise_opens_a_guarded_route_without_a_key() {
    let server = Server::start();

    for target in DISGUISES {
        let answer = send(&server, target, "");
        assert!([401, 404].contains(&answer.status), "{answer}");
    }
}

#[test]
fn what_a_disguise_opens_with_a_key_is_counted() {
    let server = Server::start();
    let account = server.account("scale");

    for target in DISGUISES {
        let before = server.used(&account.id);
        let answer = send(&server, target, &format!("X-API-Key: {}\r\n", account.key));
        let counted = server.used(&account.id) - before;
        match answer.status {
            200 => assert_eq!(counted, 1, "{answer}"),
            401 => assert_eq!(counted, 0, "{answer}"),
            404 => assert_eq!(counted, u64::from(answer.header("x-ratelimit-limit").is_some()), "{answer}"),
            other => panic!("{other}: {answer}"),
        }
    }
}

#[test]
fn no_disguise_opens_a_sessions_call_without_a_session() {
    let server = Server::start();
    let account = server.account("growth");
    let headers = format!("X-API-Key: {}\r\n", account.key);

    for target in [
        &b"/api/v1/public/%6beys"[..],
        b"/api/v1/public/keys/",
        b"/api/v1/public/keys/rate-limit/..",
        b"/api/v1/public/keys/rate-limit/../../account",
        b"/api/v1/public/account?/keys/rate-limit",
        b"/api/v1/public/account/keys/rate-limit",
        b"/api/v1/public/./account",
        b"/api/v1/public/%61ccount",
    ] {
        let answer = send(&server, target, &headers);
        assert!([401, 404].contains(&answer.status), "{answer}");
    }
}

#[test]
fn bytes_outside_of_ascii_in_a_target_are_answered_400_and_count_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    let headers = format!("X-API-Key: {}\r\n", account.key);

    for target in
        [&b"/api/v1/public/\xff\xfe"[..], b"/\xc3\x28", b"/api/v1/public/caf\xc3\xa9", b"/api/v1/public/links?\xff"]
    {
        let answer = send(&server, target, &headers);
        assert_eq!(answer.status, 400, "{answer}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn targets_that_are_no_paths_are_refused() {
    let server = Server::start();

    for (method, target) in
        [("OPTIONS", "*"), ("CONNECT", "127.0.0.1:80"), ("GET", "api/v1/public/links"), ("GET", "?x")]
    {
        let raw = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = server.public.exchange_raw(&raw, raw.as_bytes());
        assert!([400, 401, 404].contains(&answer.status), "{answer}");
    }
}

#[test]
fn a_query_that_does_not_decode_is_answered_like_any_text() {
    let server = Server::start();
    let account = server.account("growth");

    for query in ["%", "%zz", "%ff", "%00", "&&==&", "cost=1&%", "a=%e2%82"] {
        let answer = server.public.exchange(&format!("GET /check?{query}\nX-API-Key: {}", account.key));
        assert_eq!(answer.status, 200, "{answer}");
    }
}
