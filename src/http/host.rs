//! The host that a client asks for: what it may look like, and what it is called in links.

use std::net::Ipv6Addr;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};

use super::error::ApiError;

/// Refuses a `Host` that is neither a name nor an address, with a port or without (RFC 9112 §3.2 asks for a 400): it goes
/// into short URLs, which people put into pages. One that is empty, or absent before HTTP/1.1, is let pass; two are
/// refused by actix-http.
pub(super) fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    if host.is_empty() || host.to_str().is_ok_and(is_host) { Ok(()) } else { Err(ApiError::BadHost) }
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
fn is_host(text: &str) -> bool {
    let (is_named, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').unwrap_or_default();
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (!name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c)), port)
    };
    is_named && (port.is_empty() || port == ":" || port.strip_prefix(':').is_some_and(is_port))
}

fn is_port(digits: &str) -> bool {
    digits.bytes().all(|c| c.is_ascii_digit()) && digits.parse::<u16>().is_ok()
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
            assert!(is_host(host), "{host}");
        }
    }

    #[test]
    fn nothing_else_is_a_host() {
        for host in [
            ":80", "a:b", "a:+1", "a:65536", "a:80:80", "a/b", "a?b", "a#b", "u@a", "a b", "a,b", "a\"b", "<a>", "::1",
            "[::1", "[::1]x", "[a]", "[]", "é", "a\\b", "a%20b",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }
}
