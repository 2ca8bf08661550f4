//! Which calls a rule of the gateway is about: a method, if it names one, and a glob of paths.

use actix_web::http::Method;
use globset::{GlobBuilder, GlobMatcher};

use crate::domain::decision::{COST_MAX, Cost};

/// What begins a pattern in a glob; before it, a glob is plain text.
const GLOB_SIGNS: [char; 5] = ['*', '?', '[', '{', '\\'];
/// Any method, in a rule.
const ANY_METHOD: &str = "*";

/// Some calls.
#[derive(Debug, Clone)]
pub struct Calls {
    /// Any, if it is `None`.
    method: Option<Method>,
    path: GlobMatcher,
}

/// What some calls cost.
#[derive(Debug, Clone)]
pub struct CostRule {
    calls: Calls,
    cost: Cost,
}

/// Whether a path in other letters is another one.
#[derive(Clone, Copy)]
enum Case {
    Sensitive,
    Ignored,
}

impl Calls {
    /// Whether a call is one of these. What is said of GET holds for HEAD as well: a server does the same work, and
    /// answers no more.
    #[must_use]
    pub fn has(&self, method: &Method, path: &str) -> bool {
        let is_method = self.method.as_ref().is_none_or(|own| own == method || (own == "GET" && method == "HEAD"));
        is_method && self.path.is_match(path)
    }

    fn parse(method: &str, path: &str, case: Case) -> Result<Self, String> {
        // Methods are case-sensitive (RFC 9110 §9.1): `post` would be another one.
        let known = method.chars().all(|c| c.is_ascii_uppercase() || c == '-');
        let method = match method {
            ANY_METHOD => Ok(None),
            method => Method::from_bytes(method.as_bytes()).map(Some),
        };
        let method = method.ok().filter(|method| method.is_none() || known);
        let method = method.ok_or("must begin with a method in capital letters, or *")?;
        Ok(Self { method, path: parse_glob(path, case)? })
    }
}

impl CostRule {
    /// The cost, if this rule is about this call. Neither the case of letters nor a slash at the end makes another call
    /// of it: upstreams that do not tell them apart are common, and a call must not be had for less by writing it in
    /// another way.
    #[must_use]
    pub fn cost_of(&self, method: &Method, path: &str) -> Option<Cost> {
        self.calls.has(method, path).then_some(self.cost)
    }
}

/// Whether a call needs no key. With a final slash its path must be public without it as well: many servers take the
/// two for one.
pub(super) fn is_public(rules: &[Calls], method: &Method, path: &str) -> bool {
    let without_slash = path.trim_end_matches('/');
    let is_match = |path: &str| rules.iter().any(|calls| calls.has(method, path));
    is_match(path) && (without_slash.is_empty() || is_match(without_slash))
}

/// What a call costs.
pub(super) fn cost_of(rules: &[CostRule], method: &Method, path: &str) -> Cost {
    find_cost(rules, method, path).unwrap_or(Cost::ONE)
}

/// What the rules say that a call costs, if one is about it: with a final slash or without it, whichever is dearer.
pub(super) fn find_cost(rules: &[CostRule], method: &Method, path: &str) -> Option<Cost> {
    let first = |path: &str| rules.iter().find_map(|rule| rule.cost_of(method, path));
    let found = [path, path.trim_end_matches('/')].into_iter().filter_map(first);
    found.max_by_key(|cost| cost.as_units())
}

/// `/v1/docs/**`, or `OPTIONS /v1/**`.
pub(super) fn parse_public(raw: &str) -> Result<Calls, String> {
    let invalid = || format!("must be a path such as /v1/docs/**, or a method and a path, got {raw:?}");
    let (method, path) =
        if raw.starts_with('/') { (ANY_METHOD, raw) } else { raw.split_once(' ').ok_or_else(invalid)? };
    Calls::parse(method, path, Case::Sensitive).map_err(|error| format!("{error}, got {raw:?}"))
}

/// `POST /v1/reports=10`.
pub(super) fn parse_cost(raw: &str, prefix: &str) -> Result<CostRule, String> {
    let invalid = || format!("must be a method, a path and 1 to {COST_MAX} such as POST /v1/reports=10, got {raw:?}");
    let (call, cost) = raw.rsplit_once('=').ok_or_else(invalid)?;
    let (method, path) = call.split_once(' ').ok_or_else(invalid)?;
    let cost = cost.parse().ok().and_then(|units| Cost::new(units).ok()).ok_or_else(invalid)?;
    let path = path.trim_end_matches('/');
    let calls = Calls::parse(method, path, Case::Ignored).map_err(|error| format!("{error}, got {raw:?}"))?;
    let literal = path.split(GLOB_SIGNS).next().unwrap_or_default();
    if !literal.starts_with(prefix) && !prefix.starts_with(literal) {
        return Err(format!("{path} is not below {prefix}, got {raw:?}: nothing else is counted"));
    }
    Ok(CostRule { calls, cost })
}

fn parse_glob(raw: &str, case: Case) -> Result<GlobMatcher, String> {
    if !raw.starts_with('/') {
        return Err("must be a path such as /v1/docs/**".to_owned());
    }
    if holds_two(raw) {
        return Err("must be one path; several are separated by ; in a variable".to_owned());
    }
    let is_case_ignored = match case {
        Case::Sensitive => false,
        Case::Ignored => true,
    };
    let built = GlobBuilder::new(raw).literal_separator(true).case_insensitive(is_case_ignored).build();
    let built = built.map_err(|error| format!("must be a path such as /v1/docs/**: {error}"))?;
    Ok(built.compile_matcher())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(rules: &[&str], method: &Method, path: &str) -> u32 {
        let rules: Vec<CostRule> = rules.iter().map(|raw| parse_cost(raw, "/v1").unwrap()).collect();
        cost_of(&rules, method, path).as_units()
    }

    fn is_open(rules: &[&str], method: &Method, path: &str) -> bool {
        let rules: Vec<Calls> = rules.iter().map(|raw| parse_public(raw).unwrap()).collect();
        is_public(&rules, method, path)
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
    fn a_public_path_with_a_method_is_open_for_that_method_only() {
        let rules = ["OPTIONS /v1/**", "GET /v1/docs/*", "* /status"];

        assert!(is_open(&rules, &Method::OPTIONS, "/v1/docs/a"));
        assert!(is_open(&rules, &Method::GET, "/v1/docs/a"));
        // It gets what GET gets, without its body.
        assert!(is_open(&rules, &Method::HEAD, "/v1/docs/a"));
        assert!(is_open(&rules, &Method::POST, "/status"));
        for method in [Method::GET, Method::HEAD, Method::POST, Method::from_bytes(b"OPTION").unwrap()] {
            assert!(!is_open(&rules, &method, "/v1/x"), "{method}");
        }
        assert!(!is_open(&["HEAD /v1/x"], &Method::GET, "/v1/x"));
        assert!(!is_open(&["GET /v1/x/", "POST /v1/x"], &Method::GET, "/v1/x/"), "without its slash it is closed");
        assert!(!is_open(&rules, &Method::OPTIONS, "/V1/x"));
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for raw in ["docs", "get /docs", "OPTIONS docs", "OPTIONS  /docs", " /docs", "GET,POST /docs", "OPTIONS /docs["]
        {
            assert!(parse_public(raw).unwrap_err().contains("must "), "{raw}");
        }
    }

    #[test]
    fn a_list_with_a_wrong_separator_is_not_taken_for_one_path() {
        for raw in [
            "/docs/**,/open/**",
            "/docs/**, /open/**",
            "/docs/** /open/**",
            "/docs\n/open",
            "GET /docs,POST /open",
            "GET /docs /open",
            "/docs, GET /open",
        ] {
            assert!(parse_public(raw).unwrap_err().contains("separated by ;"), "{raw}");
        }
        for raw in ["POST /v1/a=20,GET /v1/b=30", "POST /v1/a=20, * /v1/b=30", "POST /v1/a=20 GET /v1/b=30"] {
            assert!(parse_cost(raw, "/v1").unwrap_err().contains("separated by ;"), "{raw}");
        }
        for raw in ["/v1/a,b", "/v1/my docs/**", "/v1{/docs/**,/open/**}", "/v1/a[,]/b", "/v1/k=v,GET"] {
            assert!(parse_public(raw).is_ok(), "{raw}");
        }
    }
}
