//! Makes ids: UUIDs of version 7, from the given reading of the clock and the system's randomness.

use parking_lot::Mutex;
use uuid::timestamp::context::ContextV7;
use uuid::{Timestamp as UuidTime, Uuid};

use crate::domain::id::{AccountId, KeyId};
use crate::domain::time::Timestamp;

/// Makes ids of one process sort in the order in which they were made, even within a millisecond.
static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// A new account's id.
#[must_use]
pub fn account_id(now: Timestamp) -> AccountId {
    AccountId::new(new_uuid(now))
}

/// A new key's id.
#[must_use]
pub fn key_id(now: Timestamp) -> KeyId {
    KeyId::new(new_uuid(now))
}

fn new_uuid(now: Timestamp) -> Uuid {
    let ms = u64::try_from(now.as_millis()).unwrap_or(0);
    let nanos = u32::try_from(ms % 1000).unwrap_or(0).saturating_mul(1_000_000);
    Uuid::new_v7(UuidTime::from_unix(&*ORDER.lock(), ms / 1000, nanos))
}
