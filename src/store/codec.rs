//! Bytes on disk: the layout of keys, and the envelope of every record. Only the store knows them.
//!
//! A record is `version byte ‖ bincode body ‖ CRC-32 (big-endian) of all before it`. sled does not
//! notice a flipped byte in a data page; the checksum does. An unknown version is an error, since
//! bincode would read a longer body as a shorter one without complaint.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `plans` | plan id | record |
//! | `accounts` | account id (16) | record |
//! | `keys` | SHA-256 (32) | record |
//! | `key_ids` | key id (16) | SHA-256 |
//! | `account_keys` | account id ‖ key id (32) | SHA-256 |
//! | `last_used` | SHA-256 (32) | milliseconds, big-endian `i64`, and a checksum |
//! | `counters` | hour, big-endian `u32` ‖ account id (20) | units, big-endian `u32`, and a checksum |
//! | `links` | link id (16) | record |
//! | `slugs` | slug | link id |
//! | `account_links` | account id ‖ link id (32) | 1: live, 0: deleted |
//! | `doomed_links` | link id (16) | nothing: its clicks are being purged |
//! | `clicks` | link id ‖ click id (32) | record |
//! | `click_days` | link id ‖ day, big-endian `u32` (20) | record: clicks of the days before it, sums |
//! | `click_totals` | link id (16) | record: sums |
//! | `deferred_events` | number, big-endian `u64` | record: up to 100 clicks and conversions that are yet to be recorded |
//! | `conversions` | link id ‖ visitor (32) | milliseconds, big-endian `i64`, and a checksum |
//! | `usage` | account id ‖ hour, big-endian `u32` ‖ key id ‖ endpoint (36 and more) | record |
//! | `audit` | number, big-endian `u64` | record |
//! | `idempotency` | account id ‖ SHA-256 of the key (48), and for each piece of the body ‖ its number, big-endian `u16` (50) | record |
//! | `idempotency_by_time` | expiry, milliseconds as big-endian `i64` ‖ account id ‖ SHA-256 (56) | – |
//! | `idempotency_by_account` | account id ‖ expiry ‖ SHA-256 (56) | bytes of its records, big-endian `u32` |
//! | `meta` | name | record |

use bincode::Options;
use serde::{Deserialize, Serialize};

use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, ClickId, KeyId, LinkId};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::key::KeyHash;
use crate::domain::link::Slug;
use crate::domain::time::{Day, Timestamp};
use crate::domain::usage::{RowKey, Spender};
use crate::domain::window::Window;

/// Most bytes in a record's body: above the largest (a link with 250 geo rules, 66 KiB), far below
/// what a damaged length could make bincode allocate.
const BODY_BYTES_MAX: u64 = 128 * 1024;
const CHECKSUM_BYTES: usize = 4;

/// What is wrong with the bytes of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Too short for a version byte and a checksum.
    #[error("it is too short")]
    Short,
    /// A byte changed since the record was written.
    #[error("its checksum does not match")]
    Checksum,
    /// Written by a later version of the program.
    #[error("it has version {0}, which this program does not know")]
    Version(u8),
    /// The checksum matches, but the body has another shape or a value out of range.
    #[error("its body does not decode: {0}")]
    Body(String),
}

fn options() -> impl Options {
    compact().with_fixint_encoding()
}

/// Small numbers take a byte: for many of them.
fn compact() -> impl Options {
    bincode::DefaultOptions::new().with_limit(BODY_BYTES_MAX)
}

/// Puts a body into the envelope.
pub(super) fn seal<T: Serialize>(version: u8, body: &T) -> Result<Vec<u8>, bincode::Error> {
    // Most records are smaller.
    let mut bytes = Vec::with_capacity(512);
    bytes.push(version);
    options().serialize_into(&mut bytes, body)?;
    Ok(with_checksum(bytes))
}

/// Puts a list into an envelope, where small numbers take a byte; its elements were [put](put_compact) after one another.
pub(super) fn seal_compact_list(version: u8, length: usize, elements: &[u8]) -> Result<Vec<u8>, bincode::Error> {
    // The length takes 3 bytes up to 65,535.
    let mut bytes = Vec::with_capacity(elements.len().saturating_add(16));
    bytes.push(version);
    put_compact(&mut bytes, &length)?;
    bytes.extend_from_slice(elements);
    Ok(with_checksum(bytes))
}

/// Puts an element of a list at the end of those before it. How long they may be is for who reads them: to know it here,
/// bincode would go through each twice.
pub(super) fn put_compact<T: Serialize>(elements: &mut Vec<u8>, element: &T) -> Result<(), bincode::Error> {
    compact().with_no_limit().serialize_into(elements, element)
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let check = crc32fast::hash(&bytes);
    bytes.extend(check.to_be_bytes());
    bytes
}

/// A record as it stands in a file of many: its length, big-endian `u32`, and the record.
pub(super) fn frame(record: &[u8]) -> Result<Vec<u8>, std::num::TryFromIntError> {
    let length = u32::try_from(record.len())?;
    Ok([&length.to_be_bytes(), record].concat())
}

/// Bytes before a record in such a file.
pub(super) const FRAME_HEAD_BYTES: usize = 4;

/// How long the record is that follows; `None` if there are only zeros.
pub(super) fn framed_bytes(head: [u8; FRAME_HEAD_BYTES]) -> Option<u64> {
    Some(u32::from_be_bytes(head).into()).filter(|length| *length > 0)
}

/// The version that a record says it has, where there are several to read.
pub(super) fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

/// Takes a body of a known version out of the envelope.
pub(super) fn unseal<'b, T: Deserialize<'b>>(known_version: u8, bytes: &'b [u8]) -> Result<T, Damage> {
    unseal_with(options(), known_version, bytes)
}

/// The same, of one where small numbers take a byte.
pub(super) fn unseal_compact<'b, T: Deserialize<'b>>(known_version: u8, bytes: &'b [u8]) -> Result<T, Damage> {
    unseal_with(compact(), known_version, bytes)
}

fn unseal_with<'b, T: Deserialize<'b>>(options: impl Options, known_version: u8, bytes: &'b [u8]) -> Result<T, Damage> {
    let (sealed, check) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Damage::Short)?;
    let (&version, body) = sealed.split_first().ok_or(Damage::Short)?;
    if crc32fast::hash(sealed) != u32::from_be_bytes(*check) {
        return Err(Damage::Checksum);
    }
    if version != known_version {
        return Err(Damage::Version(version));
    }
    options.deserialize(body).map_err(|error| Damage::Body(error.to_string()))
}

pub(super) fn account_key(account: AccountId, key: KeyId) -> [u8; 32] {
    concat(account.as_bytes(), key.as_bytes())
}

pub(super) fn parse_slug(key: &[u8]) -> Result<Slug, Damage> {
    let text = std::str::from_utf8(key).map_err(|error| Damage::Body(error.to_string()))?;
    Ok(Slug::new(text)?)
}

/// A key half-way between two, by what they begin with.
pub(super) fn middle(first: &[u8], last: &[u8]) -> [u8; 8] {
    let start = |key: &[u8]| {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(key).for_each(|(byte, of_key)| *byte = *of_key);
        u64::from_be_bytes(bytes)
    };
    start(first).midpoint(start(last)).to_be_bytes()
}

pub(super) fn counter_key(window: Window, account: AccountId) -> [u8; 20] {
    concat(&window_prefix(window), account.as_bytes())
}

pub(super) fn parse_counter_key(bytes: &[u8]) -> Result<(Window, AccountId), Damage> {
    let (hour, account) = bytes.split_first_chunk::<4>().ok_or(Damage::Short)?;
    let account = account.try_into().map_err(|_length| Damage::Short)?;
    Ok((Window::from_hours(u32::from_be_bytes(*hour)), AccountId::from_bytes(account)))
}

/// What the keys of all of a window's counters begin with; smaller than all of them, larger than any before.
pub(super) fn window_prefix(window: Window) -> [u8; 4] {
    window.as_hours().to_be_bytes()
}

/// What the keys of all of an account's usage in a window begin with.
pub(super) fn usage_hour_key(account: AccountId, window: Window) -> [u8; 20] {
    concat(account.as_bytes(), &window_prefix(window))
}

/// Larger than the keys of all of an account's usage, smaller than those of any later account.
pub(super) fn usage_end_key(account: AccountId) -> [u8; 20] {
    usage_hour_key(account, Window::from_hours(u32::MAX))
}

pub(super) fn usage_key(spender: &Spender, endpoint: &EndpointName) -> Vec<u8> {
    let mut key = Vec::new();
    put_usage_key(&mut key, spender, endpoint);
    key
}

/// The same in place of what `key` was.
pub(super) fn put_usage_key(key: &mut Vec<u8>, spender: &Spender, endpoint: &EndpointName) {
    key.clear();
    key.extend_from_slice(&usage_hour_key(spender.account_id, spender.window));
    key.extend_from_slice(spender.key_id.as_bytes());
    key.extend_from_slice(endpoint.as_str().as_bytes());
}

pub(super) fn parse_usage_key(bytes: &[u8]) -> Result<RowKey, Damage> {
    let (account, rest) = bytes.split_first_chunk::<16>().ok_or(Damage::Short)?;
    let (hour, rest) = rest.split_first_chunk::<4>().ok_or(Damage::Short)?;
    let (key, endpoint) = rest.split_first_chunk::<16>().ok_or(Damage::Short)?;
    let endpoint = std::str::from_utf8(endpoint).map_err(|error| Damage::Body(error.to_string()))?;
    let endpoint = EndpointName::parse(endpoint).map_err(|error| Damage::Body(format!("endpoint: {error}")))?;
    let window = Window::from_hours(u32::from_be_bytes(*hour));
    let (account_id, key_id) = (AccountId::from_bytes(*account), KeyId::from_bytes(*key));
    Ok(RowKey { spender: Spender { account_id, window, key_id }, endpoint })
}

pub(super) fn parse_usage_account(bytes: &[u8]) -> Result<AccountId, Damage> {
    bytes.first_chunk::<16>().map(|account| AccountId::from_bytes(*account)).ok_or(Damage::Short)
}

pub(super) fn number_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(super) fn parse_number(bytes: &[u8]) -> Result<u64, Damage> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_length| Damage::Short)?))
}

/// What `account_links` says of a link that was not deleted.
pub(super) const LINK_LIVE: &[u8; 1] = &[1];
/// What it says of one that was.
pub(super) const LINK_DELETED: &[u8; 1] = &[0];

pub(super) fn account_link_key(account: AccountId, link: LinkId) -> [u8; 32] {
    concat(account.as_bytes(), link.as_bytes())
}

pub(super) fn parse_account_link_key(bytes: &[u8]) -> Result<LinkId, Damage> {
    bytes.split_last_chunk::<16>().map(|(_account, link)| LinkId::from_bytes(*link)).ok_or(Damage::Short)
}

pub(super) fn parse_link_id(bytes: &[u8]) -> Result<LinkId, Damage> {
    Ok(LinkId::from_bytes(bytes.try_into().map_err(|_length| Damage::Short)?))
}

pub(super) fn click_key(link: LinkId, click: ClickId) -> [u8; 32] {
    concat(link.as_bytes(), click.as_bytes())
}

pub(super) fn parse_click_key(bytes: &[u8]) -> Result<(LinkId, ClickId), Damage> {
    let (link, click) = bytes.split_first_chunk::<16>().ok_or(Damage::Short)?;
    let click = click.try_into().map_err(|_length| Damage::Short)?;
    Ok((LinkId::from_bytes(*link), ClickId::from_bytes(click)))
}

/// The keys of a link's clicks in a span, its start included, its end not: a click's id begins with its milliseconds
/// (RFC 9562 §5.7).
pub(super) fn click_range(link: LinkId, start: Timestamp, end: Timestamp) -> ([u8; 32], [u8; 32]) {
    let first = |at: Timestamp| {
        let ms = at.as_millis().to_be_bytes();
        let mut id = [0; 16];
        for (byte, part) in id.iter_mut().zip(ms.iter().skip(2)) {
            *byte = *part;
        }
        concat(link.as_bytes(), &id)
    };
    (first(start), first(end))
}

pub(super) fn click_day_key(link: LinkId, day: Day) -> [u8; 20] {
    concat(link.as_bytes(), &day.as_days().to_be_bytes())
}

pub(super) fn parse_click_day_key(bytes: &[u8]) -> Result<Day, Damage> {
    bytes.split_last_chunk::<4>().map(|(_link, day)| Day::from_days(u32::from_be_bytes(*day))).ok_or(Damage::Short)
}

pub(super) fn parse_visitor(bytes: &[u8]) -> Result<[u8; 16], Damage> {
    bytes.split_last_chunk::<16>().map(|(_link, visitor)| *visitor).ok_or(Damage::Short)
}

pub(super) fn conversion_key(link: LinkId, visitor: [u8; 16]) -> [u8; 32] {
    concat(link.as_bytes(), &visitor)
}

/// Where an answer is kept; also what the keys of its body's pieces begin with.
pub(super) fn kept_key(account: AccountId, key: &IdempotencyKey) -> [u8; 48] {
    concat(account.as_bytes(), key.as_bytes())
}

pub(super) fn parse_kept_key(bytes: &[u8]) -> Result<(AccountId, IdempotencyKey), Damage> {
    let (account, key) = bytes.split_first_chunk::<16>().ok_or(Damage::Short)?;
    let key = key.try_into().map_err(|_length| Damage::Short)?;
    Ok((AccountId::from_bytes(*account), IdempotencyKey::from_bytes(key)))
}

pub(super) fn kept_piece_key(kept: &[u8; 48], number: u16) -> [u8; 50] {
    concat(kept, &number.to_be_bytes())
}

pub(super) fn kept_by_time_key(expires_at: Timestamp, kept: &[u8; 48]) -> [u8; 56] {
    concat(&instant_prefix(expires_at), kept)
}

pub(super) fn parse_kept_by_time_key(bytes: &[u8]) -> Result<(Timestamp, AccountId, IdempotencyKey), Damage> {
    let (expires_at, kept) = bytes.split_first_chunk::<8>().ok_or(Damage::Short)?;
    let (account, key) = kept.split_first_chunk::<16>().ok_or(Damage::Short)?;
    let key = key.try_into().map_err(|_length| Damage::Short)?;
    Ok((parse_instant(expires_at)?, AccountId::from_bytes(*account), IdempotencyKey::from_bytes(key)))
}

pub(super) fn kept_by_account_key(account: AccountId, expires_at: Timestamp, key: &IdempotencyKey) -> [u8; 56] {
    concat(&concat::<24>(account.as_bytes(), &instant_prefix(expires_at)), key.as_bytes())
}

pub(super) fn parse_kept_by_account_key(bytes: &[u8]) -> Result<(AccountId, Timestamp, IdempotencyKey), Damage> {
    let (account, rest) = bytes.split_first_chunk::<16>().ok_or(Damage::Short)?;
    let (expires_at, key) = rest.split_first_chunk::<8>().ok_or(Damage::Short)?;
    let key = key.try_into().map_err(|_length| Damage::Short)?;
    Ok((AccountId::from_bytes(*account), parse_instant(expires_at)?, IdempotencyKey::from_bytes(key)))
}

/// An instant in a key.
pub(super) fn instant_prefix(at: Timestamp) -> [u8; 8] {
    at.as_millis().to_be_bytes()
}

fn parse_instant(bytes: &[u8; 8]) -> Result<Timestamp, Damage> {
    Timestamp::from_millis(i64::from_be_bytes(*bytes)).map_err(|error| Damage::Body(error.to_string()))
}

pub(super) fn parse_hash(bytes: &[u8]) -> Result<KeyHash, Damage> {
    Ok(KeyHash::from_bytes(bytes.try_into().map_err(|_length| Damage::Short)?))
}

pub(super) fn parse_account_id(bytes: &[u8]) -> Result<AccountId, Damage> {
    Ok(AccountId::from_bytes(bytes.try_into().map_err(|_length| Damage::Short)?))
}

/// A key of two parts. The parts fill it: `N` is the sum of their lengths at each call.
fn concat<const N: usize>(first: &[u8], second: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, part) in bytes.iter_mut().zip(first.iter().chain(second)) {
        *byte = *part;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_two_keys_lies_between_them() {
        for (first, last, expected) in [
            (&[0; 32][..], &[255; 32][..], [127, 255, 255, 255, 255, 255, 255, 255]),
            (b"a", b"c", *b"b\0\0\0\0\0\0\0"),
            (&[7; 16], &[7; 16], [7; 8]),
        ] {
            assert_eq!(middle(first, last), expected);
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let bytes = seal(1, &("name", 7_u32)).unwrap();
        assert_eq!(unseal::<(String, u32)>(1, &bytes), Ok(("name".to_owned(), 7)));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = seal(1, &("name", 7_u32)).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(unseal::<(String, u32)>(1, &damaged), Err(Damage::Checksum), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_cut_record_and_an_unknown_version_are_refused() {
        let bytes = seal(2, &("name", 7_u32)).unwrap();
        assert_eq!(unseal::<(String, u32)>(1, &bytes), Err(Damage::Version(2)));
        for len in 0..bytes.len() {
            assert!(unseal::<(String, u32)>(2, &bytes[..len]).is_err(), "{len}");
        }
        assert!(matches!(unseal::<(String, u64, u64)>(2, &bytes), Err(Damage::Body(_))));
    }

    #[test]
    fn counters_sort_by_hour_first() {
        let (low, high) = (AccountId::from_bytes([0; 16]), AccountId::from_bytes([255; 16]));
        assert!(counter_key(Window::from_hours(1), high) < counter_key(Window::from_hours(256), low));
        let key = counter_key(Window::from_hours(256), high);
        assert_eq!(parse_counter_key(&key), Ok((Window::from_hours(256), high)));
        assert!(parse_counter_key(&key[..19]).is_err());
    }
}
