//! Folding: what the journal of usage says is added to the rows, in their order, so that rows beside each other are read
//! and written together.
//!
//! A step writes rows, and in the same transaction how far folding has come. So a crash leaves each row with what a file
//! says of it or without, and it is known which: nothing is added twice. That is also why one folding ends before the next
//! begins. Its files may still be there by then: they go once what was folded is on disk.

use std::collections::BTreeMap;

use super::changes::{encode, transact};
use super::records_usage::{self as records, Folded};
use super::usage::Hour;
use super::{Store, StoreError, Trees, codec, damaged, engine};
use crate::domain::id::AccountId;
use crate::domain::usage::{RowKey, Sum, Tally};
use crate::domain::window::Window;

/// Where it is kept how far folding has come, among what the store says of itself.
const FOLDED_KEY: &str = "usage_folded";
/// Rows that are folded at a time: an operator's write waits for some milliseconds.
const FOLD_ROWS: usize = 300;
/// Steps of folding in a round, where it has fallen behind: what comes meanwhile waits for the next round.
const FOLD_STEPS_MAX: usize = 20;

/// What is being folded.
pub(super) struct Folding {
    /// The last file that was folded before.
    pub(super) done: u64,
    /// The last file that it comes from.
    pub(super) until: u64,
    /// What is yet to be added to rows, by their keys in the store.
    pub(super) rows: BTreeMap<Vec<u8>, Sum>,
}

/// What a step writes.
#[derive(Default)]
struct Step {
    rows: BTreeMap<Vec<u8>, Tally>,
    /// What the account's hour has rows of to which something was added last, if it got a new one.
    hour: Option<((AccountId, Window), Hour)>,
}

impl Store {
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

    /// Folds so many rows. What concerns a damaged one is passed over with an error line: the usage of all others must
    /// not wait for it.
    fn fold_step(&self) -> Result<(), StoreError> {
        let lock = self.lock_rows()?;
        let mut journal = self.usage_journal.lock();
        let folding = &mut journal.folding;
        let (mut step, mut last) = (Step::default(), None);
        for (key, sum) in folding.rows.iter().take(FOLD_ROWS) {
            last = Some(key);
            match self.fold_row(&mut step, key, sum) {
                Err(error @ StoreError::Damaged { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "usage of a damaged row is lost");
                }
                other => other?,
            }
        }
        let last = last.filter(|_key| folding.rows.len() > FOLD_ROWS).cloned();
        let folded = Folded { done: folding.done, until: folding.until, last };
        step.write(&self.trees, &folded)?;
        for _row in 0..FOLD_ROWS {
            folding.rows.pop_first();
        }
        if !journal.is_folding() {
            journal.end_folding(self.committer.numbers().next());
        }
        drop((journal, lock));
        self.note_usage_written();
        Ok(())
    }

    /// Adds to a row, or to another one if there is no place for it. What is of an account that was removed is passed over.
    fn fold_row(&self, step: &mut Step, key: &[u8], sum: &Sum) -> Result<(), StoreError> {
        let row = codec::parse_usage_key(key).map_err(damaged("usage_journal", key))?;
        if !self.memory.has_account(row.spender.account_id) {
            return Ok(());
        }
        if let Some(tally) = self.find_tally(step, key)? {
            step.put(key.to_vec(), tally, sum);
            return Ok(());
        }
        let hour = self.hour(step, &row)?;
        let placed = hour.place(&row);
        let key = codec::usage_key(&placed);
        let found = if placed == row { None } else { self.find_tally(step, &key)? };
        if found.is_none()
            && let Some((_place, hour)) = &mut step.hour
        {
            hour.note(placed.endpoint);
        }
        step.put(key, found.unwrap_or_default(), sum);
        Ok(())
    }

    /// What the row's hour has rows of, those included that the step writes.
    fn hour<'s>(&self, step: &'s mut Step, row: &RowKey) -> Result<&'s mut Hour, StoreError> {
        let place = (row.spender.account_id, row.spender.window);
        let known = step.hour.take().filter(|(known, _hour)| *known == place);
        let known = match known {
            Some(known) => known,
            // None of its rows in the step is new.
            None => (place, self.read_hour(place)?),
        };
        Ok(&mut step.hour.insert(known).1)
    }

    fn find_tally(&self, step: &Step, key: &[u8]) -> Result<Option<Tally>, StoreError> {
        if let Some(tally) = step.rows.get(key) {
            return Ok(Some(*tally));
        }
        let bytes = self.trees.usage.get(key).map_err(engine("read usage"))?;
        bytes.map(|bytes| records::tally_from_bytes(&bytes)).transpose().map_err(damaged("usage", key))
    }
}

impl Step {
    fn put(&mut self, key: Vec<u8>, mut tally: Tally, sum: &Sum) {
        tally.add_sum(sum);
        self.rows.insert(key, tally);
    }

    fn write(self, trees: &Trees, folded: &Folded) -> Result<(), StoreError> {
        let mut marker = sled::Batch::default();
        marker.insert(FOLDED_KEY, records::folded_to_bytes(folded).map_err(encode("meta"))?);
        transact(&[(&trees.usage, batch(&self.rows)?), (&trees.meta, marker)])
    }
}

fn batch<'r>(rows: impl IntoIterator<Item = (&'r Vec<u8>, &'r Tally)>) -> Result<sled::Batch, StoreError> {
    let mut batch = sled::Batch::default();
    for (key, tally) in rows {
        batch.insert(key.as_slice(), records::tally_to_bytes(tally).map_err(encode("usage"))?);
    }
    Ok(batch)
}

/// How far folding has come.
pub(super) fn read_folded(trees: &Trees) -> Result<Folded, StoreError> {
    let bytes = trees.meta.get(FOLDED_KEY).map_err(engine("read how far usage is folded"))?;
    let folded = bytes.map(|bytes| records::folded_from_bytes(&bytes)).transpose();
    Ok(folded.map_err(damaged("meta", FOLDED_KEY.as_bytes()))?.unwrap_or_default())
}

/// Writes what rows are to be, as journals of earlier versions say. Of accounts that are gone, too: purging removes that.
pub(super) fn write_tallies(trees: &Trees, rows: &BTreeMap<Vec<u8>, Tally>) -> Result<(), StoreError> {
    let mut left = rows.iter();
    while left.len() > 0 {
        trees.usage.apply_batch(batch(left.by_ref().take(FOLD_ROWS))?).map_err(engine("write usage"))?;
    }
    Ok(())
}
