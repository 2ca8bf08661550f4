//! `Idempotency-Key` through the gateway: the upstream works once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::harness::{Account, Exchange, Server};
use crate::process::pass;
use crate::upstream::{Upstream, end, read};

fn post(server: &Server, account: &Account, body: &str) -> Exchange {
    server.public.exchange(&format!("POST /v1/x\nX-API-Key: {}\nIdempotency-Key: k1\n\n{body}", account.key))
}

#[test]
fn a_repeated_post_gets_the_upstreams_answer_again_with_all_that_belongs_to_it() {
    let upstream = Upstream::answering(
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\nSet-Cookie: a=1\r\n\
         Set-Cookie: b=2\r\nX-Own: kept\r\nX-RateLimit-Limit: 7\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let first = post(&server, &account, "{}");
    let again = post(&server, &account, "{}");
    let other = post(&server, &account, "{\"a\": 1}");

    assert_eq!(upstream.asked().body, b"{}");
    upstream.assert_not_asked();
    assert_eq!((again.header("idempotent-replayed"), again.remaining()), (Some("true"), 98), "{again}");
    for answer in [&first, &again] {
        assert_eq!((answer.status, answer.body.as_str()), (201, "abcde"), "{answer}");
        assert_eq!((answer.header("content-encoding"), answer.header("x-own")), (Some("gzip"), Some("kept")));
        assert_eq!(answer.headers.iter().filter(|(name, _value)| name == "set-cookie").count(), 2, "{answer}");
        assert_eq!(answer.header("x-ratelimit-limit"), Some("100"));
    }
    assert_eq!((other.status, server.used(&account.id)), (422, 3));
}

#[test]
fn an_error_of_the_upstream_is_given_again_as_it_was() {
    let upstream = Upstream::answering("HTTP/1.1 409 Conflict\r\nContent-Length: 5\r\n\r\n<no/>");
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    assert_eq!(post(&server, &account, "{}").body, "<no/>");
    let again = post(&server, &account, "{}");

    assert_eq!((again.status, again.body.as_str()), (409, "<no/>"), "{again}");
    assert_eq!(upstream.connections(), 1);
}

/// The usual answer to a form.
#[test]
fn a_redirect_of_the_upstream_is_given_again_as_it_was() {
    let upstream = Upstream::answering("HTTP/1.1 303 See Other\r\nLocation: /v1/x/1\r\nContent-Length: 0\r\n\r\n");
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let answers = [post(&server, &account, "{}"), post(&server, &account, "{}")];

    for answer in &answers {
        assert_eq!((answer.status, answer.header("location")), (303, Some("/v1/x/1")), "{answer}");
    }
    assert_eq!(answers[1].header("idempotent-replayed"), Some("true"));
    upstream.asked();
    upstream.assert_not_asked();
}

#[test]
fn a_failure_of_the_upstream_is_tried_again() {
    let upstream = Upstream::start(|mut stream, number, asked| {
        while let Some(request) = read(&mut stream) {
            asked.send(request).unwrap();
            match number {
                0 => stream.write_all(b"HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap(),
                // Breaks off: nobody knows what it would have been.
                1 => stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nhalf").unwrap(),
                _ => stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nwhole").unwrap(),
            }
            if number < 2 {
                return end(&stream);
            }
        }
    });
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let statuses: Vec<_> = (0..4).map(|_| post(&server, &account, "{}").status).collect();

    assert_eq!(statuses, [500, 502, 201, 201]);
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn an_answer_over_the_bound_passes_by_whole_and_is_not_kept() {
    let long = 3 * 1024 * 1024;
    let upstream = Upstream::start(move |mut stream, _number, asked| {
        while let Some(request) = read(&mut stream) {
            asked.send(request).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {long}\r\n\r\n{}", "x".repeat(long)).unwrap();
        }
    });
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    for _ in 0..2 {
        let answer = post(&server, &account, "{}");
        assert_eq!((answer.body.len(), answer.header("idempotent-replayed")), (long, None));
        upstream.asked();
    }
}

#[test]
fn a_body_over_the_bound_is_refused_with_a_key_only() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");
    let body = "x".repeat(1024 * 1024 + 1);

    assert_eq!(post(&server, &account, &body).status, 413);
    upstream.assert_not_asked();
    let without = server.public.exchange(&format!("POST /v1/x\nX-API-Key: {}\n\n{body}", account.key));
    assert_eq!(without.status, 200);
}

#[test]
fn racing_posts_reach_the_upstream_once() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let statuses: Vec<u16> = std::thread::scope(|threads| {
        let racing: Vec<_> = (0..20).map(|_| threads.spawn(|| post(&server, &account, "{}").status)).collect();
        racing.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    upstream.asked();
    upstream.assert_not_asked();
    assert_eq!(server.used(&account.id), 20);
}

/// Sends a POST with a key, whose answer is not waited for.
fn begin(server: &Server, account: &Account) -> TcpStream {
    let mut stream = server.public.connect();
    let head = "POST /v1/x HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k1\r\nContent-Length: 2\r\n";
    write!(stream, "{head}X-API-Key: {}\r\n\r\n{{}}", account.key).unwrap();
    stream
}

/// Reads until this has come.
fn read_until(stream: &mut TcpStream, end: &str) {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
}

/// An upstream whose answer has no end, and which says when nobody listens any more.
fn endless(headers: &'static str) -> (Upstream, mpsc::Receiver<()>) {
    let (closed, when_closed) = mpsc::channel();
    let upstream = Upstream::start(move |mut stream, _number, asked| {
        asked.send(read(&mut stream).unwrap()).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{headers}\r\n").unwrap();
        while stream.write_all(b"6\r\ndata\n\n\r\n").is_ok() {
            pass(Duration::from_millis(50));
        }
        closed.send(()).unwrap_or_default();
    });
    (upstream, when_closed)
}

#[test]
fn events_are_passed_on_as_they_come() {
    let (upstream, closed) = endless("Content-Type: Text/Event-Stream; charset=utf-8\r\n");
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let mut stream = begin(&server, &account);
    read_until(&mut stream, "data\n\n");
    drop(stream);

    closed.recv_timeout(Duration::from_secs(20)).expect("the upstream still talks to nobody");
}

#[test]
fn events_are_not_kept_however_few_they_are() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 6\r\n\r\ndata\n\n");
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    for _ in 0..2 {
        let answer = post(&server, &account, "{}");
        assert_eq!((answer.body.as_str(), answer.header("idempotent-replayed")), ("data\n\n", None), "{answer}");
        upstream.asked();
    }
}

#[test]
fn an_answer_that_takes_too_long_is_passed_on_as_it_comes_and_not_kept() {
    let (upstream, _closed) = endless("");
    let server = upstream.guarded(&["--upstream-timeout-ms", "300"]);
    let account = server.account("growth");

    for _ in 0..2 {
        read_until(&mut begin(&server, &account), "data\n\n");
        upstream.asked();
    }
}

#[test]
fn an_answer_that_stands_still_is_a_failure_and_not_passed_on() {
    let upstream = Upstream::start(|mut stream, _number, asked| {
        asked.send(read(&mut stream).unwrap()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
        let _until_closed = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let server = upstream.guarded(&["--upstream-timeout-ms", "300"]);
    let account = server.account("growth");

    for _ in 0..2 {
        assert_eq!(post(&server, &account, "{}").status, 502);
        upstream.asked();
    }
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_does_not_hold_the_upstream() {
    let (upstream, closed) = endless("");
    let server = upstream.guarded(&["--upstream-timeout-ms", "300"]);
    let account = server.account("growth");

    let stream = begin(&server, &account);
    upstream.asked();
    drop(stream);

    closed.recv_timeout(Duration::from_secs(20)).expect("the upstream still talks to nobody");
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn requests_that_nobody_waits_for_any_more_are_bounded_for_each_account() {
    let (end_one, ends) = mpsc::channel();
    let ends = Mutex::new(ends);
    let upstream = Upstream::start(move |mut stream, _number, asked| {
        let request = read(&mut stream).unwrap();
        asked.send(request).unwrap();
        ends.lock().unwrap().recv().unwrap_or_default();
    });
    let server = upstream.guarded(&[]);
    let (account, other) = (server.account("scale"), server.account("scale"));
    let send = |account: &Account, number: usize| {
        let mut client = server.public.connect();
        let head = format!("POST /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n", account.key);
        write!(client, "{head}Idempotency-Key: k{number}\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
        client
    };
    for number in 0..64 {
        let client = send(&account, number);
        upstream.asked();
        drop(client);
    }

    let _waits = send(&account, 64);
    pass(Duration::from_millis(300));
    upstream.assert_not_asked();
    let of_another = send(&other, 0);
    assert_eq!(upstream.asked().header("x-klinky-account"), Some(other.id.as_str()));
    drop(of_another);

    end_one.send(()).unwrap();
    assert_eq!(upstream.asked().header("x-klinky-account"), Some(account.id.as_str()));
}
