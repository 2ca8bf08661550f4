//! Deferred events: clicks and conversions that come faster than they can be recorded wait on disk.
//!
//! To record an event takes several rows; to defer it, a part of one: a half to a sixth of the work. So the recorder keeps
//! up with putting events where a crash does not forget them, when it does not keep up with recording them. They are
//! recorded in their order as soon as there is time, each in the transaction that removes it from here.

use std::sync::atomic::{AtomicU64, Ordering};

use super::changes::encode;
use super::recording::Event;
use super::{Store, StoreError, Trees, codec, damaged, engine, records_deferred as records};

/// Events of a row: what one transaction records, so that whoever writes besides waits for some milliseconds.
const ROW_EVENTS: usize = 100;

/// What memory knows of them.
#[derive(Default)]
pub(super) struct Deferred {
    /// The number that the next row gets.
    next_number: AtomicU64,
    events: AtomicU64,
}

impl Deferred {
    /// Counts what an earlier process has left.
    pub(super) fn load(trees: &Trees) -> Result<Self, StoreError> {
        let deferred = Self::default();
        for row in trees.deferred_events.iter() {
            let (key, bytes) = row.map_err(engine("read deferred events"))?;
            let number = codec::parse_number(&key).map_err(damaged("deferred_events", &key))?;
            deferred.next_number.store(number.saturating_add(1), Ordering::Relaxed);
            // A damaged row is for whoever records it: the store opens without it.
            deferred.add(records::events_from_bytes(&bytes).map_or(0, |events| events.len()));
        }
        Ok(deferred)
    }

    /// Nothing is deferred: the tree is empty.
    pub(super) fn clear(&self) {
        self.events.store(0, Ordering::Relaxed);
    }

    fn add(&self, events: usize) {
        self.events.fetch_add(u64::try_from(events).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn subtract(&self, events: usize) {
        self.events.fetch_sub(u64::try_from(events).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Store {
    /// How many events are deferred.
    #[must_use]
    pub fn deferred_events(&self) -> u64 {
        self.deferred.events.load(Ordering::Relaxed)
    }

    /// Defers events, oldest first, after those that are deferred already.
    ///
    /// # Errors
    /// When the store fails or is closed; then none of them was deferred.
    pub fn defer(&self, events: &[Event]) -> Result<(), StoreError> {
        let lock = self.lock_rows()?;
        let mut batch = sled::Batch::default();
        for row in events.chunks(ROW_EVENTS) {
            let number = self.deferred.next_number.fetch_add(1, Ordering::Relaxed);
            let bytes = records::events_to_bytes(row).map_err(encode("deferred_events"))?;
            batch.insert(&codec::number_key(number), bytes);
        }
        self.trees.deferred_events.apply_batch(batch).map_err(engine("defer events"))?;
        self.deferred.add(events.len());
        drop(lock);
        self.note_events_written();
        Ok(())
    }

    /// Records the oldest deferred events in one transaction; answers whether more are left. Any thread may do so.
    ///
    /// # Errors
    /// When the store fails or is closed; then they stay deferred.
    pub fn record_deferred(&self) -> Result<bool, StoreError> {
        Ok(self.record_deferred_rows()?.is_some() && self.deferred_events() > 0)
    }

    /// Records all events that are deferred by now, so that whoever reads the store next sees them.
    ///
    /// # Errors
    /// When the store fails or is closed; then what is left stays deferred.
    pub fn record_all_deferred(&self) -> Result<(), StoreError> {
        let end = self.deferred.next_number.load(Ordering::Relaxed);
        while self.record_deferred_rows()?.is_some_and(|number| number.saturating_add(1) < end) {}
        Ok(())
    }

    /// Records the oldest rows, as many as a transaction takes; answers the number of the last, if there is one.
    fn record_deferred_rows(&self) -> Result<Option<u64>, StoreError> {
        let tree = &self.trees.deferred_events;
        // Looked at before the lock is taken: mostly there is none. What another thread records is counted until memory
        // has its sums, too.
        if self.deferred_events() == 0 && tree.is_empty() {
            return Ok(None);
        }
        let lock = self.lock_rows()?;
        let (mut events, mut done, mut last) = (Vec::new(), sled::Batch::default(), None);
        for row in tree.iter() {
            let (key, bytes) = row.map_err(engine("read deferred events"))?;
            let number = codec::parse_number(&key).map_err(damaged("deferred_events", &key))?;
            match records::events_from_bytes(&bytes).map_err(damaged("deferred_events", &key)) {
                Ok(more) if last.is_some() && events.len().saturating_add(more.len()) > ROW_EVENTS => break,
                Ok(more) => events.extend(more),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "up to {ROW_EVENTS} clicks are lost");
                }
            }
            done.remove(&key);
            last = Some(number);
        }
        if last.is_none() {
            return Ok(None);
        }
        self.record_under(&lock, &events, done)?;
        self.deferred.subtract(events.len());
        if tree.is_empty() {
            // A row that was counted and does not decode any more was not subtracted.
            self.deferred.clear();
        }
        drop(lock);
        self.note_events_written();
        Ok(last)
    }
}
