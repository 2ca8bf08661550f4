//! What the two APIs that manage keys, the account holder's and the operator's, have in common.

use super::error::ApiError;
use super::extract::field;
use crate::accounts::in_future;
use crate::domain::Invalid;
use crate::domain::id::KeyId;
use crate::domain::key::Scope;
use crate::domain::text::Name;
use crate::domain::time::Timestamp;
use crate::keys::{Grace, KeyDraft};

/// How long a rotated key lives on if nothing is said: time to deploy the new one. Who knows that the
/// old one leaked says 0, or revokes it.
pub(crate) const GRACE_SECS_DEFAULT: u64 = 3600;

/// A key's id from a path; what is no id is no key's id.
pub(crate) fn parse_id(text: &str) -> Result<KeyId, ApiError> {
    KeyId::parse(text).map_err(|_no_id| ApiError::NotFound("key"))
}

/// A draft from the fields of a body.
pub(crate) fn draft(
    name: &str,
    scope: Option<&str>,
    expires_at: Option<&str>,
    now: Timestamp,
) -> Result<KeyDraft, ApiError> {
    Ok(KeyDraft {
        name: field("name", Name::new(name))?,
        scope: field("scope", scope.map_or(Ok(Scope::ReadWrite), Scope::parse))?,
        expires_at: field("expires_at", expires_at.map(|text| expiry(text, now)).transpose())?,
    })
}

/// An expiry, which must be yet to come.
pub(crate) fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, Invalid> {
    Timestamp::parse(text).and_then(|at| in_future(at, now))
}

/// The grace period of a rotation.
pub(crate) fn grace(secs: Option<u64>) -> Result<Grace, ApiError> {
    field("grace_seconds", Grace::from_secs(secs.unwrap_or(GRACE_SECS_DEFAULT)))
}
