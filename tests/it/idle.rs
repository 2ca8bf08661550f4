//! Connections that are held and ask for nothing: whoever has no key cannot keep them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::crash::now;
use crate::upstream::Upstream;

/// The 75 s of pause that a connection may make.
const KEPT_FOR: Duration = Duration::from_secs(75);
/// Besides it 10 s for a head, the time between two looks, and some for a busy machine.
const ENDED_WITHIN: Duration = Duration::from_secs(75 + 10 + 5 + 20);

/// Reads what comes until the other side ends.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A connection may also end with a reset.
    let _ended = stream.read_to_end(&mut read);
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn a_connection_that_asks_for_nothing_or_begins_something_and_goes_no_further_ends() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let held = [
        ("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("GET /nope HTTP/1.1\r\nHost: x\r\n\r\nG", "404"),
        ("POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "401"),
        ("POST /check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "401"),
    ];
    let began = now();
    let streams = held.map(|(sent, status)| {
        let mut stream = server.public.connect();
        stream.set_read_timeout(Some(ENDED_WITHIN)).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        (stream, status)
    });

    for (mut stream, status) in streams {
        let read = read_to_end(&mut stream);
        assert!(read.starts_with(&format!("HTTP/1.1 {status} ")), "{read}");
        assert!((KEPT_FOR..ENDED_WITHIN).contains(&began.elapsed()), "it ended after {:?}", began.elapsed());
    }
    assert!(upstream.connections() == 0);
}
