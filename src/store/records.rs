//! Records: what plans, accounts, keys, audit entries and the store's own state look like in bytes.
//!
//! Each record type is private, numbered, and joined to its domain type here. To change a record,
//! add a `…V2`, write only that, and go on reading every earlier one: old stores must open.

use serde::{Deserialize, Serialize};

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

impl From<Invalid> for Damage {
    fn from(error: Invalid) -> Self {
        Self::Body(error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct PlanV1 {
    name: String,
    api_access: bool,
    requests_per_hour: u32,
    best_for: String,
}

pub(super) fn plan_to_bytes(plan: &Plan) -> Result<Vec<u8>, bincode::Error> {
    let record = PlanV1 {
        name: plan.name.as_str().to_owned(),
        api_access: plan.api_access,
        requests_per_hour: plan.requests_per_hour.as_units(),
        best_for: plan.best_for.as_str().to_owned(),
    };
    codec::seal(V1, &record)
}

pub(super) fn plan_from_bytes(id: &[u8], bytes: &[u8]) -> Result<Plan, Damage> {
    let record: PlanV1 = codec::unseal(V1, bytes)?;
    let id = std::str::from_utf8(id).map_err(|error| Damage::Body(error.to_string()))?;
    Ok(Plan {
        id: PlanId::new(id)?,
        name: Name::new(&record.name)?,
        api_access: record.api_access,
        requests_per_hour: Limit::new(record.requests_per_hour),
        best_for: Note::new(&record.best_for)?,
    })
}

#[derive(Serialize, Deserialize)]
struct AccountV1 {
    name: String,
    email: Option<String>,
    plan: String,
    custom_limit: Option<u32>,
    trial: Option<(String, i64)>,
    suspended: bool,
    created_at_ms: i64,
    updated_at_ms: i64,
}

pub(super) fn account_to_bytes(account: &Account) -> Result<Vec<u8>, bincode::Error> {
    let terms = &account.terms;
    let record = AccountV1 {
        name: account.name.as_str().to_owned(),
        email: account.email.as_ref().map(|email| email.as_str().to_owned()),
        plan: terms.plan.as_str().to_owned(),
        custom_limit: terms.custom_limit.map(Limit::as_units),
        trial: terms.trial.as_ref().map(|trial| (trial.plan.as_str().to_owned(), trial.ends_at.as_millis())),
        suspended: terms.suspended,
        created_at_ms: account.created_at.as_millis(),
        updated_at_ms: account.updated_at.as_millis(),
    };
    codec::seal(V1, &record)
}

pub(super) fn account_from_bytes(id: AccountId, bytes: &[u8]) -> Result<Account, Damage> {
    let record: AccountV1 = codec::unseal(V1, bytes)?;
    let trial = match record.trial {
        Some((plan, ends_at_ms)) => {
            Some(Trial { plan: PlanId::new(&plan)?, ends_at: Timestamp::from_millis(ends_at_ms)? })
        }
        None => None,
    };
    Ok(Account {
        id,
        name: Name::new(&record.name)?,
        email: record.email.as_deref().map(Email::new).transpose()?,
        terms: Terms {
            plan: PlanId::new(&record.plan)?,
            custom_limit: record.custom_limit.map(Limit::new),
            trial,
            suspended: record.suspended,
        },
        created_at: Timestamp::from_millis(record.created_at_ms)?,
        updated_at: Timestamp::from_millis(record.updated_at_ms)?,
    })
}

#[derive(Serialize, Deserialize)]
struct KeyV1 {
    id: [u8; 16],
    account_id: [u8; 16],
    name: String,
    display: String,
    read_only: bool,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
    revoked_at_ms: Option<i64>,
}

pub(super) fn key_to_bytes(key: &Key) -> Result<Vec<u8>, bincode::Error> {
    let record = KeyV1 {
        id: *key.id.as_bytes(),
        account_id: *key.account_id.as_bytes(),
        name: key.name.as_str().to_owned(),
        display: key.display.to_string(),
        read_only: match key.scope {
            Scope::ReadOnly => true,
            Scope::ReadWrite => false,
        },
        created_at_ms: key.created_at.as_millis(),
        expires_at_ms: key.expires_at.map(Timestamp::as_millis),
        revoked_at_ms: key.revoked_at.map(Timestamp::as_millis),
    };
    codec::seal(V1, &record)
}

pub(super) fn key_from_bytes(hash: KeyHash, bytes: &[u8]) -> Result<Key, Damage> {
    let record: KeyV1 = codec::unseal(V1, bytes)?;
    Ok(Key {
        id: KeyId::from_bytes(record.id),
        account_id: AccountId::from_bytes(record.account_id),
        hash,
        name: Name::new(&record.name)?,
        display: record.display.into(),
        scope: if record.read_only { Scope::ReadOnly } else { Scope::ReadWrite },
        created_at: Timestamp::from_millis(record.created_at_ms)?,
        expires_at: record.expires_at_ms.map(Timestamp::from_millis).transpose()?,
        revoked_at: record.revoked_at_ms.map(Timestamp::from_millis).transpose()?,
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
}

#[derive(Serialize, Deserialize)]
struct AuditV1 {
    at_ms: i64,
    actor: String,
    action: String,
    target: String,
    request_id: String,
}

pub(super) fn audit_to_bytes(entry: &AuditEntry) -> Result<Vec<u8>, bincode::Error> {
    let record = AuditV1 {
        at_ms: entry.at.as_millis(),
        actor: entry.actor.clone(),
        action: entry.action.clone(),
        target: entry.target.clone(),
        request_id: entry.request_id.clone(),
    };
    codec::seal(V1, &record)
}

pub(super) fn audit_from_bytes(number: &[u8], bytes: &[u8]) -> Result<AuditEntry, Damage> {
    let record: AuditV1 = codec::unseal(V1, bytes)?;
    Ok(AuditEntry {
        number: codec::parse_number(number)?,
        at: Timestamp::from_millis(record.at_ms)?,
        actor: record.actor,
        action: record.action,
        target: record.target,
        request_id: record.request_id,
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
