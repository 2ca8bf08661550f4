//! The audit trail: one line per administrative write, written in the transaction of the write.

use std::fmt::Display;

use super::directory::Page;
use super::records::{self, AuditEntry};
use super::{Store, StoreError, codec, damaged, engine};
use crate::domain::account::Account;
use crate::domain::decision::Limit;
use crate::domain::key::Key;
use crate::domain::plan::Plan;
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

/// What an audit entry says besides who and when.
pub(super) struct Deed {
    action: &'static str,
    target: String,
    changed: Vec<FieldChange>,
}

/// A field that a write changed, before and after it, as in JSON; `None` is null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field's name in JSON.
    pub field: String,
    /// What it was.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
}

impl Deed {
    /// Something that was done to the object with this id.
    pub(super) fn new(action: &'static str, target: &dyn Display) -> Self {
        Self { action, target: target.to_string(), changed: Vec::new() }
    }

    /// Notes a field, if it was changed.
    pub(super) fn changed(mut self, field: &str, from: Option<impl Display>, to: Option<impl Display>) -> Self {
        let (from, to) = (from.map(|value| value.to_string()), to.map(|value| value.to_string()));
        if from != to {
            self.changed.push(FieldChange { field: field.to_owned(), from, to });
        }
        self
    }

    /// Notes a field that holds personal data, if it was changed: its values are left out, as the trail outlives the account.
    fn changed_privately(mut self, field: &str, is_changed: bool) -> Self {
        if is_changed {
            self.changed.push(FieldChange { field: field.to_owned(), from: None, to: None });
        }
        self
    }

    pub(super) fn changed_plan(self, from: &Plan, to: &Plan) -> Self {
        self.changed("name", Some(&from.name), Some(&to.name))
            .changed("api_access", Some(from.api_access), Some(to.api_access))
            .changed(
                "requests_per_hour",
                Some(from.requests_per_hour.as_units()),
                Some(to.requests_per_hour.as_units()),
            )
            .changed("best_for", Some(from.best_for.as_str()), Some(to.best_for.as_str()))
    }

    pub(super) fn changed_account(self, from: &Account, to: &Account) -> Self {
        let trial = |account: &Account| {
            account.terms.trial.as_ref().map(|trial| format!("{} until {}", trial.plan, trial.ends_at))
        };
        self.changed_privately("name", from.name != to.name)
            .changed_privately("email", from.email != to.email)
            .changed("plan", Some(&from.terms.plan), Some(&to.terms.plan))
            .changed(
                "custom_limit",
                from.terms.custom_limit.map(Limit::as_units),
                to.terms.custom_limit.map(Limit::as_units),
            )
            .changed("trial", trial(from), trial(to))
            .changed("suspended", Some(from.terms.suspended), Some(to.terms.suspended))
    }

    pub(super) fn changed_key(self, from: &Key, to: &Key) -> Self {
        self.changed_privately("name", from.name != to.name)
            .changed("scope", Some(from.scope.as_str()), Some(to.scope.as_str()))
            .changed("expires_at", from.expires_at, to.expires_at)
    }
}

impl Author {
    pub(super) fn entry(&self, number: u64, deed: Deed) -> AuditEntry {
        AuditEntry {
            number,
            at: self.at,
            actor: self.actor.clone(),
            action: deed.action.to_owned(),
            target: deed.target,
            request_id: self.request_id.clone(),
            changed: deed.changed,
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
