//! The head of a request: its id, its bounds, and bytes that are no HTTP.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

use crate::harness::{Account, Exchange, Server};

/// A guarded request with header lines.
fn ping_with(server: &Server, headers: &str) -> Exchange {
    server.public.exchange(&format!("GET /api/v1/public/links\n{headers}"))
}

/// Sends these very bytes.
fn send(server: &Server, raw: &[u8]) -> Exchange {
    server.public.exchange_raw(&String::from_utf8_lossy(raw), raw)
}

/// A guarded request's head with extra header lines, each with its line end.
fn raw_head(method: &str, target: &str, account: &Account, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n{headers}\r\n", account.key)
}

/// What comes back for a HEAD with a GET right behind it.
pub(crate) fn head_and_get(server: &Server, target: &str, account: &Account) -> String {
    let mut stream = server.public.connect();
    let both = raw_head("HEAD", target, account, "") + &raw_head("GET", target, account, "Connection: close\r\n");
    stream.write_all(both.as_bytes()).unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    got
}

#[test]
fn a_head_has_no_body_though_a_get_is_pipelined_behind_it() {
    let server = Server::start();
    let account = server.account("growth");

    let got = head_and_get(&server, "/api/v1/public/links", &account);

    assert_eq!(got.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{got}");
    assert_eq!(got.matches("content-length: 55\r\n").count(), 2, "{got}");
    assert_eq!(got.matches(r#"{"items":[]"#).count(), 1, "{got}");
    assert!(got.ends_with('}'), "{got}");
}

#[test]
fn a_sane_request_id_of_the_clients_comes_back() {
    let server = Server::start();
    let long = "x".repeat(128);

    for id in ["a", "7f3c-42", "!#$%&'*+-.^_`|~{}[]\"\\", &long] {
        assert_eq!(ping_with(&server, &format!("X-Request-Id: {id}")).header("x-request-id"), Some(id));
    }
}

#[test]
fn a_request_id_that_is_not_sane_is_replaced() {
    let server = Server::start();
    let long = "x".repeat(129);

    for id in ["", "two words", "caf\u{e9}", "tab\there", &long] {
        let answer = ping_with(&server, &format!("X-Request-Id: {id}"));
        let made = answer.header("x-request-id").unwrap();
        assert!(made != id && made.len() <= 128 && made.bytes().all(|c| c.is_ascii_graphic()), "{made:?}");
    }
}

#[test]
fn request_ids_that_we_make_are_unique() {
    let server = Server::start();

    let ids: std::collections::HashSet<String> = (0..50)
        .map(|_nth| server.public.exchange("GET /nothing"))
        .chain((0..50).map(|_nth| server.admin.exchange("GET /healthz")))
        .map(|answer| answer.header("x-request-id").unwrap().to_owned())
        .collect();

    assert_eq!(ids.len(), 100);
}

#[test]
fn request_ids_do_not_tell_how_many_requests_came_between_them() {
    let server = Server::start();
    let number = || -> u64 {
        let id = server.public.exchange("GET /nothing").header("x-request-id").unwrap().to_owned();
        id.split_once('-').unwrap().1.parse().unwrap()
    };

    let numbers: Vec<u64> = (0..10).map(|_nth| number()).collect();

    // Numbers that count up would be this close to each other.
    assert!(numbers.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1000), "{numbers:?}");
}

#[test]
fn every_answer_has_a_request_id() {
    let server = Server::start();
    let account = server.account("growth");

    for request in [
        format!("GET /api/v1/public/links\nX-API-Key: {}", account.key),
        format!("PUT /api/v1/public/links/018d0d80-0000-7000-8000-000000000001/clicks\nX-API-Key: {}", account.key),
        "GET /api/v1/public/links".to_owned(),
        "GET /check".to_owned(),
        "GET /".to_owned(),
        format!("GET /{}", "x".repeat(9000)),
        format!("GET /\nX-Filler: {}", "x".repeat(17_000)),
    ] {
        let answer = server.public.exchange(&request);
        assert!(!answer.header("x-request-id").unwrap().is_empty(), "{}", answer.status);
    }
}

#[test]
fn a_path_and_query_over_8_kib_are_refused_and_count_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    let ask = |chars: usize| {
        let query = "x".repeat(chars - "/api/v1/public/links?".len());
        server.public.exchange(&format!("GET /api/v1/public/links?{query}\nX-API-Key: {}", account.key))
    };

    let fits = ask(8192);
    let too_long = ask(8193);

    assert_eq!(fits.status, 200);
    assert_eq!((too_long.status, too_long.detail().as_str()), (414, "Request path and query exceed 8192 bytes."));
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn headers_over_16_kib_are_refused_and_count_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    let ask =
        |chars: usize| ping_with(&server, &format!("X-API-Key: {}\nX-Filler: {}", account.key, "x".repeat(chars)));

    let fits = ask(16_000);
    let too_large = ask(16_384);

    assert_eq!(fits.status, 200);
    assert_eq!((too_large.status, too_large.detail().as_str()), (431, "Request headers exceed 16384 bytes."));
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn headers_far_over_the_bound_are_refused_as_well() {
    let server = Server::start();
    let account = server.account("growth");

    let one =
        send(&server, raw_head("GET", "/", &account, &format!("X-Filler: {}\r\n", "x".repeat(120_000))).as_bytes());
    let many = (0..200).fold(String::new(), |mut headers, number| {
        write!(headers, "X-Filler-{number}: x\r\n").unwrap();
        headers
    });
    let many = send(&server, raw_head("GET", "/api/v1/public/links", &account, &many).as_bytes());

    assert_eq!((one.status, many.status), (431, 431));
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_head_without_end_is_refused_before_it_fills_the_memory() {
    let server = Server::start();

    let mut stream = server.public.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Filler: ").unwrap();
    // The server answers before it has read all of this, so the rest may find a closed connection.
    let _sent = stream.write_all(&[b'x'; 200_000]);
    let answer = Exchange::read("GET /", &mut stream);

    assert_eq!(answer.status, 431);
}

#[test]
fn as_many_headers_as_browsers_send_are_taken() {
    let server = Server::start();
    let account = server.account("growth");
    let filler = (0..80).fold(String::new(), |mut headers, number| {
        write!(headers, "X-Filler-{number}: x\r\n").unwrap();
        headers
    });

    let answer = send(&server, raw_head("GET", "/api/v1/public/links", &account, &filler).as_bytes());

    assert_eq!(answer.status, 200);
}

#[test]
fn a_request_that_is_no_http_is_answered_400() {
    let server = Server::start();

    for raw in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GE\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX-\u{e9}: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX-Key : spaced\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n b\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n",
    ] {
        assert_eq!(send(&server, raw.as_bytes()).status, 400, "{raw:?}");
    }
}

#[test]
fn a_request_whose_length_is_in_doubt_is_answered_400_and_counts_nothing() {
    let server = Server::start();
    let account = server.account("growth");

    for (headers, body) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"),
        ("Content-Length: -1\r\n", ""),
        ("Content-Length: +3\r\n", "abc"),
        ("Content-Length: 3, 3\r\n", "abc"),
        ("Content-Length: 99999999999999999999\r\n", ""),
        ("Content-Length: x\r\n", ""),
        ("Transfer-Encoding: gzip\r\n", ""),
        ("Transfer-Encoding: chunked, chunked\r\n", ""),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ] {
        let raw = format!("{}{body}", raw_head("GET", "/api/v1/public/links", &account, headers));
        assert_eq!(send(&server, raw.as_bytes()).status, 400, "{headers:?}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn an_old_client_without_a_host_is_served() {
    let server = Server::start();
    let account = server.account("growth");

    let raw = format!("GET /api/v1/public/links HTTP/1.0\r\nX-API-Key: {}\r\n\r\n", account.key);

    assert_eq!(send(&server, raw.as_bytes()).status, 200);
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let server = Server::start();
    let account = server.account("growth");
    let mut stream = server.public.connect();
    let raw = raw_head("GET", "/api/v1/public/links", &account, "");

    // Two at once, then a third.
    stream.write_all(format!("{raw}{raw}").as_bytes()).unwrap();
    let first = Exchange::read("GET /", &mut stream);
    let second = Exchange::read("GET /", &mut stream);
    stream.write_all(raw.as_bytes()).unwrap();
    let third = Exchange::read("GET /", &mut stream);

    assert_eq!(
        [first, second, third].map(|answer| (answer.status, answer.remaining())),
        [(200, 99), (200, 98), (200, 97)]
    );
}

#[test]
fn bytes_that_are_not_utf8_in_a_header_of_no_concern_do_no_harm() {
    let server = Server::start();
    let account = server.account("growth");

    for header in [&b"User-Agent: \xff\xfe"[..], b"Accept: \xff", b"X-Forwarded-For: \xff", b"Cookie: \x80"] {
        let mut raw =
            format!("GET /api/v1/public/links HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n", account.key).into_bytes();
        raw.extend_from_slice(header);
        raw.extend_from_slice(b"\r\n\r\n");
        assert_eq!(send(&server, &raw).status, 200, "{}", String::from_utf8_lossy(header));
    }
}
