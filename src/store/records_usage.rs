//! Records of usage. The same rules as in `records.rs`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize, Serializer};

use super::codec::{self, Damage};
use crate::domain::endpoint::EndpointName;
use crate::domain::usage::{BUCKETS, Latency, RowKey, Spender, Tally, UsageRow};

const V1: u8 = 1;
const V2: u8 = 2;
/// Rows that a record of the journal has at most, of about 80 bytes each, and of 311 at most: they fit a record whatever
/// they are.
const RECORD_ROWS: usize = 400;
/// Bytes of a row in the journal: most take fewer.
const JOURNAL_ROW_BYTES: usize = 100;

#[derive(Serialize, Deserialize)]
struct TallyV1 {
    used: u64,
    denied: u64,
    errors: u64,
    latency: [u64; BUCKETS],
}

/// A row's key, and its figures in the order of the record: what the row is to be.
type JournalRowV1<'b> = (&'b [u8], u64, u64, u64, [u64; BUCKETS]);
/// The same, as it was written in November 2026: what is to be added to the row, and units that are given back.
type JournalRowV2<'b> = (&'b [u8], u64, u64, u64, [u64; BUCKETS], u64);

/// What a record of the journal says, by the keys of rows.
pub(super) enum JournalRows<'b> {
    /// What rows are to be.
    Tallies(Vec<(&'b [u8], Tally)>),
    /// What is to be added to them: in records of an earlier version.
    Sums(Vec<(&'b [u8], Sum)>),
}

/// What an earlier version's journal says is to be added to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    tally: Tally,
    given_back: u64,
}

impl Sum {
    pub(super) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.given_back = self.given_back.saturating_add(other.given_back);
    }

    pub(super) fn add_to(&self, tally: &mut Tally) {
        tally.add(&self.tally);
        tally.used = tally.used.saturating_sub(self.given_back);
    }
}

/// What of the journal the rows have already.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Folded {
    /// Of files up to this number, all.
    pub(super) done: u64,
    /// Of files above this number, nothing.
    pub(super) until: u64,
    /// Of those between, what is for rows up to the one with this key. `None`: all.
    pub(super) last: Option<Vec<u8>>,
}

impl Folded {
    /// Whether the row has what a file says of it.
    pub(super) fn covers(&self, file: u64, key: &[u8]) -> bool {
        file <= self.done || file <= self.until && self.last.as_deref().is_none_or(|last| key <= last)
    }
}

pub(super) fn folded_to_bytes(folded: &Folded) -> Result<Vec<u8>, bincode::Error> {
    codec::seal(V1, folded)
}

pub(super) fn folded_from_bytes(bytes: &[u8]) -> Result<Folded, Damage> {
    codec::unseal(V1, bytes)
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
    let RowKey { spender, endpoint } = codec::parse_usage_key(key)?;
    Ok(UsageRow { spender, endpoint, tally: tally_from_bytes(bytes)? })
}

/// Rows of the journal that are in no record yet, in the order in which they came. Each is encoded when it comes.
#[derive(Default)]
pub(super) struct UnwrittenRows {
    records: VecDeque<UnwrittenRecord>,
    /// Where keys are put together.
    key: Vec<u8>,
}

struct UnwrittenRecord {
    rows: usize,
    bytes: Vec<u8>,
}

impl UnwrittenRows {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether the first record is full.
    pub(super) fn has_full(&self) -> bool {
        self.records.front().is_some_and(|record| record.rows >= RECORD_ROWS)
    }

    /// The first record, and how many rows it has.
    pub(super) fn first(&self) -> Option<Result<(Vec<u8>, usize), bincode::Error>> {
        let UnwrittenRecord { rows, bytes } = self.records.front()?;
        Some(codec::seal_compact_list(V1, *rows, bytes).map(|record| (record, *rows)))
    }

    /// Forgets the first record, which is written.
    pub(super) fn drop_first(&mut self) {
        self.records.pop_front();
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
    }

    /// Takes what a row is to be.
    pub(super) fn push(
        &mut self,
        spender: &Spender,
        endpoint: &EndpointName,
        tally: &Tally,
    ) -> Result<(), bincode::Error> {
        codec::put_usage_key(&mut self.key, spender, endpoint);
        let Tally { used, denied, errors, latency: Latency(latency) } = tally;
        let mut record = self.records.pop_back_if(|record| record.rows < RECORD_ROWS).unwrap_or_else(|| {
            let bytes = Vec::with_capacity(RECORD_ROWS.saturating_mul(JOURNAL_ROW_BYTES));
            UnwrittenRecord { rows: 0, bytes }
        });
        let before = record.bytes.len();
        let put = codec::put_compact(&mut record.bytes, &(KeyBytes(&self.key), used, denied, errors, latency));
        match put {
            Ok(()) => record.rows = record.rows.saturating_add(1),
            Err(_) => record.bytes.truncate(before),
        }
        if record.rows > 0 {
            self.records.push_back(record);
        }
        put
    }
}

/// A row's key, written at once and not byte by byte; the record is the same.
struct KeyBytes<'r>(&'r [u8]);

impl Serialize for KeyBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

pub(super) fn journal_from_bytes(bytes: &[u8]) -> Result<JournalRows<'_>, Damage> {
    if codec::version(bytes) == Some(V1) {
        let rows: Vec<JournalRowV1<'_>> = codec::unseal_compact(V1, bytes)?;
        let row =
            |(key, used, denied, errors, latency)| (key, Tally { used, denied, errors, latency: Latency(latency) });
        return Ok(JournalRows::Tallies(rows.into_iter().map(row).collect()));
    }
    let rows: Vec<JournalRowV2<'_>> = codec::unseal_compact(V2, bytes)?;
    let row = |(key, used, denied, errors, latency, given_back)| {
        (key, Sum { tally: Tally { used, denied, errors, latency: Latency(latency) }, given_back })
    };
    Ok(JournalRows::Sums(rows.into_iter().map(row).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::ENDPOINT_BYTES_MAX;
    use crate::domain::id::{AccountId, KeyId};
    use crate::domain::window::Window;

    #[test]
    fn a_record_of_the_longest_names_and_the_largest_figures_fits() {
        let (account_id, key_id) = (AccountId::from_bytes([255; 16]), KeyId::from_bytes([255; 16]));
        let spender = Spender { account_id, window: Window::from_hours(u32::MAX), key_id };
        let endpoint = EndpointName::parse(&"x".repeat(ENDPOINT_BYTES_MAX)).unwrap();
        let most = u64::MAX;
        let tally = Tally { used: most, denied: most, errors: most, latency: Latency([most; BUCKETS]) };

        let mut unwritten = UnwrittenRows::default();
        (0..=RECORD_ROWS).for_each(|_row| unwritten.push(&spender, &endpoint, &tally).unwrap());

        for (expected, is_full) in [(RECORD_ROWS, true), (1, false)] {
            assert_eq!(unwritten.has_full(), is_full);
            let (bytes, rows) = unwritten.first().unwrap().unwrap();
            let JournalRows::Tallies(found) = journal_from_bytes(&bytes).unwrap() else { unreachable!() };
            assert_eq!((rows, found.len()), (expected, expected));
            assert!(found.iter().all(|row| *row == (&*codec::usage_key(&spender, &endpoint), tally)));
            unwritten.drop_first();
        }
        assert!(unwritten.is_empty());
    }
}
