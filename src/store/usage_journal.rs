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

use foldhash::fast::RandomState;

use super::changes::encode;
use super::usage::{Hour, UsageChange};
use super::{Store, StoreError, Trees, codec, damaged, engine, records_usage as records};
use crate::clock::Stopwatch;
use crate::domain::id::AccountId;
use crate::domain::usage::Tally;
use crate::domain::window::Window;

/// Changes that a record has: fewer bytes than a record may have, and some hundred microseconds of an operator's wait.
const RECORD_ROWS: usize = 300;
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

/// What the journal holds, in memory. By the keys of the rows.
#[derive(Default)]
pub(super) struct Journal {
    /// Rows that changed since folding began.
    ahead: HashMap<Vec<u8>, Tally, RandomState>,
    /// Rows that it has yet to write.
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

/// A row that a change was made to.
struct Changed {
    key: Vec<u8>,
    /// What was ahead before; `None`: nothing.
    before: Option<Tally>,
    after: Tally,
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

    /// Takes changes back whose record was not written.
    fn undo(&mut self, changed: Vec<Changed>) {
        for Changed { key, before, after: _ } in changed.into_iter().rev() {
            match before {
                Some(before) => drop(self.ahead.insert(key, before)),
                None => {
                    self.ahead.remove(&key);
                    // It counts the row. What is read anew does not.
                    codec::parse_usage_hour(&key).ok().and_then(|place| self.hours.remove(&place));
                }
            }
        }
    }

    fn is_folding(&self) -> bool {
        !self.folding.is_empty() || self.fold_until > 0
    }

    fn is_due(&self) -> bool {
        let is_old = self.since_folding.is_none_or(|since| since.elapsed_us() >= FOLD_EVERY_US);
        !self.ahead.is_empty() && (is_old || self.has_too_many())
    }

    fn has_too_many(&self) -> bool {
        self.ahead.len() > AHEAD_MAX || self.written > JOURNAL_MAX
    }

    fn begin_folding(&mut self) {
        self.folding = std::mem::take(&mut self.ahead).into_iter().collect();
        self.fold_until = self.next_number;
        self.written = 0;
        self.since_folding = Some(Stopwatch::start());
    }

    fn end_folding(&mut self) {
        self.fold_until = 0;
        let places: BTreeSet<_> = self.ahead.keys().filter_map(|key| codec::parse_usage_hour(key).ok()).collect();
        self.hours.retain(|place, _hour| places.contains(place));
    }
}

impl Store {
    /// Writes up to a record of changes to the journal, the last first, and takes those that are done out of the list:
    /// what is left after an error can be tried again. For the one thread that adds usage only. What concerns a damaged
    /// row is passed over with an error line: the usage of all others must not wait for it.
    ///
    /// # Errors
    /// When the store fails or is closed.
    pub fn add_usage(&self, changes: &mut Vec<UsageChange>) -> Result<(), StoreError> {
        let lock = self.lock_rows()?;
        let mut journal = self.usage_journal.lock();
        let left = changes.len().saturating_sub(RECORD_ROWS);
        let mut changed = Vec::with_capacity(RECORD_ROWS);
        for change in changes.iter().skip(left) {
            match self.change_row(&mut journal, change) {
                Ok(row) => changed.push(row),
                Err(error @ StoreError::Damaged { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "usage of a damaged row is lost");
                }
                Err(error) => {
                    journal.undo(changed);
                    return Err(error);
                }
            }
        }
        if let Err(error) = self.write_record(&mut journal, &changed) {
            journal.undo(changed);
            return Err(error);
        }
        changes.truncate(left);
        drop((journal, lock));
        self.note_usage_written();
        Ok(())
    }

    fn write_record(&self, journal: &mut Journal, changed: &[Changed]) -> Result<(), StoreError> {
        if changed.is_empty() {
            return Ok(());
        }
        let bytes = records::journal_to_bytes(changed.iter().map(|row| (&row.key, &row.after)));
        let bytes = bytes.map_err(encode("usage_journal"))?;
        let number = codec::number_key(journal.next_number);
        self.trees.usage_journal.insert(number, bytes).map_err(engine("write usage"))?;
        journal.next_number = journal.next_number.saturating_add(1);
        journal.written = journal.written.saturating_add(changed.len());
        Ok(())
    }

    /// Goes on with folding if there is some to be done, by one step, or by more while too many rows are ahead.
    ///
    /// # Errors
    /// When the store fails or is closed; then it is tried again.
    pub fn fold_usage(&self) -> Result<(), StoreError> {
        for _step in 0..FOLD_STEPS_MAX {
            let mut journal = self.usage_journal.lock();
            if !journal.is_folding() {
                if !journal.is_due() {
                    return Ok(());
                }
                journal.begin_folding();
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
        if !journal.is_folding() && !journal.ahead.is_empty() {
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
    fn change_row(&self, journal: &mut Journal, change: &UsageChange) -> Result<Changed, StoreError> {
        let mut key = codec::usage_key(&change.spender, &change.endpoint);
        if let Some(tally) = journal.ahead.get_mut(&key) {
            let before = *tally;
            tally.apply(&change.change);
            return Ok(Changed { after: *tally, before: Some(before), key });
        }
        let mut found = self.find_tally(journal, &key)?;
        if found.is_none() {
            let place = (change.spender.account_id, change.spender.window);
            let hour = match journal.hours.get(&place) {
                Some(hour) => hour,
                None => {
                    let read = self.read_hour(place, &journal.folding)?;
                    journal.hours.entry(place).or_insert(read)
                }
            };
            let (spender, endpoint) = hour.place(change);
            key = codec::usage_key(&spender, &endpoint);
            found = self.find_tally(journal, &key)?;
            if found.is_none()
                && let Some(hour) = journal.hours.get_mut(&place)
            {
                hour.note(endpoint);
            }
        }
        let mut after = found.unwrap_or_default();
        after.apply(&change.change);
        let before = journal.ahead.insert(key.clone(), after);
        Ok(Changed { key, before, after })
    }

    /// A row as it is by now.
    fn find_tally(&self, journal: &Journal, key: &[u8]) -> Result<Option<Tally>, StoreError> {
        if let Some(tally) = journal.ahead.get(key).or_else(|| journal.folding.get(key)) {
            return Ok(Some(*tally));
        }
        let bytes = self.trees.usage.get(key).map_err(engine("read usage"))?;
        bytes.map(|bytes| records::tally_from_bytes(&bytes)).transpose().map_err(damaged("usage", key))
    }
}
