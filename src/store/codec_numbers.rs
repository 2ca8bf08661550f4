//! Bytes of counters and instants: a number and a checksum, `number, big-endian ‖ CRC-32 (big-endian) of the row's key and
//! it`. They are too many, and change too often, for an envelope.
//!
//! The checksum came in November 2026; rows of before have none, and are read.

use super::codec::Damage;
use crate::domain::decision::Used;
use crate::domain::time::Timestamp;

/// A counter's value under its key.
pub(super) fn used_value(key: &[u8], used: Used) -> [u8; 8] {
    let units = used.as_units().to_be_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (units, checksum(key, &units));
    [a, b, c, d, e, f, g, h]
}

pub(super) fn parse_used(key: &[u8], bytes: &[u8]) -> Result<Used, Damage> {
    checked(key, bytes).map(|units| Used::new(u32::from_be_bytes(units)))
}

/// An instant's value under its key.
pub(super) fn instant_value(key: &[u8], at: Timestamp) -> Vec<u8> {
    let ms = at.as_millis().to_be_bytes();
    [&ms[..], &checksum(key, &ms)].concat()
}

pub(super) fn parse_instant(key: &[u8], bytes: &[u8]) -> Result<Timestamp, Damage> {
    let ms = i64::from_be_bytes(checked(key, bytes)?);
    Timestamp::from_millis(ms).map_err(|error| Damage::Body(error.to_string()))
}

/// How many bytes the records of a kept answer have. It has no checksum: of a wrong one, a few answers more or less are kept.
pub(super) fn kept_bytes_value(bytes: u32) -> [u8; 4] {
    bytes.to_be_bytes()
}

/// The number; 0 of rows of before November 30th, 2026, which have none.
pub(super) fn parse_kept_bytes(value: &[u8]) -> u32 {
    value.try_into().map_or(0, u32::from_be_bytes)
}

fn checked<const N: usize>(key: &[u8], bytes: &[u8]) -> Result<[u8; N], Damage> {
    let (number, check) = bytes.split_first_chunk::<N>().ok_or(Damage::Short)?;
    if check.is_empty() || check == checksum(key, number) { Ok(*number) } else { Err(Damage::Checksum) }
}

fn checksum(key: &[u8], number: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(number);
    crc.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_reads_as_it_was_written_also_by_earlier_versions() {
        let (used, at) = (Used::new(70_000), Timestamp::from_millis(1_705_312_800_123).unwrap());

        assert_eq!(parse_used(b"key", &used_value(b"key", used)), Ok(used));
        assert_eq!(parse_instant(b"key", &instant_value(b"key", at)), Ok(at));
        assert_eq!(parse_used(b"key", &[0, 1, 0x11, 0x70]), Ok(used));
        assert_eq!(parse_instant(b"key", &at.as_millis().to_be_bytes()), Ok(at));
    }

    #[test]
    fn any_flipped_bit_and_any_other_key_are_noticed() {
        let value = used_value(b"key", Used::new(7));
        for bit in 0..64 {
            let mut damaged = value;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_used(b"key", &damaged), Err(Damage::Checksum), "bit {bit}");
        }
        assert_eq!(parse_used(b"kex", &value), Err(Damage::Checksum));
        assert_eq!(parse_used(b"key", &value[..3]), Err(Damage::Short));
        assert_eq!(parse_used(b"key", &value[..7]), Err(Damage::Checksum));
    }
}
