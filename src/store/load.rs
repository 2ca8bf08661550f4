//! What is read into memory when a store opens. Every record is decoded, so its checksum is verified.

use std::iter::Peekable;
use std::panic::resume_unwind;
use std::thread;

use super::memory::Memory;
use super::memory_links::LinkMemory;
use super::memory_plans::SharedTerms;
use super::{StoreError, Trees, clicks, codec, codec_numbers, damaged, engine, records, records_links};
use crate::domain::time::Timestamp;

/// Reads plans, accounts, keys and links; accounts and keys, which may be millions, in two threads.
pub(super) fn all(trees: &Trees, memory: &Memory, link_memory: &LinkMemory) -> Result<(), StoreError> {
    plans(trees, memory)?;
    in_halves(&trees.accounts, "read accounts", |_half| {
        let mut shared = memory.shared_terms();
        move |id, bytes| account(memory, &mut shared, id, bytes)
    })?;
    in_halves(&trees.keys, "read keys", |half| {
        let mut last_uses = LastUses(half(&trees.last_used).peekable());
        move |hash, bytes| key(memory, hash, bytes, last_uses.of(hash)?)
    })?;
    links(trees, link_memory)
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

fn plans(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.plans.iter() {
        let (id, bytes) = row.map_err(engine("read plans"))?;
        memory.put_plan(records::plan_from_bytes(&id, &bytes).map_err(damaged("plans", &id))?);
    }
    Ok(())
}

fn account(memory: &Memory, shared: &mut SharedTerms, id: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
    let decoded = codec::parse_account_id(id).and_then(|parsed| Ok((parsed, records::terms_from_bytes(bytes)?)));
    let (id, terms) = decoded.map_err(damaged("accounts", id))?;
    memory.add_account(id, shared.share(terms)?);
    Ok(())
}

fn key(memory: &Memory, hash: &[u8], bytes: &[u8], last_used: Option<Timestamp>) -> Result<(), StoreError> {
    let decoded = codec::parse_hash(hash).and_then(|parsed| records::key_from_bytes(parsed, bytes));
    memory.add_key(&decoded.map_err(damaged("keys", hash))?, last_used)
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
        match self.0.next_if(|row| row.is_err() || is_its(row)).transpose().map_err(engine("read last uses"))? {
            Some((key, bytes)) => {
                let parsed = codec_numbers::parse_instant(&key, &bytes).map_err(damaged("last_used", &key));
                // Nothing depends on it.
                Ok(parsed
                    .inspect_err(|error| {
                        let error = error as &dyn std::error::Error;
                        tracing::error!(error, "when this key was last used is not known until it is used again");
                    })
                    .ok())
            }
            None => Ok(None),
        }
    }
}

/// Reads links into memory, their clicks, and what their auto-winners have decided.
fn links(trees: &Trees, memory: &LinkMemory) -> Result<(), StoreError> {
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
