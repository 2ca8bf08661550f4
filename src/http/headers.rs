//! The headers that say where an account stands, in both dialects:
//! `X-RateLimit-*` and the fields of draft-ietf-httpapi-ratelimit-headers-11.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::domain::decision::Standing;
use crate::domain::window::WINDOW_SECS;

/// Longest value that is made on the stack.
const LINE_BYTES: usize = 64;
/// The name of our one quota policy.
pub(crate) const POLICY_NAME: &str = "hour";

pub(crate) const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(crate) const LIMITS: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Writes a standing's five headers. All figures come from its one reading of the clock.
pub(crate) fn set_limits(headers: &mut HeaderMap, standing: &Standing) {
    let remaining = standing.remaining();
    LAST_TERMS.with_borrow_mut(|last| {
        let terms = (standing.limit.as_units(), standing.reset().as_secs());
        let Terms { limit, reset, policy, .. } = match last {
            Some(known) if known.of == terms => known,
            other => other.insert(Terms::new(terms)),
        };
        headers.insert(X_LIMIT, limit.clone());
        headers.insert(X_RESET, reset.clone());
        headers.insert(POLICY, policy.clone());
    });
    headers.insert(X_REMAINING, word(itoa::Buffer::new().format(remaining)));
    headers.insert(LIMITS, hour(("r", remaining), ("t", standing.secs_to_reset())));
}

/// What a thread's answers have in common until the hour ends, or another limit comes: there are a few plans, and a copy of a
/// value is neither formatted nor allocated.
struct Terms {
    /// The limit in units, and the end of the hour in Unix seconds.
    of: (u32, i64),
    limit: HeaderValue,
    reset: HeaderValue,
    policy: HeaderValue,
}

thread_local! {
    static LAST_TERMS: RefCell<Option<Terms>> = const { RefCell::new(None) };
}

impl Terms {
    fn new(of: (u32, i64)) -> Self {
        let (limit, reset) = of;
        let policy = hour(("q", limit), ("w", WINDOW_SECS));
        Self { of, limit: HeaderValue::from(limit), reset: HeaderValue::from(reset), policy }
    }
}

/// A list of one item with two parameters (RFC 9651). Every answer has two of them.
fn hour((first, one): (&str, u32), (second, other): (&str, u32)) -> HeaderValue {
    let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    words(&["\"", POLICY_NAME, "\";", first, "=", digits.format(one), ";", second, "=", more_digits.format(other)])
}

/// Writes `Retry-After`, in seconds.
pub(crate) fn set_retry_after(headers: &mut HeaderMap, secs: u32) {
    headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
}

/// A header's value from text that we made; what is not a header value comes out empty.
pub(crate) fn text(args: fmt::Arguments<'_>) -> HeaderValue {
    // Most are short: written here, they are allocated once, with the length that they have.
    let mut line = [0; LINE_BYTES];
    let mut rest = line.as_mut_slice();
    if rest.write_fmt(args).is_ok() {
        let written = LINE_BYTES.saturating_sub(rest.len());
        value(line.get(..written).unwrap_or_default())
    } else {
        value(fmt::format(args).as_bytes())
    }
}

/// A header's value that is these short texts in a row; what is none comes out empty, as does one over 64 bytes. Formatting
/// costs several times this.
pub(crate) fn words(words: &[&str]) -> HeaderValue {
    let mut line = [0; LINE_BYTES];
    let mut written = 0_usize;
    for word in words {
        let end = written.saturating_add(word.len());
        let Some(place) = line.get_mut(written..end) else { return HeaderValue::from_static("") };
        place.copy_from_slice(word.as_bytes());
        written = end;
    }
    value(line.get(..written).unwrap_or_default())
}

/// A header's value that is the text; what is none comes out empty.
pub(crate) fn word(text: &str) -> HeaderValue {
    value(text.as_bytes())
}

/// Not inlined: an answer has half a dozen of them, and the code of each would have to come from memory.
#[inline(never)]
fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap_or_else(|_control_character| HeaderValue::from_static(""))
}

/// A header's value from JSON: everything but visible ASCII and spaces is escaped as JSON allows.
pub(crate) fn json(json: &str) -> HeaderValue {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c == ' ' || c.is_ascii_graphic() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            ascii.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    HeaderValue::try_from(ascii).unwrap_or_else(|_control_character| HeaderValue::from_static("{}"))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::{json, text, words};

    #[test]
    fn short_texts_stand_in_a_row_or_not_at_all() {
        assert_eq!(words(&["\"hour\";r=", "0", "", ";t=3600"]), "\"hour\";r=0;t=3600");
        assert_eq!(words(&[&"x".repeat(60), "4444"]).len(), 64);
        assert_eq!(words(&[&"x".repeat(60), "55555"]), "");
        assert_eq!(words(&["a", "\n"]), "");
    }

    #[test]
    fn a_value_of_any_length_is_the_text_that_it_was_made_of() {
        for length in [0, 1, 63, 64, 65, 1000] {
            let wanted = "x".repeat(length);
            assert_eq!(text(format_args!("{wanted}")), wanted.as_str());
        }
        assert_eq!(text(format_args!("a\nb")), HeaderValue::from_static(""));
    }

    #[test]
    fn json_becomes_one_line_of_visible_ascii_that_says_the_same() {
        let text = "\u{7f} é 😀 \u{2028} \" \\ \r\n\0 \u{85} end";
        let body = serde_json::to_string(text).unwrap();

        let value = json(&body);

        assert!(value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)), "{value:?}");
        assert_eq!(serde_json::from_slice::<String>(value.as_bytes()).unwrap(), text);
    }
}
