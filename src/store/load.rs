//! What is read into memory when a store opens. Every record is decoded, so its checksum is verified.

use std::panic::resume_unwind;
use std::thread;

use super::memory::Memory;
use super::memory_links::LinkMemory;
use super::{StoreError, Trees, clicks, codec, damaged, engine, records, records_links};

/// Reads plans, accounts, keys and links. Keys are half of the work, and have a thread of their own.
pub(super) fn all(trees: &Trees, memory: &Memory, link_memory: &LinkMemory) -> Result<(), StoreError> {
    plans(trees, memory)?;
    thread::scope(|scope| {
        let keys = scope.spawn(|| keys(trees, memory));
        let rest = accounts(trees, memory).and_then(|()| links(trees, link_memory));
        // What the engine panics with of a damaged file goes on to who opens the store.
        let keys = keys.join().unwrap_or_else(|panic| resume_unwind(panic));
        rest.and(keys)
    })?;
    match memory.missing_account() {
        Some(account) => Err(StoreError::Dangling { tree: "accounts", key: account.to_string() }),
        None => last_uses(trees, memory),
    }
}

fn plans(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.plans.iter() {
        let (id, bytes) = row.map_err(engine("read plans"))?;
        memory.put_plan(records::plan_from_bytes(&id, &bytes).map_err(damaged("plans", &id))?);
    }
    Ok(())
}

fn accounts(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.accounts.iter() {
        let (id, bytes) = row.map_err(engine("read accounts"))?;
        let decoded = codec::parse_account_id(&id).and_then(|parsed| records::account_from_bytes(parsed, &bytes));
        let account = decoded.map_err(damaged("accounts", &id))?;
        memory.in_force(&account.terms, account.created_at)?;
        memory.put_terms(account.id, account.terms);
    }
    Ok(())
}

fn keys(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.keys.iter() {
        let (hash, bytes) = row.map_err(engine("read keys"))?;
        let decoded = codec::parse_hash(&hash).and_then(|parsed| records::key_from_bytes(parsed, &bytes));
        memory.put_key(&decoded.map_err(damaged("keys", &hash))?);
    }
    Ok(())
}

fn last_uses(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.last_used.iter() {
        let (hash, bytes) = row.map_err(engine("read last uses"))?;
        let parsed = codec::parse_hash(&hash).and_then(|hash| Ok((hash, codec::parse_instant(&bytes)?)));
        let (parsed, at) = parsed.map_err(damaged("last_used", &hash))?;
        memory.set_last_used(&parsed, at);
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
