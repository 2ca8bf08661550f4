//! Usage. A row may be of an account that was removed while it was written, and of a key that is gone.

use super::super::{Trees, codec, records_usage};
use super::Walk;

impl Walk {
    pub(super) fn usage(&mut self, trees: &Trees) {
        self.each("usage", &trees.usage, |walk, key, bytes| {
            walk.decoded("usage", key, records_usage::usage_from_bytes(key, bytes));
            Ok(())
        });
        self.each("usage_journal", &trees.usage_journal, |walk, number, bytes| {
            let decoded = codec::parse_number(number).and_then(|_number| records_usage::journal_from_bytes(bytes));
            for (key, _tally) in walk.decoded("usage_journal", number, decoded).into_iter().flatten() {
                walk.decoded("usage_journal", number, codec::parse_usage_key(&key));
            }
            Ok(())
        });
    }
}
