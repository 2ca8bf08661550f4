//! A dump's way back: into an empty store, all of it or nothing.

use std::io::{self, BufRead, Read};

use serde::Serialize;

use super::lines::{EndLine, Line, VERSION};
use crate::store::{Author, Restore, RestoreError, Store};

/// Longest line that a restore reads: above any that a dump writes. The longest is that of a link with 250 geo rules
/// whose labels are 50 characters of 4 bytes, and 6 URLs of which each character is escaped: 85 kB.
const LINE_BYTES_MAX: u64 = 256 * 1024;

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
    /// Links.
    pub links: u64,
    /// Days of clicks.
    pub click_days: u64,
    /// Clicks.
    pub clicks: u64,
    /// Conversions.
    pub conversions: u64,
    /// Slugs that stay taken though their links are gone.
    pub taken_slugs: u64,
    /// Usage.
    pub usage: u64,
}

impl Restored {
    fn rows(&self) -> u64 {
        let Self { plans, accounts, keys, counters, links, click_days, clicks, conversions, taken_slugs, usage } =
            *self;
        let kinds = [plans, accounts, keys, counters, links, click_days, clicks, conversions, taken_slugs, usage];
        kinds.into_iter().fold(0, u64::saturating_add)
    }
}

/// Fills an empty store from a dump: all of it, or nothing. It is on disk when this returns.
///
/// # Errors
/// When the store is not empty or fails, or a line is refused.
pub fn restore(store: &Store, mut dump: impl BufRead, by: &Author) -> Result<Restored, RestoreFailure> {
    check_header(&mut dump)?;
    let restore = store.start_restore(by)?;
    let mut restored = Restored::default();
    let mut number: u64 = 1;
    loop {
        number = number.saturating_add(1);
        let refused = |reason: String| RestoreFailure::Line { number, reason };
        let text = next_line(&mut dump)?.ok_or_else(|| refused("the dump ends without its end line".to_owned()))?;
        let line = Line::parse(&text).map_err(refused)?;
        if let Line::End(end) = line {
            check_end(&end, &restored, &mut dump).map_err(refused)?;
            restore.finish()?;
            return Ok(restored);
        }
        put(&restore, &line, &mut restored).map_err(|error| match error {
            RowError::Refused(reason) => refused(reason),
            RowError::Store(error) => RestoreFailure::Store(error),
        })?;
    }
}

/// Why a row was not put into the store.
enum RowError {
    Refused(String),
    Store(RestoreError),
}

impl From<String> for RowError {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

impl From<RestoreError> for RowError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Twice(_) | RestoreError::Missing(_) | RestoreError::KeysFull(_) => {
                Self::Refused(error.to_string())
            }
            RestoreError::NotEmpty | RestoreError::Store(_) => Self::Store(error),
        }
    }
}

fn put(restore: &Restore<'_>, line: &Line, restored: &mut Restored) -> Result<(), RowError> {
    let rows = match line {
        Line::Header(_) => return Err("a second header".to_owned().into()),
        Line::End(_) => return Ok(()),
        Line::Plan(line) => {
            restore.put_plan(&line.check()?)?;
            &mut restored.plans
        }
        Line::Account(line) => {
            restore.put_account(&line.check()?)?;
            &mut restored.accounts
        }
        Line::Key(line) => {
            restore.put_key(&line.check()?)?;
            &mut restored.keys
        }
        Line::Counter(line) => {
            restore.put_counter(&line.check()?)?;
            &mut restored.counters
        }
        Line::Link(line) => {
            restore.put_link(&line.check()?)?;
            &mut restored.links
        }
        Line::ClickDay(line) => {
            let (link, day, tallies) = line.check()?;
            restore.put_click_day(link, day, &tallies)?;
            &mut restored.click_days
        }
        Line::Click(line) => {
            restore.put_click(&line.check()?)?;
            &mut restored.clicks
        }
        Line::Conversion(line) => {
            restore.put_conversion(&line.check()?)?;
            &mut restored.conversions
        }
        Line::TakenSlug(line) => {
            let (slug, link) = line.check()?;
            restore.put_taken_slug(&slug, link)?;
            &mut restored.taken_slugs
        }
        Line::Usage(line) => {
            restore.put_usage(&line.check()?)?;
            &mut restored.usage
        }
    };
    *rows = rows.saturating_add(1);
    Ok(())
}

/// The end line shows that nothing was cut off; it counts the rows and nothing follows it.
fn check_end(end: &EndLine, restored: &Restored, dump: &mut impl BufRead) -> Result<(), String> {
    let rows = restored.rows();
    if end.rows != rows {
        return Err(format!("the dump says that it has {} rows, and has {rows}", end.rows));
    }
    match next_line(dump) {
        Ok(None) => Ok(()),
        Ok(Some(_)) | Err(_) => Err("something follows the end line".to_owned()),
    }
}

fn check_header(dump: &mut impl BufRead) -> Result<(), RestoreFailure> {
    let text = next_line(dump)?.ok_or_else(|| RestoreFailure::Header("it is empty".to_owned()))?;
    match Line::parse(&text) {
        Ok(Line::Header(header)) if header.is_ours() => Ok(()),
        Ok(Line::Header(header)) => {
            Err(RestoreFailure::Header(format!("its format is {:?}, version {}", header.format, header.version)))
        }
        Ok(_row) => Err(RestoreFailure::Header("its first line is not a header".to_owned())),
        Err(reason) => Err(RestoreFailure::Header(reason)),
    }
}

/// The next line without its end; `None` at the end of the input.
pub(super) fn next_line(dump: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
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
