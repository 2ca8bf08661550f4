//! A report in its two forms: columns for people, and JSON lines. Names come from a log that anybody can write into, so
//! neither form has characters in it that a terminal would obey.

use std::io::{self, Write};

use serde::Serialize;

use super::report::{AccountReport, Lines, PassedOver, Report, TriedReport};
use super::terminal::{is_printed, show};
use crate::config::Tried;

/// Characters of an account in the table: a UUID, and some more.
const ACCOUNT_CHARS: usize = 40;
/// A percent in the table is shown with two digits more; in JSON a share has six.
const HUNDREDTHS: u32 = 10_000;
const MILLIONTHS: u32 = 1_000_000;
/// What stands for nothing, as in the tables of a dump.
const NOTHING: &str = "-";

/// The title of a column, and the side to which its cells keep.
struct Title(String, Side);

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

fn left(title: &str) -> Title {
    Title(title.to_owned(), Side::Left)
}

fn right(title: impl Into<String>) -> Title {
    Title(title.into(), Side::Right)
}

/// Writes the accounts, at most `top`, then what each plan denies, then what was read.
pub(super) fn table(report: &Report, top: usize, out: &mut impl Write) -> io::Result<()> {
    if top > 0 && !report.accounts.is_empty() {
        columns(
            &account_titles(report),
            &report.accounts.iter().take(top).map(account_cells).collect::<Vec<_>>(),
            out,
        )?;
        match report.accounts.len().saturating_sub(top) {
            0 => writeln!(out)?,
            more => writeln!(out, "and {more} more: see --top\n")?,
        }
    }
    let titles = [left("PLAN"), right("LIMIT"), right("DENIED"), right("SHARE"), right("ACCOUNTS DENIED")];
    columns(&titles, &report.tried.iter().map(|tried| tried_cells(report, tried)).collect::<Vec<_>>(), out)?;
    writeln!(out, "\n{}", sums(report))
}

fn account_titles(report: &Report) -> Vec<Title> {
    let mut titles = vec![left("ACCOUNT"), right("REQUESTS"), right("UNITS"), left("BUSIEST HOUR"), right("ITS UNITS")];
    titles.extend(report.tried.iter().map(|tried| right(format!("DENIED ON {}", tried.tried))));
    titles.push(left("ENOUGH"));
    titles
}

fn account_cells(account: &AccountReport) -> Vec<String> {
    let (hour, units) = account.busiest;
    let mut cells = vec![
        show(&account.account, ACCOUNT_CHARS),
        account.requests.to_string(),
        account.units.to_string(),
        hour.start().to_string(),
        units.as_units().to_string(),
    ];
    cells.extend(account.denied.iter().map(u64::to_string));
    cells.push(account.enough.as_ref().map_or_else(|| NOTHING.to_owned(), Tried::to_string));
    cells
}

fn tried_cells(report: &Report, row: &TriedReport) -> Vec<String> {
    vec![
        row.tried.plan.as_ref().map_or_else(|| NOTHING.to_owned(), ToString::to_string),
        row.tried.limit.as_units().to_string(),
        row.denied.to_string(),
        percent(report, row.denied),
        format!("{} of {}", row.accounts, report.accounts.len()),
    ]
}

/// The share of requests that were denied. What is not nothing does not look like it.
fn percent(report: &Report, denied: u64) -> String {
    match report.share(denied, HUNDREDTHS) {
        0 if denied > 0 => "<0.01 %".to_owned(),
        share => format!("{}.{:02} %", share.div_euclid(100), share.rem_euclid(100)),
    }
}

/// What was read, and what of it was passed over and why.
fn sums(report: &Report) -> String {
    let lines = &report.lines.passed_over;
    let passed_over: Vec<String> = [
        (lines.no_account, "without an account"),
        (lines.refused, "answered 401 or 403"),
        (lines.preflights, "preflights"),
        (lines.not_counted, "that klinky does not count"),
        (lines.no_request, "without a request"),
        (lines.other_events, "of other events"),
        (lines.unreadable, "unreadable"),
    ]
    .into_iter()
    .filter(|(lines, _what)| *lines > 0)
    .map(|(lines, what)| format!("{lines} {what}"))
    .collect();
    let passed_over = if passed_over.is_empty() { "none".to_owned() } else { passed_over.join(", ") };
    let (requests, accounts) = (report.requests, report.accounts.len());
    format!("{requests} requests of {accounts} accounts in {} lines; passed over: {passed_over}", report.lines.all)
}

/// Writes columns as wide as their widest cell.
fn columns(titles: &[Title], rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let head: Vec<String> = titles.iter().map(|Title(title, _side)| title.clone()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let widest = |at: usize| lines().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..titles.len()).map(|at| widest(at).unwrap_or(0)).collect();
    for row in lines() {
        let cells = row.iter().zip(titles).zip(&widths);
        let padded = cells.map(|((cell, Title(_title, side)), width)| match side {
            Side::Left => format!("{cell:<width$}"),
            Side::Right => format!("{cell:>width$}"),
        });
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Row<'a> {
    Account {
        account: &'a str,
        requests: u64,
        units: u64,
        busiest_hour: HourRow,
        limits: Vec<DeniedRow<'a>>,
        enough: Option<TriedRow<'a>>,
    },
    Limit {
        #[serde(flatten)]
        limit: TriedRow<'a>,
        denied: u64,
        share: f64,
        accounts_denied: u64,
    },
    Total {
        requests: u64,
        accounts: usize,
        lines: u64,
        passed_over: PassedOver,
    },
}

#[derive(Serialize)]
struct HourRow {
    hour: String,
    units: u32,
}

#[derive(Serialize)]
struct TriedRow<'a> {
    plan: Option<&'a str>,
    limit: u32,
}

#[derive(Serialize)]
struct DeniedRow<'a> {
    #[serde(flatten)]
    limit: TriedRow<'a>,
    denied: u64,
}

/// Writes a line for each account, for each plan, and one of sums.
pub(super) fn json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for account in &report.accounts {
        let tried = report.tried.iter().zip(&account.denied);
        let (hour, units) = account.busiest;
        let row = Row::Account {
            account: &account.account,
            requests: account.requests,
            units: account.units,
            busiest_hour: HourRow { hour: hour.start().to_string(), units: units.as_units() },
            limits: tried.map(|(of, denied)| DeniedRow { limit: (&of.tried).into(), denied: *denied }).collect(),
            enough: account.enough.as_ref().map(TriedRow::from),
        };
        row_of(&row, out)?;
    }
    for TriedReport { tried, denied, accounts } in &report.tried {
        let share = f64::from(report.share(*denied, MILLIONTHS)) / f64::from(MILLIONTHS);
        row_of(&Row::Limit { limit: tried.into(), denied: *denied, share, accounts_denied: *accounts }, out)?;
    }
    let (requests, accounts) = (report.requests, report.accounts.len());
    let Lines { all: lines, passed_over } = report.lines;
    row_of(&Row::Total { requests, accounts, lines, passed_over }, out)
}

impl<'a> From<&'a Tried> for TriedRow<'a> {
    fn from(tried: &'a Tried) -> Self {
        Self { plan: tried.plan.as_ref().map(|plan| plan.as_str()), limit: tried.limit.as_units() }
    }
}

/// JSON may hold in its strings whatever UTF-8 can; what is not printed goes out as an escape, which reads the same.
fn row_of(row: &Row<'_>, out: &mut impl Write) -> io::Result<()> {
    let text = serde_json::to_string(row)?;
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printed(c) {
            line.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
        }
    }
    writeln!(out, "{line}")
}
