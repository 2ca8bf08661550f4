//! The journal of usage: what is ahead of its rows.
//!
//! To write a row costs as much as a request, and with many keys each request is a row's. So what changed is written to
//! files beside sled (`journal_files.rs`), and on disk with the next commit; the rows themselves are written later
//! (folding), each once for all the changes that came meanwhile, and then the files that named them are removed. Memory
//! has the rows that are ahead, so that nothing is read twice.
//!
//! The journal says what rows are to be, not what is to be added to them: whatever a crash leaves, its records, read in
//! their order, end in the newest figures of each row that they name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::{io, slice};

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::changes::encode;
use super::commits::Commits;
use super::journal_files::{self, JournalFiles, Unsynced};
use super::usage::{Hour, UsageChange};
use super::{Store, StoreError, codec, damaged, engine, records_usage as records};
use crate::clock::Stopwatch;
use crate::domain::id::AccountId;
use crate::domain::usage::{Change, RowKey, Tally};
use crate::domain::window::Window;

/// The directory of its files, in the data directory.
pub(super) const JOURNAL_DIR: &str = "usage-journal";
/// Rows that a record has, of about 80 bytes each, and of 302 at most: they fit a record whatever they are.
pub(super) const RECORD_ROWS: usize = 400;
/// Changes that are made to them before it is written: some hundred microseconds of an operator's wait.
const RECORD_CHANGES: usize = 5000;
/// Rows that are folded at a time: an operator's write waits for some milliseconds.
const FOLD_ROWS: usize = 300;
/// Steps of folding in a round, where it has fallen behind: what comes meanwhile waits for the next round.
const FOLD_STEPS_MAX: usize = 20;
/// Folding begins this long after it last began, or sooner with so many rows ahead (about 300 bytes of memory each), or
/// with so many in the journal (about 80 bytes of disk each, and as much work at the start after a crash).
const FOLD_EVERY_US: u64 = 60_000_000;
const AHEAD_MAX: usize = 100_000;
const JOURNAL_MAX: usize = 500_000;

/// The journal, and what of it is in memory.
pub(super) struct Journal {
    files: JournalFiles,
    /// Rows that changed since folding began.
    ahead: IndexMap<RowKey, Ahead, RandomState>,
    /// Places there of the rows that are in no record as they are by now: at most as many as a record has.
    unwritten: Vec<usize>,
    /// Rows that folding has yet to write, by their keys in the store.
    folding: BTreeMap<Vec<u8>, Tally>,
    /// The last file that names them.
    folding_until: u64,
    /// The last file whose rows are all folded, and the commit with which they are on disk: then it can go.
    folded: Option<(u64, u64)>,
    /// What those accounts have rows of that are ahead, and of others, too.
    hours: HashMap<(AccountId, Window), Hour, RandomState>,
    /// Rows in the records since folding began.
    written: usize,
    since_folding: Option<Stopwatch>,
}

struct Ahead {
    tally: Tally,
    is_written: bool,
}

impl Journal {
    /// Reads what an earlier process has left in the data directory: it is folded first.
    pub(super) fn load(data_dir: &Path, unsynced: Arc<Unsynced>) -> io::Result<Self> {
        let dir = data_dir.join(JOURNAL_DIR);
        let mut files = JournalFiles::open(dir.clone(), unsynced)?;
        let mut folding = BTreeMap::new();
        journal_files::read(&dir, records::journal_from_bytes, |place, rows| match rows {
            Ok(rows) => folding.extend(rows),
            Err(damage) => tracing::error!(place, %damage, "usage of a damaged record is lost"),
        })?;
        let folding_until = files.end();
        // There may be files without a row.
        let folded = folding.is_empty().then_some((folding_until, 0));
        Ok(Self {
            files,
            ahead: IndexMap::default(),
            unwritten: Vec::new(),
            folding,
            folding_until,
            folded,
            hours: HashMap::default(),
            written: 0,
            since_folding: None,
        })
    }

    /// Makes a change to a row, if that is ahead.
    fn change_ahead(&mut self, row: &RowKey, change: &Change) -> bool {
        let Some((place, _key, ahead)) = self.ahead.get_full_mut(row) else { return false };
        ahead.tally.apply(change);
        if ahead.is_written {
            ahead.is_written = false;
            self.unwritten.push(place);
        }
        true
    }

    /// Writes the rows that changed to a record.
    fn write_record(&mut self) -> Result<(), StoreError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(RECORD_ROWS);
        let unwritten = self.unwritten.iter().filter_map(|place| self.ahead.get_index(*place));
        rows.extend(unwritten.map(|(row, ahead)| (row, &ahead.tally)));
        let bytes = records::journal_to_bytes(&rows);
        let bytes = bytes.map_err(encode("usage_journal"))?;
        self.files.append(&bytes).map_err(refused("write usage"))?;
        self.written = self.written.saturating_add(self.unwritten.len());
        for place in self.unwritten.drain(..) {
            if let Some((_key, row)) = self.ahead.get_index_mut(place) {
                row.is_written = true;
            }
        }
        Ok(())
    }

    fn is_folding(&self) -> bool {
        !self.folding.is_empty()
    }

    fn is_due(&self) -> bool {
        let is_old = self.since_folding.is_none_or(|since| since.elapsed_us() >= FOLD_EVERY_US);
        self.can_begin() && (is_old || self.has_too_many())
    }

    /// A row that was folded while its last record is of an earlier state would fall back to that with a crash.
    fn can_begin(&self) -> bool {
        !self.is_folding() && !self.ahead.is_empty() && self.unwritten.is_empty()
    }

    fn has_too_many(&self) -> bool {
        self.ahead.len() > AHEAD_MAX || self.written > JOURNAL_MAX
    }

    fn begin_folding(&mut self) {
        let ahead = std::mem::take(&mut self.ahead).into_iter();
        self.folding = ahead.map(|(row, ahead)| (codec::usage_key(&row), ahead.tally)).collect();
        self.folding_until = self.files.end();
        self.written = 0;
        self.since_folding = Some(Stopwatch::start());
    }

    /// `commit`: the one with which all its rows are on disk.
    fn end_folding(&mut self, commit: u64) {
        self.folded = Some((self.folding_until, commit));
        let places: BTreeSet<_> = self.ahead.keys().map(|row| (row.spender.account_id, row.spender.window)).collect();
        self.hours.retain(|place, _hour| places.contains(place));
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
    /// Makes changes until a record is full, takes those from the list, and writes the record to the journal. What it
    /// cannot write it tries again with the next call, before anything else. For the one thread that adds usage only.
    /// What concerns a damaged row is passed over with an error line: the usage of all others must not wait for it.
    ///
    /// # Errors
    /// When the store fails or is closed.
    pub fn add_usage(&self, changes: &mut slice::Iter<'_, UsageChange>) -> Result<(), StoreError> {
        let lock = self.lock_rows()?;
        let mut journal = self.usage_journal.lock();
        journal.write_record()?;
        for change in changes.as_slice().iter().take(RECORD_CHANGES) {
            match self.change_row(&mut journal, change) {
                Ok(()) => {}
                Err(error @ StoreError::Damaged { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "usage of a damaged row is lost");
                }
                Err(error) => return Err(error),
            }
            changes.next();
            if journal.unwritten.len() >= RECORD_ROWS {
                break;
            }
        }
        journal.write_record()?;
        drop((journal, lock));
        self.note_usage_written();
        Ok(())
    }

    /// Goes on with folding if there is some to be done, by one step, or by more while too many rows are ahead.
    ///
    /// # Errors
    /// When the store fails or is closed; then it is tried again.
    pub fn fold_usage(&self) -> Result<(), StoreError> {
        self.remove_folded_usage()?;
        for _step in 0..FOLD_STEPS_MAX {
            let mut journal = self.usage_journal.lock();
            if journal.is_due() {
                journal.begin_folding();
            }
            if !journal.is_folding() {
                return Ok(());
            }
            let is_behind = journal.has_too_many();
            drop(journal);
            self.fold_step()?;
            if !is_behind {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Folds all of it, so that whoever reads the rows next sees what was added so far.
    ///
    /// # Errors
    /// When the store fails or is closed; then it is tried again.
    pub fn fold_all_usage(&self) -> Result<(), StoreError> {
        self.fold_to_end()?;
        let mut journal = self.usage_journal.lock();
        if journal.can_begin() {
            journal.begin_folding();
        }
        drop(journal);
        self.fold_to_end()
    }

    /// Ends the folding that is under way, if one is.
    fn fold_to_end(&self) -> Result<(), StoreError> {
        while self.usage_journal.lock().is_folding() {
            self.fold_step()?;
        }
        Ok(())
    }

    /// Writes one step of the rows that are being folded; those of accounts that were removed are passed over.
    fn fold_step(&self) -> Result<(), StoreError> {
        let lock = self.lock_rows()?;
        let mut journal = self.usage_journal.lock();
        let mut rows = sled::Batch::default();
        for (key, tally) in journal.folding.iter().take(FOLD_ROWS) {
            let account = codec::parse_usage_account(key).map_err(damaged("usage_journal", key))?;
            if self.memory.has_account(account) {
                rows.insert(key.as_slice(), records::tally_to_bytes(tally).map_err(encode("usage"))?);
            }
        }
        self.trees.usage.apply_batch(rows).map_err(engine("write usage"))?;
        for _row in 0..FOLD_ROWS {
            journal.folding.pop_first();
        }
        if journal.folding.is_empty() {
            journal.end_folding(self.committer.numbers().next());
        }
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
        journal.folding.clear();
        journal.hours.clear();
        Ok(())
    }

    fn note_usage_written(&self) {
        self.writes.note_usage();
        // Nobody waits for it; but where units are on disk before the answer, nothing commits unless it is asked to.
        let _on_its_way = self.committer.commit_if_due();
    }

    /// Makes a change to the row that it goes to.
    fn change_row(&self, journal: &mut Journal, UsageChange { row, change }: &UsageChange) -> Result<(), StoreError> {
        if journal.change_ahead(row, change) {
            return Ok(());
        }
        let mut row = row.clone();
        let mut tally = self.find_tally(journal, &row)?;
        if tally.is_none() {
            let place = (row.spender.account_id, row.spender.window);
            let hour = match journal.hours.get(&place) {
                Some(hour) => hour,
                None => {
                    let read = self.read_hour(place, &journal.folding)?;
                    journal.hours.entry(place).or_insert(read)
                }
            };
            row = hour.place(&row);
            if journal.change_ahead(&row, change) {
                return Ok(());
            }
            tally = self.find_tally(journal, &row)?;
            if tally.is_none()
                && let Some(hour) = journal.hours.get_mut(&place)
            {
                hour.note(row.endpoint.clone());
            }
        }
        let mut tally = tally.unwrap_or_default();
        tally.apply(change);
        let (place, _none) = journal.ahead.insert_full(row, Ahead { tally, is_written: false });
        journal.unwritten.push(place);
        Ok(())
    }

    /// A row as it was before folding began, or as it is written.
    fn find_tally(&self, journal: &Journal, row: &RowKey) -> Result<Option<Tally>, StoreError> {
        let key = codec::usage_key(row);
        if let Some(tally) = journal.folding.get(&key) {
            return Ok(Some(*tally));
        }
        let bytes = self.trees.usage.get(&key).map_err(engine("read usage"))?;
        bytes.map(|bytes| records::tally_from_bytes(&bytes)).transpose().map_err(damaged("usage", &key))
    }
}
