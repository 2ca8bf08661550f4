//! Records: what plans, accounts, keys, audit entries and the store's own state look like in bytes.
//!
//! Each record type is private, numbered, and joined to its domain type here. To change a record,
//! add a `…V2`, write only that, and go on reading every earlier one: old stores must open.

use serde::{Deserialize, Serialize};

use super::audit::FieldChange;
use super::codec::{self, Damage};
use crate::domain::Invalid;
use crate::domain::account::{Account, Terms, Trial};
use crate::domain::decision::Limit;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{Key, KeyHash, Scope};
use crate::domain::plan::{Plan, PlanId};
use crate::domain::text::{Email, Name, Note};
use crate::domain::time::Timestamp;

const V1: u8 = 1;
const V2: u8 = 2;

impl From<Invalid> for Damage {
    fn from(error: Invalid) -> Self {
        Self::Body(error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct PlanV1<'b> {
    name: &'b str,
    api_access: bool,
    requests_per_hour: u32,
    best_for: &'b str,
}

pub(super) fn plan_to_bytes(plan: &Plan) -> Result<Vec<u8>, bincode::Error> {
    let record = PlanV1 {
        name: plan.name.as_str(),
        api_access: plan.api_access,
        requests_per_hour: plan.requests_per_hour.as_units(),
        best_for: plan.best_for.as_str(),
    };
    codec::seal(V1, &record)
}

pub(super) fn plan_from_bytes(id: &[u8], bytes: &[u8]) -> Result<Plan, Damage> {
    let record: PlanV1<'_> = codec::unseal(V1, bytes)?;
    let id = std::str::from_utf8(id).map_err(|error| Damage::Body(error.to_string()))?;
    Ok(Plan {
        id: PlanId::new(id)?,
        name: Name::new(record.name)?,
        api_access: record.api_access,
        requests_per_hour: Limit::new(record.requests_per_hour),
        best_for: Note::new(record.best_for)?,
    })
}

#[derive(Serialize, Deserialize)]
struct AccountV1<'b> {
    name: &'b str,
    #[serde(borrow)]
    email: Option<&'b str>,
    plan: &'b str,
    custom_limit: Option<u32>,
    #[serde(borrow)]
    trial: Option<(&'b str, i64)>,
    suspended: bool,
    created_at_ms: i64,
    updated_at_ms: i64,
}

pub(super) fn account_to_bytes(account: &Account) -> Result<Vec<u8>, bincode::Error> {
    let terms = &account.terms;
    let record = AccountV1 {
        name: account.name.as_str(),
        email: account.email.as_ref().map(Email::as_str),
        plan: terms.plan.as_str(),
        custom_limit: terms.custom_limit.map(Limit::as_units),
        trial: terms.trial.as_ref().map(|trial| (trial.plan.as_str(), trial.ends_at.as_millis())),
        suspended: terms.suspended,
        created_at_ms: account.created_at.as_millis(),
        updated_at_ms: account.updated_at.as_millis(),
    };
    codec::seal(V1, &record)
}

pub(super) fn account_from_bytes(id: AccountId, bytes: &[u8]) -> Result<Account, Damage> {
    let record: AccountV1<'_> = codec::unseal(V1, bytes)?;
    Ok(Account {
        id,
        name: Name::new(record.name)?,
        email: record.email.map(Email::new).transpose()?,
        terms: record.terms()?,
        created_at: Timestamp::from_millis(record.created_at_ms)?,
        updated_at: Timestamp::from_millis(record.updated_at_ms)?,
    })
}

/// Of an account that which requests ask for.
pub(super) fn terms_from_bytes(bytes: &[u8]) -> Result<Terms, Damage> {
    codec::unseal::<AccountV1<'_>>(V1, bytes)?.terms()
}

impl AccountV1<'_> {
    fn terms(&self) -> Result<Terms, Damage> {
        let trial = |(plan, ends_at_ms)| -> Result<Trial, Damage> {
            Ok(Trial { plan: PlanId::new(plan)?, ends_at: Timestamp::from_millis(ends_at_ms)? })
        };
        Ok(Terms {
            plan: PlanId::new(self.plan)?,
            custom_limit: self.custom_limit.map(Limit::new),
            trial: self.trial.map(trial).transpose()?,
            suspended: self.suspended,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct KeyV1<'b> {
    id: [u8; 16],
    account_id: [u8; 16],
    name: &'b str,
    display: &'b str,
    read_only: bool,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
    revoked_at_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct KeyV2<'b> {
    #[serde(borrow)]
    v1: KeyV1<'b>,
    rotated_at_ms: Option<i64>,
}

pub(super) fn key_to_bytes(key: &Key) -> Result<Vec<u8>, bincode::Error> {
    let v1 = KeyV1 {
        id: *key.id.as_bytes(),
        account_id: *key.account_id.as_bytes(),
        name: key.name.as_str(),
        display: &key.display,
        read_only: match key.scope {
            Scope::ReadOnly => true,
            Scope::ReadWrite => false,
        },
        created_at_ms: key.created_at.as_millis(),
        expires_at_ms: key.expires_at.map(Timestamp::as_millis),
        revoked_at_ms: key.revoked_at.map(Timestamp::as_millis),
    };
    codec::seal(V2, &KeyV2 { v1, rotated_at_ms: key.rotated_at.map(Timestamp::as_millis) })
}

pub(super) fn key_from_bytes(hash: KeyHash, bytes: &[u8]) -> Result<Key, Damage> {
    let (record, rotated_at_ms) = match codec::version(bytes) {
        Some(V1) => (codec::unseal::<KeyV1<'_>>(V1, bytes)?, None),
        Some(_) | None => {
            let KeyV2 { v1, rotated_at_ms } = codec::unseal(V2, bytes)?;
            (v1, rotated_at_ms)
        }
    };
    Ok(Key {
        id: KeyId::from_bytes(record.id),
        account_id: AccountId::from_bytes(record.account_id),
        hash,
        name: Name::new(record.name)?,
        display: record.display.into(),
        scope: if record.read_only { Scope::ReadOnly } else { Scope::ReadWrite },
        created_at: Timestamp::from_millis(record.created_at_ms)?,
        expires_at: record.expires_at_ms.map(Timestamp::from_millis).transpose()?,
        revoked_at: record.revoked_at_ms.map(Timestamp::from_millis).transpose()?,
        rotated_at: rotated_at_ms.map(Timestamp::from_millis).transpose()?,
    })
}

/// One line of the audit trail: who changed what, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Counts up by one from 1; never used twice.
    pub number: u64,
    /// When the change was made.
    pub at: Timestamp,
    /// `admin`, or `account:<id>` for an account holder with a JWT.
    pub actor: String,
    /// What was done: `account.create`, `key.revoke`, ….
    pub action: String,
    /// What it was done to: an id.
    pub target: String,
    /// The `X-Request-Id` of the request.
    pub request_id: String,
    /// Which fields of the target it changed.
    pub changed: Vec<FieldChange>,
}

#[derive(Serialize, Deserialize)]
struct AuditV1<'b> {
    at_ms: i64,
    actor: &'b str,
    action: &'b str,
    target: &'b str,
    request_id: &'b str,
}

#[derive(Serialize, Deserialize)]
struct AuditV2<'b> {
    #[serde(borrow)]
    v1: AuditV1<'b>,
    #[serde(borrow)]
    changed: Vec<(&'b str, Option<&'b str>, Option<&'b str>)>,
}

pub(super) fn audit_to_bytes(entry: &AuditEntry) -> Result<Vec<u8>, bincode::Error> {
    let v1 = AuditV1 {
        at_ms: entry.at.as_millis(),
        actor: &entry.actor,
        action: &entry.action,
        target: &entry.target,
        request_id: &entry.request_id,
    };
    let changed = entry.changed.iter();
    let changed = changed.map(|change| (change.field.as_str(), change.from.as_deref(), change.to.as_deref())).collect();
    codec::seal(V2, &AuditV2 { v1, changed })
}

pub(super) fn audit_from_bytes(number: &[u8], bytes: &[u8]) -> Result<AuditEntry, Damage> {
    let AuditV2 { v1: record, changed } = match codec::version(bytes) {
        Some(V1) => AuditV2 { v1: codec::unseal(V1, bytes)?, changed: Vec::new() },
        Some(_) | None => codec::unseal(V2, bytes)?,
    };
    let change = |(field, from, to): (&str, Option<&str>, Option<&str>)| FieldChange {
        field: field.to_owned(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
    };
    Ok(AuditEntry {
        number: codec::parse_number(number)?,
        at: Timestamp::from_millis(record.at_ms)?,
        actor: record.actor.to_owned(),
        action: record.action.to_owned(),
        target: record.target.to_owned(),
        request_id: record.request_id.to_owned(),
        changed: changed.into_iter().map(change).collect(),
    })
}

/// What the store says of itself, in the `meta` tree: how it was left, and what it then held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateV1 {
    /// Counts the times that the store was opened for writing.
    pub(super) generation: u64,
    /// What it is in the middle of, or how it was left.
    pub(super) phase: Phase,
    /// Rows when it was closed; only looked at after a clean close.
    pub(super) plans: u64,
    /// Rows when it was closed.
    pub(super) accounts: u64,
    /// Rows when it was closed.
    pub(super) keys: u64,
}

/// How far a store's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Open, or left by a crash: the rows may be more or fewer than at the last clean close.
    Open,
    /// Closed properly: the rows are exactly those counted.
    Closed,
    /// A restore has begun and has not ended: the rows are a part of a dump.
    Restoring,
}

pub(super) fn state_to_bytes(state: &StateV1) -> Result<Vec<u8>, bincode::Error> {
    codec::seal(V1, state)
}

pub(super) fn state_from_bytes(bytes: &[u8]) -> Result<StateV1, Damage> {
    codec::unseal(V1, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms).unwrap()
    }

    #[test]
    fn keys_and_audit_entries_of_the_first_version_are_read() {
        let hash = KeyHash::parse(&"ab".repeat(32)).unwrap();
        let v1 = KeyV1 {
            id: [1; 16],
            account_id: [2; 16],
            name: "ci",
            display: "klinky_live_a1b2…",
            read_only: true,
            created_at_ms: 5,
            expires_at_ms: Some(7),
            revoked_at_ms: None,
        };
        let key = key_from_bytes(hash, &codec::seal(V1, &v1).unwrap()).unwrap();
        assert_eq!((key.name.as_str(), key.scope, key.expires_at), ("ci", Scope::ReadOnly, Some(instant(7))));
        assert_eq!(key.rotated_at, None);
        let rotated = Key { rotated_at: Some(instant(6)), ..key };
        assert_eq!(key_from_bytes(hash, &key_to_bytes(&rotated).unwrap()), Ok(rotated));

        let v1 = AuditV1 { at_ms: 5, actor: "admin", action: "plan.update", target: "free", request_id: "r" };
        let number = codec::number_key(9);
        let entry = audit_from_bytes(&number, &codec::seal(V1, &v1).unwrap()).unwrap();
        assert_eq!((entry.number, entry.target.as_str(), entry.changed.len()), (9, "free", 0));
        let change = FieldChange { field: "plan".to_owned(), from: Some("a".to_owned()), to: None };
        let entry = AuditEntry { changed: vec![change], ..entry };
        assert_eq!(audit_from_bytes(&number, &audit_to_bytes(&entry).unwrap()), Ok(entry));
    }
}
