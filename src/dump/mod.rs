//! Dumps: the whole store as JSON lines, and back.
//!
//! The first line names format and version. Plans, accounts, keys, counters, links, slugs and usage follow, in this
//! order and each in the order of its id, so that two dumps of the same store differ in the first line only.
//! The last line counts the rows, so that a dump that was cut off is not taken for a whole one.
//! Whatever a line names stands before it. Keys are hashes; secrets and the audit trail are not dumped.
//!
//! A dump runs beside requests and is not a snapshot, but it is always whole: a key or counter goes
//! out only if its account did, and an account's plan goes out before the account.

mod lines;
mod link_lines;
mod plans;
pub mod remote;
mod restore;
pub mod table;
mod usage_lines;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use self::lines::Line;
pub use self::plans::read_plans;
pub use self::restore::{RestoreFailure, Restored, restore};
use crate::config::DumpKind;
use crate::domain::account::Account;
use crate::domain::click::Tally;
use crate::domain::id::{AccountId, LinkId};
use crate::domain::link::{Link, Slug};
use crate::domain::plan::{Plan, PlanId};
use crate::domain::time::{Day, Timestamp};
use crate::domain::usage::UsageRow;
use crate::domain::window::Window;
use crate::store::{Counter, DirectoryError, KeyUse, Store, StoreError, unless_refused};

/// Rows that are read from the store at a time.
const PAGE_ROWS: usize = 1000;

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

/// What of the store is dumped.
#[derive(Debug, Clone, Default)]
pub struct DumpFilter {
    /// Only these kinds; all if empty.
    pub only: Vec<DumpKind>,
    /// Only this account, with its plans and all that is its own.
    pub account: Option<AccountId>,
}

impl DumpFilter {
    fn has(&self, kind: DumpKind) -> bool {
        self.only.is_empty() || self.only.contains(&kind)
    }
}

/// Writes the clicks and the usage that wait to their rows, if the disk takes them, so that a dump has them. First waits
/// until the store is open altogether.
///
/// # Errors
/// When the store fails.
pub fn catch_up(store: &Store, filter: &DumpFilter) -> Result<(), StoreError> {
    store.wait_until_open()?;
    if filter.has(DumpKind::Links) {
        unless_refused(store.record_all_deferred())?;
    }
    if filter.has(DumpKind::Usage) {
        unless_refused(filter.account.map_or_else(|| store.fold_all_usage(), |id| store.fold_usage_of(id)))?;
    }
    Ok(())
}

/// Writes a dump of `store`, once it is open altogether: what is refused after all must not look like a whole dump.
///
/// # Errors
/// When the store or the output fails, or the account of the filter does not exist.
pub fn write(store: &Store, filter: &DumpFilter, now: Timestamp, out: &mut dyn Write) -> Result<(), DumpError> {
    store.wait_until_open()?;
    if let Some(id) = filter.account {
        // Before the header, so that nothing goes out where there is nothing to dump.
        found(store.get_account(id))?;
    }
    let mut dump =
        Dump { out, filter, rows: 0, plans: HashSet::new(), accounts: HashSet::new(), links: HashSet::new() };
    dump.line(&Line::header(now))?;
    match filter.account {
        Some(id) => dump.one_account(store, id)?,
        None => dump.everything(store)?,
    }
    dump.line(&Line::end(dump.rows))?;
    Ok(dump.out.flush()?)
}

struct Dump<'a> {
    out: &'a mut dyn Write,
    filter: &'a DumpFilter,
    /// Rows that went out.
    rows: u64,
    /// Which plans and accounts did: what names something else goes out only if that did.
    plans: HashSet<PlanId>,
    accounts: HashSet<AccountId>,
    /// Links that did: if they are deleted for good meanwhile, their slugs come once more, as taken ones.
    links: HashSet<LinkId>,
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
        store.counters().try_for_each(|counter| self.counter(&counter?))?;
        store.links().try_for_each(|link| self.link(store, &link?))?;
        if self.filter.has(DumpKind::Links) {
            store.taken_slugs().try_for_each(|taken| self.taken_slug(taken?))?;
        }
        if self.filter.has(DumpKind::Usage) {
            store.usage().try_for_each(|row| self.usage(&row?))?;
        }
        Ok(())
    }

    fn one_account(&mut self, store: &Store, id: AccountId) -> Result<(), DumpError> {
        let account = found(store.get_account(id))?;
        self.account(store, &account)?;
        let keys = found(store.list_keys(id, None, PAGE_ROWS))?;
        keys.items.iter().try_for_each(|key| self.key(key))?;
        store.counters().try_for_each(|counter| self.counter(&counter?))?;
        store.links_of(id).try_for_each(|link| self.link(store, link?.as_ref()))?;
        let (first, end) = (Window::from_hours(0), Window::from_hours(u32::MAX));
        store.usage_of(id, first, end).try_for_each(|row| self.usage(&row?))
    }

    fn plan(&mut self, plan: &Plan) -> Result<(), DumpError> {
        self.plans.insert(plan.id.clone());
        if !self.filter.has(DumpKind::Plans) {
            return Ok(());
        }
        self.row(&Line::Plan(plan.into()))
    }

    fn account(&mut self, store: &Store, account: &Account) -> Result<(), DumpError> {
        let terms = &account.terms;
        for plan in [Some(&terms.plan), terms.trial.as_ref().map(|trial| &trial.plan)].into_iter().flatten() {
            // A plan that was added after the plans went out, or of the one account that is asked for.
            if !self.plans.contains(plan) {
                let found_plan = store.get_plan(plan);
                if matches!(found_plan, Err(DirectoryError::NoPlan(_))) {
                    // Since the account was read it has left the plan, and the plan was removed.
                    return self.account_anew(store, account);
                }
                self.plan(&found(found_plan)?)?;
            }
        }
        self.accounts.insert(account.id);
        if !self.filter.has(DumpKind::Accounts) {
            return Ok(());
        }
        self.row(&Line::Account(account.into()))
    }

    /// The account as it is by now, if it still is.
    fn account_anew(&mut self, store: &Store, earlier: &Account) -> Result<(), DumpError> {
        let account = store.get_account(earlier.id);
        if matches!(account, Err(DirectoryError::NoAccount)) {
            return Ok(());
        }
        let account = found(account)?;
        if account.terms == earlier.terms {
            let key = account.id.to_string();
            return Err(StoreError::Dangling { tree: "plans", key }.into());
        }
        self.account(store, &account)
    }

    fn key(&mut self, row: &KeyUse) -> Result<(), DumpError> {
        if !self.filter.has(DumpKind::Keys) || !self.accounts.contains(&row.key.account_id) {
            return Ok(());
        }
        self.row(&Line::Key(row.into()))
    }

    fn counter(&mut self, counter: &Counter) -> Result<(), DumpError> {
        if !self.filter.has(DumpKind::Counters) || !self.accounts.contains(&counter.account_id) {
            return Ok(());
        }
        self.row(&Line::Counter(counter.into()))
    }

    /// A link and what became of it. The sums go first, and of each day no more clicks and conversions than they
    /// count: others came since, and would be counted by nothing.
    fn link(&mut self, store: &Store, link: &Link) -> Result<(), DumpError> {
        if !self.filter.has(DumpKind::Links) || !self.accounts.contains(&link.account_id) {
            return Ok(());
        }
        self.links.insert(link.id);
        self.row(&Line::Link(Box::new(link.into())))?;
        let days = store.click_days(link.id)?;
        for (day, tallies) in &days {
            self.row(&Line::ClickDay((link.id, *day, tallies).into()))?;
        }
        let mut left: HashMap<Day, Tally> = days.iter().map(|(day, tallies)| (*day, tallies.sum())).collect();
        for click in store.clicks_of(link.id) {
            let click = click?;
            if let Some(left) = left.get_mut(&Day::of(click.clicked_at)).filter(|left| left.clicks > 0) {
                left.clicks = left.clicks.saturating_sub(1);
                self.row(&Line::Click(Box::new((&click).into())))?;
            }
        }
        for conversion in store.conversions_of(link.id) {
            let conversion = conversion?;
            if let Some(left) = left.get_mut(&Day::of(conversion.at)).filter(|left| left.conversions > 0) {
                left.conversions = left.conversions.saturating_sub(1);
                self.row(&Line::Conversion((&conversion).into()))?;
            }
        }
        Ok(())
    }

    /// A slug of a link that is gone.
    fn taken_slug(&mut self, (slug, link): (Slug, LinkId)) -> Result<(), DumpError> {
        if self.links.contains(&link) {
            return Ok(());
        }
        self.row(&Line::TakenSlug((&slug, link).into()))
    }

    fn usage(&mut self, row: &UsageRow) -> Result<(), DumpError> {
        if !self.filter.has(DumpKind::Usage) || !self.accounts.contains(&row.spender.account_id) {
            return Ok(());
        }
        self.row(&Line::Usage(row.into()))
    }

    fn row(&mut self, line: &Line) -> Result<(), DumpError> {
        self.rows = self.rows.saturating_add(1);
        self.line(line)
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
        | DirectoryError::KeyEnded
        | DirectoryError::KeyRotated => DumpError::NoAccount,
    })
}
