//! When keys were last used, and of which the disk does not know.

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use super::Memory;
use crate::domain::key::KeyHash;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

impl Memory {
    pub(in crate::store) fn last_used(&self, hash: &KeyHash) -> Result<Option<Timestamp>, StoreError> {
        let last_used_ms = self.find_key(hash)?.map(|key| key.0.last_used_ms.load(Ordering::Relaxed));
        Ok(last_used_ms.and_then(|ms| Timestamp::from_millis(ms).ok()))
    }

    /// Up to so many keys whose last use is newer here than on disk: the next ones after a key in the order of their rows,
    /// which begins anew behind the last one. Looks at all keys.
    pub(in crate::store) fn touched_keys(&self, after: &KeyHash, max: usize) -> Vec<KeyHash> {
        let mut next = BinaryHeap::with_capacity(max.min(self.keys.len()));
        for key in self.keys.iter().filter(|key| key.0.is_touched.load(Ordering::Relaxed)) {
            let place = (key.0.hash <= *after, key.0.hash);
            if next.len() < max {
                next.push(place);
            } else if let Some(mut last) = next.peek_mut().filter(|last| place < **last) {
                *last = place;
            }
        }
        next.into_sorted_vec().into_iter().map(|(_is_behind, hash)| hash).collect()
    }

    /// When a key was last used, if that is newer than on disk, where it will be written.
    pub(in crate::store) fn take_last_use(&self, hash: &KeyHash) -> Option<Timestamp> {
        let key = &self.keys.get(hash)?.0;
        // Before the read: a use that comes after it makes the key touched again.
        let is_touched = key.is_touched.swap(false, Ordering::AcqRel);
        is_touched.then(|| Timestamp::from_millis(key.last_used_ms.load(Ordering::Acquire)).ok())?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::account::Terms;
    use crate::domain::id::{AccountId, KeyId};
    use crate::domain::key::{Key, Scope};
    use crate::domain::plan::PlanId;
    use crate::domain::text::Name;

    fn hash(number: u8) -> KeyHash {
        KeyHash::from_bytes([number; 32])
    }

    impl Memory {
        /// An account, and so many keys of its own whose hashes are repetitions of their numbers.
        pub(in crate::store) fn with_keys(count: u8) -> Self {
            let (memory, account_id) = (Self::with_room(0, 0, None), AccountId::from_bytes([1; 16]));
            memory.add_account(account_id, Arc::new(Terms::on(PlanId::new("scale").unwrap())));
            for number in 0..count {
                let key = Key {
                    id: KeyId::from_bytes([number; 16]),
                    account_id,
                    hash: hash(number),
                    name: Name::new("ci").unwrap(),
                    display: "".into(),
                    scope: Scope::ReadOnly,
                    created_at: Timestamp::from_millis(0).unwrap(),
                    expires_at: None,
                    revoked_at: None,
                    rotated_at: None,
                };
                memory.add_key(&key, None, memory.known_counter(account_id).unwrap());
            }
            memory
        }

        pub(in crate::store) fn touch(&self, number: u8) {
            let key = &self.keys.get(&hash(number)).unwrap().0;
            key.last_used_ms.store(number.into(), Ordering::Relaxed);
            key.is_touched.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn touched_keys_come_in_the_order_of_their_rows_and_go_on_behind_a_key() {
        let memory = Memory::with_keys(100);
        [90, 3, 60, 30, 61, 99].into_iter().for_each(|number| memory.touch(number));
        let next = |after, max| memory.touched_keys(&hash(after), max);

        assert_eq!(next(100, 4), [3, 30, 60, 61].map(hash));
        assert_eq!(next(61, 4), [90, 99, 3, 30].map(hash), "behind the last one it begins anew");
        assert_eq!(next(60, 100), [61, 90, 99, 3, 30, 60].map(hash));
        assert_eq!(next(60, 0), []);
    }
}
