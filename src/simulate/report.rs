//! What came of a simulation: for each account and for each plan, sorted by what matters most.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;

use super::line::Why;
use super::print;
use super::tally::Tally;
use crate::config::{ReportFormat, SimulateSettings, Tried};
use crate::domain::decision::Used;
use crate::domain::window::Window;

/// What came of a simulation.
#[derive(Debug)]
pub struct Report {
    /// All accounts: those with the most denials under the smallest limit first, then those with the most requests.
    pub accounts: Vec<AccountReport>,
    /// What was tried, the smallest limit first.
    pub tried: Vec<TriedReport>,
    /// Requests of all accounts.
    pub requests: u64,
    /// What was read.
    pub lines: Lines,
    /// The first lines that could not be, and why, a line each for people.
    pub unreadable: Vec<String>,
}

/// What one account did, and what would have been denied it.
#[derive(Debug)]
pub struct AccountReport {
    /// As the log names it; whatever characters that has.
    pub account: Box<str>,
    /// Requests that count.
    pub requests: u64,
    /// What they cost.
    pub units: u64,
    /// The hour with the most units, and those: the limit that would have been enough.
    pub busiest: (Window, Used),
    /// Requests denied, in the order of what was tried.
    pub denied: Box<[u64]>,
    /// The first of what was tried that denies nothing.
    pub enough: Option<Tried>,
}

/// What one plan or limit would have denied.
#[derive(Debug)]
pub struct TriedReport {
    /// The plan or limit.
    pub tried: Tried,
    /// Requests denied.
    pub denied: u64,
    /// Accounts that were denied a request at least.
    pub accounts: u64,
}

/// How many lines there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines {
    /// All but empty ones.
    pub all: u64,
    /// Those that are no requests that count, and why.
    pub passed_over: PassedOver,
}

/// How many lines were passed over, as the report shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// They name no account.
    pub no_account: u64,
    /// They were answered 401 or 403.
    pub refused: u64,
    /// OPTIONS.
    pub preflights: u64,
    /// klinky itself says that it did not count them.
    pub not_counted: u64,
    /// What a client sent was no request.
    pub no_request: u64,
    /// They are about something else than a request.
    pub other_events: u64,
    /// They are of no format that is understood.
    pub unreadable: u64,
}

impl Lines {
    pub(super) fn pass_over(&mut self, why: Why) {
        let passed_over = &mut self.passed_over;
        let lines = match why {
            Why::NoAccount => &mut passed_over.no_account,
            Why::Refused => &mut passed_over.refused,
            Why::Preflight => &mut passed_over.preflights,
            Why::NotCounted => &mut passed_over.not_counted,
            Why::NoRequest => &mut passed_over.no_request,
            Why::OtherEvent => &mut passed_over.other_events,
        };
        *lines = lines.saturating_add(1);
        self.all = self.all.saturating_add(1);
    }
}

impl Report {
    pub(super) fn new(
        tried: &[Tried],
        accounts: HashMap<Box<str>, Tally>,
        lines: Lines,
        unreadable: Vec<String>,
    ) -> Self {
        let account = |(account, tally)| AccountReport::new(account, tally, tried);
        let mut accounts: Vec<AccountReport> = accounts.into_iter().map(account).collect();
        let order = |account: &AccountReport| (account.denied.first().copied(), account.requests);
        accounts.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.account.cmp(&b.account)));
        let requests = accounts.iter().map(|account| account.requests).fold(0, u64::saturating_add);
        let sum = |(at, tried)| TriedReport::new(tried, accounts.iter().filter_map(|account| account.denied.get(at)));
        let tried = tried.iter().cloned().enumerate().map(sum).collect();
        Self { accounts, tried, requests, lines, unreadable }
    }

    /// Writes it in the format of the settings.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write(&self, settings: &SimulateSettings, out: &mut impl Write) -> io::Result<()> {
        match settings.format {
            ReportFormat::Table => print::table(self, settings.top, out),
            ReportFormat::Json => print::json(self, out),
        }
    }

    /// What part of all requests a number of them is, in parts of which `parts` are the whole; rounded, half up.
    pub(super) fn share(&self, requests: u64, parts: u32) -> u32 {
        let (whole, parts) = (u128::from(self.requests.max(1)), u128::from(parts));
        let doubled = u128::from(requests).saturating_mul(parts).saturating_mul(2).saturating_add(whole);
        u32::try_from(doubled.div_euclid(whole.saturating_mul(2))).unwrap_or(u32::MAX)
    }
}

impl AccountReport {
    fn new(account: Box<str>, tally: Tally, tried: &[Tried]) -> Self {
        let busiest = tally.busiest();
        let enough = tried.iter().zip(&tally.denied).find(|(_tried, denied)| **denied == 0);
        let enough = enough.map(|(tried, _denied)| tried.clone());
        let Tally { requests, units, denied, .. } = tally;
        Self { account, requests, units, busiest, denied, enough }
    }
}

impl TriedReport {
    fn new<'a>(tried: Tried, denied: impl Iterator<Item = &'a u64>) -> Self {
        let mut sum = Self { tried, denied: 0, accounts: 0 };
        for denied in denied.filter(|denied| **denied > 0) {
            sum.denied = sum.denied.saturating_add(*denied);
            sum.accounts = sum.accounts.saturating_add(1);
        }
        sum
    }
}
