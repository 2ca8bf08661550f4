//! Simulation: which requests of an access log plans would have denied, had klinky decided on them.
//!
//! Every account has, for each hour and each plan that is tried, a counter of its own, and the rule is the gate's
//! ([`decide`]). So lines may come in any order of hours. Within an hour they count in the order in which they are read,
//! which matters only where calls cost differently.
//!
//! What a line says is read in `simulate/line.rs` and beside it; what came of it all is shown in `simulate/report.rs`.
//! Nothing here knows of a store: memory grows with accounts and hours, not with lines.

mod common_line;
mod json_line;
mod line;
mod print;
mod report;
mod shown;
mod text_line;
mod time;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead, Read};

use self::line::{LogLine, LoggedRequest, Why};
pub use self::report::{AccountReport, Report, TriedReport};
use self::shown::shown;
use crate::config::{SimulateSettings, Tried};
use crate::domain::decision::{Cost, Decision, Used, decide};
use crate::domain::window::Window;

/// Longest line that is read. Servers take 8 KiB each of target, referrer and agent, of which a log makes four times as
/// much where it escapes all; Caddy's lines have all headers of a request.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Lines that could not be read and are named: the first few tell what is wrong with the rest.
const UNREADABLE_NAMED: usize = 5;
/// Characters of such a line that are shown.
const SHOWN_CHARS: usize = 100;

/// Why a simulation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A log failed.
    #[error("could not read {log}")]
    Input {
        /// Its name.
        log: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No line is of a format that is understood.
    #[error(
        "not one of {lines} lines could be read.\n{first}. It is: {start}\nUnderstood are the common and the combined log format, klinky's own log (text or json), Caddy's JSON access log, and with --account-field any JSON objects, one a line"
    )]
    NothingRead {
        /// How many there are.
        lines: u64,
        /// Which the first one is, and what is wrong with it.
        first: String,
        /// How it begins, fit for a terminal.
        start: String,
    },
}

/// Tries plans on requests.
pub struct Simulation<'a> {
    settings: &'a SimulateSettings,
    accounts: HashMap<Box<str>, Tally>,
    lines: Lines,
    unreadable: Vec<Unreadable>,
}

/// How many lines there were, and of which kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines {
    /// All but empty ones.
    pub all: u64,
    /// They name no account.
    pub no_account: u64,
    /// They were answered 401 or 403.
    pub refused: u64,
    /// OPTIONS.
    pub preflights: u64,
    /// klinky itself says that it did not count them.
    pub not_counted: u64,
    /// They are about something else than a request.
    pub other_events: u64,
    /// They are of no format that is understood.
    pub unreadable: u64,
}

/// A line that could not be read.
struct Unreadable {
    log: String,
    number: u64,
    reason: String,
    /// How it begins, fit for a terminal.
    start: String,
}

/// What one account did, and what would have been denied it.
struct Tally {
    requests: u64,
    units: u64,
    hours: BTreeMap<Window, Hour>,
    /// In the order of what is tried, as below.
    denied: Box<[u64]>,
}

/// An account's counters of an hour.
struct Hour {
    /// All that was asked for.
    units: Used,
    used: Box<[Used]>,
}

impl<'a> Simulation<'a> {
    /// A simulation of `settings` that has read nothing yet.
    #[must_use]
    pub fn new(settings: &'a SimulateSettings) -> Self {
        Self { settings, accounts: HashMap::new(), lines: Lines::default(), unreadable: Vec::new() }
    }

    /// Reads a log to its end.
    ///
    /// # Errors
    /// When it cannot be read. A line that is not understood is no error, but noted.
    pub fn read(&mut self, log: &str, mut input: impl BufRead) -> Result<(), SimulateError> {
        let failed = |source| SimulateError::Input { log: log.to_owned(), source };
        let (mut line, mut number) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            let end = next_line(&mut input, &mut line).map_err(failed)?;
            number = number.saturating_add(1);
            let text = line.trim_ascii_end();
            match end {
                LineEnd::Input => return Ok(()),
                LineEnd::Bound => self.note(log, number, text, format!("it is longer than {LINE_BYTES_MAX} bytes")),
                LineEnd::Line if text.is_empty() => {}
                LineEnd::Line => match line::read(text, &self.settings.fields) {
                    Ok(LogLine::Request(request)) => self.count(&request),
                    Ok(LogLine::PassedOver(why)) => self.lines.pass_over(why),
                    Err(reason) => self.note(log, number, text, reason),
                },
            }
        }
    }

    /// What came of it.
    ///
    /// # Errors
    /// When there were lines, and not one could be read.
    pub fn report(self) -> Result<Report, SimulateError> {
        let lines = self.lines.all;
        match self.unreadable.first() {
            Some(first) if self.lines.unreadable == lines => {
                let (start, first) = (first.start.clone(), first.to_string());
                Err(SimulateError::NothingRead { lines, first, start })
            }
            Some(_) | None => {
                let unreadable = self.unreadable.iter().map(ToString::to_string).collect();
                Ok(Report::new(&self.settings.tried, self.accounts, self.lines, unreadable))
            }
        }
    }

    fn count(&mut self, request: &LoggedRequest<'_>) {
        self.lines.all = self.lines.all.saturating_add(1);
        let ruled = self.settings.find_cost(&request.call.method, &request.call.target);
        let cost = ruled.or(request.cost).unwrap_or(Cost::ONE);
        let (tried, window) = (&self.settings.tried, Window::at(request.at));
        match self.accounts.get_mut(request.account.as_ref()) {
            Some(tally) => tally.count(tried, window, cost),
            None => {
                let tally = self.accounts.entry(request.account.as_ref().into());
                tally.or_insert_with(|| Tally::new(tried.len())).count(tried, window, cost);
            }
        }
    }

    fn note(&mut self, log: &str, number: u64, line: &[u8], reason: String) {
        self.lines.all = self.lines.all.saturating_add(1);
        self.lines.unreadable = self.lines.unreadable.saturating_add(1);
        if self.unreadable.len() < UNREADABLE_NAMED {
            let start = shown(&String::from_utf8_lossy(line), SHOWN_CHARS);
            self.unreadable.push(Unreadable { log: log.to_owned(), number, reason, start });
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, number, reason, .. } = self;
        write!(f, "{log}, line {number}: {reason}")
    }
}

impl Lines {
    fn pass_over(&mut self, why: Why) {
        let lines = match why {
            Why::NoAccount => &mut self.no_account,
            Why::Refused => &mut self.refused,
            Why::Preflight => &mut self.preflights,
            Why::NotCounted => &mut self.not_counted,
            Why::OtherEvent => &mut self.other_events,
        };
        *lines = lines.saturating_add(1);
        self.all = self.all.saturating_add(1);
    }
}

impl Tally {
    fn new(tried: usize) -> Self {
        Self { requests: 0, units: 0, hours: BTreeMap::new(), denied: vec![0; tried].into() }
    }

    fn count(&mut self, tried: &[Tried], window: Window, cost: Cost) {
        self.requests = self.requests.saturating_add(1);
        self.units = self.units.saturating_add(u64::from(cost.as_units()));
        let new = || Hour { units: Used::default(), used: vec![Used::default(); tried.len()].into() };
        let hour = self.hours.entry(window).or_insert_with(new);
        hour.units = hour.units.plus(cost);
        for ((tried, used), denied) in tried.iter().zip(&mut hour.used).zip(&mut self.denied) {
            match decide(tried.limit, *used, cost) {
                Decision::Allowed(after) => *used = after,
                Decision::Denied => *denied = denied.saturating_add(1),
            }
        }
    }

    /// The first of the hours with the most units; there is one, since a tally is made for a request.
    fn busiest(&self) -> (Window, Used) {
        let hours = self.hours.iter().map(|(window, hour)| (*window, hour.units));
        hours.rev().max_by_key(|(_window, units)| *units).unwrap_or((Window::from_hours(0), Used::default()))
    }
}

/// What ended the reading of a line.
enum LineEnd {
    /// Its own end, or that of the input.
    Line,
    /// The bound of its length; the rest of it was passed over.
    Bound,
    /// Nothing was left to read.
    Input,
}

fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<LineEnd> {
    let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    input.by_ref().take(most).read_until(b'\n', line)?;
    if line.is_empty() {
        return Ok(LineEnd::Input);
    }
    if line.len() <= LINE_BYTES_MAX || line.ends_with(b"\n") {
        return Ok(LineEnd::Line);
    }
    input.skip_until(b'\n')?;
    Ok(LineEnd::Bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(input: &[u8]) -> Vec<(&'static str, usize)> {
        let (mut input, mut line, mut ends) = (input, Vec::new(), Vec::new());
        loop {
            line.clear();
            let end = match next_line(&mut input, &mut line).unwrap() {
                LineEnd::Line => "line",
                LineEnd::Bound => "bound",
                LineEnd::Input => return ends,
            };
            ends.push((end, line.len()));
        }
    }

    #[test]
    fn a_line_of_the_bound_is_read_and_a_longer_one_is_passed_over() {
        let longest = [vec![b'x'; LINE_BYTES_MAX], b"\n".to_vec()].concat();
        let longer = [vec![b'x'; 3 * LINE_BYTES_MAX], b"\n".to_vec()].concat();

        assert_eq!(ends(&longest), [("line", LINE_BYTES_MAX + 1)]);
        assert_eq!(
            ends(&[longer.clone(), b"a\n".to_vec(), longer].concat()),
            [("bound", LINE_BYTES_MAX + 1), ("line", 2), ("bound", LINE_BYTES_MAX + 1)]
        );
        assert_eq!(ends(b"a\n\nb"), [("line", 2), ("line", 1), ("line", 1)]);
    }
}
