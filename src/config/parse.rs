//! Text to values: each says what it must be, and what it got.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use clap::ValueEnum;
use ipnet::IpNet;
use url::Url;

use crate::tokens::{Issuer, TTL_SECS_MAX, Ttl};

/// Most workers of the public listener: far above the cores of a small VM.
const WORKERS_MAX: usize = 256;

pub(super) fn parse_address(raw: &str) -> Result<SocketAddr, String> {
    raw.parse().map_err(|_syntax| format!("must be an address and a port such as 127.0.0.1:8080, got {raw:?}"))
}

/// Whether no two listeners can have these addresses at once: one of all addresses takes the port of each of its kind, and one
/// of all of IPv6, on Linux, of both kinds. With port 0, the system picks different ones.
pub(super) fn share_a_port(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: IpAddr, of: IpAddr| all.is_unspecified() && (all.is_ipv6() || of.is_ipv4());
    let (one_ip, other_ip) = (one.ip(), other.ip());
    let is_shared = one_ip == other_ip || takes(one_ip, other_ip) || takes(other_ip, one_ip);
    one.port() != 0 && one.port() == other.port() && is_shared
}

pub(super) fn parse_bounded<T: FromStr + PartialOrd + Display + Copy>(
    raw: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    match raw.parse::<T>() {
        Ok(value) if value >= least && value <= most => Ok(value),
        Ok(_) | Err(_) => Err(format!("must be {least} to {most}, got {raw:?}")),
    }
}

pub(super) fn parse_workers(raw: &str) -> Result<usize, String> {
    parse_bounded(raw, 1, WORKERS_MAX)
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(super) fn parse_network(raw: &str) -> Result<IpNet, String> {
    raw.parse().map_err(|_syntax| format!("must be a network such as 10.0.0.0/8 or ::1/128, got {raw:?}"))
}

/// An origin as browsers send it (RFC 6454 §6.2): scheme and host in lower case, a port unless it is the scheme's own,
/// nothing else. What is no more than another spelling of one would be compared in vain.
pub(super) fn parse_origin(raw: &str) -> Result<String, String> {
    let invalid = || format!("must be an origin such as https://app.example.com, got {raw:?}");
    let url = Url::parse(raw).ok().filter(|url| is_web(url) && !raw.contains('*')).ok_or_else(invalid)?;
    let sent = url.origin().ascii_serialization();
    if sent == raw { Ok(sent) } else { Err(format!("must be as a browser sends it, {sent}, got {raw:?}")) }
}

/// Scheme and host, a port if need be, nothing else; in any spelling, since nothing is compared with it.
pub(super) fn parse_public_url(raw: &str) -> Result<String, String> {
    let uri = raw.parse::<actix_web::http::Uri>().ok();
    let rebuilt = uri.as_ref().and_then(|uri| Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?)));
    let is_plain = !raw.contains('@') && Url::parse(raw).is_ok_and(|url| is_web(&url));
    match rebuilt {
        Some(base) if is_plain && base == raw => Ok(base),
        Some(_) | None => Err(format!("must be a scheme and a host such as https://klnk.example, got {raw:?}")),
    }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

pub(super) fn read_issuer(path: &Path, audience: Option<String>) -> Result<Issuer, String> {
    let pem = std::fs::read(path).map_err(|error| format!("could not read {}: {error}", path.display()))?;
    Issuer::from_pem(&pem, audience).map_err(|error| format!("{}: {error}", path.display()))
}

pub(super) fn parse_choice<T: ValueEnum>(raw: &str) -> Result<T, String> {
    T::from_str(raw, false).map_err(|_unknown| {
        let choices = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = choices.map(|choice| choice.get_name().to_owned()).collect();
        format!("must be {}, got {raw:?}", names.join(" or "))
    })
}

pub(super) fn parse_ttl(raw: &str) -> Result<Ttl, String> {
    let secs = parse_bounded(raw, 1, TTL_SECS_MAX)?;
    Ttl::from_secs(secs).map_err(|error| error.to_string())
}

/// A switch that is on or off, in the words that clap knows for it.
pub(super) fn parse_switch(raw: &str) -> Result<bool, String> {
    match raw.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "t" | "y" | "1" => Ok(true),
        "false" | "no" | "off" | "f" | "n" | "0" => Ok(false),
        _ => Err(format!("must be true or false, got {raw:?}")),
    }
}

/// Gathers what is wrong.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<String>);

impl Faults {
    pub(super) fn keep<T, E: Display>(&mut self, flag: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.0.push(format!("{flag}: {error}"))).ok()
    }

    pub(super) fn keep_all<T, E: Display>(
        &mut self,
        flag: &str,
        raw: &[String],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        raw.iter().filter_map(|raw| self.keep(flag, parse(raw))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_one_port_share_it_if_one_has_the_address_of_the_other() {
        let share = |one: &str, other: &str| share_a_port(one.parse().unwrap(), other.parse().unwrap());
        for (one, other) in [("127.0.0.1:9", "127.0.0.1:9"), ("0.0.0.0:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9")] {
            assert!(share(one, other) && share(other, one), "{one} and {other}");
        }
        for (one, other) in [("[::]:9", "127.0.0.1:9"), ("[::]:9", "0.0.0.0:9")] {
            assert!(share(one, other) && share(other, one), "{one} and {other}");
        }
        for (one, other) in
            [("127.0.0.1:9", "127.0.0.2:9"), ("0.0.0.0:9", "[::1]:9"), ("0.0.0.0:8", "0.0.0.0:9"), ("[::]:0", "[::]:0")]
        {
            assert!(!share(one, other) && !share(other, one), "{one} and {other}");
        }
    }

    #[test]
    fn an_origin_is_as_browsers_send_it() {
        for origin in
            ["https://a.b", "http://a.b:443", "http://localhost:3000", "https://[::1]:8443", "https://xn--4ca.b"]
        {
            assert_eq!(parse_origin(origin).as_deref(), Ok(origin));
        }
        for (raw, sent) in [
            ("https://a.b:443", "https://a.b"),
            ("http://a.b:80", "http://a.b"),
            ("https://App.Example.COM", "https://app.example.com"),
            ("HTTPS://a.b:8443", "https://a.b:8443"),
            ("https://u:p@c.d", "https://c.d"),
            ("https://a.b/", "https://a.b"),
            (" https://a.b/path?query#part", "https://a.b"),
            ("https://ä.b", "https://xn--4ca.b"),
        ] {
            assert_eq!(parse_origin(raw), Err(format!("must be as a browser sends it, {sent}, got {raw:?}")));
        }
        for raw in
            ["", "*", "null", "a.b", "a.b:443", "//a.b", "https://", "https://a.b:99999", "https://*.a.b", "ftp://a.b"]
        {
            let told = parse_origin(raw).unwrap_err();
            assert_eq!(told, format!("must be an origin such as https://app.example.com, got {raw:?}"));
        }
    }

    #[test]
    fn a_public_url_is_a_scheme_and_a_host_in_any_spelling() {
        for raw in ["https://klnk.example", "http://Klnk.Example:80", "https://[::1]:8443"] {
            assert_eq!(parse_public_url(raw).as_deref(), Ok(raw));
        }
        for raw in [
            "klnk.example",
            "https://a.b/",
            "https://a.b/x",
            "https://u@a.b",
            "https://@a.b",
            "https://a.b:99999",
            "ftp://a.b",
        ] {
            assert!(parse_public_url(raw).is_err(), "{raw}");
        }
    }
}
