//! The journal of usage: what is ahead of its rows.
//!
//! To write a row costs as much as a request, and with many keys each request is a row's. So what comes is written to
//! files beside sled (`journal_files.rs`), and on disk with the next commit; the rows themselves are written later
//! (`usage_folding.rs`), each once for all that came meanwhile, and then the files that named them are removed.
//!
//! The journal says what is to be added to rows, so that nothing need be read to write it; that each of it is added
//! once, whatever a crash leaves, is folding's to see to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{io, slice};

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::changes::encode;
use super::commits::Commits;
use super::journal_files::{self, JournalFiles, Place, Unsynced};
use super::open::{damage, unusable};
use super::records_usage::{self as records, Folded, JournalRows};
use super::usage::UsageChange;
use super::usage_folding::{self as folding, Folding};
use super::{OpenError, Store, StoreError, Trees, codec};
use crate::clock::Stopwatch;
use crate::domain::usage::{Change, RowKey, Sum};

/// The directory of its files, in the data directory.
pub(super) const JOURNAL_DIR: &str = "usage-journal";
/// Rows that a record has, of about 80 bytes each, and of 311 at most: they fit a record whatever they are.
pub(super) const RECORD_ROWS: usize = 400;
/// Changes that are added up before it is written: some hundred microseconds of an operator's wait.
const RECORD_CHANGES: usize = 5000;
/// Folding begins this long after it last began, or sooner with so many rows ahead (about 300 bytes of memory each), or
/// with so many in the journal (about 80 bytes of disk each, and as much work at the start after a crash).
const FOLD_EVERY_US: u64 = 60_000_000;
const AHEAD_MAX: usize = 100_000;
const JOURNAL_MAX: usize = 500_000;

/// The journal, and what of it is in memory.
pub(super) struct Journal {
    files: JournalFiles,
    /// What is to be added to rows since folding began.
    ahead: IndexMap<RowKey, Ahead, RandomState>,
    /// What is in no record yet, by the places of its rows there: at most as many as a record has.
    unwritten: Vec<(usize, Sum)>,
    /// What folding has yet to add.
    pub(super) folding: Folding,
    /// The last file that is folded, and the commit with which that is on disk: then it can go.
    folded: Option<(u64, u64)>,
    /// Rows in the records since folding began.
    written: usize,
    since_folding: Option<Stopwatch>,
}

#[derive(Default)]
struct Ahead {
    /// What is in records.
    written: Sum,
    /// The place of what is in none.
    unwritten: Option<usize>,
}

impl Journal {
    /// Reads what an earlier process has left in the data directory.
    pub(super) fn load(data_dir: &Path, trees: &Trees, unsynced: Arc<Unsynced>) -> Result<Self, OpenError> {
        let (dir, unusable) = (data_dir.join(JOURNAL_DIR), |error| unusable(data_dir, error));
        let folded = folding::read_folded(trees).map_err(|error| damage(data_dir, &error))?;
        let mut journal = Self {
            files: JournalFiles::open(dir.clone(), folded.until, unsynced).map_err(unusable)?,
            ahead: IndexMap::default(),
            unwritten: Vec::new(),
            folding: Folding { done: folded.done, until: folded.until, rows: BTreeMap::new() },
            folded: None,
            written: 0,
            since_folding: None,
        };
        let mut tallies = BTreeMap::new();
        journal_files::read(&dir, records::journal_from_bytes, |place, rows| match rows {
            Ok(JournalRows::Tallies(rows)) => tallies.extend(rows),
            Ok(JournalRows::Sums(rows)) => rows.iter().for_each(|(key, sum)| journal.recall(place, key, sum, &folded)),
            Err(damage) => tracing::error!(%place, %damage, "usage of a damaged record is lost"),
        })
        .map_err(unusable)?;
        if !tallies.is_empty() {
            folding::write_tallies(trees, &tallies).map_err(|error| damage(data_dir, &error))?;
        }
        // On disk before anything is added to it: opening ends with a commit.
        journal.folded = match (journal.is_folding(), journal.ahead.is_empty()) {
            (true, _) => None,
            (false, true) => Some((journal.files.end(), 0)),
            (false, false) => Some((folded.until, 0)),
        };
        Ok(journal)
    }

    /// What a record says of a row is yet to be folded, is being folded, or is in the row.
    fn recall(&mut self, place: Place, key: &[u8], sum: &Sum, folded: &Folded) {
        if folded.covers(place.file, key) {
            return;
        }
        if place.file <= folded.until {
            self.folding.rows.entry(key.to_vec()).or_default().add_sum(sum);
            return;
        }
        match codec::parse_usage_key(key) {
            Ok(row) => self.ahead.entry(row).or_default().written.add_sum(sum),
            Err(damage) => tracing::error!(%place, %damage, "usage of a damaged row is lost"),
        }
    }

    fn add(&mut self, row: &RowKey, change: &Change) {
        let entry = self.ahead.entry(row.clone());
        let (place, ahead) = (entry.index(), entry.or_default());
        let at = *ahead.unwritten.get_or_insert_with(|| {
            self.unwritten.push((place, Sum::default()));
            self.unwritten.len().saturating_sub(1)
        });
        if let Some((_place, sum)) = self.unwritten.get_mut(at) {
            sum.add(change);
        }
    }

    /// Writes what is in no record to one.
    fn write_record(&mut self) -> Result<(), StoreError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(RECORD_ROWS);
        rows.extend(self.unwritten.iter().filter_map(|(place, sum)| Some((self.ahead.get_index(*place)?.0, sum))));
        let bytes = records::journal_to_bytes(&rows).map_err(encode("usage_journal"))?;
        self.files.append(&bytes).map_err(refused("write usage"))?;
        self.written = self.written.saturating_add(self.unwritten.len());
        for (place, sum) in self.unwritten.drain(..) {
            if let Some((_row, ahead)) = self.ahead.get_index_mut(place) {
                ahead.written.add_sum(&sum);
                ahead.unwritten = None;
            }
        }
        Ok(())
    }

    pub(super) fn is_folding(&self) -> bool {
        !self.folding.rows.is_empty()
    }

    /// Whether folding is to begin.
    pub(super) fn is_due(&self) -> bool {
        let is_old = self.since_folding.is_none_or(|since| since.elapsed_us() >= FOLD_EVERY_US);
        self.can_begin() && (is_old || self.has_too_many())
    }

    /// What was added to a row and then to the journal would be added again after a crash.
    pub(super) fn can_begin(&self) -> bool {
        !self.is_folding() && !self.ahead.is_empty() && self.unwritten.is_empty()
    }

    pub(super) fn has_too_many(&self) -> bool {
        self.ahead.len() > AHEAD_MAX || self.written > JOURNAL_MAX
    }

    pub(super) fn begin_folding(&mut self) {
        let ahead = std::mem::take(&mut self.ahead).into_iter();
        let rows = ahead.map(|(row, ahead)| (codec::usage_key(&row), ahead.written)).collect();
        self.folding = Folding { done: self.folding.until, until: self.files.end(), rows };
        self.written = 0;
        self.since_folding = Some(Stopwatch::start());
    }

    /// `commit`: the one with which all that was folded is on disk.
    pub(super) fn end_folding(&mut self, commit: u64) {
        self.folded = Some((self.folding.until, commit));
    }

    fn remove_folded(&mut self, commits: &Commits) -> Result<(), StoreError> {
        if let Some((until, commit)) = self.folded
            && commits.is_done(commit)
        {
            self.files.remove_until(until).map_err(refused("remove a journal"))?;
            self.folded = None;
        }
        Ok(())
    }
}

/// The file system refuses as sled does.
fn refused(attempt: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |error| {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return StoreError::Full;
        }
        StoreError::Engine { attempt, source: error.into() }
    }
}

impl Store {
    /// Adds changes up until a record is full, takes those from the list, and writes the record to the journal. What it
    /// cannot write it tries again with the next call, before anything else. For the one thread that adds usage only.
    ///
    /// # Errors
    /// When the store fails or is closed.
    pub fn add_usage(&self, changes: &mut slice::Iter<'_, UsageChange>) -> Result<(), StoreError> {
        let lock = self.lock_rows()?;
        let mut journal = self.usage_journal.lock();
        journal.write_record()?;
        for UsageChange { row, change } in changes.by_ref().take(RECORD_CHANGES) {
            journal.add(row, change);
            if journal.unwritten.len() >= RECORD_ROWS {
                break;
            }
        }
        journal.write_record()?;
        drop((journal, lock));
        self.note_usage_written();
        Ok(())
    }

    /// Removes the files of what was folded, once that is on disk.
    pub(super) fn remove_folded_usage(&self) -> Result<(), StoreError> {
        self.usage_journal.lock().remove_folded(&self.committer.numbers())
    }

    /// Forgets all of it, for a store that is emptied.
    pub(super) fn clear_usage_journal(&self) -> Result<(), StoreError> {
        let mut journal = self.usage_journal.lock();
        let last = journal.files.end();
        journal.files.remove_until(last).map_err(refused("empty the journal of usage"))?;
        journal.ahead.clear();
        journal.unwritten.clear();
        journal.folding.rows.clear();
        Ok(())
    }

    pub(super) fn note_usage_written(&self) {
        self.writes.note_usage();
        // Nobody waits for it; but where units are on disk before the answer, nothing commits unless it is asked to.
        let _on_its_way = self.committer.commit_if_due();
    }
}
