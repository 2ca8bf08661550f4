//! Deleting rows in steps, off the request path.

use sled::{IVec, Tree};

use super::{Store, StoreError, engine};

/// Rows that a step deletes: sled re-uses space, but never gives it back, so deletes must keep up; in steps, so that a core
/// that they share with requests is left to those in between.
pub(crate) const STEP_ROWS: usize = 100;

impl Store {
    /// Runs a step of a purge; answers whether more is left. Without room on the disk it waits for the next round: sled writes
    /// what it deletes, too.
    pub(super) fn purge(&self, delete: impl FnOnce() -> Result<usize, StoreError>) -> Result<bool, StoreError> {
        if !self.room.has_room() {
            return Ok(false);
        }
        let rows = delete()?;
        if rows > 0 {
            self.committer.mark_dirty();
        }
        Ok(rows == STEP_ROWS)
    }
}

/// Deletes up to a step of the rows that have these keys. Answers how many; fewer than the step means that none is left.
///
/// Each by itself: while sled applies a batch, nobody takes a block of units. Half a step does no harm: the rest is deleted the
/// next time.
pub(super) fn delete(
    tree: &Tree,
    keys: impl Iterator<Item = sled::Result<IVec>>,
    attempt: &'static str,
) -> Result<usize, StoreError> {
    let mut rows: usize = 0;
    for key in keys.take(STEP_ROWS) {
        tree.remove(key.map_err(engine(attempt))?).map_err(engine(attempt))?;
        rows = rows.saturating_add(1);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::domain::window::Window;
    use crate::store::{Store, StoreOptions, codec};

    #[test]
    fn nothing_is_purged_on_a_disk_that_takes_no_writes() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { dir: dir.path().join("db"), flush_within: Duration::from_millis(100) };
        let store = Store::open(&options, &[]).unwrap();
        let (old, now) = (Window::from_hours(7), Window::from_hours(9));
        let tree = &store.trees.counters;
        for account in 0..150_u8 {
            tree.insert([codec::window_prefix(old).as_slice(), &[account; 16]].concat(), &[]).unwrap();
        }
        assert!(store.purge_counters_step(now).unwrap());
        assert_eq!(tree.len(), 50);

        store.room.health().fail();

        assert!(!store.purge_counters_step(now).unwrap());
        assert_eq!(tree.len(), 50);
    }
}
