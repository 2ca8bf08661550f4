//! Usage. A row may be of an account that was removed while it was written, and of a key that is gone.

use std::path::Path;

use super::super::records_usage::{self, JournalRows};
use super::super::usage_journal::JOURNAL_DIR;
use super::super::{Trees, codec, journal_files, usage_folding};
use super::Walk;

impl Walk {
    pub(super) fn usage(&mut self, trees: &Trees, copy: &Path) {
        self.each("usage", &trees.usage, |walk, key, bytes| {
            walk.decoded("usage", key, records_usage::usage_from_bytes(key, bytes));
            Ok(())
        });
        let mut records: u64 = 0;
        let (refused, read) = journal_files::read(&copy.join(JOURNAL_DIR), |place, record| {
            let keys: Vec<_> = match records_usage::journal_from_bytes(record)? {
                JournalRows::Tallies(rows) => rows.into_iter().map(|(key, _tally)| key).collect(),
                JournalRows::Sums(rows) => rows.into_iter().map(|(key, _sum)| key).collect(),
            };
            records = records.saturating_add(1);
            for key in keys {
                self.decoded(JOURNAL_DIR, place.to_string().as_bytes(), codec::parse_usage_key(key));
            }
            Ok(())
        });
        if let Err(error) = usage_folding::read_folded(trees) {
            self.fault("meta", b"usage_folded", error.to_string());
        }
        for (place, damage) in refused {
            records = records.saturating_add(1);
            self.decoded::<()>(JOURNAL_DIR, place.to_string().as_bytes(), Err(damage));
        }
        if let Err(error) = read {
            self.fault(JOURNAL_DIR, &[], format!("it is not readable: {error}"));
        }
        self.verified.rows.push((JOURNAL_DIR, records));
    }
}
