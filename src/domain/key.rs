//! API keys: their form, their secret and hash, and when they are alive.
//!
//! A key is `<prefix>_live_`, 26 random characters of `[0-9A-Za-z]`, and the CRC-32 (IEEE, as in
//! zip) of all that stands before it as 6 base-62 digits. The checksum lets a mistyped or made-up
//! key be refused without a look-up, and lets scanners tell a leaked key from noise.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use super::Invalid;
use super::id::{AccountId, KeyId};
use super::text::Name;
use super::time::Timestamp;

/// Random characters in a key: 26 of 62 are 154 bits.
pub const RANDOM_CHARS: usize = 26;
/// Characters of checksum: 62^6 exceeds 2^32.
const CHECKSUM_CHARS: usize = 6;
/// Random characters that the display form shows.
const DISPLAY_CHARS: usize = 4;
/// Most characters in the word before `_live_`.
pub const PREFIX_CHARS_MAX: usize = 20;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// One base-62 digit.
#[derive(Debug, Clone, Copy)]
pub struct Digit(u8);

impl Digit {
    /// The digit that a random byte stands for, or `None` for the 8 bytes that would favour some
    /// digits over others: draw again.
    #[must_use]
    pub fn from_random(byte: u8) -> Option<Self> {
        const FAIR: u8 = 248; // the largest multiple of 62 in a byte
        if byte < FAIR { DIGITS.get(usize::from(byte % 62)).map(|&c| Self(c)) } else { None }
    }
}

/// The form of the keys that this server issues and accepts: the word before `_live_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFormat {
    head: Box<str>,
}

impl KeyFormat {
    /// Keys that start with `<prefix>_live_`.
    ///
    /// # Errors
    /// When the prefix is not 1 to 20 characters of `a-z` and `0-9`.
    pub fn new(prefix: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if prefix.is_empty() || prefix.len() > PREFIX_CHARS_MAX || !prefix.chars().all(allowed) {
            return Err(Invalid::new(format!("must be 1 to {PREFIX_CHARS_MAX} characters of a-z and 0-9")));
        }
        Ok(Self { head: format!("{prefix}_live_").into() })
    }

    /// The key with these random digits.
    #[must_use]
    pub fn seal(&self, random: &[Digit; RANDOM_CHARS]) -> KeySecret {
        let mut text = String::from(&*self.head);
        text.extend(random.iter().map(|digit| char::from(digit.0)));
        let check = checksum(text.as_bytes());
        text.extend(check.map(char::from));
        KeySecret { display_len: self.head.len().saturating_add(DISPLAY_CHARS), text }
    }

    /// The hash by which a shown key is found, if the text has the form of a key.
    ///
    /// Takes bytes, since a header value need not be text. Runs no look-up and allocates nothing.
    ///
    /// # Errors
    /// When the prefix, the length, a character or the checksum is wrong.
    pub fn hash(&self, shown: &[u8]) -> Result<KeyHash, Malformed> {
        let tail = shown.strip_prefix(self.head.as_bytes()).ok_or(Malformed)?;
        if tail.len() != RANDOM_CHARS + CHECKSUM_CHARS || !tail.iter().all(u8::is_ascii_alphanumeric) {
            return Err(Malformed);
        }
        let (sealed, check) = shown.split_last_chunk::<CHECKSUM_CHARS>().ok_or(Malformed)?;
        if checksum(sealed) == *check { Ok(KeyHash::of(shown)) } else { Err(Malformed) }
    }
}

/// The text that was shown has not the form of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the form of an API key")]
pub struct Malformed;

fn checksum(sealed: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut left = crc32fast::hash(sealed);
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        let index = usize::try_from(left % 62).unwrap_or(0);
        *digit = DIGITS.get(index).copied().unwrap_or(b'0');
        left /= 62;
    }
    digits
}

/// A whole key. It is shown once, in the answer that creates it, and kept nowhere.
pub struct KeySecret {
    text: String,
    display_len: usize,
}

impl KeySecret {
    /// The whole key. Only for the one answer that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored in its place.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.text.as_bytes())
    }

    /// The form that lists show: `klinky_live_a1b2…`.
    #[must_use]
    pub fn display(&self) -> String {
        let mut shown: String = self.text.chars().take(self.display_len).collect();
        shown.push('…');
        shown
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(…)")
    }
}

/// The SHA-256 of a whole key: what the store keeps, and finds keys by.
///
/// A plain hash is enough: a key has 154 random bits, so there is nothing to guess (unlike a password).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

/// Its first bytes are as good as all of them: they are a hash.
impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.first_chunk::<8>().hash(state);
    }
}

impl KeyHash {
    fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits in lower case.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = || Invalid::new("must be 64 lower-case hexadecimal digits");
        let lower_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != 64 || !text.bytes().all(lower_hex) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_unreachable| refuse())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_unreachable| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every method.
    ReadWrite,
    /// Only GET, HEAD and OPTIONS.
    ReadOnly,
}

impl Scope {
    /// The scope's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "read_write",
            Self::ReadOnly => "read_only",
        }
    }

    /// Reads a scope's name.
    ///
    /// # Errors
    /// When it is neither `read_write` nor `read_only`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "read_write" => Ok(Self::ReadWrite),
            "read_only" => Ok(Self::ReadOnly),
            _ => Err(Invalid::new("must be read_write or read_only")),
        }
    }
}

/// A key as it is stored: everything but the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Made by the server.
    pub id: KeyId,
    /// Whose key it is.
    pub account_id: AccountId,
    /// What the key is found by.
    pub hash: KeyHash,
    /// For people.
    pub name: Name,
    /// The first characters of the key, for people.
    pub display: Box<str>,
    /// What it may be used for.
    pub scope: Scope,
    /// When it was issued.
    pub created_at: Timestamp,
    /// The first instant at which it no longer works.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When another key took its place. From then on `expires_at` is the end of the grace period.
    pub rotated_at: Option<Timestamp>,
}

impl Key {
    /// Whether the key works at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What an operator changes of a key; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// A new name.
    pub name: Option<Name>,
    /// A new scope.
    pub scope: Option<Scope>,
    /// A new expiry, or none any more.
    pub expires_at: Option<Option<Timestamp>>,
}

impl KeyPatch {
    /// The key with the change made. One that is given an expiry of its own stays, also if another took its place.
    #[must_use]
    pub fn apply(self, key: Key) -> Key {
        Key {
            name: self.name.unwrap_or(key.name),
            scope: self.scope.unwrap_or(key.scope),
            expires_at: self.expires_at.unwrap_or(key.expires_at),
            rotated_at: key.rotated_at.filter(|_rotated| self.expires_at.is_none()),
            ..key
        }
    }
}

/// What is new about the key that a rotation puts beside an old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// Made by the server.
    pub id: KeyId,
    /// Of the new secret.
    pub hash: KeyHash,
    /// Of the new secret.
    pub display: Box<str>,
}

impl Successor {
    /// The key that takes over from `old` at `now`: its name, scope and length of life.
    #[must_use]
    pub fn of(self, old: &Key, now: Timestamp) -> Key {
        let life = |end: Timestamp| now.plus(end.since(old.created_at));
        Key {
            id: self.id,
            account_id: old.account_id,
            hash: self.hash,
            name: old.name.clone(),
            display: self.display,
            scope: old.scope,
            created_at: now,
            expires_at: old.expires_at.map(life),
            revoked_at: None,
            rotated_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (KeyFormat, KeySecret) {
        let format = KeyFormat::new("klinky").unwrap();
        let random = std::array::from_fn(|i| Digit::from_random(u8::try_from(i * 9).unwrap()).unwrap());
        let secret = format.seal(&random);
        (format, secret)
    }

    #[test]
    fn a_sealed_key_has_the_written_form_and_is_accepted() {
        let (format, secret) = sample();
        assert_eq!(secret.reveal(), "klinky_live_09IRajs1AJSbkt2BKTclu3CLUd3mQ4Tc");
        assert_eq!(secret.reveal().len(), "klinky_live_".len() + 32);
        assert_eq!(format.hash(secret.reveal().as_bytes()), Ok(secret.hash()));
        assert_eq!(secret.display(), "klinky_live_09IR…");
        assert_eq!(format!("{secret:?}"), "KeySecret(…)");
    }

    #[test]
    fn any_change_to_one_character_is_refused() {
        let (format, secret) = sample();
        for at in 0..secret.reveal().len() {
            let mut bytes = secret.reveal().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(format.hash(&bytes), Err(Malformed), "at {at}");
        }
    }

    #[test]
    fn other_lengths_and_bytes_are_refused() {
        let (format, secret) = sample();
        let whole = secret.reveal().as_bytes();
        assert_eq!(format.hash(b""), Err(Malformed));
        assert_eq!(format.hash(&whole[..whole.len() - 1]), Err(Malformed));
        assert_eq!(format.hash(&[whole, b"0"].concat()), Err(Malformed));
        assert_eq!(format.hash(&[b' ', 0xff, 0]), Err(Malformed));
        assert_eq!(KeyFormat::new("acme").unwrap().hash(whole), Err(Malformed));
    }

    #[test]
    fn a_hash_is_written_as_it_is_read() {
        let hash = sample().1.hash();
        assert_eq!(KeyHash::parse(&hash.to_string()), Ok(hash));
        assert!(KeyHash::parse(&hash.to_string().to_uppercase()).is_err());
        assert!(KeyHash::parse("é".repeat(32).as_str()).is_err());
    }
}
