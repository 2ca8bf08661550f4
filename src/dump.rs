//! Dumps: the whole store as JSON lines, and back.
//!
//! The first line names format and version. Plans, accounts, keys and counters follow, in this order
//! and each in the order of its id, so that two dumps of the same store differ in the first line only.
//! Whatever a line names stands before it. Keys are hashes; secrets and the audit trail are not dumped.
//!
//! A dump runs beside requests and is not a snapshot, but it is always whole: a key or counter goes
//! out only if its account did, and an account's plan goes out before the account.

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use crate::config::DumpKind;
use crate::domain::Invalid;
use crate::domain::account::{Account, Terms, Trial};
use crate::domain::decision::{Limit, Used};
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{Key, KeyHash, Scope};
use crate::domain::plan::{Plan, PlanId};
use crate::domain::text::{Email, Name, Note};
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::store::{Author, Counter, DirectoryError, KeyUse, RestoreError, Store, StoreError};

const FORMAT: &str = "klinky";
/// The version that is written. Every earlier one is read, see `data/dumps/`.
const VERSION: u32 = 1;
/// Rows that are read from the store at a time.
const PAGE_ROWS: usize = 1000;
/// Longest line that a restore reads: far above any that a dump writes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Why a dump failed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// There is no account with the given id.
    #[error("no such account")]
    NoAccount,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output failed.
    #[error("could not write the dump")]
    Output(#[from] io::Error),
}

/// Why a dump was not restored. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFailure {
    /// The first line is not that of a dump that this program reads.
    #[error("not a klinky dump of a version up to {VERSION}: {0}")]
    Header(String),
    /// A line is refused.
    #[error("line {number}: {reason}")]
    Line {
        /// Counted from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The input failed.
    #[error("could not read the dump")]
    Input(#[from] io::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] RestoreError),
}

/// What of the store is dumped.
#[derive(Debug, Clone, Default)]
pub struct DumpFilter {
    /// Only these kinds; all if empty.
    pub only: Vec<DumpKind>,
    /// Only this account, with its plans, keys and counters.
    pub account: Option<AccountId>,
}

impl DumpFilter {
    fn has(&self, kind: DumpKind) -> bool {
        self.only.is_empty() || self.only.contains(&kind)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Header(HeaderLine),
    Plan(PlanLine),
    Account(AccountLine),
    Key(KeyLine),
    Counter(CounterLine),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    format: String,
    version: u32,
    created_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanLine {
    id: String,
    name: String,
    api_access: bool,
    requests_per_hour: u32,
    best_for: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountLine {
    id: String,
    name: String,
    email: Option<String>,
    plan: String,
    custom_limit: Option<u32>,
    trial: Option<TrialLine>,
    suspended: bool,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialLine {
    plan: String,
    ends_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    id: String,
    account_id: String,
    sha256: String,
    name: String,
    display: String,
    scope: String,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    last_used_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterLine {
    account_id: String,
    hour: String,
    used: u32,
}

/// Writes a dump of `store`.
///
/// # Errors
/// When the store or the output fails, or the account of the filter does not exist.
pub fn write(store: &Store, filter: &DumpFilter, now: Timestamp, out: &mut dyn Write) -> Result<(), DumpError> {
    if let Some(id) = filter.account {
        // Before the header, so that nothing goes out where there is nothing to dump.
        found(store.get_account(id))?;
    }
    let header = HeaderLine { format: FORMAT.to_owned(), version: VERSION, created_at: now.to_string() };
    let mut dump = Dump { out, filter, plans: HashSet::new(), accounts: HashSet::new() };
    dump.line(&Line::Header(header))?;
    match filter.account {
        Some(id) => dump.one_account(store, id)?,
        None => dump.everything(store)?,
    }
    Ok(dump.out.flush()?)
}

struct Dump<'a> {
    out: &'a mut dyn Write,
    filter: &'a DumpFilter,
    /// What went out: what names something else goes out only if that did.
    plans: HashSet<PlanId>,
    accounts: HashSet<AccountId>,
}

impl Dump<'_> {
    fn everything(&mut self, store: &Store) -> Result<(), DumpError> {
        let mut after = None;
        loop {
            let page = store.list_plans(after.as_ref(), PAGE_ROWS)?;
            page.items.iter().try_for_each(|plan| self.plan(plan))?;
            after = page.items.last().map(|plan| plan.id.clone());
            if !page.has_more {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = store.list_accounts(after, PAGE_ROWS)?;
            page.items.iter().try_for_each(|account| self.account(store, account))?;
            after = page.items.last().map(|account| account.id);
            if !page.has_more {
                break;
            }
        }
        store.keys().try_for_each(|key| self.key(&key?))?;
        store.counters().try_for_each(|counter| self.counter(&counter?))
    }

    fn one_account(&mut self, store: &Store, id: AccountId) -> Result<(), DumpError> {
        let account = found(store.get_account(id))?;
        self.account(store, &account)?;
        let keys = found(store.list_keys(id, None, PAGE_ROWS))?;
        keys.items.iter().try_for_each(|key| self.key(key))?;
        store.counters().try_for_each(|counter| self.counter(&counter?))
    }

    fn plan(&mut self, plan: &Plan) -> Result<(), DumpError> {
        self.plans.insert(plan.id.clone());
        if !self.filter.has(DumpKind::Plans) {
            return Ok(());
        }
        self.line(&Line::Plan(PlanLine {
            id: plan.id.to_string(),
            name: plan.name.to_string(),
            api_access: plan.api_access,
            requests_per_hour: plan.requests_per_hour.as_units(),
            best_for: plan.best_for.as_str().to_owned(),
        }))
    }

    fn account(&mut self, store: &Store, account: &Account) -> Result<(), DumpError> {
        let terms = &account.terms;
        for plan in [Some(&terms.plan), terms.trial.as_ref().map(|trial| &trial.plan)].into_iter().flatten() {
            // A plan that was added after the plans went out, or of the one account that is asked for.
            if !self.plans.contains(plan) {
                let plan = found(store.get_plan(plan))?;
                self.plan(&plan)?;
            }
        }
        self.accounts.insert(account.id);
        if !self.filter.has(DumpKind::Accounts) {
            return Ok(());
        }
        self.line(&Line::Account(AccountLine {
            id: account.id.to_string(),
            name: account.name.to_string(),
            email: account.email.as_ref().map(|email| email.as_str().to_owned()),
            plan: terms.plan.to_string(),
            custom_limit: terms.custom_limit.map(Limit::as_units),
            trial: terms
                .trial
                .as_ref()
                .map(|trial| TrialLine { plan: trial.plan.to_string(), ends_at: trial.ends_at.to_string() }),
            suspended: terms.suspended,
            created_at: account.created_at.to_string(),
            updated_at: account.updated_at.to_string(),
        }))
    }

    fn key(&mut self, row: &KeyUse) -> Result<(), DumpError> {
        let key = &row.key;
        if !self.filter.has(DumpKind::Keys) || !self.accounts.contains(&key.account_id) {
            return Ok(());
        }
        self.line(&Line::Key(KeyLine {
            id: key.id.to_string(),
            account_id: key.account_id.to_string(),
            sha256: key.hash.to_string(),
            name: key.name.to_string(),
            display: key.display.to_string(),
            scope: key.scope.as_str().to_owned(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
            last_used_at: row.last_used_at.map(|at| at.to_string()),
        }))
    }

    fn counter(&mut self, counter: &Counter) -> Result<(), DumpError> {
        if !self.filter.has(DumpKind::Counters) || !self.accounts.contains(&counter.account_id) {
            return Ok(());
        }
        self.line(&Line::Counter(CounterLine {
            account_id: counter.account_id.to_string(),
            hour: counter.window.start().to_string(),
            used: counter.used.as_units(),
        }))
    }

    fn line(&mut self, line: &Line) -> Result<(), DumpError> {
        serde_json::to_writer(&mut *self.out, line).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }
}

fn found<T>(result: Result<T, DirectoryError>) -> Result<T, DumpError> {
    result.map_err(|error| match error {
        DirectoryError::Store(error) => DumpError::Store(error),
        DirectoryError::NoAccount
        | DirectoryError::NoPlan(_)
        | DirectoryError::NoKey
        | DirectoryError::PlanExists(_)
        | DirectoryError::PlanInUse(_)
        | DirectoryError::KeysFull
        | DirectoryError::KeyEnded => DumpError::NoAccount,
    })
}

/// How many rows of each kind a restore brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Plans.
    pub plans: u64,
    /// Accounts.
    pub accounts: u64,
    /// Keys.
    pub keys: u64,
    /// Counters.
    pub counters: u64,
}

/// Fills an empty store from a dump: all of it, or nothing. It is on disk when this returns.
///
/// # Errors
/// When the store is not empty or fails, or a line is refused.
pub fn restore(
    store: &Store,
    first_plans: &[Plan],
    mut dump: impl BufRead,
    by: &Author,
) -> Result<Restored, RestoreFailure> {
    check_header(&mut dump)?;
    let restore = store.start_restore(first_plans)?;
    let mut restored = Restored::default();
    let mut number: u64 = 1;
    while let Some(text) = next_line(&mut dump)? {
        number = number.saturating_add(1);
        let refused = |reason: String| RestoreFailure::Line { number, reason };
        let line: Line = serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
        let rows = match &line {
            Line::Header(_) => return Err(refused("a second header".to_owned())),
            Line::Plan(_) => &mut restored.plans,
            Line::Account(_) => &mut restored.accounts,
            Line::Key(_) => &mut restored.keys,
            Line::Counter(_) => &mut restored.counters,
        };
        *rows = rows.saturating_add(1);
        let put = match line {
            Line::Header(_) => Ok(()),
            Line::Plan(line) => restore.put_plan(&plan(&line).map_err(refused)?),
            Line::Account(line) => restore.put_account(&account(&line).map_err(refused)?),
            Line::Key(line) => restore.put_key(&key(&line).map_err(refused)?),
            Line::Counter(line) => restore.put_counter(&counter(&line).map_err(refused)?),
        };
        put.map_err(|error| match error {
            RestoreError::Twice(_) | RestoreError::Missing(_) => refused(error.to_string()),
            RestoreError::NotEmpty | RestoreError::Store(_) => RestoreFailure::Store(error),
        })?;
    }
    restore.finish(by)?;
    Ok(restored)
}

fn check_header(dump: &mut impl BufRead) -> Result<(), RestoreFailure> {
    let text = next_line(dump)?.ok_or_else(|| RestoreFailure::Header("it is empty".to_owned()))?;
    match serde_json::from_slice(&text) {
        Ok(Line::Header(header)) if header.format == FORMAT && header.version == VERSION => Ok(()),
        Ok(Line::Header(header)) => {
            Err(RestoreFailure::Header(format!("its format is {:?}, version {}", header.format, header.version)))
        }
        Ok(Line::Plan(_) | Line::Account(_) | Line::Key(_) | Line::Counter(_)) => {
            Err(RestoreFailure::Header("its first line is not a header".to_owned()))
        }
        Err(error) => Err(RestoreFailure::Header(error.to_string())),
    }
}

/// The next line without its end; `None` at the end of the input.
fn next_line(dump: &mut impl BufRead) -> Result<Option<Vec<u8>>, RestoreFailure> {
    let mut line = Vec::new();
    dump.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(last) => {
            // The end of the input, or the bound: then the line does not parse, and is refused as such.
            line.push(last);
            Ok(Some(line))
        }
    }
}

/// Names the field that was refused.
fn field<T>(name: &str, checked: Result<T, Invalid>) -> Result<T, String> {
    checked.map_err(|error| format!("{name}: {error}"))
}

fn instant(name: &str, text: Option<&String>) -> Result<Option<Timestamp>, String> {
    text.map(|text| field(name, Timestamp::parse(text))).transpose()
}

fn plan(line: &PlanLine) -> Result<Plan, String> {
    Ok(Plan {
        id: field("id", PlanId::new(&line.id))?,
        name: field("name", Name::new(&line.name))?,
        api_access: line.api_access,
        requests_per_hour: Limit::new(line.requests_per_hour),
        best_for: field("best_for", Note::new(&line.best_for))?,
    })
}

fn account(line: &AccountLine) -> Result<Account, String> {
    let trial = |trial: &TrialLine| -> Result<Trial, String> {
        Ok(Trial {
            plan: field("trial.plan", PlanId::new(&trial.plan))?,
            ends_at: field("trial.ends_at", Timestamp::parse(&trial.ends_at))?,
        })
    };
    Ok(Account {
        id: field("id", AccountId::parse(&line.id))?,
        name: field("name", Name::new(&line.name))?,
        email: line.email.as_deref().map(|text| field("email", Email::new(text))).transpose()?,
        terms: Terms {
            plan: field("plan", PlanId::new(&line.plan))?,
            custom_limit: line.custom_limit.map(Limit::new),
            trial: line.trial.as_ref().map(trial).transpose()?,
            suspended: line.suspended,
        },
        created_at: field("created_at", Timestamp::parse(&line.created_at))?,
        updated_at: field("updated_at", Timestamp::parse(&line.updated_at))?,
    })
}

fn key(line: &KeyLine) -> Result<KeyUse, String> {
    Ok(KeyUse {
        key: Key {
            id: field("id", KeyId::parse(&line.id))?,
            account_id: field("account_id", AccountId::parse(&line.account_id))?,
            hash: field("sha256", KeyHash::parse(&line.sha256))?,
            name: field("name", Name::new(&line.name))?,
            // The display form has the bounds of a name.
            display: field("display", Name::new(&line.display))?.as_str().into(),
            scope: field("scope", Scope::parse(&line.scope))?,
            created_at: field("created_at", Timestamp::parse(&line.created_at))?,
            expires_at: instant("expires_at", line.expires_at.as_ref())?,
            revoked_at: instant("revoked_at", line.revoked_at.as_ref())?,
        },
        last_used_at: instant("last_used_at", line.last_used_at.as_ref())?,
    })
}

fn counter(line: &CounterLine) -> Result<Counter, String> {
    Ok(Counter {
        account_id: field("account_id", AccountId::parse(&line.account_id))?,
        window: field("hour", Timestamp::parse(&line.hour).and_then(Window::starting))?,
        used: Used::new(line.used),
    })
}
