//! Pure values and rules: what an account, a key, a plan, a window and a decision are.
//!
//! Nothing here does I/O, asks for the time, draws a random number, logs, or knows actix or sled.
//! Every type has private fields and one fallible constructor, so that what exists is valid.

pub mod account;
pub mod click;
pub mod decision;
pub mod endpoint;
pub mod id;
pub mod idempotency;
pub mod key;
pub mod link;
pub mod plan;
pub mod text;
pub mod time;
pub mod usage;
pub mod usage_hour;
pub mod variant;
pub mod web;
pub mod window;

/// Why a raw value was refused, as a phrase that follows the name of its field:
/// `must be 1 to 100 characters, got 0`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
