//! When keys were last used. Memory knows at once; it is written from time to time, since each costs a write per key.
//!
//! With a million keys, most leaves of the tree are on disk alone. So rows are written in their order: a leaf is read and
//! written again for all that it has, and not for each.

use std::collections::VecDeque;

use super::memory::Memory;
use super::{Store, StoreError, codec_numbers, engine};
use crate::domain::key::KeyHash;

/// Keys that are gathered at a time: as many as housekeeping writes in a minute.
const GATHERED_MAX: usize = 120_000;
/// Last uses that are written in one step: whoever wants to write keys waits for it.
pub const LAST_USES_PER_STEP: usize = 100;

/// Keys whose last uses are yet to be written.
pub(super) struct Gathered {
    keys: VecDeque<KeyHash>,
    /// The last one that was gathered.
    last: KeyHash,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { keys: VecDeque::new(), last: KeyHash::from_bytes([u8::MAX; 32]) }
    }
}

impl Gathered {
    /// Looks for up to so many keys whose last use is newer in memory than on disk, unless some are yet to be written.
    fn look(&mut self, memory: &Memory, max: usize) {
        if self.keys.is_empty() {
            self.keys = memory.touched_keys(&self.last, max).into();
            self.last = self.keys.back().copied().unwrap_or(self.last);
        }
    }

    fn take(&mut self, max: usize) -> Vec<KeyHash> {
        let taken = max.min(self.keys.len());
        self.keys.drain(..taken).collect()
    }
}

impl Store {
    /// Looks for keys whose last use is newer in memory than on disk, unless some are known that are yet to be written.
    /// Answers how many are known. It looks at each key, and goes on where it ended the last time.
    pub fn gather_last_uses(&self) -> usize {
        let mut gathered = self.last_uses.lock();
        gathered.look(&self.memory, GATHERED_MAX);
        gathered.keys.len()
    }

    /// Writes up to so many of those that were gathered. Answers whether more are left.
    ///
    /// # Errors
    /// When the store fails. The use of the key that it failed for is noted again at the key's next use, those of the rest
    /// are gathered again.
    pub fn write_last_uses(&self, max: usize) -> Result<bool, StoreError> {
        if !self.room.has_room() {
            return Ok(false);
        }
        // The lock keeps a key that is being removed from coming back as a row without a key.
        let _lock = self.writing.lock();
        let mut gathered = self.last_uses.lock();
        let step = gathered.take(max);
        let has_more = !gathered.keys.is_empty();
        drop(gathered);
        if step.is_empty() {
            return Ok(false);
        }
        // Each by itself: while sled applies a batch, nobody takes a block of units.
        for hash in step {
            if let Some(at) = self.memory.take_last_use(&hash) {
                let value = codec_numbers::instant_value(hash.as_bytes(), at);
                self.trees.last_used.insert(hash.as_bytes(), value).map_err(engine("write last uses"))?;
            }
        }
        self.committer.mark_dirty();
        Ok(has_more)
    }

    /// Writes all of them, as far as there is room.
    pub(super) fn write_all_last_uses(&self) -> Result<(), StoreError> {
        while self.gather_last_uses() > 0 && self.room.has_room() {
            while self.write_last_uses(LAST_USES_PER_STEP)? {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_always_in_use_keep_no_others_from_their_turn() {
        let hash = |number| KeyHash::from_bytes([number; 32]);
        let (memory, mut gathered) = (Memory::with_keys(5), Gathered::default());
        let mut next = || {
            (0..5).for_each(|number| memory.touch(number));
            gathered.look(&memory, 3);
            let taken = gathered.take(2);
            taken.iter().for_each(|key| assert!(memory.take_last_use(key).is_some()));
            taken
        };

        let rounds = [[0, 1].as_slice(), &[2], &[3, 4], &[0], &[1, 2], &[3], &[4, 0]];
        for round in rounds {
            assert_eq!(next(), round.iter().copied().map(hash).collect::<Vec<_>>());
        }
    }
}
