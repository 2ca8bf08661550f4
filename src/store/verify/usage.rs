//! Usage. A row may be of an account that was removed while it was written, and of a key that is gone.

use super::super::{Trees, records_usage};
use super::Walk;

impl Walk {
    pub(super) fn usage(&mut self, trees: &Trees) {
        self.each("usage", &trees.usage, |walk, key, bytes| {
            walk.decoded("usage", key, records_usage::usage_from_bytes(key, bytes));
            Ok(())
        });
    }
}
