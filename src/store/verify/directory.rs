//! Plans, accounts, keys, counters and the audit trail.

use super::super::{StoreError, Trees, codec, codec_numbers, engine, records};
use super::{Walk, shown};
use crate::domain::key::Key;

impl Walk {
    pub(super) fn directory(&mut self, trees: &Trees) {
        self.each("plans", &trees.plans, |walk, id, bytes| {
            walk.decoded("plans", id, records::plan_from_bytes(id, bytes));
            Ok(())
        });
        self.each("accounts", &trees.accounts, |walk, id, bytes| walk.account(trees, id, bytes));
        self.each("keys", &trees.keys, |walk, hash, bytes| walk.key(trees, hash, bytes));
        self.each("key_ids", &trees.key_ids, |walk, id, hash| {
            walk.key_index("key_ids", trees, id, hash, |key| key.id.as_bytes().to_vec())
        });
        self.each("account_keys", &trees.account_keys, |walk, at, hash| {
            walk.key_index("account_keys", trees, at, hash, |key| codec::account_key(key.account_id, key.id).to_vec())
        });
        self.each("last_used", &trees.last_used, |walk, hash, at| {
            walk.decoded("last_used", hash, codec_numbers::parse_instant(hash, at));
            walk.require("last_used", hash, &trees.keys, "keys", hash)
        });
        self.each("counters", &trees.counters, |walk, at, used| {
            let parsed = codec::parse_counter_key(at).and_then(|_at| codec_numbers::parse_used(at, used));
            walk.decoded("counters", at, parsed);
            Ok(())
        });
        self.audit(trees);
    }

    fn account(&mut self, trees: &Trees, id: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let decoded = codec::parse_account_id(id).and_then(|parsed| records::account_from_bytes(parsed, bytes));
        let Some(account) = self.decoded("accounts", id, decoded) else { return Ok(()) };
        let trial = account.terms.trial.as_ref().map(|trial| &trial.plan);
        for plan in [Some(&account.terms.plan), trial].into_iter().flatten() {
            self.require("accounts", id, &trees.plans, "plans", plan.as_str().as_bytes())?;
        }
        Ok(())
    }

    fn key(&mut self, trees: &Trees, hash: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let decoded = codec::parse_hash(hash).and_then(|parsed| records::key_from_bytes(parsed, bytes));
        let Some(key) = self.decoded("keys", hash, decoded) else { return Ok(()) };
        self.require("keys", hash, &trees.accounts, "accounts", key.account_id.as_bytes())?;
        self.listed("keys", hash, &trees.key_ids, "key_ids", key.id.as_bytes(), hash)?;
        let at = codec::account_key(key.account_id, key.id);
        self.listed("keys", hash, &trees.account_keys, "account_keys", &at, hash)
    }

    /// An index row must name a key that has its place there.
    fn key_index(
        &mut self,
        tree: &'static str,
        trees: &Trees,
        at: &[u8],
        hash: &[u8],
        place: impl Fn(&Key) -> Vec<u8>,
    ) -> Result<(), StoreError> {
        let Some(parsed) = self.decoded(tree, at, codec::parse_hash(hash)) else { return Ok(()) };
        let Some(bytes) = trees.keys.get(hash).map_err(engine("look a row up"))? else {
            self.fault(tree, at, format!("names a key that keys does not have: {}", shown(hash)));
            return Ok(());
        };
        // One that does not decode is a fault of its own already.
        if let Ok(key) = records::key_from_bytes(parsed, &bytes)
            && place(&key) != at
        {
            self.fault(tree, at, format!("names another key: {}", key.id));
        }
        Ok(())
    }

    fn audit(&mut self, trees: &Trees) {
        let mut last = None;
        self.each("audit", &trees.audit, |walk, number, bytes| {
            let entry = walk.decoded("audit", number, records::audit_from_bytes(number, bytes));
            let found = entry.map(|entry| entry.number).or_else(|| codec::parse_number(number).ok());
            if let (Some(found), Some(last)) = (found, last)
                && found != u64::saturating_add(last, 1)
            {
                walk.fault("audit", number, format!("entry {found} follows entry {last}"));
            }
            last = found;
            Ok(())
        });
    }

    /// A row names another, which must be there.
    pub(super) fn require(
        &mut self,
        tree: &'static str,
        key: &[u8],
        other: &sled::Tree,
        other_name: &str,
        other_key: &[u8],
    ) -> Result<(), StoreError> {
        if !other.contains_key(other_key).map_err(engine("look a row up"))? {
            self.fault(tree, key, format!("{other_name} has no {}, which it names", shown(other_key)));
        }
        Ok(())
    }

    /// A record must be listed in an index, under its place and with this value.
    pub(super) fn listed(
        &mut self,
        tree: &'static str,
        key: &[u8],
        index: &sled::Tree,
        index_name: &str,
        at: &[u8],
        value: &[u8],
    ) -> Result<(), StoreError> {
        match index.get(at).map_err(engine("look a row up"))? {
            Some(found) if found == value => {}
            Some(_other) => self.fault(tree, key, format!("{index_name} has another row in its place")),
            None => self.fault(tree, key, format!("{index_name} does not list it")),
        }
        Ok(())
    }
}
