//! Simulation: which requests of an access log plans would have denied, had klinky decided on them.
//!
//! Every account has, for each hour and each plan that is tried, a counter of its own, and the rule is the gate's
//! ([`decide`](crate::domain::decision::decide)). So lines may come in any order of hours. Within an hour they count in the order in which they are read,
//! which matters only where calls cost differently.
//!
//! What a line says is read in `simulate/line.rs` and beside it, counted in `simulate/tally.rs`; what came of it all is
//! shown in `simulate/report.rs`.
//! Nothing here knows of a store: memory grows with accounts and hours, not with lines.

mod common_line;
mod json_line;
mod line;
mod print;
mod report;
mod tally;
mod terminal;
mod text_line;
mod time;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::Path;

use self::line::{LogLine, LoggedRequest};
pub use self::report::{AccountReport, Lines, PassedOver, Report, TriedReport};
use self::tally::Tally;
use crate::config::SimulateSettings;
use crate::domain::decision::Cost;
use crate::domain::window::Window;

/// Longest line that is read. Servers take 8 KiB each of target, referrer and agent, of which a log makes four times as
/// much where it escapes all; Caddy's lines have all headers of a request.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Lines that could not be read and are named: the first few tell what is wrong with the rest.
const UNREADABLE_NAMED: usize = 5;
/// Characters of such a line that are shown.
const SHOWN_CHARS: usize = 100;
/// Characters of a file's name that are shown: no path is longer.
const PATH_CHARS: usize = 4096;
/// How a file begins that gzip made (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What stands before a line and is not of it: a file may begin with a byte order mark, and has a hole of zeros where it
/// was truncated while a server wrote to it.
const NOT_OF_LINES: [char; 2] = ['\u{feff}', '\0'];

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
    /// A log is no text.
    #[error("{log} is compressed: pipe it through zcat")]
    Compressed {
        /// Its name.
        log: String,
    },
    /// No line is of a format that is understood.
    #[error(
        "not one of {lines} lines could be read: {first}; it begins {start}; understood are the common and the combined log format, klinky's own log (text or json), Caddy's JSON access log, and with --account-field any JSON objects, one a line"
    )]
    NothingRead {
        /// How many there are.
        lines: u64,
        /// Which the first one is, and what is wrong with it.
        first: String,
        /// How it begins, fit for a terminal.
        start: String,
    },
    /// There is no line.
    #[error("there is nothing to simulate: no line came from {logs}")]
    Empty {
        /// Where from.
        logs: String,
    },
    /// All lines are about something else.
    #[error(
        "not one of {lines} lines is about a request: an access log is asked for, and JSON objects must have a status"
    )]
    NoRequest {
        /// How many there are.
        lines: u64,
    },
}

/// The name of a file, which whoever made it chose, fit for a terminal.
#[must_use]
pub fn show_path(path: &Path) -> String {
    terminal::show(&path.to_string_lossy(), PATH_CHARS)
}

/// Tries plans on requests.
pub struct Simulation<'a> {
    settings: &'a SimulateSettings,
    accounts: HashMap<Box<str>, Tally>,
    lines: Lines,
    unreadable: Vec<Unreadable>,
    /// The names of those that were read.
    logs: Vec<String>,
}

/// A line that could not be read.
struct Unreadable {
    log: String,
    number: u64,
    reason: String,
    /// How it begins, fit for a terminal.
    start: String,
}

impl<'a> Simulation<'a> {
    /// A simulation of `settings` that has read nothing yet.
    #[must_use]
    pub fn new(settings: &'a SimulateSettings) -> Self {
        Self { settings, accounts: HashMap::new(), lines: Lines::default(), unreadable: Vec::new(), logs: Vec::new() }
    }

    /// Reads a log to its end. Its name is one that is fit for a terminal.
    ///
    /// # Errors
    /// When it cannot be read, or is compressed. A line that is not understood is no error, but noted.
    pub fn read(&mut self, log: &str, mut input: impl BufRead) -> Result<(), SimulateError> {
        let failed = |source| SimulateError::Input { log: log.to_owned(), source };
        let (mut line, mut number) = (Vec::new(), 0_u64);
        self.logs.push(log.to_owned());
        loop {
            line.clear();
            let end = next_line(&mut input, &mut line).map_err(failed)?;
            if number == 0 && line.starts_with(&GZIP) {
                return Err(SimulateError::Compressed { log: log.to_owned() });
            }
            number = number.saturating_add(1);
            let text = decode(line.trim_ascii_end());
            let text = text.trim_start_matches(NOT_OF_LINES);
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
    /// When not one line was of an access log.
    pub fn report(self) -> Result<Report, SimulateError> {
        let Lines { all: lines, passed_over } = self.lines;
        let is_none_of_a_request = passed_over.unreadable.saturating_add(passed_over.other_events) == lines;
        match self.unreadable.first() {
            Some(first) if is_none_of_a_request => {
                let (start, first) = (first.start.clone(), first.to_string());
                Err(SimulateError::NothingRead { lines, first, start })
            }
            None if lines == 0 => Err(SimulateError::Empty { logs: self.logs.join(", ") }),
            None if is_none_of_a_request => Err(SimulateError::NoRequest { lines }),
            Some(_) | None => {
                let unreadable = self.unreadable.iter().map(ToString::to_string).collect();
                Ok(Report::new(&self.settings.tried, self.accounts, self.lines, unreadable))
            }
        }
    }

    fn count(&mut self, request: &LoggedRequest<'_>) {
        self.lines.all = self.lines.all.saturating_add(1);
        let ruled = self.settings.find_cost(&request.call);
        let cost = ruled.or(request.cost).unwrap_or(Cost::ONE);
        let (tried, window) = (&self.settings.tried, Window::at(request.at));
        match self.accounts.get_mut(request.account.as_ref()) {
            Some(tally) => tally.count(tried, window, cost),
            None => {
                let tally = self.accounts.entry(request.account.as_ref().into());
                tally.or_insert_with(|| Tally::new(tried)).count(tried, window, cost);
            }
        }
    }

    fn note(&mut self, log: &str, number: u64, line: &str, reason: String) {
        self.lines.all = self.lines.all.saturating_add(1);
        let unreadable = &mut self.lines.passed_over.unreadable;
        *unreadable = unreadable.saturating_add(1);
        if self.unreadable.len() < UNREADABLE_NAMED {
            let start = terminal::show(line, SHOWN_CHARS);
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

/// What a client sent stands in a line as it came, unless the server escapes it. Most lines are UTF-8, of which
/// `from_utf8` knows sooner than the lossy one.
fn decode(line: &[u8]) -> Cow<'_, str> {
    str::from_utf8(line).map_or_else(|_bytes| String::from_utf8_lossy(line), Cow::Borrowed)
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
