//! Flags of the gateway: which API stands behind it, what of it is guarded, and what its calls cost.

#![expect(clippy::doc_markdown, reason = "the docs of flags are their help texts, where backticks are noise")]
#![allow(rustdoc::bare_urls, clippy::allow_attributes, reason = "likewise; only rustdoc would see an expectation met")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use actix_web::http::{Method, Uri};
use clap::Args;
use hyper::header::HeaderValue;

use super::calls::{self, Calls, CostRule, parse_cost, parse_public};
use super::parse::{Faults, parse_bounded};
use crate::domain::decision::Cost;

/// What is forwarded unless the operator says otherwise: what the links would be.
const PREFIX_DEFAULT: &str = "/api/v1/public";
/// Longest wait for the upstream that can be asked for: an hour, for reports that take long.
const TIMEOUT_MS_MAX: u64 = 3_600_000;
/// Longest wait for a connection that can be asked for: who does not accept within a minute is not there.
const CONNECT_TIMEOUT_MS_MAX: u64 = 60_000;

/// Flags of the gateway.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Guard this API, such as http://127.0.0.1:9000, in place of the built-in links
    #[arg(long, env = "KLINKY_UPSTREAM", value_name = "URL")]
    pub upstream: Option<String>,
    /// The path below which the upstream's API is, such as /v1; default /api/v1/public
    #[arg(long, env = "KLINKY_UPSTREAM_PREFIX", value_name = "PATH")]
    pub upstream_prefix: Option<String>,
    /// Paths that need no key and are not counted, such as '/v1/docs/**' (repeatable)
    ///
    /// A glob: * and ? stay within a segment, ** does not. Before it, a method may stand, which is then the
    /// only one: 'OPTIONS /v1/**' lets the upstream answer the preflights of browsers. GET means HEAD as well.
    /// In the variable, several are separated by ;
    #[arg(long, env = "KLINKY_PUBLIC_PATH", value_name = "GLOB", value_delimiter = ';')]
    pub public_path: Vec<String>,
    /// What calls cost, such as 'POST /v1/reports=10': 1 to 1000 units (repeatable)
    ///
    /// A method or *, and a glob. The first one that matches counts; a call that none matches costs 1.
    /// In the variable, several are separated by ;
    #[arg(long, env = "KLINKY_COST", value_name = "COST", value_delimiter = ';')]
    pub cost: Vec<String>,
    /// How long a connection to the upstream may take, 1 to 60000
    #[arg(long, env = "KLINKY_UPSTREAM_CONNECT_TIMEOUT_MS", value_name = "MS", default_value = "5000")]
    pub upstream_connect_timeout_ms: String,
    /// How long the upstream may stand still, before its answer and in the middle of it, 1 to 3600000
    #[arg(long, env = "KLINKY_UPSTREAM_TIMEOUT_MS", value_name = "MS", default_value = "60000")]
    pub upstream_timeout_ms: String,
}

/// What the gateway runs on, checked.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Where the upstream is.
    pub upstream: Upstream,
    /// The path below which the upstream's API is; empty for all paths.
    pub prefix: String,
    /// Calls that need no key.
    pub public_paths: Vec<Calls>,
    /// What calls cost, in the order in which they are looked at.
    pub costs: Vec<CostRule>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long the upstream may stand still.
    pub timeout: Duration,
}

/// Where the upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What goes into `Host`.
    pub authority: HeaderValue,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl GatewaySettings {
    /// Whether a path is the upstream's.
    #[must_use]
    pub fn is_below_prefix(&self, path: &str) -> bool {
        path.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether a call needs no key.
    #[must_use]
    pub fn is_public(&self, method: &Method, path: &str) -> bool {
        calls::is_public(&self.public_paths, method, path)
    }

    /// What a call costs.
    #[must_use]
    pub fn cost_of(&self, method: &Method, path: &str) -> Cost {
        calls::cost_of(&self.costs, method, path)
    }
}

impl Upstream {
    /// Names the listener of our own that this is: each request would come back until the first of them ran out of
    /// time. Names but `localhost` are not looked up, nor the machine's addresses.
    pub(super) fn check_is_another(&self, listeners: [(&str, Option<SocketAddr>); 2], faults: &mut Faults) {
        for (flag, _listener) in listeners.into_iter().filter(|(_flag, at)| at.is_some_and(|at| self.is_at(at))) {
            faults.0.push(format!("--upstream: is where klinky itself listens ({flag}): it would ask itself"));
        }
    }

    fn is_at(&self, listener: SocketAddr) -> bool {
        let bound = listener.ip().to_canonical();
        let is_asked = match self.host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            // One that listens on 0.0.0.0 does not listen on [::1], while [::] mostly takes both.
            Ok(IpAddr::V6(_)) if bound == IpAddr::V4(Ipv4Addr::UNSPECIFIED) => false,
            // A connection to 0.0.0.0 is one to this machine.
            Ok(asked) if asked.is_unspecified() || bound.is_unspecified() => is_here(asked) && is_here(bound),
            Ok(asked) => asked == bound,
            Err(_name) => self.host.eq_ignore_ascii_case("localhost") && is_here(bound),
        };
        is_asked && self.port == listener.port()
    }
}

fn is_here(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

impl GatewayArgs {
    /// `None` in `Some`: no gateway. `None`: faults were found.
    pub(super) fn check(&self, faults: &mut Faults) -> Option<Option<GatewaySettings>> {
        let upstream = self.upstream.as_deref().map(parse_upstream).transpose();
        let prefix = parse_prefix(self.upstream_prefix.as_deref().unwrap_or(PREFIX_DEFAULT));
        let connect_timeout = parse_bounded(&self.upstream_connect_timeout_ms, 1, CONNECT_TIMEOUT_MS_MAX);
        let timeout = parse_bounded(&self.upstream_timeout_ms, 1, TIMEOUT_MS_MAX);
        let upstream = faults.keep("--upstream", upstream);
        let prefix = faults.keep("--upstream-prefix", prefix);
        let public_paths = faults.keep_all("--public-path", &self.public_path, parse_public);
        let below = prefix.clone().unwrap_or_default();
        let costs = faults.keep_all("--cost", &self.cost, |raw| parse_cost(raw, &below));
        let connect_timeout = faults.keep("--upstream-connect-timeout-ms", connect_timeout);
        let timeout = faults.keep("--upstream-timeout-ms", timeout);
        let upstream = upstream?;
        if upstream.is_none() {
            self.check_alone(faults);
        }
        let (prefix, connect_timeout, timeout) = (prefix?, connect_timeout?, timeout?);
        let (connect_timeout, timeout) = (Duration::from_millis(connect_timeout), Duration::from_millis(timeout));
        Some(upstream.map(|upstream| GatewaySettings {
            upstream,
            prefix,
            public_paths,
            costs,
            connect_timeout,
            timeout,
        }))
    }

    /// Names what does nothing without an upstream: who gives it believes to be guarded by it.
    fn check_alone(&self, faults: &mut Faults) {
        let given = [
            ("--upstream-prefix", self.upstream_prefix.is_some()),
            ("--public-path", !self.public_path.is_empty()),
            ("--cost", !self.cost.is_empty()),
        ];
        for (flag, _given) in given.into_iter().filter(|(_flag, given)| *given) {
            faults.0.push(format!("{flag}: goes with --upstream only"));
        }
    }
}

fn parse_upstream(raw: &str) -> Result<Upstream, String> {
    if raw.starts_with("https://") {
        return Err(format!(
            "must be http://, got {raw:?}: klinky speaks no TLS to an upstream; put it on a private network"
        ));
    }
    let invalid = || format!("must be a scheme, a host and a port such as http://127.0.0.1:9000, got {raw:?}");
    let uri: Uri = raw.parse().map_err(|_syntax| invalid())?;
    let authority = uri.authority().ok_or_else(invalid)?;
    let plain = uri.scheme_str() == Some("http") && uri.path_and_query().is_none_or(|path| path.as_str() == "/");
    let host = authority.host().trim_matches(['[', ']']);
    if !plain || host.is_empty() || authority.as_str().contains('@') {
        return Err(invalid());
    }
    let port = if authority.as_str().ends_with(':') { None } else { Some(authority.port_u16().unwrap_or(80)) };
    let port = port.filter(|port| *port != 0).ok_or_else(invalid)?;
    let header = HeaderValue::try_from(authority.as_str()).map_err(|_character| invalid())?;
    Ok(Upstream { authority: header, host: host.to_owned(), port })
}

/// A prefix as paths are compared with it: without the slash at its end, so that `/` is empty.
fn parse_prefix(raw: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    let is_segment = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    let prefix = raw.strip_suffix('/').unwrap_or(raw);
    let segments = || prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
    if raw.chars().all(is_plain) && (raw == "/" || segments()) {
        Ok(prefix.to_owned())
    } else {
        Err(format!("must be a path such as /v1, of letters, digits, and - . _ ~, got {raw:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_plain_origin() {
        let upstream = parse_upstream("http://[::1]:9000").unwrap();
        assert_eq!(
            (upstream.authority.as_bytes(), upstream.host.as_str(), upstream.port),
            (b"[::1]:9000".as_slice(), "::1", 9000)
        );
        assert_eq!(parse_upstream("http://api.internal/").unwrap().port, 80);
        for raw in [
            "127.0.0.1:9000",
            "http://",
            "http://a:0",
            "http://a:",
            "http://u@a",
            "http://a/base",
            "https://a",
            "ftp://a",
        ] {
            assert!(parse_upstream(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        assert_eq!(parse_prefix("/"), Ok(String::new()));
        assert_eq!(parse_prefix("/v1/"), Ok("/v1".to_owned()));
        for raw in ["", "v1", "//", "/v1//x", "/v1/../x", "/v%31", "/v1/*", "/v1;x", "/v 1"] {
            assert!(parse_prefix(raw).is_err(), "{raw}");
        }
    }
}
