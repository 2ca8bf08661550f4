//! Folding: what the journal of usage says is written to rows.
//!
//! It goes by turns. A turn ends the journal's file, goes round all accounts, and writes what they used in the running
//! hour to the journal once more, unless it is in rows, or was written since the turn began because the account has asked
//! again; what they used in hours that are over goes to rows, a step at a time, in the order of the rows. Then nothing
//! needs the files that were there when it began. So it also bounds the journal: however often an account asks in an
//! hour, there is one turn for that.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::vec;

use super::changes::{encode, transact};
use super::memory::AccountCounter;
use super::records_usage::{self as records, Folded, Sum};
use super::usage_journal::Journal;
use super::{Store, StoreError, Trees, codec, damaged, engine, usage};
use crate::clock::Stopwatch;
use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::usage::{Spender, Tally};
use crate::domain::usage_hour::HourUsage;
use crate::domain::window::Window;

/// Where an earlier version kept how far folding had come, among what the store says of itself.
const FOLDED_KEY: &str = "usage_folded";
/// Accounts that a step of a turn looks at, and rows that it writes to sled: an operator's write waits for less than a
/// millisecond.
const STEP_ACCOUNTS: usize = 500;
const STEP_ROWS: usize = 100;
/// Steps of a turn at a time, while the journal has as many rows as begin one: then it grows faster than the turn goes.
const BEHIND_STEPS: usize = 20;
/// A turn begins this long after the last one, if an hour is over for some account.
const TURN_EVERY_US: u64 = 60_000_000;
/// Or with so many rows in the journal (about 80 bytes of disk each, and as much work at the start after a crash), and
/// twice as many again as the last turn found: so a turn costs less than what it is for.
const JOURNAL_ROWS_MAX: usize = 500_000;

/// The turn that is under way, or the last one.
#[derive(Default)]
pub(super) struct Turn {
    stage: Stage,
    /// The last file that will be of no use.
    until: u64,
    /// Rows of the running hour that it found.
    found: usize,
    begun: Option<(Stopwatch, Window)>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Done,
    /// These accounts are yet to be looked at.
    Accounts(vec::IntoIter<AccountCounter>),
    /// Rows after those of this account and hour are yet to be written.
    Rows(Option<(AccountId, Window)>),
}

/// Rows on their way to sled, by their keys.
type Rows = BTreeMap<Vec<u8>, Tally>;

impl Store {
    /// Goes on with the turn by one step, or by some while it has fallen behind, or begins one if it is time. `now`: the
    /// hour that runs.
    ///
    /// # Errors
    /// When the store fails or is closed; then it is tried again.
    pub fn fold_usage(&self, now: Window) -> Result<(), StoreError> {
        self.remove_used_up_usage()?;
        // The file first: who comes after it is in a later one. Then the accounts, without a lock that others wait for.
        let until = self.journal()?.end_file_if_due(now);
        let mut begun = until.map(|until| (until, self.memory.all_counters()));
        for _step in 0..BEHIND_STEPS {
            let _lock = self.lock_rows()?;
            let mut journal = self.journal()?;
            if let Some((until, accounts)) = begun.take() {
                journal.begin_turn(until, accounts, now);
            }
            journal.turn.begun.get_or_insert_with(|| (Stopwatch::start(), now));
            if matches!(journal.turn.stage, Stage::Done) {
                break;
            }
            let done = self.turn_on(&mut journal, now);
            if done.is_err() {
                // It has not seen all accounts, so it says of no file that it is of no use.
                journal.turn.stage = Stage::Done;
            }
            self.note_usage_written();
            done?;
            if !journal.has_too_many() {
                break;
            }
        }
        Ok(())
    }

    fn turn_on(&self, journal: &mut Journal, now: Window) -> Result<(), StoreError> {
        // What is in no record may be of what a turn gives up.
        journal.write_records()?;
        match &mut journal.turn.stage {
            Stage::Done => {}
            Stage::Accounts(left) => {
                let step: Vec<AccountCounter> = left.take(STEP_ACCOUNTS).collect();
                let is_last = left.len() == 0;
                step.iter().try_for_each(|counter| self.look_at(journal, counter, now))?;
                if is_last {
                    // What accounts have left before they were looked at.
                    journal.take_ended(self)?;
                    journal.turn.stage = Stage::Rows(None);
                }
                journal.write_records()?;
            }
            Stage::Rows(after) => {
                let after = *after;
                let last = self.fold_rows(journal, after)?;
                journal.turn.stage = last.map_or(Stage::Done, |last| Stage::Rows(Some(last)));
                if last.is_none() {
                    journal.used_up = Some((journal.turn.until, self.committer.numbers().next()));
                }
            }
        }
        Ok(())
    }

    /// Looks at an account in a turn.
    fn look_at(&self, journal: &mut Journal, counter: &AccountCounter, now: Window) -> Result<(), StoreError> {
        journal.with_running(self, counter, |journal, held| {
            let account = counter.account_id();
            if let Some(hour) = held.take_if(|hour| hour.window() != now) {
                journal.keep_ended(account, hour)?;
            } else if let Some(hour) = held {
                journal.note_left_behind(account, hour)?;
                journal.turn.found = journal.turn.found.saturating_add(hour.rows().count());
            }
            // An account may have thousands of rows.
            journal.write_full_records()
        })
    }

    /// Writes all rows of an account, so that whoever reads them next sees what was noted so far.
    ///
    /// # Errors
    /// When the store fails or is closed.
    pub fn fold_usage_of(&self, account: AccountId) -> Result<(), StoreError> {
        let Some(counter) = self.memory.find_counter(account)? else { return Ok(()) };
        // Whoever waits until it is read should not hold what others need.
        drop(self.journal()?);
        let _lock = self.lock_rows()?;
        let mut journal = self.journal()?;
        journal.take_ended_of(self, account)?;
        let of_account = (account, Window::from_hours(0))..=(account, Window::from_hours(u32::MAX));
        let mut rows = Rows::new();
        journal.ended.range(of_account).for_each(|((account, _), hour)| extend(&mut rows, *account, hour));
        self.fold_running(&mut journal, [counter], &mut rows)
    }

    /// Writes all rows of all accounts, so that whoever reads them next sees what was noted so far.
    ///
    /// # Errors
    /// When the store fails or is closed.
    pub fn fold_all_usage(&self) -> Result<(), StoreError> {
        self.write_usage()?;
        let mut accounts = self.memory.all_counters().into_iter();
        while accounts.len() > 0 {
            let _lock = self.lock_rows()?;
            self.fold_running(&mut *self.journal()?, accounts.by_ref(), &mut Rows::new())?;
        }
        let mut after = None;
        loop {
            let _lock = self.lock_rows()?;
            let mut journal = self.journal()?;
            journal.write_records()?;
            after = self.fold_rows(&mut journal, after)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes rows, and those of the hours that accounts are in, as far as they are not written; of some accounts, until
    /// there are enough for a step.
    fn fold_running(
        &self,
        journal: &mut Journal,
        counters: impl IntoIterator<Item = AccountCounter>,
        rows: &mut Rows,
    ) -> Result<(), StoreError> {
        let mut taken = Vec::new();
        let mut done = Ok(());
        for counter in counters {
            let account = counter.account_id();
            if self.memory.known_counter(account).is_some() {
                done = journal.with_running(self, &counter, |_journal, held| {
                    if let Some(hour) = held {
                        let window = hour.window();
                        rows.extend(hour.take_unfolded().map(|row| keyed(account, window, row)));
                    }
                    Ok(())
                });
            }
            taken.push(counter);
            if done.is_err() || rows.len() >= STEP_ROWS || taken.len() >= STEP_ACCOUNTS {
                break;
            }
        }
        let done = done.and_then(|()| journal.write_records()).and_then(|()| write(&self.trees, rows));
        if done.is_err() {
            taken.iter().for_each(|counter| counter.usage().iter_mut().for_each(|hour| hour.unwrite()));
            self.noted.put_back(taken);
        }
        self.note_usage_written();
        done
    }

    /// Writes some rows of hours that are over, those after an account's hour, and forgets them. Answers where it
    /// stopped; `None`: there are no more. What is of an account that was removed is passed over.
    fn fold_rows(
        &self,
        journal: &mut Journal,
        after: Option<(AccountId, Window)>,
    ) -> Result<Option<(AccountId, Window)>, StoreError> {
        let (mut rows, mut done) = (Rows::new(), Vec::new());
        for (place, hour) in journal.ended.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)) {
            if self.memory.has_account(place.0)? {
                extend(&mut rows, place.0, hour);
            }
            done.push(*place);
            if rows.len() >= STEP_ROWS || done.len() >= STEP_ACCOUNTS {
                break;
            }
        }
        write(&self.trees, &rows)?;
        done.iter().for_each(|place| drop(journal.ended.remove(place)));
        self.note_usage_written();
        Ok(done.last().copied().filter(|_last| rows.len() >= STEP_ROWS || done.len() >= STEP_ACCOUNTS))
    }
}

impl Journal {
    fn is_due(&self, now: Window) -> bool {
        let is_running = !matches!(self.turn.stage, Stage::Done);
        // Else the files of the last one would be there for longer than they are of use.
        if is_running || self.used_up.is_some() {
            return false;
        }
        let is_over = match &self.turn.begun {
            None => !self.ended.is_empty(),
            Some((begun, hour)) => begun.elapsed_us() >= TURN_EVERY_US && (*hour != now || !self.ended.is_empty()),
        };
        is_over || self.has_too_many()
    }

    fn has_too_many(&self) -> bool {
        self.written > self.turn.found.saturating_mul(2).saturating_add(JOURNAL_ROWS_MAX)
    }

    fn end_file_if_due(&mut self, now: Window) -> Option<u64> {
        self.is_due(now).then(|| self.files.end())
    }

    fn begin_turn(&mut self, until: u64, accounts: Vec<AccountCounter>, now: Window) {
        self.turn = Turn {
            stage: Stage::Accounts(accounts.into_iter()),
            until,
            found: 0,
            begun: Some((Stopwatch::start(), now)),
        };
        self.turns = self.turns.saturating_add(1);
        self.written = 0;
    }
}

fn extend(rows: &mut Rows, account: AccountId, hour: &HourUsage) {
    rows.extend(hour.rows().map(|row| keyed(account, hour.window(), row)));
}

fn keyed(
    account_id: AccountId,
    window: Window,
    (key_id, endpoint, tally): (KeyId, &EndpointName, Tally),
) -> (Vec<u8>, Tally) {
    (codec::usage_key(&Spender { account_id, window, key_id }, endpoint), tally)
}

/// Each by itself, as a row may be written twice: while sled applies a batch, nobody takes a block of units.
fn write(trees: &Trees, rows: &Rows) -> Result<(), StoreError> {
    for (key, tally) in rows {
        let bytes = records::tally_to_bytes(tally).map_err(encode("usage"))?;
        trees.usage.insert(key, bytes).map_err(engine("write usage"))?;
    }
    Ok(())
}

fn batch<'r>(rows: impl IntoIterator<Item = (&'r Vec<u8>, &'r Tally)>) -> Result<sled::Batch, StoreError> {
    let mut batch = sled::Batch::default();
    for (key, tally) in rows {
        batch.insert(key.as_slice(), records::tally_to_bytes(tally).map_err(encode("usage"))?);
    }
    Ok(batch)
}

/// How far an earlier version's folding had come.
pub(super) fn read_folded(trees: &Trees) -> Result<Folded, StoreError> {
    let bytes = trees.meta.get(FOLDED_KEY).map_err(engine("read how far usage is folded"))?;
    let folded = bytes.map(|bytes| records::folded_from_bytes(&bytes)).transpose();
    Ok(folded.map_err(damaged("meta", FOLDED_KEY.as_bytes()))?.unwrap_or_default())
}

/// Writes what a journal of an earlier version comes to, which said what is to be added to rows: that of its files after
/// `done`, up to `until`. How far it has come is written in the same transaction: nothing is added twice.
pub(super) fn write_sums(
    trees: &Trees,
    done: u64,
    until: u64,
    sums: &BTreeMap<Vec<u8>, Sum>,
) -> Result<(), StoreError> {
    let mut left = sums.iter();
    while left.len() > 0 {
        let (mut rows, mut last) = (Rows::new(), None);
        for (key, sum) in left.by_ref().take(STEP_ROWS) {
            let mut tally = usage::find_tally(trees, key)?.unwrap_or_default();
            sum.add_to(&mut tally);
            rows.insert(key.clone(), tally);
            last = Some(key.clone());
        }
        let folded = Folded { done, until, last: last.filter(|_key| left.len() > 0) };
        let mut marker = sled::Batch::default();
        marker.insert(FOLDED_KEY, records::folded_to_bytes(&folded).map_err(encode("meta"))?);
        transact(&[(&trees.usage, batch(&rows)?), (&trees.meta, marker)])?;
    }
    Ok(())
}
