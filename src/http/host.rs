//! The host that a client asks for: what it may look like, and what it is called in links.

use std::net::Ipv6Addr;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderValue};

use super::error::ApiError;

/// Refuses a `Host` that is neither a name nor an address, with a port or without (RFC 9112 §3.2 asks for a 400): it goes
/// into short URLs, which people put into pages. One that is empty, or absent before HTTP/1.1, is let pass; two are
/// refused by actix-http.
pub(super) fn check(host: &HeaderValue) -> Result<(), ApiError> {
    if host.is_empty() || is_host(host.as_bytes()) { Ok(()) } else { Err(ApiError::BadHost) }
}

/// What the client calls this server, or else the address that it listens on.
pub(super) fn asked(request: &HttpRequest) -> String {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // A port may be empty, RFC 3986 §3.2.3.
    let host =
        host.map(|host| host.strip_suffix(':').unwrap_or(host)).filter(|host| !host.is_empty()).map(str::to_owned);
    host.unwrap_or_else(|| request.app_config().local_addr().to_string())
}

/// RFC 3986 §3.2.2 has more characters in names, and no resolver that clients use has.
fn is_host(text: &[u8]) -> bool {
    let is_of_name = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    let name = text.iter().take_while(|c| is_of_name(c)).count();
    match text.split_at_checked(name) {
        Some(([], after)) => after.strip_prefix(b"[").is_some_and(is_address),
        Some((_name, port)) => is_port(port),
        None => false,
    }
}

/// What follows a bracket.
fn is_address(text: &[u8]) -> bool {
    let parts = std::str::from_utf8(text).ok().and_then(|text| text.split_once(']'));
    parts.is_some_and(|(address, port)| address.parse::<Ipv6Addr>().is_ok() && is_port(port.as_bytes()))
}

/// Nothing, or a colon and a number, or none.
fn is_port(text: &[u8]) -> bool {
    let add = |number: u32, digit: &u8| match digit {
        b'0'..=b'9' => number.saturating_mul(10).saturating_add(u32::from(digit.saturating_sub(b'0'))),
        _ => u32::MAX,
    };
    text.is_empty() || text.strip_prefix(b":").is_some_and(|digits| digits.iter().fold(0, add) <= u32::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts_with_a_port_and_without() {
        for host in [
            "a",
            "API.example.com.",
            "my_api:8080",
            "127.0.0.1:65535",
            "[::1]",
            "[2001:db8::1]:80",
            "x-1.y:0",
            "a:",
            "[::1]:",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn nothing_else_is_a_host() {
        for host in [
            ":80", "a:b", "a:+1", "a:65536", "a:80:80", "a/b", "a?b", "a#b", "u@a", "a b", "a,b", "a\"b", "<a>", "::1",
            "[::1", "[::1]x", "[a]", "[]", "é", "a\\b", "a%20b",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
