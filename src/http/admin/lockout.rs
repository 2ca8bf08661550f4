//! Locks out addresses that guess the admin token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::time::Timestamp;

/// Wrong tokens from one address in [`SPAN`] that lock it out for another [`SPAN`].
const WRONG_MAX: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);
/// Addresses remembered at once, so that a client with many of them cannot fill the memory. When
/// all are taken, those whose minute is over make room; if there is none, further ones go unnoticed
/// until then, each with its own ten tries: a 256-bit token does not care.
const ADDRESSES_MAX: usize = 10_000;

/// Wrong tokens by address.
#[derive(Default)]
pub(crate) struct Lockouts(Mutex<HashMap<IpAddr, Wrong>>);

struct Wrong {
    count: u32,
    /// When the minute began: of the first wrong token, or of the lock-out.
    since: Timestamp,
}

impl Wrong {
    /// A clock that steps back must not lengthen a lock-out.
    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.since.plus(SPAN) || now < self.since
    }
}

impl Lockouts {
    /// How long an address is still locked out, in seconds; `None` if it is not.
    pub(crate) fn secs_left(&self, address: IpAddr, now: Timestamp) -> Option<u32> {
        let seen = self.0.lock();
        let wrong = seen.get(&address).filter(|wrong| wrong.count >= WRONG_MAX && !wrong.is_over(now))?;
        let left_ms = wrong.since.plus(SPAN).since(now).as_millis();
        u32::try_from(left_ms.div_ceil(1000)).ok()
    }

    /// Notes a wrong token.
    pub(crate) fn note_wrong(&self, address: IpAddr, now: Timestamp) {
        let mut seen = self.0.lock();
        if seen.len() >= ADDRESSES_MAX && !seen.contains_key(&address) {
            seen.retain(|_address, wrong| !wrong.is_over(now));
            if seen.len() >= ADDRESSES_MAX {
                return;
            }
        }
        let wrong = seen.entry(address).or_insert(Wrong { count: 0, since: now });
        if wrong.is_over(now) {
            *wrong = Wrong { count: 0, since: now };
        }
        wrong.count = wrong.count.saturating_add(1);
        if wrong.count == WRONG_MAX {
            wrong.since = now;
            tracing::warn!(client = %address, "too many wrong admin tokens: locked out for a minute");
        }
    }
}
