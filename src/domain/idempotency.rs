//! Idempotency: how a client marks a request that it may send again, and the answer that it then gets again.
//!
//! After draft-ietf-httpapi-idempotency-key-header-07.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Invalid;
use super::time::Timestamp;

/// How long an answer is kept, from the request on.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Most characters of a key: room for several UUIDs.
const KEY_CHARS_MAX: usize = 255;
/// The status of a request that the limit stopped: a later one may pass.
const TOO_MANY_REQUESTS: u16 = 429;

/// What a client names a request by, as its SHA-256: the text itself is not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyKey([u8; 32]);

impl IdempotencyKey {
    /// Reads the value of an `Idempotency-Key` header: a quoted string (RFC 9651 §3.3.3), or bare text. Quoted
    /// and bare, the same text is the same key.
    ///
    /// # Errors
    /// When the text is not 1 to 255 characters of UTF-8 without control characters, or its quotes do not match.
    pub fn parse(header: &[u8]) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(header).map_err(|_other| Invalid::new("must be UTF-8"))?;
        let text = match text.trim_matches([' ', '\t']).strip_prefix('"') {
            Some(rest) => unquote(rest)?,
            None => text.trim_matches([' ', '\t']).to_owned(),
        };
        let chars = text.chars().count();
        if !(1..=KEY_CHARS_MAX).contains(&chars) {
            return Err(Invalid::new(format!("must be 1 to {KEY_CHARS_MAX} characters, got {chars}")));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("must not contain control characters"));
        }
        Ok(Self(Sha256::digest(text.as_bytes()).into()))
    }

    /// The 32 bytes by which the store finds it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key with this SHA-256.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// What stands between an opening quote and the closing one, which must be the last character.
fn unquote(rest: &str) -> Result<String, Invalid> {
    let unclosed = || Invalid::new("must end with the quote that it begins with");
    let mut text = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next().ok_or_else(unclosed)? {
            '"' if chars.as_str().is_empty() => return Ok(text),
            '"' => return Err(unclosed()),
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                Some(_) | None => return Err(Invalid::new("must escape only quotes and backslashes")),
            },
            other => text.push(other),
        }
    }
}

/// What makes two requests the same one: method, path with query, and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a request. `target` is path and query as they were sent.
    #[must_use]
    pub fn of(method: &str, target: &str, body: &[u8]) -> Self {
        // Neither a method nor a target has a line feed in it, so no two requests read alike.
        let hash = Sha256::new().chain_update(method).chain_update("\n").chain_update(target).chain_update("\n");
        Self(hash.chain_update(body).finalize().into())
    }

    /// The 32 bytes that are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The fingerprint of these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// An answer as it is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The headers that belong to it, such as its content type.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
    /// What an error of ours says, from which its body can be written in another form.
    pub detail: Option<String>,
    /// Its body is what it must be, whatever form of an error the client asks for.
    pub body_is_final: bool,
}

impl Answer {
    /// Whether an answer with this status is kept. Failures of ours are not, so that trying again helps.
    #[must_use]
    pub fn is_kept(status: u16) -> bool {
        matches!(status, 200..=499) && status != TOO_MANY_REQUESTS
    }
}

/// A kept answer, which request it belongs to, and until when it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The request that was answered.
    pub fingerprint: Fingerprint,
    /// The first instant at which it is not given any more.
    pub expires_at: Timestamp,
    /// The answer.
    pub answer: Answer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_quoted_and_bare() {
        let bare = IdempotencyKey::parse(b"order 7").unwrap();

        for same in [&b"\"order 7\""[..], b"  order 7\t", b"\t\"order 7\" ", b"\"order 7\" "] {
            assert_eq!(IdempotencyKey::parse(same), Ok(bare), "{same:?}");
        }
        assert_eq!(IdempotencyKey::parse(br#""a\"\\b""#), IdempotencyKey::parse(br#"a"\b"#));
        assert_ne!(IdempotencyKey::parse(b"order 8"), Ok(bare));
    }

    #[test]
    fn keys_without_characters_with_too_many_or_with_wrong_ones_are_refused() {
        let long = "x".repeat(256);
        for wrong in
            ["", " ", "\"\"", "\"", "\"a", "\"a\"b\"", "\"a\";p=1", r#""a\""#, r#""\n""#, "a\tb", "a\u{85}", &long]
        {
            assert!(IdempotencyKey::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(IdempotencyKey::parse(b"\xff").is_err());
        let umlauts = "ü".repeat(255);
        for right in ["a", &long[1..], &format!("\"{}\"", &long[1..]), &umlauts, "a\"", "a,b"] {
            assert!(IdempotencyKey::parse(right.as_bytes()).is_ok(), "{right:?}");
        }
    }

    #[test]
    fn a_fingerprint_tells_apart_method_target_and_body() {
        let own = Fingerprint::of("POST", "/a?b=1", b"{}");
        assert_eq!(Fingerprint::of("POST", "/a?b=1", b"{}"), own);
        for (method, target, body) in [("PUT", "/a?b=1", "{}"), ("POST", "/a?b=2", "{}"), ("POST", "/a?b=1", "{ }")] {
            assert_ne!(Fingerprint::of(method, target, body.as_bytes()), own);
        }
    }

    #[test]
    fn successes_redirects_and_faults_of_the_client_are_kept_and_nothing_else() {
        let kept: Vec<u16> = (100..600).filter(|&status| Answer::is_kept(status)).collect();
        let wanted: Vec<u16> = (200..429).chain(430..500).collect();
        assert_eq!(kept, wanted);
    }
}
