//! The names of endpoints, as usage tells them apart: a method and a path in which ids are folded, `GET /users/{id}`.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use arcstr::{ArcStr, literal};
use foldhash::fast::RandomState;

use super::Invalid;

/// Longest name, in bytes: what fits a line of a page.
pub const ENDPOINT_BYTES_MAX: usize = 128;
/// Longest method: above any that is registered (`UPDATEREDIRECTREF`, RFC 4437).
const METHOD_BYTES_MAX: usize = 20;
/// A longer segment is no word of a route.
const SEGMENT_BYTES_MAX: usize = 64;
/// Hexadecimal digits that are an id, if a decimal one is among them: a short commit hash has 7, a word none.
const HEX_BYTES_MIN: usize = 7;
/// Digits with hyphens that are an id: a date has 10, a year with a month has 7.
const DATE_BYTES_MIN: usize = 7;
/// Characters of base 62 or base64url that are an id, if a digit is among them: ids of common services have 14 or more.
const TOKEN_BYTES_MIN: usize = 14;
/// Names that a thread shares: those that an account may have in an hour, and some.
const RECENT_MAX: usize = 256;
/// What stands for an id.
const ID: &str = "{id}";
/// What stands for the end of a path that is too long.
const REST: &str = "/{rest}";

/// The name of an endpoint: 1 to 128 visible ASCII characters, and spaces between. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointName(ArcStr);

impl EndpointName {
    /// What requests are counted under whose endpoint has no place of its own any more.
    pub const OTHER: Self = Self(literal!("other"));
    /// What requests are counted under that lead nowhere, or of which nothing says where they lead.
    pub const UNKNOWN: Self = Self(literal!("unknown"));

    /// The name of a route: its pattern is taken as it is.
    #[must_use]
    pub fn of_route(method: &str, pattern: &str) -> Self {
        Self::of(method, pattern, |segment| segment)
    }

    /// The name of a path: its query is left out and its ids are folded. Ids are numbers, dates, UUIDs, long
    /// hexadecimal numbers, and long tokens with a digit.
    #[must_use]
    pub fn of_path(method: &str, path: &str) -> Self {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        Self::of(method, path, |segment| if is_id(segment) { ID } else { segment })
    }

    /// Reads a name that was kept.
    ///
    /// # Errors
    /// When it is empty, longer than [`ENDPOINT_BYTES_MAX`], or not of visible ASCII characters and spaces.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_shown = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if (1..=ENDPOINT_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_shown) {
            Ok(RECENT.with_borrow_mut(|recent| share(&mut recent.names, text)))
        } else {
            Err(Invalid::new(format!("must be 1 to {ENDPOINT_BYTES_MAX} visible ASCII characters and spaces")))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(method: &str, path: &str, shown: impl Fn(&str) -> &str) -> Self {
        let is_method = method.len() <= METHOD_BYTES_MAX && method.bytes().all(|byte| byte.is_ascii_graphic());
        let Some(below) = path.strip_prefix('/') else { return Self::UNKNOWN };
        if !is_method || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Self::UNKNOWN;
        }
        RECENT.with_borrow_mut(|recent| {
            let name = &mut recent.text;
            name.clear();
            name.push_str(method);
            name.push(' ');
            for segment in below.split('/') {
                let segment = shown(segment);
                if name.len().saturating_add(segment.len()) >= ENDPOINT_BYTES_MAX.saturating_sub(REST.len()) {
                    name.push_str(REST);
                    break;
                }
                name.push('/');
                name.push_str(segment);
            }
            share(&mut recent.names, name)
        })
    }
}

/// Names that came lately to this thread, with a request or from the disk: the same few come again and again, and to share
/// them saves an allocation each and a miss of the cache wherever two are compared.
#[derive(Default)]
struct Recent {
    /// The text of the next name.
    text: String,
    names: HashSet<EndpointName, RandomState>,
}

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

/// The name with this text, one of those that came lately if it is among them.
fn share(names: &mut HashSet<EndpointName, RandomState>, text: &str) -> EndpointName {
    if let Some(name) = names.get(text) {
        return name.clone();
    }
    if names.len() >= RECENT_MAX {
        names.clear();
    }
    let name = EndpointName(text.into());
    names.insert(name.clone());
    name
}

/// As a text: hash and comparison are the text's.
impl Borrow<str> for EndpointName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a segment of a path is an id rather than a word of the route.
fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let has = |test: fn(&u8) -> bool| bytes.iter().any(test);
    let only = |test: fn(&u8) -> bool| bytes.iter().all(test);
    if !has(u8::is_ascii_digit) {
        return bytes.len() > SEGMENT_BYTES_MAX;
    }
    let is_number = only(u8::is_ascii_digit);
    let is_date = bytes.len() >= DATE_BYTES_MIN && only(|byte| byte.is_ascii_digit() || *byte == b'-');
    let is_hex = bytes.len() >= HEX_BYTES_MIN && only(u8::is_ascii_hexdigit);
    let is_uuid = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    // `monthly-report-2024` is a word, `V1StGXR8_Z5jdHi6B-myT` is none.
    let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let is_token = bytes.len() >= TOKEN_BYTES_MIN
        && only(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && (is_mixed || only(u8::is_ascii_alphanumeric));
    is_number || is_date || is_hex || is_uuid || is_token || bytes.len() > SEGMENT_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> String {
        EndpointName::of_path("GET", path).to_string()
    }

    #[test]
    fn ids_are_folded_and_words_stay() {
        for id in [
            "0",
            "42",
            "2024-01-15",
            "2024-01",
            "018d0b3a-5c1e-7d2f-8a3b-1c2d3e4f5a6b",
            "018D0B3A-5C1E-7D2F-8A3B-1C2D3E4F5A6B",
            "018d0b3a5c1e7d2f8a3b1c2d3e4f5a6b",
            "af36c8b",
            "01HQXW5P9Z7XJ4G8VJ2M3N4B5C",
            "V1StGXR8_Z5jdHi6B-myT",
            "cus_9s6XKzkNRiz8i3",
            "klinky_live_09IRajs1AJSbkt2BKTclu3CLUd3mQ4Tc",
        ] {
            assert_eq!(path(&format!("/users/{id}/orders")), "GET /users/{id}/orders", "{id}");
        }
        for word in ["v1", "v1.2", "oauth2", "deadbeef", "monthly-report-2024", "x-y_z", "base64", "s3", "%7Bid%7D"] {
            assert_eq!(path(&format!("/{word}/all")), format!("GET /{word}/all"));
        }
    }

    #[test]
    fn a_query_is_left_out() {
        assert_eq!(path("/reports?key=secret"), "GET /reports");
        assert_eq!(path("/reports#key=secret"), "GET /reports");
        assert_eq!(path("/?x"), "GET /");
    }

    #[test]
    fn names_are_bounded_and_of_visible_characters() {
        assert_eq!(path(&format!("/{}", "x".repeat(64))), format!("GET /{}", "x".repeat(64)));
        let long = path(&"/segment".repeat(1000));
        assert!(long.len() <= ENDPOINT_BYTES_MAX && long.ends_with("/segment/{rest}"), "{long}");
        assert_eq!(path(&format!("/{}", "x".repeat(500))), "GET /{id}");
        for odd in ["", "reports", "/caf\u{e9}", "/a b", "/a\n", "*"] {
            assert_eq!(EndpointName::of_path("GET", odd), EndpointName::UNKNOWN, "{odd:?}");
        }
        assert_eq!(EndpointName::of_path(&"X".repeat(21), "/a"), EndpointName::UNKNOWN);
        for name in [EndpointName::OTHER, EndpointName::UNKNOWN, EndpointName::of_path("GET", &"/1".repeat(4000))] {
            assert_eq!(EndpointName::parse(name.as_str()).as_ref(), Ok(&name));
        }
        for odd in ["", "GET /\u{e9}", "a\0", &"x".repeat(129)] {
            assert!(EndpointName::parse(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_name_that_came_lately_is_shared_and_a_flood_of_others_ends_that() {
        let first = EndpointName::of_path("GET", "/recent");
        assert!(ArcStr::ptr_eq(&first.0, &EndpointName::of_path("GET", "/recent").0));
        for other in ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("/recent/{a}{b}"))) {
            assert_eq!(path(&other), format!("GET {other}"));
        }
        let later = EndpointName::of_path("GET", "/recent");
        assert!(!ArcStr::ptr_eq(&first.0, &later.0));
        assert_eq!(first, later);
    }

    #[test]
    fn html_in_a_name_is_text_like_any_other() {
        assert_eq!(path("/<script>alert(1)</script>"), "GET /<script>alert(1)</script>");
    }
}
