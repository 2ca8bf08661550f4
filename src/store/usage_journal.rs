//! The journal of usage: what is ahead of its rows.
//!
//! To write a row costs as much as a request, and with many keys each request is a row's. So what changed is written to
//! the journal, many rows in one record, and on disk with the next commit; the rows themselves are written later
//! (folding), each once for all the changes that came meanwhile. Memory has the rows that are ahead, so that nothing
//! is read twice.
//!
//! The journal says what rows are to be, not what is to be added to them: whatever a crash leaves, its records, read in
//! their order, end in the newest figures of each row that they name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::slice;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::changes::encode;
use super::usage::{Hour, UsageChange};
use super::{Store, StoreError, Trees, codec, damaged, engine, records_usage as records};
use crate::clock::Stopwatch;
use crate::domain::id::AccountId;
use crate::domain::usage::{Change, RowKey, Tally};
use crate::domain::window::Window;

/// Rows that a record has, of about 80 bytes. A page of sled's gets up to 26 records, and one of more than 128 KiB were
/// a file of its own: measured, with records of 300 rows usage cost a third more.
const RECORD_ROWS: usize = 50;
/// Changes that are made to them before it is written: some hundred microseconds of an operator's wait.
const RECORD_CHANGES: usize = 5000;
/// Rows that are folded at a time: an operator's write waits for some milliseconds.
const FOLD_ROWS: usize = 300;
/// Records that are removed at a time.
const REMOVED_RECORDS: usize = 1000;
/// Steps of folding in a round, where it has fallen behind: what comes meanwhile waits for the next round.
const FOLD_STEPS_MAX: usize = 20;
/// Folding begins this long after it last began, or sooner with so many rows ahead (about 300 bytes of memory each), or
/// with so many in the journal (about 80 bytes of disk each, and as much work at the start after a crash).
const FOLD_EVERY_US: u64 = 60_000_000;
const AHEAD_MAX: usize = 100_000;
const JOURNAL_MAX: usize = 500_000;

/// What the journal holds, in memory.
#[derive(Default)]
pub(super) struct Journal {
    /// Rows that changed since folding began.
    ahead: IndexMap<RowKey, Ahead, RandomState>,
    /// Places there of the rows that are in no record as they are by now: at most as many as a record has.
    unwritten: Vec<usize>,
    /// Rows that it has yet to write, by their keys in the store.
    folding: BTreeMap<Vec<u8>, Tally>,
    /// What those accounts have rows of that are ahead, and of others, too.
    hours: HashMap<(AccountId, Window), Hour, RandomState>,
    /// The number that the next record gets.
    next_number: u64,
    /// Records before this one go when folding ends.
    fold_until: u64,
    /// Rows in the records from there on.
    written: usize,
    since_folding: Option<Stopwatch>,
}

struct Ahead {
    tally: Tally,
    is_written: bool,
}

impl Journal {
    /// Reads what an earlier process has left: it is folded first.
    pub(super) fn load(trees: &Trees) -> Result<Self, StoreError> {
        let mut journal = Self::default();
        for record in trees.usage_journal.iter() {
            let (key, bytes) = record.map_err(engine("read the journal of usage"))?;
            let number = codec::parse_number(&key).map_err(damaged("usage_journal", &key))?;
            journal.next_number = number.saturating_add(1);
            match records::journal_from_bytes(&bytes).map_err(damaged("usage_journal", &key)) {
                Ok(rows) => journal.folding.extend(rows),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "usage of a damaged record is lost");
                }
            }
        }
        journal.fold_until = journal.next_number;
        Ok(journal)
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

    fn is_folding(&self) -> bool {
        !self.folding.is_empty() || self.fold_until > 0
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
        self.fold_until = self.next_number;
        self.written = 0;
        self.since_folding = Some(Stopwatch::start());
    }

    fn end_folding(&mut self) {
        self.fold_until = 0;
        let places: BTreeSet<_> = self.ahead.keys().map(|row| (row.spender.account_id, row.spender.window)).collect();
        self.hours.retain(|place, _hour| places.contains(place));
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
        self.write_record(&mut journal)?;
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
        self.write_record(&mut journal)?;
        drop((journal, lock));
        self.note_usage_written();
        Ok(())
    }

    fn write_record(&self, journal: &mut Journal) -> Result<(), StoreError> {
        if journal.unwritten.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(RECORD_ROWS);
        let unwritten = journal.unwritten.iter().filter_map(|place| journal.ahead.get_index(*place));
        rows.extend(unwritten.map(|(row, ahead)| (row, &ahead.tally)));
        let bytes = records::journal_to_bytes(&rows);
        let number = codec::number_key(journal.next_number);
        let bytes = bytes.map_err(encode("usage_journal"))?;
        self.trees.usage_journal.insert(number, bytes).map_err(engine("write usage"))?;
        journal.next_number = journal.next_number.saturating_add(1);
        journal.written = journal.written.saturating_add(journal.unwritten.len());
        for place in journal.unwritten.drain(..) {
            if let Some((_key, row)) = journal.ahead.get_index_mut(place) {
                row.is_written = true;
            }
        }
        Ok(())
    }

    /// Goes on with folding if there is some to be done, by one step, or by more while too many rows are ahead.
    ///
    /// # Errors
    /// When the store fails or is closed; then it is tried again.
    pub fn fold_usage(&self) -> Result<(), StoreError> {
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

    /// Writes one step of the rows that are being folded; those of accounts that were removed are passed over. With the
    /// last of them the records go that named them.
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
            // The oldest first: whatever a crash leaves of them ends in the same figures.
            let (mut done, mut records) = (sled::Batch::default(), 0_usize);
            let until = codec::number_key(journal.fold_until);
            for key in self.trees.usage_journal.range(..until).keys().take(REMOVED_RECORDS) {
                done.remove(key.map_err(engine("read the journal of usage"))?);
                records = records.saturating_add(1);
            }
            self.trees.usage_journal.apply_batch(done).map_err(engine("write usage"))?;
            if records < REMOVED_RECORDS {
                journal.end_folding();
            }
        }
        drop((journal, lock));
        self.note_usage_written();
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
