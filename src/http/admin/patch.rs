//! How JSON says what to change: a field that is absent stays, `null` empties what may be empty.

use serde::{Deserialize, Deserializer};

/// A field that may be absent but not `null`.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A field that may be absent, `null` or a value.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}
