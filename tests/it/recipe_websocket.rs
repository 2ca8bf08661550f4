//! What a browser keeps open, behind the recipes that let it through, by the real proxies.

use std::io::{Read, Write};

use crate::harness::{Exchange, Server};
use crate::recipes::{Proxy, Recipe};
use crate::upstream::{Upstream, read};

/// The handshake of RFC 6455 §1.3.
fn a_websocket_works_and_its_connection_names_nothing_else(recipe: Recipe) {
    let klinky = Server::start();
    let account = klinky.account("growth");
    let api = Upstream::start(|mut stream, _number, asked| {
        asked.send(read(&mut stream).unwrap()).unwrap();
        let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        write!(stream, "{switch}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n").unwrap();
        let mut said = [0; 4];
        stream.read_exact(&mut said).unwrap();
        stream.write_all(&said).unwrap();
    });
    let Some(proxy) = Proxy::start(recipe, klinky.public, api.address) else { return };

    let mut stream = proxy.listener.connect();
    let upgrade = "Connection: X-Klinky-Account, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(stream, "GET /v1/live HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n{upgrade}{key}\r\n", account.key).unwrap();
    let switched = Exchange::read("GET /v1/live", &mut stream);
    stream.write_all(b"ping").unwrap();
    let mut said = [0; 4];
    stream.read_exact(&mut said).unwrap();

    assert_eq!((switched.status, &said), (101, b"ping"), "{switched}");
    let asked = api.asked();
    assert_eq!(asked.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(
        (asked.header("upgrade"), asked.header("x-klinky-account")),
        (Some("websocket"), Some(account.id.as_str()))
    );
}

#[test]
fn caddy_lets_a_websocket_through() {
    a_websocket_works_and_its_connection_names_nothing_else(Recipe::Caddy);
}

#[test]
fn haproxy_lets_a_websocket_through() {
    a_websocket_works_and_its_connection_names_nothing_else(Recipe::HaProxy);
}

#[test]
fn traefik_lets_a_websocket_through() {
    a_websocket_works_and_its_connection_names_nothing_else(Recipe::Traefik);
}
