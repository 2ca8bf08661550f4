//! The recipe for `HAProxy`, run by the real program.

use std::io::{Read, Write};

use crate::harness::Server;
use crate::recipe_cases::{self as cases, Stage};
use crate::recipes::{Proxy, Recipe};
use crate::upstream::{Upstream, read};

#[test]
fn an_allowed_request_reaches_the_api_with_its_account_and_without_its_key() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::an_allowed_request_reaches_the_api_with_its_account_and_without_its_key(&stage);
}

#[test]
fn a_client_cannot_take_its_account_away() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::a_client_cannot_take_its_account_away(&stage);
}

/// The handshake of RFC 6455 §1.3.
#[test]
fn a_websocket_works_and_its_connection_names_nothing_else() {
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
    let Some(proxy) = Proxy::start(Recipe::HaProxy, klinky.public, api.address) else { return };

    let mut stream = proxy.listener.connect();
    let upgrade = "Connection: X-Klinky-Account, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(stream, "GET /v1/live HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n{upgrade}{key}\r\nping", account.key).unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nping") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }

    assert!(got.starts_with(b"HTTP/1.1 101 "));
    let asked = api.asked();
    assert_eq!(asked.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(
        (asked.header("upgrade"), asked.header("x-klinky-account")),
        (Some("websocket"), Some(account.id.as_str()))
    );
}

#[test]
fn a_request_without_a_valid_key_is_401() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::a_request_without_a_valid_key_is_401(&stage);
}

#[test]
fn an_account_without_access_is_403() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::an_account_without_access_is_403(&stage);
}

#[test]
fn a_request_over_the_limit_is_429() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::a_request_over_the_limit_is_429(&stage);
}

#[test]
fn bodies_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::bodies_reach_the_api(&stage);
}

#[test]
fn methods_reach_the_api() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::methods_reach_the_api(&stage);
}

#[test]
fn a_read_only_key_cannot_write() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::a_read_only_key_cannot_write(&stage);
}

#[test]
fn the_apis_own_errors_pass_as_they_are() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::the_apis_own_errors_pass_as_they_are(&stage);
}

#[test]
fn exactly_the_limit_passes_when_many_race() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::exactly_the_limit_passes_when_many_race(&stage);
}

#[test]
fn a_second_key_does_not_make_up_for_a_wrong_one() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::a_second_key_does_not_make_up_for_a_wrong_one(&stage);
}

#[test]
fn checks_share_connections() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::checks_share_connections(&stage);
}

#[test]
fn nothing_passes_while_klinky_is_down() {
    let Some(stage) = Stage::set(Recipe::HaProxy) else { return };
    cases::nothing_passes_while_klinky_is_down(stage);
}

#[test]
fn nothing_passes_while_the_store_fails() {
    cases::nothing_passes_while_the_store_fails(Recipe::HaProxy);
}

#[test]
fn klinky_learns_which_request_is_asked_about() {
    cases::klinky_learns_which_request_is_asked_about(Recipe::HaProxy);
}

#[test]
fn klinkys_pages_can_be_shown_beside_the_api() {
    cases::klinkys_pages_can_be_shown_beside_the_api(Recipe::HaProxy);
}
