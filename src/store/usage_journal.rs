//! The journal of usage: what rows are to be.
//!
//! To write a row to sled costs as much as a request, and with many keys each request is a row's. So for as long as its
//! hour runs, usage is with the account in memory, and what changes is written to files beside sled
//! (`journal_files.rs`), which are on disk with the next commit. Once the hour is over its rows are written to sled
//! (`usage_folding.rs`), each once, and the files go that named them.
//!
//! A record says what a row is to be, whatever it was: the newest one counts, and sled's row is what is older than all
//! of them. So it does no harm if a row is written twice, to either place, wherever a crash comes.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use super::changes::encode;
use super::commits::{CommitNumber, Commits};
use super::journal_files::{self, JournalFiles, Place, Unsynced};
use super::memory::AccountCounter;
use super::open::{damage, unusable};
use super::records_usage::{self as records, JournalRows, UnwrittenRows};
use super::usage_folding::{self as folding, Turn};
use super::usage_noted::Ended;
use super::{Damage, OpenError, Store, StoreError, Trees, codec, usage};
use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::usage::{Spender, Tally};
use crate::domain::usage_hour::{HourUsage, Kept};
use crate::domain::window::Window;

/// The directory of its files, in the data directory.
pub(super) const JOURNAL_DIR: &str = "usage-journal";

/// The journal, and what is on its way from it to sled. One thread at a time writes usage, to either.
pub(super) struct Journal {
    pub(super) files: JournalFiles,
    unwritten: UnwrittenRows,
    /// Rows in the records since the last turn began.
    pub(super) written: usize,
    /// What accounts used in hours that they have left, until it is folded.
    pub(super) ended: Ended,
    pub(super) turn: Turn,
    /// Turns that have begun since the start. What is written since the last one is in files that outlast it.
    pub(super) turns: u32,
    /// The last file that is of no use any more, and the commit with which that is so on disk.
    pub(super) used_up: Option<(u64, CommitNumber)>,
}

impl Journal {
    /// Reads what an earlier process has left in the data directory.
    pub(super) fn load(
        data_dir: &Path,
        trees: &Trees,
        unsynced: Arc<Unsynced>,
        commits: &Commits,
    ) -> Result<Self, OpenError> {
        let (dir, failed) = (data_dir.join(JOURNAL_DIR), |error: StoreError| damage(data_dir, &error));
        let unusable = |error| unusable(data_dir, error);
        let folded = folding::read_folded(trees).map_err(failed)?;
        let mut journal = Self {
            files: JournalFiles::open(dir.clone(), folded.until, unsynced).map_err(unusable)?,
            unwritten: UnwrittenRows::default(),
            written: 0,
            ended: Ended::new(),
            turn: Turn::default(),
            turns: 0,
            used_up: None,
        };
        let (mut begun, mut later) = (BTreeMap::new(), BTreeMap::new());
        let (refused, read) = journal_files::read(&dir, |place, record| {
            match records::journal_from_bytes(record)? {
                JournalRows::Tallies(rows) => rows.iter().for_each(|(key, tally)| journal.recall(place, key, *tally)),
                JournalRows::Sums(rows) => {
                    let sums = if place.file <= folded.until { &mut begun } else { &mut later };
                    let left = rows.into_iter().filter(|(key, _sum)| !folded.covers(place.file, key));
                    left.for_each(|(key, sum)| {
                        sums.entry(key.to_vec()).or_insert_with(records::Sum::default).add(&sum);
                    });
                }
            }
            Ok(())
        });
        refused.iter().for_each(|(place, damage): &(Place, Damage)| {
            tracing::error!(%place, %damage, "usage of a damaged record is lost");
        });
        read.map_err(unusable)?;
        // Rows that come in the order of their keys leave nodes half empty. Made anew they are full; there is room for that as
        // long as no accounts are in memory.
        journal.ended = mem::take(&mut journal.ended).into_iter().collect();
        folding::write_sums(trees, folded.done, folded.until, &begun).map_err(failed)?;
        folding::write_sums(trees, folded.until, journal.files.end(), &later).map_err(failed)?;
        if journal.ended.is_empty() {
            // What its files said is in rows, which are on disk with the next commit.
            journal.used_up = Some((journal.files.end(), commits.next()));
        }
        Ok(journal)
    }

    fn recall(&mut self, place: Place, key: &[u8], tally: Tally) {
        match codec::parse_usage_key(key) {
            Ok(row) => {
                let (account, window) = (row.spender.account_id, row.spender.window);
                let hour = self.ended.entry((account, window)).or_insert_with(|| Box::new(HourUsage::new(window)));
                hour.set(row.spender.key_id, &row.endpoint, tally, Kept::InJournal(0));
            }
            Err(damage) => tracing::error!(%place, %damage, "usage of a damaged row is lost"),
        }
    }

    /// Takes what accounts used in hours that they have left.
    pub(super) fn take_ended(&mut self, store: &Store) -> Result<(), StoreError> {
        let mut done = Ok(());
        for ((account, window), mut hour) in store.noted.take_ended() {
            let earlier =
                if hour.is_whole() { Ok(None) } else { usage::read_hour(&store.trees, account, window).map(Some) };
            match earlier {
                Ok(earlier) => {
                    self.complete(account, &mut hour, earlier);
                    done = self.keep_ended(account, hour).and(done);
                }
                // All others must not wait for this one.
                Err(error) => {
                    store.noted.put_back_ended([((account, window), hour)]);
                    done = Err(error);
                }
            }
        }
        done
    }

    /// The same, for an account that need not wait for others.
    pub(super) fn take_ended_of(&mut self, store: &Store, account: AccountId) -> Result<(), StoreError> {
        self.take_ended(store).or_else(|error| if store.noted.has_ended(account) { Err(error) } else { Ok(()) })
    }

    /// Keeps a complete hour that an account has left.
    pub(super) fn keep_ended(&mut self, account: AccountId, mut hour: Box<HourUsage>) -> Result<(), StoreError> {
        let noted = self.note_unwritten(account, &mut hour);
        self.ended.insert((account, hour.window()), hour);
        noted
    }

    /// Does something with the hour that an account is in, once it is complete and what is unwritten of it was taken.
    pub(super) fn with_running(
        &mut self,
        store: &Store,
        counter: &AccountCounter,
        act: impl FnOnce(&mut Self, &mut Option<Box<HourUsage>>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let account = counter.account_id();
        let mut held = counter.usage();
        if let Some(hour) = held.as_deref_mut().filter(|hour| hour.is_whole()) {
            self.note_unwritten(account, hour)?;
            return act(self, &mut held);
        }
        let begun = held.as_ref().map(|hour| hour.window());
        drop(held);
        // No request waits for that. Nobody else writes rows meanwhile.
        let earlier = begun.map(|window| usage::read_hour(&store.trees, account, window)).transpose()?;
        let mut held = counter.usage();
        let Some(hour) = held.as_deref_mut() else { return Ok(()) };
        if !hour.is_whole() {
            if begun != Some(hour.window()) {
                // It has gone on, and is on a list again.
                return Ok(());
            }
            if store.memory.find_counter(account)?.as_ref() != Some(counter) {
                // What came late for an account that was removed, and perhaps came back by a restore.
                *held = None;
                return Ok(());
            }
            // The account may have left this hour and come back to it. As long as this one is held, it leaves none, and its
            // requests wait; there is little to take, since what is written is preceded by it.
            self.take_ended_of(store, account)?;
            self.complete(account, hour, earlier);
        }
        self.note_unwritten(account, hour)?;
        act(self, &mut held)
    }

    /// Adds what was known of an hour before it was begun in memory, `earlier` in its rows. In the journal it may be in
    /// files that a turn is about to give up.
    fn complete(&mut self, account: AccountId, hour: &mut HourUsage, earlier: Option<HourUsage>) {
        let Some(mut earlier) = earlier.filter(|_rows| !hour.is_whole()) else { return };
        let newer = self.ended.remove(&(account, hour.window()));
        for (key_id, endpoint, tally) in newer.iter().flat_map(|hour| hour.rows()) {
            earlier.set(key_id, endpoint, tally, Kept::Nowhere);
        }
        hour.add_earlier(earlier);
    }

    /// Takes what rows of an hour are to be, those that are kept nowhere.
    fn note_unwritten(&mut self, account: AccountId, hour: &mut HourUsage) -> Result<(), StoreError> {
        let window = hour.window();
        self.note(account, window, hour.take_unwritten(self.turns))
    }

    /// The same, and of those that would go with the files that were there when the turn began.
    pub(super) fn note_left_behind(&mut self, account: AccountId, hour: &mut HourUsage) -> Result<(), StoreError> {
        let window = hour.window();
        self.note(account, window, hour.take_left_behind(self.turns))
    }

    fn note<'r>(
        &mut self,
        account_id: AccountId,
        window: Window,
        mut rows: impl Iterator<Item = (KeyId, &'r EndpointName, Tally)>,
    ) -> Result<(), StoreError> {
        rows.try_for_each(|(key_id, endpoint, tally)| {
            let spender = Spender { account_id, window, key_id };
            self.unwritten.push(&spender, endpoint, &tally).map_err(encode("usage_journal"))
        })
    }

    fn write_noted(&mut self, store: &Store) -> Result<(), StoreError> {
        // What could not be written comes first: until it is, the rest stays with the accounts.
        self.write_records()?;
        let mut done = self.take_ended(store);
        for list in store.noted.take_lists() {
            let mut left = list.into_iter();
            while let Some(counter) = left.next() {
                if let Err(error) = self.with_running(store, &counter, |_journal, _hour| Ok(())) {
                    // All others must not wait for this one.
                    store.noted.put_back([counter]);
                    done = Err(error);
                }
                if let Err(error) = self.write_full_records() {
                    store.noted.put_back(left);
                    return Err(error);
                }
            }
        }
        self.write_records().and(done)
    }

    /// Writes what is in no record: full records, so that the last one comes with what comes next.
    pub(super) fn write_full_records(&mut self) -> Result<(), StoreError> {
        while self.unwritten.has_full() {
            self.write_record()?;
        }
        Ok(())
    }

    /// Writes all of it.
    pub(super) fn write_records(&mut self) -> Result<(), StoreError> {
        while !self.unwritten.is_empty() {
            self.write_record()?;
        }
        Ok(())
    }

    fn write_record(&mut self) -> Result<(), StoreError> {
        let Some(first) = self.unwritten.first() else { return Ok(()) };
        let (bytes, rows) = first.map_err(encode("usage_journal"))?;
        self.files.append(&bytes).map_err(refused("write usage"))?;
        self.unwritten.drop_first();
        self.written = self.written.saturating_add(rows);
        Ok(())
    }

    /// Removes the files that are of no use any more, once that is so on disk.
    pub(super) fn remove_used_up(&mut self, commits: &Commits) -> Result<(), StoreError> {
        if let Some((until, commit)) = self.used_up
            && commits.is_done(commit)
            && self.unwritten.is_empty()
        {
            self.files.remove_until(until).map_err(refused("remove a journal"))?;
            self.used_up = None;
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
    /// Writes all that was noted so far to the journal.
    ///
    /// # Errors
    /// When the store fails or is closed; what was not written is tried again the next time.
    pub fn write_usage(&self) -> Result<(), StoreError> {
        // For what it looks at: an operator's writes need not wait for this one.
        drop(self.lock_rows()?);
        let mut journal = self.journal()?;
        let written = journal.written;
        let done = journal.write_noted(self);
        let has_written = journal.written > written;
        drop(journal);
        if has_written {
            self.note_usage_written();
        }
        done
    }

    /// Removes the files of the journal that are of no use any more.
    pub(super) fn remove_used_up_usage(&self) -> Result<(), StoreError> {
        self.journal()?.remove_used_up(&self.committer.numbers())
    }

    /// Forgets all of it, for a store that is emptied.
    pub(super) fn clear_usage(&self) -> Result<(), StoreError> {
        let mut journal = self.journal()?;
        self.noted.clear();
        let last = journal.files.end();
        journal.files.remove_until(last).map_err(refused("empty the journal of usage"))?;
        journal.unwritten.clear();
        journal.written = 0;
        journal.ended.clear();
        journal.turn = Turn::default();
        journal.used_up = None;
        Ok(())
    }

    pub(super) fn note_usage_written(&self) {
        self.writes.note_usage();
        // Nobody waits for it; but where units are on disk before the answer, nothing commits unless it is asked to.
        let _on_its_way = self.committer.commit_if_due();
    }
}
