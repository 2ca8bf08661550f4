//! Makes ids: UUIDs of version 7, from the given reading of the clock and the system's randomness.

use parking_lot::Mutex;
use uuid::timestamp::context::ContextV7;
use uuid::{Timestamp as UuidTime, Uuid};

use crate::domain::id::{AccountId, ClickId, KeyId, LinkId};
use crate::domain::time::Timestamp;

/// Makes ids of one process sort in the order in which they were made, even within a millisecond.
static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// The same for clicks, as long as the clock does not step back.
static CLICK_ORDER: Mutex<ClickOrder> = Mutex::new(ClickOrder { last: Timestamp::EPOCH, context: ContextV7::new() });

struct ClickOrder {
    last: Timestamp,
    context: ContextV7,
}

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

/// A new link's id.
#[must_use]
pub fn link_id(now: Timestamp) -> LinkId {
    LinkId::new(new_uuid(now))
}

/// A new click's id. It begins with the milliseconds of `now`, also when the clock has stepped back: clicks are looked
/// for by their ids.
#[must_use]
pub fn click_id(now: Timestamp) -> ClickId {
    let mut order = CLICK_ORDER.lock();
    if now < order.last {
        // A context that has seen a later instant would go on from there.
        order.context = ContextV7::new();
    }
    order.last = now;
    ClickId::new(uuid_in(&order.context, now))
}

fn new_uuid(now: Timestamp) -> Uuid {
    uuid_in(&ORDER.lock(), now)
}

fn uuid_in(order: &ContextV7, now: Timestamp) -> Uuid {
    let ms = u64::try_from(now.as_millis()).unwrap_or(0);
    let nanos = u32::try_from(ms % 1000).unwrap_or(0).saturating_mul(1_000_000);
    Uuid::new_v7(UuidTime::from_unix(order, ms / 1000, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_bits(id: ClickId) -> String {
        id.to_string().replace('-', "")[..12].to_owned()
    }

    #[test]
    fn a_click_id_begins_with_its_instant_also_after_the_clock_stepped_back() {
        for text in ["2026-01-31T12:00:00.250Z", "2025-06-01T00:00:00Z", "2026-01-31T12:00:00.250Z"] {
            let now = Timestamp::parse(text).unwrap();

            assert_eq!(first_bits(click_id(now)), format!("{:012x}", now.as_millis()), "{text}");
        }
    }
}
