//! Keys in the directory: found by hash, by id and by account; each rule under the directory's lock.

use std::ops::Bound;

use super::audit::{Author, Deed};
use super::changes::Change;
use super::directory::{DirectoryError, Page};
use super::{Store, StoreError, codec, damaged, engine, records};
use crate::domain::id::{AccountId, KeyId};
use crate::domain::key::{Key, KeyPatch, Successor};
use crate::domain::time::Timestamp;

/// Most keys of one account: enough for a key per service, few enough to read all of them at once.
/// Revoked and expired keys are kept as history until their places are needed.
pub const KEYS_PER_ACCOUNT_MAX: usize = 100;

/// A key and when it was last used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: Key,
    /// The last time that it was shown and worked.
    pub last_used_at: Option<Timestamp>,
}

impl Store {
    /// The key with this id, if it is of `owner`; operators name none and reach all keys.
    ///
    /// # Errors
    /// When there is none, it is another account's, or the store fails.
    pub fn get_key(&self, id: KeyId, owner: Option<AccountId>) -> Result<KeyUse, DirectoryError> {
        let hash = self.trees.key_ids.get(id.as_bytes()).map_err(engine("read a key's id"))?;
        let found = hash.map(|hash| self.find_key(&hash)).transpose()?.flatten().ok_or(DirectoryError::NoKey)?;
        match owner {
            Some(account) if account != found.key.account_id => Err(DirectoryError::NoKey),
            Some(_) | None => Ok(found),
        }
    }

    /// All keys, the oldest first; ordered and safe beside writes, but not a snapshot.
    pub fn keys(&self) -> impl Iterator<Item = Result<KeyUse, StoreError>> + '_ {
        self.trees.key_ids.iter().filter_map(|row| self.key_of_row(row))
    }

    /// One page of an account's keys, oldest first, after the key `after`.
    ///
    /// # Errors
    /// When there is no such account, the store fails, or a record is damaged.
    pub fn list_keys(
        &self,
        account: AccountId,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<Page<KeyUse>, DirectoryError> {
        self.memory.find_terms(account)?.ok_or(DirectoryError::NoAccount)?;
        Ok(Page::take(self.keys_of(account, after), limit)?)
    }

    /// An account's keys, oldest first, after the key `after`.
    pub(super) fn keys_of(
        &self,
        account: AccountId,
        after: Option<KeyId>,
    ) -> impl Iterator<Item = Result<KeyUse, StoreError>> + '_ {
        let end = codec::account_key(account, KeyId::from_bytes([0xff; 16]));
        let start = match after {
            Some(id) => Bound::Excluded(codec::account_key(account, id)),
            None => Bound::Included(codec::account_key(account, KeyId::from_bytes([0; 16]))),
        };
        let rows = self.trees.account_keys.range((start, Bound::Included(end)));
        rows.filter_map(|row| self.key_of_row(row))
    }

    /// Adds a key. In an account that is full, the oldest revoked or expired key makes room.
    ///
    /// # Errors
    /// When there is no such account, all of its places are taken by live keys, or the store fails.
    pub fn create_key(&self, key: Key, by: &Author) -> Result<Key, DirectoryError> {
        self.write(|lock| {
            let room = self.room_for_key(key.account_id, None, by.at)?;
            let changes = room.into_iter().chain([Change::PutKey(key.clone())]).collect();
            self.apply(lock, changes, by, Deed::new("key.create", &key.id))?;
            Ok(key)
        })
    }

    /// Changes a live key.
    ///
    /// # Errors
    /// When there is no such key, it has ended, or the store fails.
    pub fn update_key(&self, id: KeyId, patch: KeyPatch, by: &Author) -> Result<KeyUse, DirectoryError> {
        self.write(|lock| {
            let found = self.get_key(id, None)?;
            ensure_live(&found.key, by.at)?;
            let key = patch.apply(found.key.clone());
            let deed = Deed::new("key.update", &id).changed_key(&found.key, &key);
            self.apply(lock, vec![Change::PutKey(key.clone())], by, deed)?;
            Ok(KeyUse { key, last_used_at: found.last_used_at })
        })
    }

    /// Revokes a key at once. A key that is revoked stays as it is.
    ///
    /// # Errors
    /// When there is no such key, it is another account's, or the store fails.
    pub fn revoke_key(&self, id: KeyId, owner: Option<AccountId>, by: &Author) -> Result<(), DirectoryError> {
        self.write(|lock| {
            let key = self.get_key(id, owner)?.key;
            if key.revoked_at.is_some() {
                return Ok(());
            }
            let revoked = Key { revoked_at: Some(by.at), ..key };
            let deed = Deed::new("key.revoke", &id);
            Ok(self.apply(lock, vec![Change::PutKey(revoked)], by, deed)?)
        })
    }

    /// Puts `successor` beside a live key, which ends at `old_ends_at` or at its own expiry,
    /// whichever comes first. The successor takes over name, scope and length of life; so a key is rotated once, as
    /// its own length of life is not known afterwards.
    ///
    /// # Errors
    /// When there is no such key, it has ended or was rotated before, the account is full, or the store fails.
    pub fn rotate_key(
        &self,
        id: KeyId,
        owner: Option<AccountId>,
        successor: Successor,
        old_ends_at: Timestamp,
        by: &Author,
    ) -> Result<Key, DirectoryError> {
        self.write(|lock| {
            let old = self.get_key(id, owner)?.key;
            ensure_live(&old, by.at)?;
            if old.rotated_at.is_some() {
                return Err(DirectoryError::KeyRotated);
            }
            let new = successor.of(&old, by.at);
            let ends_at = old.expires_at.map_or(old_ends_at, |own| own.min(old_ends_at));
            let deed = Deed::new("key.rotate", &id).changed("expires_at", old.expires_at, Some(ends_at));
            let retired = Key { expires_at: Some(ends_at), rotated_at: Some(by.at), ..old };
            let room = self.room_for_key(retired.account_id, Some(&retired), by.at)?;
            // The removal comes last: it may be the retired key that makes room.
            let puts = [Change::PutKey(retired), Change::PutKey(new.clone())];
            let changes = puts.into_iter().chain(room).collect();
            self.apply(lock, changes, by, deed)?;
            Ok(new)
        })
    }

    /// What must go so that the account can have one key more: nothing, or its oldest ended key.
    /// `retiring` is a key of the account as it will be after the write.
    fn room_for_key(
        &self,
        account: AccountId,
        retiring: Option<&Key>,
        now: Timestamp,
    ) -> Result<Option<Change>, DirectoryError> {
        // All: a restore may have left more than an account can get otherwise.
        let keys = self.list_keys(account, None, usize::MAX)?.items;
        if keys.len() < KEYS_PER_ACCOUNT_MAX {
            return Ok(None);
        }
        let as_it_will_be = |key: Key| retiring.filter(|retiring| retiring.id == key.id).cloned().unwrap_or(key);
        let ended = keys.into_iter().map(|found| as_it_will_be(found.key)).find(|key| !key.is_live(now));
        Ok(Some(Change::RemoveKey(ended.ok_or(DirectoryError::KeysFull)?)))
    }

    /// The key that an index row names; `None` if it was removed since the row was read.
    fn key_of_row(&self, row: sled::Result<(sled::IVec, sled::IVec)>) -> Option<Result<KeyUse, StoreError>> {
        match row {
            Ok((_index, hash)) => self.find_key(&hash).transpose(),
            Err(error) => Some(Err(engine("list keys")(error))),
        }
    }

    fn find_key(&self, hash: &[u8]) -> Result<Option<KeyUse>, StoreError> {
        let Some(bytes) = self.trees.keys.get(hash).map_err(engine("read a key"))? else { return Ok(None) };
        let decoded = codec::parse_hash(hash).and_then(|parsed| records::key_from_bytes(parsed, &bytes));
        let key = decoded.map_err(damaged("keys", hash))?;
        Ok(Some(KeyUse { last_used_at: self.memory.last_used(&key.hash)?, key }))
    }
}

fn ensure_live(key: &Key, now: Timestamp) -> Result<(), DirectoryError> {
    if key.is_live(now) { Ok(()) } else { Err(DirectoryError::KeyEnded) }
}
