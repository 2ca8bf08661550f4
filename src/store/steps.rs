//! Deleting rows in steps, off the request path.

use sled::{IVec, Tree};

use super::{StoreError, engine};

/// Rows that a step deletes: sled re-uses space, but never gives it back, so deletes must keep up; in steps, so that a core
/// that they share with requests is left to those in between.
pub(crate) const STEP_ROWS: usize = 100;

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
