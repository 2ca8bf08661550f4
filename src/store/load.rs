//! What is read into memory when a store opens. Every record is decoded, so its checksum is verified.

use std::panic::resume_unwind;
use std::thread;

use super::memory::Memory;
use super::memory_links::LinkMemory;
use super::memory_plans::SharedTerms;
use super::{StoreError, Trees, clicks, codec, codec_numbers, damaged, engine, records, records_links};

/// Reads plans, accounts, keys and links; accounts and keys, which may be millions, in two threads.
pub(super) fn all(trees: &Trees, memory: &Memory, link_memory: &LinkMemory) -> Result<(), StoreError> {
    plans(trees, memory)?;
    in_halves(&trees.accounts, "read accounts", || {
        let mut shared = memory.shared_terms();
        move |id, bytes| account(memory, &mut shared, id, bytes)
    })?;
    in_halves(&trees.keys, "read keys", || |hash, bytes| key(memory, hash, bytes))?;
    last_uses(trees, memory)?;
    links(trees, link_memory)
}

/// Calls what `each` makes with all rows of a tree: two threads have about half of them each, as keys are spread evenly.
fn in_halves<E: FnMut(&[u8], &[u8]) -> Result<(), StoreError>>(
    tree: &sled::Tree,
    attempt: &'static str,
    each: impl Fn() -> E + Sync,
) -> Result<(), StoreError> {
    let end = |row: sled::Result<Option<(sled::IVec, sled::IVec)>>| row.map_err(engine(attempt));
    let (Some((first, _)), Some((last, _))) = (end(tree.first())?, end(tree.last())?) else { return Ok(()) };
    let middle = codec::middle(&first, &last);
    let read = |mut rows: sled::Iter| {
        let mut each = each();
        rows.try_for_each(|row| {
            let (key, bytes) = row.map_err(engine(attempt))?;
            each(&key, &bytes)
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| read(tree.range(middle.as_slice()..)));
        let own = read(tree.range(..middle.as_slice()));
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

fn key(memory: &Memory, hash: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
    let decoded = codec::parse_hash(hash).and_then(|parsed| records::key_from_bytes(parsed, bytes));
    memory.add_key(&decoded.map_err(damaged("keys", hash))?)
}

fn last_uses(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.last_used.iter() {
        let (hash, bytes) = row.map_err(engine("read last uses"))?;
        let parsed = codec::parse_hash(&hash);
        let parsed = parsed.and_then(|parsed| Ok((parsed, codec_numbers::parse_instant(&hash, &bytes)?)));
        match parsed.map_err(damaged("last_used", &hash)) {
            Ok((parsed, at)) => drop(memory.set_last_used(&parsed, at)),
            // Nothing depends on it.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "when this key was last used is not known until it is used again");
            }
        }
    }
    Ok(())
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
