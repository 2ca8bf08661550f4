//! A dump's way back: into an empty store, all of it or nothing.

use std::io::{self, BufRead, Read};

use serde::Serialize;

use super::lines::{Line, VERSION};
use crate::store::{Author, RestoreError, Store};

/// Longest line that a restore reads: far above any that a dump writes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

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
}

/// Fills an empty store from a dump: all of it, or nothing. It is on disk when this returns.
///
/// # Errors
/// When the store is not empty or fails, or a line is refused.
pub fn restore(store: &Store, mut dump: impl BufRead, by: &Author) -> Result<Restored, RestoreFailure> {
    check_header(&mut dump)?;
    let restore = store.start_restore()?;
    let mut restored = Restored::default();
    let mut number: u64 = 1;
    while let Some(text) = next_line(&mut dump)? {
        number = number.saturating_add(1);
        let refused = |reason: String| RestoreFailure::Line { number, reason };
        let line = Line::parse(&text).map_err(refused)?;
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
            Line::Plan(line) => restore.put_plan(&line.check().map_err(refused)?),
            Line::Account(line) => restore.put_account(&line.check().map_err(refused)?),
            Line::Key(line) => restore.put_key(&line.check().map_err(refused)?),
            Line::Counter(line) => restore.put_counter(&line.check().map_err(refused)?),
        };
        put.map_err(|error| match error {
            RestoreError::Twice(_) | RestoreError::Missing(_) | RestoreError::KeysFull(_) => refused(error.to_string()),
            RestoreError::NotEmpty | RestoreError::Store(_) => RestoreFailure::Store(error),
        })?;
    }
    restore.finish(by)?;
    Ok(restored)
}

fn check_header(dump: &mut impl BufRead) -> Result<(), RestoreFailure> {
    let text = next_line(dump)?.ok_or_else(|| RestoreFailure::Header("it is empty".to_owned()))?;
    match Line::parse(&text) {
        Ok(Line::Header(header)) if header.is_ours() => Ok(()),
        Ok(Line::Header(header)) => {
            Err(RestoreFailure::Header(format!("its format is {:?}, version {}", header.format, header.version)))
        }
        Ok(Line::Plan(_) | Line::Account(_) | Line::Key(_) | Line::Counter(_)) => {
            Err(RestoreFailure::Header("its first line is not a header".to_owned()))
        }
        Err(reason) => Err(RestoreFailure::Header(reason)),
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
