//! The audit trail: one line per administrative write, written in the transaction of the write.

use super::directory::Page;
use super::records::{self, AuditEntry};
use super::{Store, StoreError, codec, damaged, engine};
use crate::domain::time::Timestamp;

/// Entries kept. Account holders can add to the trail with a JWT, so it has a bound; at 200 bytes
/// an entry this is 20 MB.
pub(super) const ENTRIES_MAX: u64 = 100_000;

/// What whoever writes the directory holds under its lock.
pub(super) struct Writing {
    /// The number that the next entry gets.
    pub(super) next_number: u64,
    /// The store was closed and its rows counted: a later write would look like damage.
    pub(super) is_closed: bool,
}

/// Who makes a change, by which request, and when.
#[derive(Debug, Clone)]
pub struct Author {
    /// `admin`, or `account:<id>`.
    pub actor: String,
    /// The request's id.
    pub request_id: String,
    /// The request's reading of the clock.
    pub at: Timestamp,
}

impl Author {
    pub(super) fn entry(&self, number: u64, action: &str, target: String) -> AuditEntry {
        AuditEntry {
            number,
            at: self.at,
            actor: self.actor.clone(),
            action: action.to_owned(),
            target,
            request_id: self.request_id.clone(),
        }
    }
}

impl Store {
    /// One page of the trail, newest first, after (older than) the entry numbered `after`.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn list_audit(&self, after: Option<u64>, limit: usize) -> Result<Page<AuditEntry>, StoreError> {
        let end = codec::number_key(after.unwrap_or(u64::MAX));
        let rows = self.trees.audit.range::<[u8; 8], _>(..end).rev().map(|row| {
            let (number, bytes) = row.map_err(engine("list the audit trail"))?;
            records::audit_from_bytes(&number, &bytes).map_err(damaged("audit", &number))
        });
        Page::take(rows, limit)
    }

    /// The number after the newest entry's.
    pub(super) fn next_audit_number(audit: &sled::Tree) -> Result<u64, StoreError> {
        let newest = audit.last().map_err(engine("read the audit trail"))?;
        let number = match &newest {
            Some((key, bytes)) => records::audit_from_bytes(key, bytes).map_err(damaged("audit", key))?.number,
            None => 0,
        };
        Ok(number.saturating_add(1))
    }
}
