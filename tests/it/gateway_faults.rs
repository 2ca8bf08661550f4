//! An upstream that fails, and connections to it that do not last.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use klinky::clock::Stopwatch;

use crate::harness::{Account, Exchange, Server};
use crate::upstream::{Upstream, end, read, settings};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const MALFORMED: &str = "The API behind this gateway gave no proper answer.";

fn ask(server: &Server, account: &Account, call: &str) -> Exchange {
    server.public.exchange(&call.replacen('\n', &format!("\nX-API-Key: {}\n", account.key), 1))
}

fn in_front_of(upstream: &Upstream, flags: &[&str]) -> (Server, Account) {
    let server = upstream.guarded(flags);
    let account = server.account("growth");
    (server, account)
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn an_upstream_that_is_not_there_is_a_502_and_counted() {
    let gateway = settings(nobody(), &[]);
    let server = Server::start_with(move |settings| settings.gateway = Some(gateway.clone()));
    let account = server.account("growth");

    let answer = ask(&server, &account, "GET /v1/x\n");
    let posted = ask(&server, &account, "POST /v1/x\n\n\nbody");

    assert_eq!((answer.status, answer.remaining(), posted.status), (502, 99, 502), "{answer}");
    assert_eq!(answer.detail(), "The API behind this gateway cannot be reached. Please try again later.");
    assert_eq!(server.used(&account.id), 2);
}

#[test]
fn an_answer_that_is_none_is_a_502_and_counted() {
    for raw in [
        "",
        "hello\r\n\r\n",
        "HTTP/1.1 xyz OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Half: ",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::answering_once(raw);
        let (server, account) = in_front_of(&upstream, &[]);

        let answer = ask(&server, &account, "GET /v1/x\n");

        assert_eq!(
            (answer.status, answer.detail().as_str(), answer.remaining()),
            (502, MALFORMED, 99),
            "{raw}: {answer}"
        );
    }
}

#[test]
fn a_head_over_its_bounds_is_a_502_that_names_them() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1024 * 1024));
    let head = |lines| format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X-Line: 1\r\n".repeat(lines));
    let ask = |head| {
        let upstream = Upstream::answering_once(head);
        let (server, account) = in_front_of(&upstream, &[]);
        ask(&server, &account, "GET /v1/x\n")
    };

    for head in [long, head(100)] {
        let answer = ask(head);
        let detail = "The API behind this gateway answered with more than 100 header lines, or 131072 bytes of them.";
        assert_eq!((answer.status, answer.detail().as_str(), answer.remaining()), (502, detail, 99), "{answer}");
    }
    assert_eq!(ask(head(99)).status, 200);
}

/// An upstream that reads requests and answers none.
fn silent() -> Upstream {
    Upstream::start(|mut stream, _number, asked| {
        while let Some(request) = read(&mut stream) {
            asked.send(request).unwrap_or_default();
        }
    })
}

#[test]
fn an_upstream_that_says_nothing_is_a_504_and_counted() {
    let upstream = silent();
    let (server, account) = in_front_of(&upstream, &["--upstream-timeout-ms", "150"]);

    let answer = ask(&server, &account, "GET /v1/x\n");
    let posted = ask(&server, &account, "POST /v1/x\n\n\nbody");

    assert_eq!((answer.status, answer.remaining(), posted.status), (504, 99, 504), "{answer}");
    assert_eq!(answer.detail(), "The API behind this gateway did not answer within 150 milliseconds.");
    assert_eq!(server.used(&account.id), 2);
}

#[test]
fn the_wait_for_an_answer_begins_when_the_body_last_moved() {
    let upstream = silent();
    let (server, account) = in_front_of(&upstream, &["--upstream-timeout-ms", "2000"]);
    let asked = Stopwatch::start();

    let answer = ask(&server, &account, "POST /v1/x\n\n\nbody");

    assert_eq!(answer.status, 504, "{answer}");
    let waited_ms = asked.elapsed_us() / 1000;
    assert!((2000..3500).contains(&waited_ms), "{waited_ms} ms");
}

/// A listener that accepts no more connections: its queue is full, and the system ignores who comes now.
fn full() -> (TcpListener, Vec<TcpStream>) {
    let listener = actix_web::rt::System::new().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        socket.listen(0).unwrap().into_std().unwrap()
    });
    let address = listener.local_addr().unwrap();
    let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok());
    let waiting: Vec<_> = waiting.take(64).collect();
    assert!(waiting.len() < 64, "the queue has no end");
    (listener, waiting)
}

#[test]
fn an_upstream_that_accepts_no_connection_is_a_504_and_counted() {
    let (listener, _waiting) = full();
    let gateway = settings(listener.local_addr().unwrap(), &["--upstream-connect-timeout-ms", "150"]);
    let server = Server::start_with(move |settings| settings.gateway = Some(gateway.clone()));
    let account = server.account("growth");

    let answer = ask(&server, &account, "GET /v1/x\n");

    assert_eq!((answer.status, answer.remaining()), (504, 99), "{answer}");
    assert_eq!(answer.detail(), "The API behind this gateway did not answer within 150 milliseconds.");
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn an_answer_that_stands_still_is_cut() {
    let upstream = Upstream::start(|mut stream, _number, _asked| {
        read(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").unwrap();
        let _until_closed = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (server, account) = in_front_of(&upstream, &["--upstream-timeout-ms", "150"]);
    let mut stream = server.public.connect();

    write!(stream, "GET /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n", account.key).unwrap();
    let mut got = Vec::new();
    let _cut = stream.read_to_end(&mut got);

    assert!(!String::from_utf8(got).unwrap().contains("\r\n\r\nhello0"));
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn an_answer_that_comes_slowly_but_steadily_is_whole() {
    let upstream = Upstream::start(|mut stream, _number, _asked| {
        read(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n").unwrap();
        for piece in ["a", "b", "c", "d", "e", "f"] {
            crate::process::pass(Duration::from_millis(150));
            stream.write_all(piece.as_bytes()).unwrap();
        }
        end(&stream);
    });
    let (server, account) = in_front_of(&upstream, &["--upstream-timeout-ms", "600"]);

    assert_eq!(ask(&server, &account, "GET /v1/x\n").body, "abcdef");
}

#[test]
fn a_client_that_sends_its_body_slowly_is_not_the_upstreams_fault() {
    let upstream = Upstream::plain();
    let (server, account) = in_front_of(&upstream, &["--upstream-timeout-ms", "600"]);
    let head = format!("POST /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Length: 6\r\n\r\n", account.key);

    let mut steady = server.public.connect();
    steady.write_all(head.as_bytes()).unwrap();
    for piece in ["a", "b", "c", "d", "e", "f"] {
        crate::process::pass(Duration::from_millis(150));
        steady.write_all(piece.as_bytes()).unwrap();
    }
    assert_eq!(Exchange::read("POST", &mut steady).status, 200);

    let mut stuck = server.public.connect();
    stuck.write_all(head.as_bytes()).unwrap();
    assert_eq!(Exchange::read("POST", &mut stuck).status, 408);
    assert_eq!(server.used(&account.id), 2);
}

#[test]
fn a_connection_that_the_upstream_closed_in_between_is_not_the_clients_fault() {
    let upstream = Upstream::answering_once(OK);
    let (server, account) = in_front_of(&upstream, &[]);

    for call in ["GET /v1/x\n", "POST /v1/x\n\n\nbody", "GET /v1/x\n", "POST /v1/x\n\n\nbody"] {
        let answer = ask(&server, &account, call);
        assert_eq!(answer.status, 200, "{answer}");
    }
    assert_eq!(server.used(&account.id), 4);
    assert_eq!(upstream.connections(), 4);
}

/// An upstream that answers the first request of its first connection, and takes a second one without an answer.
fn fickle() -> Upstream {
    Upstream::start(|mut stream, number, asked| {
        while let Some(request) = read(&mut stream) {
            let is_again = request.header("x-again").is_some();
            asked.send(request).unwrap();
            if number == 0 && is_again {
                return end(&stream);
            }
            stream.write_all(OK).unwrap();
        }
    })
}

/// Two requests on one connection, so that one worker serves both; the second one is marked.
fn twice(server: &Server, account: &Account, call: &str) -> Exchange {
    let mut stream = server.public.connect();
    let head = format!("{call}\r\nHost: x\r\nX-API-Key: {}\r\n", account.key);
    write!(stream, "{head}\r\n").unwrap();
    assert_eq!(Exchange::read("GET", &mut stream).status, 200);
    write!(stream, "{head}X-Again: 1\r\n\r\n").unwrap();
    Exchange::read("GET", &mut stream)
}

#[test]
fn a_request_that_may_be_repeated_is_sent_again_once_if_a_kept_connection_dies_under_it() {
    let upstream = fickle();
    let (server, account) = in_front_of(&upstream, &[]);

    let answer = twice(&server, &account, "GET /v1/x HTTP/1.1");

    assert_eq!((answer.status, answer.remaining()), (200, 98), "{answer}");
    assert_eq!(upstream.connections(), 2);
    let asked: Vec<_> = (0..3).map(|_| upstream.asked().header("x-again").is_some()).collect();
    assert_eq!(asked, [false, true, true]);
    upstream.assert_not_asked();
}

#[test]
fn a_request_that_may_have_had_its_effect_is_not_sent_again() {
    let upstream = fickle();
    let (server, account) = in_front_of(&upstream, &[]);

    let answer = twice(&server, &account, "POST /v1/x HTTP/1.1");

    assert_eq!((answer.status, answer.detail().as_str(), answer.remaining()), (502, MALFORMED, 98), "{answer}");
    assert_eq!(upstream.connections(), 1);
    let asked: Vec<_> = (0..2).map(|_| upstream.asked().header("x-again").is_some()).collect();
    assert_eq!(asked, [false, true]);
    upstream.assert_not_asked();
}

/// An upstream that says on a channel when its connection was closed in the middle of what `answer` began.
fn watched(answer: &'static [u8]) -> (Upstream, mpsc::Receiver<()>) {
    let (closed, when_closed) = mpsc::channel();
    let upstream = Upstream::start(move |mut stream, _number, asked| {
        asked.send(read(&mut stream).unwrap()).unwrap();
        stream.write_all(answer).unwrap();
        let _until_closed = std::io::copy(&mut stream, &mut std::io::sink());
        closed.send(()).unwrap_or_default();
    });
    (upstream, when_closed)
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"] {
        let (upstream, closed) = watched(answer);
        let (server, account) = in_front_of(&upstream, &[]);
        let mut stream = server.public.connect();

        write!(stream, "GET /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n", account.key).unwrap();
        upstream.asked();
        if !answer.is_empty() {
            stream.read_exact(&mut [0; 12]).unwrap();
        }
        drop(stream);

        closed.recv_timeout(Duration::from_secs(20)).expect("the upstream still works for nobody");
        assert_eq!(server.used(&account.id), 1);
        let used: u64 = crate::usage::endpoints(&server, &account.id).iter().map(|(_name, used, ..)| used).sum();
        assert_eq!(used, 1, "its usage is not its counter");
    }
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_does_not_hold_the_upstream() {
    let (closed, when_closed) = mpsc::channel();
    let upstream = Upstream::start(move |mut stream, _number, _asked| {
        read(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
        closed.send(()).unwrap_or_default();
    });
    let (server, account) = in_front_of(&upstream, &["--upstream-timeout-ms", "500"]);
    let mut stream = server.public.connect();

    write!(stream, "GET /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n", account.key).unwrap();

    when_closed.recv_timeout(Duration::from_secs(20)).expect("the upstream still waits for the client");
    let taken = std::io::copy(&mut stream, &mut std::io::sink());
    assert!(taken.is_err() || taken.is_ok_and(|bytes| bytes < 1_000_000_000), "the answer looks whole");
}

#[test]
fn a_client_that_takes_its_answer_slowly_but_steadily_gets_all_of_it() {
    let upstream = Upstream::start(|mut stream, _number, _asked| {
        read(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n").unwrap();
        stream.write_all(&vec![b'x'; 40_000_000]).unwrap_or_default();
        end(&stream);
    });
    let (server, account) = in_front_of(&upstream, &["--upstream-timeout-ms", "500"]);
    let mut stream = server.public.connect();

    write!(stream, "GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {}\r\n\r\n", account.key).unwrap();
    let mut bytes = 0;
    while let Ok(taken @ 1..) = std::io::copy(&mut (&mut stream).take(4_000_000), &mut std::io::sink()) {
        bytes += taken;
        crate::process::pass(Duration::from_millis(150));
    }

    assert!(bytes > 40_000_000, "{bytes}");
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_body_leaves_no_whole_request() {
    let upstream = Upstream::plain();
    let (server, account) = in_front_of(&upstream, &[]);

    for framed in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let mut stream = server.public.connect();
        write!(stream, "POST /v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n{framed}", account.key).unwrap();
        // Only once the upstream has the head is there something to break off.
        crate::process::pass(Duration::from_millis(100));
        drop(stream);

        assert!(!upstream.asked().is_whole, "{framed}");
    }
}

#[test]
fn an_answer_before_the_end_of_the_request_reaches_the_client() {
    let upstream = Upstream::start(|mut stream, _number, _asked| {
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!").unwrap();
        end(&stream);
    });
    let (server, account) = in_front_of(&upstream, &[]);
    let mut stream = server.public.connect();

    let head = "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n";
    write!(stream, "{head}X-API-Key: {}\r\n\r\nbegin", account.key).unwrap();

    let answer = Exchange::read("POST", &mut stream);
    assert_eq!((answer.status, answer.body.as_str()), (413, "no!"), "{answer}");
}
