//! What is read into memory when a store opens. Every record is decoded, so its checksum is verified.

use super::memory::Memory;
use super::memory_links::LinkMemory;
use super::{StoreError, Trees, clicks, codec, damaged, engine, records, records_links};

/// Reads plans, accounts, keys and links.
pub(super) fn all(trees: &Trees, memory: &Memory, link_memory: &LinkMemory) -> Result<(), StoreError> {
    directory(trees, memory)?;
    links(trees, link_memory)
}

fn directory(trees: &Trees, memory: &Memory) -> Result<(), StoreError> {
    for row in trees.plans.iter() {
        let (id, bytes) = row.map_err(engine("read plans"))?;
        memory.put_plan(records::plan_from_bytes(&id, &bytes).map_err(damaged("plans", &id))?);
    }
    for row in trees.accounts.iter() {
        let (id, bytes) = row.map_err(engine("read accounts"))?;
        let decoded = codec::parse_account_id(&id).and_then(|parsed| records::account_from_bytes(parsed, &bytes));
        let account = decoded.map_err(damaged("accounts", &id))?;
        memory.in_force(&account.terms, account.created_at)?;
        memory.put_terms(account.id, account.terms);
    }
    for row in trees.keys.iter() {
        let (hash, bytes) = row.map_err(engine("read keys"))?;
        let decoded = codec::parse_hash(&hash).and_then(|parsed| records::key_from_bytes(parsed, &bytes));
        let key = decoded.map_err(damaged("keys", &hash))?;
        if memory.find_terms(key.account_id).is_none() {
            return Err(StoreError::Dangling { tree: "accounts", key: key.account_id.to_string() });
        }
        memory.put_key(&key);
    }
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
