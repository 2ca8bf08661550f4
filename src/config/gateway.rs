//! Flags of the gateway: which API stands behind it, what of it is guarded, and what its calls cost.

#![expect(clippy::doc_markdown, reason = "the docs of flags are their help texts, where backticks are noise")]
#![allow(rustdoc::bare_urls, clippy::allow_attributes, reason = "likewise; only rustdoc would see an expectation met")]

use std::time::Duration;

use actix_web::http::{Method, Uri};
use clap::Args;
use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};
use hyper::header::HeaderValue;

use super::parse::{Faults, parse_bounded};
use crate::domain::decision::{COST_MAX, Cost};

/// What is forwarded unless the operator says otherwise: what the links would be.
const PREFIX_DEFAULT: &str = "/api/v1/public";
/// Longest wait for the upstream that can be asked for: an hour, for reports that take long.
const TIMEOUT_MS_MAX: u64 = 3_600_000;
/// Longest wait for a connection that can be asked for: who does not accept within a minute is not there.
const CONNECT_TIMEOUT_MS_MAX: u64 = 60_000;
/// What begins a pattern in a glob; before it, a glob is plain text.
const GLOB_SIGNS: [char; 5] = ['*', '?', '[', '{', '\\'];

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
    /// A glob: * and ? stay within a segment, ** does not. In the variable, several are separated by ;
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
    /// Paths that need no key.
    pub public_paths: GlobSet,
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

/// What some calls cost.
#[derive(Debug, Clone)]
pub struct CostRule {
    /// Any, if it is `None`.
    method: Option<Method>,
    path: GlobMatcher,
    cost: Cost,
}

impl CostRule {
    /// The cost, if this rule is about this call.
    ///
    /// A rule for GET holds for HEAD as well, which makes an upstream do the same work. Neither the case of letters nor
    /// a slash at the end makes another call of it: upstreams that do not tell them apart are common, and a
    /// call must not be had for less by writing it in another way.
    #[must_use]
    pub fn cost_of(&self, method: &Method, path: &str) -> Option<Cost> {
        let is_method = self.method.as_ref().is_none_or(|own| own == method || (own == "GET" && method == "HEAD"));
        (is_method && self.path.is_match(path)).then_some(self.cost)
    }
}

impl GatewaySettings {
    /// Whether a path is the upstream's.
    #[must_use]
    pub fn is_below_prefix(&self, path: &str) -> bool {
        path.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether a path needs no key. With a final slash it must be public without it as well: many servers take the two
    /// for one.
    #[must_use]
    pub fn is_public(&self, path: &str) -> bool {
        let without_slash = path.trim_end_matches('/');
        let is_match = |path: &str| self.public_paths.is_match(path);
        is_match(path) && (without_slash.is_empty() || is_match(without_slash))
    }

    /// What a call costs: with a final slash or without it, whichever is dearer.
    #[must_use]
    pub fn cost_of(&self, method: &Method, path: &str) -> Cost {
        cost_of(&self.costs, method, path)
    }
}

fn cost_of(rules: &[CostRule], method: &Method, path: &str) -> Cost {
    let first = |path: &str| rules.iter().find_map(|rule| rule.cost_of(method, path)).unwrap_or(Cost::ONE);
    let (as_sent, without_slash) = (first(path), first(path.trim_end_matches('/')));
    if as_sent.as_units() > without_slash.as_units() { as_sent } else { without_slash }
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
        let public_paths = faults.keep_all("--public-path", &self.public_path, |raw| parse_glob(raw, true));
        let below = prefix.clone().unwrap_or_default();
        let costs = faults.keep_all("--cost", &self.cost, |raw| parse_cost(raw, &below));
        let connect_timeout = faults.keep("--upstream-connect-timeout-ms", connect_timeout);
        let timeout = faults.keep("--upstream-timeout-ms", timeout);
        let public_paths = faults.keep("--public-path", glob_set(&public_paths))?;
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

fn parse_glob(raw: &str, is_case_sensitive: bool) -> Result<Glob, String> {
    if !raw.starts_with('/') {
        return Err(format!("must be a path such as /v1/docs/**, got {raw:?}"));
    }
    if holds_two(raw) {
        return Err(format!("must be one path; several are separated by ; in a variable, got {raw:?}"));
    }
    let built = GlobBuilder::new(raw).literal_separator(true).case_insensitive(!is_case_sensitive).build();
    built.map_err(|error| format!("must be a path such as /v1/docs/**: {error}"))
}

/// Whether what was meant as two entries stands as one: a comma or a space, and then a path or a method and a path.
///
/// Either may stand in a path itself (a space as `%20`), and a comma in braces. Who means a path such as `/a,/b` writes `/a[,]/b`.
fn holds_two(raw: &str) -> bool {
    let is_method = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || "*-".contains(c));
    let begins_entry = |rest: &str| {
        let rest = rest.trim_start();
        rest.starts_with('/')
            || rest
                .split_once(char::is_whitespace)
                .is_some_and(|(method, path)| is_method(method) && path.starts_with('/'))
    };
    let mut depth = 0_u32;
    raw.char_indices().any(|(at, c)| {
        match c {
            '{' | '[' => depth = depth.saturating_add(1),
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
            && (c == ',' || c.is_whitespace())
            && begins_entry(raw.get(at..).unwrap_or_default().trim_start_matches(','))
    })
}

fn glob_set(globs: &[Glob]) -> Result<GlobSet, globset::Error> {
    globs.iter().fold(&mut GlobSetBuilder::new(), |set, glob| set.add(glob.clone())).build()
}

fn parse_cost(raw: &str, prefix: &str) -> Result<CostRule, String> {
    let invalid = || format!("must be a method, a path and 1 to {COST_MAX} such as POST /v1/reports=10, got {raw:?}");
    let (call, cost) = raw.rsplit_once('=').ok_or_else(invalid)?;
    let (method, path) = call.split_once(' ').ok_or_else(invalid)?;
    let cost = cost.parse().ok().and_then(|units| Cost::new(units).ok()).ok_or_else(invalid)?;
    // Methods are case-sensitive (RFC 9110 §9.1): `post` would be another one.
    let known = method.chars().all(|c| c.is_ascii_uppercase() || c == '-') || method == "*";
    let method = if method == "*" { Ok(None) } else { Method::from_bytes(method.as_bytes()).map(Some) };
    let method = method.ok().filter(|_method| known).ok_or_else(invalid)?;
    let path = path.trim_end_matches('/');
    let glob = parse_glob(path, false).map_err(|error| format!("{error}, got {raw:?}"))?;
    let literal = path.split(GLOB_SIGNS).next().unwrap_or_default();
    if !literal.starts_with(prefix) && !prefix.starts_with(literal) {
        return Err(format!("{path} is not below {prefix}, got {raw:?}: nothing else is counted"));
    }
    Ok(CostRule { method, path: glob.compile_matcher(), cost })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(rules: &[&str], method: &Method, path: &str) -> u32 {
        let rules: Vec<CostRule> = rules.iter().map(|raw| parse_cost(raw, "/v1").unwrap()).collect();
        cost_of(&rules, method, path).as_units()
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = ["GET /v1/reports/summary=2", "* /v1/reports/**=10", "POST /v1/{bulk,batch}=50"];

        assert_eq!(cost(&rules, &Method::GET, "/v1/reports/summary"), 2);
        assert_eq!(cost(&rules, &Method::POST, "/v1/reports/summary"), 10);
        assert_eq!(cost(&rules, &Method::GET, "/v1/reports/a/b"), 10);
        assert_eq!(cost(&rules, &Method::POST, "/v1/batch"), 50);
        assert_eq!(cost(&rules, &Method::GET, "/v1/batch"), 1);
    }

    #[test]
    fn a_call_is_not_cheaper_in_another_spelling() {
        let rules = ["GET /v1/reports=10"];

        assert_eq!(cost(&rules, &Method::HEAD, "/v1/reports"), 10);
        assert_eq!(cost(&rules, &Method::GET, "/v1/Reports"), 10);
        assert_eq!(cost(&rules, &Method::GET, "/v1/reports/"), 10);
    }

    #[test]
    fn a_star_stays_within_a_segment() {
        assert_eq!(cost(&["GET /v1/*=10"], &Method::GET, "/v1/a/b"), 1);
        assert_eq!(cost(&["GET /v1/**=10"], &Method::GET, "/v1/a/b"), 10);
    }

    #[test]
    fn a_list_with_a_wrong_separator_is_not_taken_for_one_path() {
        for raw in ["/docs/**,/open/**", "/docs/**, /open/**", "/docs/** /open/**", "/docs\n/open"] {
            assert!(parse_glob(raw, true).unwrap_err().contains("separated by ;"), "{raw}");
        }
        for raw in ["POST /v1/a=20,GET /v1/b=30", "POST /v1/a=20, * /v1/b=30", "POST /v1/a=20 GET /v1/b=30"] {
            assert!(parse_cost(raw, "/v1").unwrap_err().contains("separated by ;"), "{raw}");
        }
        for raw in ["/v1/a,b", "/v1/my docs/**", "/v1{/docs/**,/open/**}", "/v1/a[,]/b", "/v1/k=v,GET"] {
            assert!(parse_glob(raw, true).is_ok(), "{raw}");
        }
    }

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
