//! Issuing and rotating keys: for operators, for account holders, and for the demo.

use std::time::Duration;

use crate::domain::Invalid;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{Digit, Key, KeyFormat, KeySecret, RANDOM_CHARS, Scope, Successor};
use crate::domain::text::Name;
use crate::domain::time::Timestamp;
use crate::ids;
use crate::store::{Author, DirectoryError, Store};

/// Longest time that a rotated key lives on: a month is enough to redeploy anything.
pub const GRACE_SECS_MAX: u64 = 30 * 24 * 3600;

/// Why a key was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The system gave no randomness.
    #[error("could not draw random bytes")]
    Random(#[from] getrandom::Error),
    /// The directory refused.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// What whoever asks for a key says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDraft {
    /// For people.
    pub name: Name,
    /// What it may be used for.
    pub scope: Scope,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// How long a rotated key lives on: 0 seconds to 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(Duration);

impl Grace {
    /// Checks a grace period.
    ///
    /// # Errors
    /// When it is longer than [`GRACE_SECS_MAX`].
    pub fn from_secs(secs: u64) -> Result<Self, Invalid> {
        if secs <= GRACE_SECS_MAX {
            Ok(Self(Duration::from_secs(secs)))
        } else {
            Err(Invalid::new(format!("must be 0 to {GRACE_SECS_MAX}")))
        }
    }
}

/// A key that was just issued: the one time that its secret is at hand.
#[derive(Debug)]
pub struct IssuedKey {
    /// As stored.
    pub key: Key,
    /// To show once.
    pub secret: KeySecret,
}

/// Issues a key of an account. It is on disk when this returns.
///
/// # Errors
/// When there is no such account, it is full, or the store fails.
pub fn issue(
    store: &Store,
    format: &KeyFormat,
    account_id: AccountId,
    draft: KeyDraft,
    by: &Author,
) -> Result<IssuedKey, IssueError> {
    let secret = format.seal(&random_digits()?);
    let key = Key {
        id: ids::key_id(by.at),
        account_id,
        hash: secret.hash(),
        name: draft.name,
        display: secret.display().into(),
        scope: draft.scope,
        created_at: by.at,
        expires_at: draft.expires_at,
        revoked_at: None,
        rotated_at: None,
    };
    Ok(IssuedKey { key: store.create_key(key, by)?, secret })
}

/// Issues a key in place of another, which lives on for `grace`, but never past its own expiry.
///
/// # Errors
/// When there is no such key, it is not of `owner`, it has ended or was rotated before, or the store fails.
pub fn rotate(
    store: &Store,
    format: &KeyFormat,
    id: KeyId,
    owner: Option<AccountId>,
    grace: Grace,
    by: &Author,
) -> Result<IssuedKey, IssueError> {
    let secret = format.seal(&random_digits()?);
    let successor = Successor { id: ids::key_id(by.at), hash: secret.hash(), display: secret.display().into() };
    let key = store.rotate_key(id, owner, successor, by.at.plus(grace.0), by)?;
    Ok(IssuedKey { key, secret })
}

/// Draws digits, each of the 62 as likely as any other.
fn random_digits() -> Result<[Digit; RANDOM_CHARS], getrandom::Error> {
    let mut digits = Vec::with_capacity(RANDOM_CHARS);
    loop {
        let mut bytes = [0; RANDOM_CHARS];
        getrandom::fill(&mut bytes)?;
        digits.extend(bytes.into_iter().filter_map(Digit::from_random));
        if let Some(drawn) = digits.first_chunk::<RANDOM_CHARS>() {
            return Ok(*drawn);
        }
    }
}
