//! Bodies over their bound, and bodies that do not arrive as announced.

use std::io::Write as _;

use crate::harness::{Exchange, Server};

const MIB: usize = 1024 * 1024;
const TOO_LARGE: &str = "Request body exceeds 1048576 bytes.";

/// Sends a request with a session, in two parts; the second may find the connection closed.
pub(crate) fn post(server: &Server, path: &str, headers: &str, body: &[u8]) -> Exchange {
    let mut stream = server.public.connect();
    stream.write_all(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).unwrap();
    let _sent = stream.write_all(body);
    Exchange::read(&format!("POST {path}"), &mut stream)
}

fn session(server: &Server) -> String {
    format!("Authorization: Bearer {}\r\n", server.token(&server.account("growth").id))
}

/// A body in chunks of 64 KiB.
pub(crate) fn chunked(body_bytes: usize) -> Vec<u8> {
    const CHUNK_BYTES: usize = 64 * 1024;
    let mut raw = Vec::new();
    for start in (0..body_bytes).step_by(CHUNK_BYTES) {
        let length = CHUNK_BYTES.min(body_bytes - start);
        raw.extend(format!("{length:x}\r\n").bytes());
        raw.resize(raw.len() + length, b' ');
        raw.extend(b"\r\n");
    }
    raw.extend(b"0\r\n\r\n");
    raw
}

#[test]
fn a_body_that_announces_more_than_1_mib_is_refused_before_it_is_sent() {
    let server = Server::start();
    let headers = format!("{}Content-Length: {}\r\n", session(&server), MIB + 1);

    let answer = post(&server, "/api/v1/public/keys", &headers, b"");

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/keys

    413
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"Request body exceeds 1048576 bytes."}
    "#);
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_body_of_more_than_1_mib_is_refused() {
    let server = Server::start();
    let headers = format!("{}Content-Length: {}\r\n", session(&server), 3 * MIB);

    let answer = post(&server, "/api/v1/public/keys", &headers, &vec![b' '; 3 * MIB]);

    assert_eq!((answer.status, answer.detail().as_str()), (413, TOO_LARGE));
}

#[test]
fn a_body_of_1_mib_is_read() {
    let server = Server::start();
    let headers = format!("{}Content-Length: {MIB}\r\n", session(&server));
    let mut body = br#"{"name": "CI"}"#.to_vec();
    body.resize(MIB, b' ');

    let answer = post(&server, "/api/v1/public/keys", &headers, &body);

    assert_eq!(answer.status, 201, "{answer}");
}

#[test]
fn a_chunked_body_of_more_than_1_mib_is_refused() {
    let server = Server::start();
    let headers = format!("{}Transfer-Encoding: chunked\r\n", session(&server));

    let answer = post(&server, "/api/v1/public/keys", &headers, &chunked(MIB + 1));

    assert_eq!((answer.status, answer.detail().as_str()), (413, TOO_LARGE));
}

#[test]
fn a_chunked_body_is_read() {
    let server = Server::start();
    let headers = format!("{}Transfer-Encoding: chunked\r\n", session(&server));

    let answer = post(&server, "/api/v1/public/keys", &headers, b"7\r\n{\"name\"\r\n7;ext=1\r\n: \"CI\"}\r\n0\r\n\r\n");

    assert_eq!(answer.status, 201, "{answer}");
}

#[test]
fn chunks_that_are_none_are_answered_400() {
    let server = Server::start();
    let headers = format!("{}Transfer-Encoding: chunked\r\n", session(&server));

    for body in [&b"zz\r\n{}\r\n0\r\n\r\n"[..], b"-1\r\n", b"2\r\n{}XX0\r\n\r\n", b"ffffffffffffffffff\r\n{}"] {
        let answer = post(&server, "/api/v1/public/keys", &headers, body);
        assert_eq!(answer.status, 400, "{answer}");
    }
}

#[test]
fn a_large_question_is_refused_and_counts_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", MIB + 1);

    let answer = post(&server, "/check", &headers, b"");

    assert_eq!((answer.status, answer.detail().as_str()), (413, "Request body exceeds 16384 bytes."));
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_body_that_nobody_reads_does_not_cost_the_answer() {
    let server = Server::start();
    let account = server.account("growth");
    let key = format!("X-API-Key: {}\r\nContent-Length: {}\r\n", account.key, 3 * MIB);
    let body = vec![b'x'; 3 * MIB];

    let refused = post(&server, "/api/v1/public/links", &format!("Content-Length: {}\r\n", body.len()), &body);
    let not_allowed = post(&server, "/api/v1/public/links", &key, &body);
    let allowed = post(&server, "/check", &key, &body);

    assert_eq!([refused.status, not_allowed.status, allowed.status], [401, 413, 200]);
}

#[test]
fn a_question_has_a_bound_of_its_own_since_anybody_may_ask() {
    let server = Server::start();
    let asked = |bytes: usize| {
        let text = format!("{{\"key\": \"{}\"}}", "x".repeat(bytes - 11));
        server.public.exchange(&format!("POST /check\nContent-Type: application/json\n\n{text}"))
    };

    assert_eq!(asked(16 * 1024).status, 401);
    let refused = asked(16 * 1024 + 1);
    assert_eq!((refused.status, refused.detail()), (413, "Request body exceeds 16384 bytes.".to_owned()));
}
