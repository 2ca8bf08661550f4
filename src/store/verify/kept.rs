//! Kept answers.

use super::super::{StoreError, codec, codec_numbers, engine, records_idempotency as records};
use super::Walk;

const TREE: &str = "idempotency";
/// The length of an answer's key; a piece of its body has a longer one.
const HEAD_KEY_BYTES: usize = 48;

/// The trees of kept answers.
struct Kept {
    answers: sled::Tree,
    by_time: sled::Tree,
    by_account: sled::Tree,
}

impl Walk {
    pub(super) fn kept(&mut self, db: &sled::Db) {
        let open = |name: &str| db.open_tree(name);
        let (answers, by_time, by_account) =
            match (open(TREE), open("idempotency_by_time"), open("idempotency_by_account")) {
                (Ok(answers), Ok(by_time), Ok(by_account)) => (answers, by_time, by_account),
                (answers, by_time, by_account) => {
                    let failed = [answers.err(), by_time.err(), by_account.err()].into_iter().flatten();
                    failed.for_each(|error| self.fault(TREE, &[], format!("it does not open: {error}")));
                    return;
                }
            };
        let kept = Kept { answers, by_time, by_account };
        self.each(TREE, &kept.answers, |walk, key, bytes| {
            if let Some((head, _piece)) =
                key.split_at_checked(HEAD_KEY_BYTES).filter(|(_head, piece)| !piece.is_empty())
            {
                return walk.require(TREE, key, &kept.answers, TREE, head);
            }
            walk.answer(&kept, key, bytes)
        });
        self.each("idempotency_by_time", &kept.by_time, |walk, key, _nothing| {
            walk.decoded("idempotency_by_time", key, codec::parse_kept_by_time_key(key));
            Ok(())
        });
        self.each("idempotency_by_account", &kept.by_account, |walk, key, _nothing| {
            walk.decoded("idempotency_by_account", key, codec::parse_kept_by_account_key(key));
            Ok(())
        });
    }

    fn answer(&mut self, kept: &Kept, key: &[u8], head: &[u8]) -> Result<(), StoreError> {
        let pieces = kept.answers.scan_prefix(key).values().skip(1);
        let pieces = pieces.collect::<Result<Vec<_>, _>>().map_err(engine("read a kept answer"))?;
        let parsed = codec::parse_kept_key(key);
        let bytes = pieces.iter().fold(head.len(), |sum, piece| sum.saturating_add(piece.len()));
        let decoded = parsed.and_then(|at| Ok((at, records::kept_from_bytes(head, pieces)?)));
        let Some(((account, named), answer)) = self.decoded(TREE, key, decoded) else { return Ok(()) };
        // Without a row in both, an answer would stay for ever, or not be counted.
        let by_time = codec::kept_by_time_key(answer.expires_at, &codec::kept_key(account, &named));
        let by_account = codec::kept_by_account_key(account, answer.expires_at, &named);
        self.listed(TREE, key, &kept.by_time, "idempotency_by_time", &by_time, &[])?;
        let bytes = codec_numbers::kept_bytes_value(u32::try_from(bytes).unwrap_or(u32::MAX));
        // Before November 30th, 2026 it said nothing.
        let listed = kept.by_account.get(by_account).map_err(engine("look a row up"))?;
        let said: &[u8] = if listed.is_some_and(|said| said.is_empty()) { &[] } else { &bytes };
        self.listed(TREE, key, &kept.by_account, "idempotency_by_account", &by_account, said)
    }
}
