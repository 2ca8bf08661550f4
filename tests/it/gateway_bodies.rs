//! Bodies through the gateway: whole, in pieces, huge, cut off, and those that are not there.

use std::io::{Read, Write};
use std::time::Duration;

use crate::harness::{Account, Exchange, Server};
use crate::head::head_and_get;
use crate::process::Process;
use crate::upstream::{Upstream, end, read};

/// Far more than a process may hold of a body.
const HUGE: usize = 100 * 1024 * 1024;
/// Most that the memory may grow while a huge body passes: the buffers of two connections and some pages.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;

fn in_front_of(upstream: &Upstream) -> (Server, Account) {
    let server = upstream.guarded(&["--upstream-timeout-ms", "20000"]);
    let account = server.account("growth");
    (server, account)
}

fn ask(server: &Server, account: &Account, method: &str) -> Exchange {
    server.public.exchange(&format!("{method} /v1/x\nX-API-Key: {}", account.key))
}

#[test]
fn answers_without_a_body_pass_untouched() {
    for (method, raw, status, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200, None),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n", 304, Some("77")),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", 304, None),
        ("DELETE", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, Some("0")),
    ] {
        let upstream = Upstream::answering(raw);
        let (server, account) = in_front_of(&upstream);

        // On one connection, so that one worker serves both.
        let mut stream = server.public.connect();
        let mut ask = || {
            write!(stream, "{method} /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n", account.key).unwrap();
            Exchange::read(&format!("{method} /v1/x"), &mut stream)
        };
        let (first, second) = (ask(), ask());

        assert_eq!((first.status, first.header("content-length")), (status, length), "{raw}: {first}");
        assert_eq!((second.status, second.remaining()), (status, 98), "{second}");
        assert!(upstream.asked().body.is_empty());
        assert_eq!(upstream.connections(), 1, "{raw}");
    }
}

#[test]
fn informational_answers_are_taken_in() {
    let upstream = Upstream::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let (server, account) = in_front_of(&upstream);

    let answer = ask(&server, &account, "GET");

    assert_eq!((answer.status, answer.body.as_str(), answer.header("link")), (200, "ok", None), "{answer}");
}

#[test]
fn compressed_and_chunked_bodies_pass_byte_for_byte() {
    // Not even gzip: whoever decodes it fails.
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let (server, account) = in_front_of(&upstream);

    let answer = ask(&server, &account, "GET");

    assert_eq!((answer.body.as_str(), answer.header("content-encoding")), ("abcde", Some("gzip")), "{answer}");
}

#[test]
fn trailers_of_an_answer_are_dropped_and_the_body_is_whole() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let (server, account) = in_front_of(&upstream);

    assert_eq!(ask(&server, &account, "GET").body, "abc");
    assert_eq!(ask(&server, &account, "GET").body, "abc");
}

/// Bodies, with what the upstream is told of their length.
const FRAMED: [(&str, Option<&str>, &[u8]); 3] = [
    ("Content-Length: 5\r\n\r\nhello", Some("5"), b"hello"),
    ("Content-Length: 0\r\n\r\n", Some("0"), b""),
    ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n", None, b"abcde"),
];

#[test]
fn bodies_of_requests_keep_their_framing() {
    let upstream = Upstream::plain();
    let (server, account) = in_front_of(&upstream);
    let head = format!("/v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nConnection: close\r\n", account.key);

    for (method, (framed, length, body)) in
        ["POST", "GET"].into_iter().flat_map(|method| FRAMED.map(|framed| (method, framed)))
    {
        let answer = server.public.exchange_raw(method, format!("{method} {head}{framed}").as_bytes());
        assert_eq!(answer.status, 200, "{framed}: {answer}");
        let asked = upstream.asked();
        assert_eq!((asked.header("content-length"), asked.body.as_slice()), (length, body), "{asked:?}");
        assert!(asked.is_whole);
    }
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let upstream = Upstream::plain();
    let (server, account) = in_front_of(&upstream);
    let mut stream = server.public.connect();

    let head = "POST /v1/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    write!(stream, "{head}X-API-Key: {}\r\n\r\n", account.key).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    stream.write_all(b"hello").unwrap();

    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(Exchange::read("POST", &mut stream).status, 200);
    let asked = upstream.asked();
    assert_eq!((asked.body.as_slice(), asked.header("expect")), (&b"hello"[..], None));
}

#[test]
fn a_client_that_waits_for_100_is_denied_before_it_sends_its_body() {
    let upstream = Upstream::plain();
    let (server, account) = in_front_of(&upstream);
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &serde_json::json!({"used": 100}));

    for (key, status) in [("", 401), (account.key.as_str(), 429)] {
        let mut stream = server.public.connect();
        let head = "POST /v1/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000000\r\n";
        let key = if key.is_empty() { String::new() } else { format!("X-API-Key: {key}\r\n") };
        write!(stream, "{head}{key}\r\n").unwrap();

        // actix-web says 100 to everybody; the answer comes right behind it, and waits for no body.
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(Exchange::read("POST", &mut stream).status, status);
    }
    upstream.assert_not_asked();
}

#[test]
fn pieces_pass_in_both_directions_as_they_come() {
    let upstream = Upstream::start(|mut stream, _number, _asked| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        // Each piece is answered before the next one is sent.
        let mut piece = [0; 6];
        while stream.read_exact(&mut piece).is_ok() {
            stream.write_all(&piece).unwrap();
        }
    });
    let (server, account) = in_front_of(&upstream);
    let mut stream = server.public.connect();

    let head = "POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
    write!(stream, "{head}X-API-Key: {}\r\n\r\n1\r\na\r\n", account.key).unwrap();
    for (answered, next) in [("1\r\na\r\n", "1\r\nb\r\n"), ("1\r\nb\r\n", "1\r\nc\r\n"), ("1\r\nc\r\n", "0\r\n\r\n")] {
        let mut got = Vec::new();
        while !got.ends_with(answered.as_bytes()) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            got.push(byte[0]);
        }
        stream.write_all(next.as_bytes()).unwrap();
    }
}

#[test]
fn a_short_answer_that_breaks_off_is_a_502_or_cut() {
    let upstream = Upstream::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    let (server, account) = in_front_of(&upstream);

    // Which of the two depends on how its end arrives; neither looks whole.
    for _ in 0..10 {
        let mut stream = server.public.connect();
        let head = "GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        write!(stream, "{head}X-API-Key: {}\r\n\r\n", account.key).unwrap();
        let mut got = Vec::new();
        let _cut = stream.read_to_end(&mut got);
        let got = String::from_utf8(got).unwrap();
        let is_cut = got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("content-length: 100\r\n");
        assert!(is_cut || got.starts_with("HTTP/1.1 502 "), "{got}");
    }
    assert_eq!(server.used(&account.id), 10);
}

#[test]
fn trailers_of_a_request_that_come_unannounced_are_dropped() {
    let upstream = Upstream::plain();
    let (server, account) = in_front_of(&upstream);
    let head = format!("POST /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nConnection: close\r\n", account.key);
    let body = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Klinky-Account: root\r\n\r\n";

    let answer = server.public.exchange_raw("POST", format!("{head}{body}").as_bytes());

    assert_eq!(answer.status, 200, "{answer}");
    let asked = upstream.asked();
    assert_eq!((asked.body.as_slice(), asked.values("x-klinky-account")), (&b"abc"[..], vec![account.id.as_str()]));
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
    ] {
        let upstream = Upstream::start(move |mut stream, _number, _asked| {
            read(&mut stream).unwrap();
            let (begin, rest) = raw.split_at(raw.find("\r\n\r\n").unwrap() + 4);
            stream.write_all(begin.as_bytes()).unwrap();
            // Late enough for the head to be on its way already.
            crate::process::pass(Duration::from_millis(100));
            stream.write_all(rest.as_bytes()).unwrap();
            end(&stream);
        });
        let (server, account) = in_front_of(&upstream);
        let mut stream = server.public.connect();

        write!(stream, "GET /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n", account.key).unwrap();
        let mut got = Vec::new();
        if let Err(error) = stream.read_to_end(&mut got) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }

        let got = String::from_utf8(got).unwrap();
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && !got.contains("\r\n0\r\n"), "{got}");
        assert!(!got.contains("content-length: 9\r\n"), "{got}");
        assert_eq!(server.used(&account.id), 1);
    }
}

/// A kilobyte count of `/proc/<pid>/status`, in bytes.
fn memory(process: &Process, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_hundred_megabytes_pass_in_both_directions_and_memory_stays_flat() {
    let upstream = Upstream::start(|mut stream, _number, asked| {
        while let Some(mut request) = read(&mut stream) {
            let sum = request.body.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string();
            request.body.clear();
            let get = request.line.starts_with("GET");
            asked.send(request).unwrap();
            if get {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n").unwrap();
                (0..HUGE / 1024).for_each(|_| stream.write_all(&[7; 1024]).unwrap());
            } else {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{sum}", sum.len()).unwrap();
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}", upstream.address);
    let flags = ["--upstream", &url, "--upstream-prefix", "/v1", "--workers", "1"];
    let process = Process::serve(&dir.path().join("db"), &flags);
    let (_id, key) = process.account("growth");
    let exchange = || process.public.exchange(&format!("POST /v1/x\nX-API-Key: {key}\n\nx"));
    assert_eq!(exchange().status, 200);
    let before = memory(&process, "VmRSS");

    let mut stream = process.public.connect();
    write!(stream, "POST /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: {HUGE}\r\n\r\n").unwrap();
    (0..HUGE / 1024).for_each(|_| stream.write_all(&[3; 1024]).unwrap());
    assert_eq!(Exchange::read("POST", &mut stream).body, (3 * HUGE).to_string());

    write!(stream, "GET /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    // A client that takes nothing for a while: the gateway must not take it all in its place.
    crate::process::pass(Duration::from_millis(500));
    let mut left = HUGE;
    let mut piece = vec![0; 64 * 1024];
    while left > 0 {
        let got = stream.read(&mut piece).unwrap();
        assert!(got > 0 && piece[..got].iter().all(|byte| *byte == 7));
        left -= got;
    }

    let peak = memory(&process, "VmHWM");
    assert!(peak < before + GROWTH_BYTES_MAX, "{before} bytes before, {peak} at the highest");
    process.stop();
}

#[test]
fn an_upstream_of_http_1_0_that_ends_its_answer_by_closing_is_understood() {
    let upstream = Upstream::answering_once("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    let (server, account) = in_front_of(&upstream);

    let answer = ask(&server, &account, "GET");

    assert_eq!((answer.status, answer.body.as_str()), (200, "until the end"), "{answer}");
    assert_eq!(ask(&server, &account, "GET").status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn a_client_of_http_1_0_gets_its_answer_to_the_end() {
    let upstream = Upstream::start(|mut stream, _number, asked| {
        asked.send(read(&mut stream).unwrap()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        // Late enough for the head to be on its way already.
        crate::process::pass(Duration::from_millis(100));
        stream.write_all(b"3\r\nabc\r\n0\r\n\r\n").unwrap();
        end(&stream);
    });
    let (server, account) = in_front_of(&upstream);
    let mut stream = server.public.connect();

    write!(stream, "GET /v1/x HTTP/1.0\r\nX-API-Key: {}\r\n\r\n", account.key).unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();

    assert!(got.ends_with("\r\n\r\nabc"), "{got}");
    assert_eq!(upstream.asked().values("via"), ["1.0 klinky"]);
    end(&stream);
}

#[test]
fn a_head_is_answered_though_a_get_is_pipelined_behind_it() {
    let upstream = Upstream::start(|mut stream, _number, _asked| {
        while let Some(asked) = read(&mut stream) {
            let body = if asked.line.starts_with("HEAD") { "" } else { "hello" };
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}").unwrap();
        }
    });
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let got = head_and_get(&server, "/v1/x", &account);

    assert_eq!(got.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{got}");
    assert_eq!((got.matches("content-length: 5\r\n").count(), got.matches("hello").count()), (2, 1), "{got}");
}
