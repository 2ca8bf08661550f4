//! The times of logs: in words, or as a number of seconds or milliseconds since 1970.

use chrono::DateTime;

use super::terminal::quote;
use crate::domain::time::Timestamp;

/// What the common log format has between its brackets: `29/Nov/2026:10:00:00 +0000`.
const COMMON: &str = "%d/%b/%Y:%H:%M:%S %z";
/// ISO 8601 with an offset that has no colon, which RFC 3339 would ask for: `2026-11-29T10:00:00.250+0100`.
const ISO: &str = "%Y-%m-%dT%H:%M:%S%.f%z";
/// From here on, a number counts milliseconds: as seconds it would be in the year 5138, as milliseconds it is in 1973.
const MILLIS_MIN: i64 = 100_000_000_000;
/// What is less, in the year 2001, is no time but how long something took.
const SECS_MIN: i64 = 1_000_000_000;

/// Reads a time in the brackets of the common log format.
pub(super) fn read_common(text: &str) -> Result<Timestamp, String> {
    from_format(text, COMMON)
        .ok_or_else(|| format!("its time {} is none such as 29/Nov/2026:10:00:00 +0000", quote(text)))
}

/// Reads a time in whatever form JSON logs have it.
pub(super) fn read(text: &str) -> Result<Timestamp, String> {
    let found = if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['-', '/', ':']) {
        from_number(text)
    } else {
        Timestamp::parse(text).ok().or_else(|| from_format(text, ISO)).or_else(|| from_format(text, COMMON))
    };
    found.ok_or_else(|| format!("its time {} is neither RFC 3339 nor seconds or milliseconds since 1970", quote(text)))
}

fn from_format(text: &str, format: &str) -> Option<Timestamp> {
    let parsed = DateTime::parse_from_str(text, format).ok()?;
    Timestamp::from_millis(parsed.timestamp_millis()).ok()
}

/// Seconds or milliseconds, which the size of the number tells. What stands behind the point of seconds counts as far as
/// to the millisecond.
fn from_number(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    if whole >= MILLIS_MIN {
        return Timestamp::from_millis(whole).ok();
    }
    let fraction: String = fraction.chars().chain("00".chars()).take(3).collect();
    let millis = whole.checked_mul(1000)?.checked_add(fraction.parse().ok()?)?;
    Timestamp::from_millis(millis).ok().filter(|_time| whole >= SECS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: &str = "2026-11-29T10:00:00Z";

    #[test]
    fn the_common_format_is_read_in_any_offset() {
        for text in ["29/Nov/2026:10:00:00 +0000", "29/Nov/2026:11:00:00 +0100", "29/Nov/2026:04:30:00 -0530"] {
            assert_eq!(read_common(text).unwrap().to_string(), TEN, "{text}");
        }
        for text in ["", "29/Nov/2026:10:00:00", "31/Feb/2026:10:00:00 +0000", "29/Nov/1969:10:00:00 +0000", TEN] {
            assert!(read_common(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_is_seconds_or_milliseconds_and_a_small_one_no_time() {
        for text in ["1795946400", "1795946400.0", "1795946400000"] {
            assert_eq!(read(text).unwrap().to_string(), TEN, "{text}");
        }
        for (text, millis) in [("1795946400.25", 250), ("1795946400.0019", 1), ("1795946400999", 999)] {
            assert_eq!(read(text).unwrap().as_millis(), 1_795_946_400_000 + millis, "{text}");
        }
        for text in
            ["1e9", "1.", ".5", "17x", "-1", "1795946400.2.5", "99999999999999999999", "1795946400000000", "0.003"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("999999999").is_err() && read("1000000000").is_ok());
    }

    #[test]
    fn words_are_rfc_3339_or_near_it() {
        for text in ["2026-11-29T11:00:00+01:00", "2026-11-29T11:00:00.000+0100", "29/Nov/2026:10:00:00 +0000"] {
            assert_eq!(read(text).unwrap().to_string(), TEN, "{text}");
        }
        assert!(read("yesterday").unwrap_err().contains("RFC 3339"));
    }
}
