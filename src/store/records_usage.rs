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
