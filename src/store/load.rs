//! What is read into memory when a store opens: plans and links before it serves, accounts and keys while it does. Every
//! record is decoded, so its checksum is verified.

use std::iter::Peekable;
use std::panic::resume_unwind;
use std::thread;

use super::memory::{Memory, Unread, dangling};
use super::memory_links::LinkMemory;
use super::opening::Opening;
use super::{StoreError, Trees, clicks, codec, codec_numbers, damaged, engine, records, records_links};
use crate::domain::account::Terms;
use crate::domain::id::AccountId;
use crate::domain::key::{Key, KeyHash};
use crate::domain::time::Timestamp;

/// Reads accounts and keys, which may be millions, in two threads.
pub(super) fn accounts_and_keys(trees: &Trees, memory: &Memory, opening: &Opening) -> Result<(), StoreError> {
    in_halves(&trees.accounts, "read accounts", |_half| {
        let mut shared = memory.shared_terms();
        move |id, bytes| {
            opening.check()?;
            let (id, terms) = decode_account(id, bytes)?;
            memory.add_account(id, shared.share(terms)?);
            Ok(())
        }
    })?;
    in_halves(&trees.keys, "read keys", |half| {
        let mut last_uses = LastUses(half(&trees.last_used).peekable());
        move |hash, bytes| {
            opening.check()?;
            let key = decode_key(hash, bytes)?;
            let account = memory.find_counter(key.account_id)?;
            let account = account.ok_or_else(|| dangling("accounts", &key.account_id))?;
            memory.add_key(&key, last_uses.of(hash)?, account);
            Ok(())
        }
    })
}

/// An account's terms, as they are on disk.
pub(super) fn one_account(unread: &Unread, account: AccountId) -> Result<Option<Terms>, StoreError> {
    let bytes = unread.accounts.get(account.as_bytes()).map_err(engine("read an account"))?;
    Ok(bytes.map(|bytes| decode_account(account.as_bytes(), &bytes)).transpose()?.map(|(_id, terms)| terms))
}

/// A key, as it is on disk, and its last use.
pub(super) fn one_key(unread: &Unread, hash: &KeyHash) -> Result<Option<(Key, Option<Timestamp>)>, StoreError> {
    let hash = hash.as_bytes();
    let Some(bytes) = unread.keys.get(hash).map_err(engine("read a key"))? else { return Ok(None) };
    let last_used = unread.last_used.get(hash).map_err(engine("read a last use"))?;
    Ok(Some((decode_key(hash, &bytes)?, last_used.and_then(|bytes| decode_last_use(hash, &bytes)))))
}

/// The rows of a tree that are in the half of a thread.
type Half<'h> = &'h dyn Fn(&sled::Tree) -> sled::Iter;

/// Calls what `each` makes with all rows of a tree: two threads have about half of them each, as keys are spread evenly.
fn in_halves<E: FnMut(&[u8], &[u8]) -> Result<(), StoreError>>(
    tree: &sled::Tree,
    attempt: &'static str,
    each: impl Fn(Half<'_>) -> E + Sync,
) -> Result<(), StoreError> {
    let end = |row: sled::Result<Option<(sled::IVec, sled::IVec)>>| row.map_err(engine(attempt));
    let (Some((first, _)), Some((last, _))) = (end(tree.first())?, end(tree.last())?) else { return Ok(()) };
    let middle = codec::middle(&first, &last);
    let read = |half: Half<'_>| {
        let mut each = each(half);
        half(tree).try_for_each(|row| {
            let (key, bytes) = row.map_err(engine(attempt))?;
            each(&key, &bytes)
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| read(&|tree| tree.range(middle.as_slice()..)));
        let own = read(&|tree| tree.range(..middle.as_slice()));
        // What the engine panics with of a damaged file goes on to who opens the store.
        own.and(other.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Reads plans.
pub(super) fn plans(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.plans.iter() {
        let (id, bytes) = row.map_err(engine("read plans"))?;
        memory.put_plan(records::plan_from_bytes(&id, &bytes).map_err(damaged("plans", &id))?);
    }
    Ok(())
}

fn decode_account(id: &[u8], bytes: &[u8]) -> Result<(AccountId, Terms), StoreError> {
    let decoded = codec::parse_account_id(id).and_then(|parsed| Ok((parsed, records::terms_from_bytes(bytes)?)));
    decoded.map_err(damaged("accounts", id))
}

fn decode_key(hash: &[u8], bytes: &[u8]) -> Result<Key, StoreError> {
    let decoded = codec::parse_hash(hash).and_then(|parsed| records::key_from_bytes(parsed, bytes));
    decoded.map_err(damaged("keys", hash))
}

/// When a key was last used. Nothing depends on it, so a damaged row stops nothing.
fn decode_last_use(hash: &[u8], bytes: &[u8]) -> Option<Timestamp> {
    let parsed = codec_numbers::parse_instant(hash, bytes).map_err(damaged("last_used", hash));
    parsed
        .inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "when this key was last used is not known until it is used again");
        })
        .ok()
}

/// The last uses of keys, for one who goes through the keys in their order.
struct LastUses(Peekable<sled::Iter>);

impl LastUses {
    /// That of the key with this hash, which comes after those that were asked for before.
    fn of(&mut self, hash: &[u8]) -> Result<Option<Timestamp>, StoreError> {
        // A row of a key that is gone is passed over; a fault waits for its turn.
        let passed = |row: &sled::Result<(sled::IVec, sled::IVec)>| row.as_ref().is_ok_and(|(key, _)| **key < *hash);
        while self.0.next_if(passed).is_some() {}
        let is_its = |row: &sled::Result<(sled::IVec, sled::IVec)>| row.as_ref().is_ok_and(|(key, _)| **key == *hash);
        let its = self.0.next_if(|row| row.is_err() || is_its(row)).transpose().map_err(engine("read last uses"))?;
        Ok(its.and_then(|(key, bytes)| decode_last_use(&key, &bytes)))
    }
}

/// Reads links into memory, their clicks, and what their auto-winners have decided.
pub(super) fn links(trees: &Trees, memory: &LinkMemory) -> Result<(), StoreError> {
    for row in trees.links.iter() {
        let (key, bytes) = row.map_err(engine("read links"))?;
        let decoded = codec::parse_link_id(&key).and_then(|id| records_links::link_from_bytes(id, &bytes));
        let link = decoded.map_err(damaged("links", &key))?;
        let id = link.id;
        memory.put(link);
        match clicks::read_totals(trees, id) {
            Ok(totals) => memory.note_sums(id, &totals),
            // It costs this one link its winner, not all others their start.
            Err(error @ StoreError::Damaged { .. }) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(link.id = %id, error, "this link goes by weight until its sums are restored");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
