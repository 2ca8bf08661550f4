//! Records of usage. The same rules as in `records.rs`.

use serde::{Deserialize, Serialize};

use super::codec::{self, Damage};
use crate::domain::usage::{BUCKETS, Latency, Tally, UsageRow};

const V1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct TallyV1 {
    used: u64,
    denied: u64,
    errors: u64,
    latency: [u64; BUCKETS],
}

/// A row's key, and its figures in the order of the record.
type JournalRowV1 = (Vec<u8>, u64, u64, u64, [u64; BUCKETS]);

pub(super) fn tally_to_bytes(tally: &Tally) -> Result<Vec<u8>, bincode::Error> {
    let Tally { used, denied, errors, latency: Latency(latency) } = *tally;
    codec::seal(V1, &TallyV1 { used, denied, errors, latency })
}

pub(super) fn tally_from_bytes(bytes: &[u8]) -> Result<Tally, Damage> {
    let TallyV1 { used, denied, errors, latency } = codec::unseal(V1, bytes)?;
    Ok(Tally { used, denied, errors, latency: Latency(latency) })
}

pub(super) fn usage_from_bytes(key: &[u8], bytes: &[u8]) -> Result<UsageRow, Damage> {
    let (spender, endpoint) = codec::parse_usage_key(key)?;
    Ok(UsageRow { spender, endpoint, tally: tally_from_bytes(bytes)? })
}

pub(super) fn journal_to_bytes<'r>(
    rows: impl Iterator<Item = (&'r Vec<u8>, &'r Tally)>,
) -> Result<Vec<u8>, bincode::Error> {
    let row = |(key, tally): (&'r Vec<u8>, &'r Tally)| {
        let Tally { used, denied, errors, latency: Latency(latency) } = *tally;
        (key, used, denied, errors, latency)
    };
    codec::seal_compact(V1, &rows.map(row).collect::<Vec<_>>())
}

pub(super) fn journal_from_bytes(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Tally)>, Damage> {
    let rows: Vec<JournalRowV1> = codec::unseal_compact(V1, bytes)?;
    let row = |(key, used, denied, errors, latency)| (key, Tally { used, denied, errors, latency: Latency(latency) });
    Ok(rows.into_iter().map(row).collect())
}
