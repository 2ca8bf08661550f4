//! Records of kept answers: a head, and its body in pieces.

use serde::{Deserialize, Serialize};

use super::codec::{self, Damage};
use crate::domain::idempotency::{Answer, Fingerprint, KeptAnswer};
use crate::domain::time::Timestamp;

const V1: u8 = 1;
/// Most bytes of a piece. sled writes a leaf of more than 128 KiB, which 20 rows may share, to a file of its own, which every
/// commit would have to sync besides: rows must stay far below a 20th of that.
const PIECE_BYTES: usize = 4096;

#[derive(Serialize, Deserialize)]
struct KeptAnswerV1 {
    fingerprint: [u8; 32],
    expires_at_ms: i64,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    detail: Option<String>,
    body_is_final: bool,
    body_bytes: u32,
}

/// The head of a kept answer, without its body.
pub(super) fn kept_to_bytes(kept: &KeptAnswer) -> Result<Vec<u8>, bincode::Error> {
    let answer = &kept.answer;
    let record = KeptAnswerV1 {
        fingerprint: *kept.fingerprint.as_bytes(),
        expires_at_ms: kept.expires_at.as_millis(),
        status: answer.status,
        headers: answer.headers.clone(),
        detail: answer.detail.clone(),
        body_is_final: answer.body_is_final,
        body_bytes: u32::try_from(answer.body.len()).unwrap_or(u32::MAX),
    };
    codec::seal(V1, &record)
}

/// The pieces of an answer's body, in order.
pub(super) fn pieces_to_bytes(body: &[u8]) -> impl Iterator<Item = Result<Vec<u8>, bincode::Error>> {
    body.chunks(PIECE_BYTES).map(|piece| codec::seal(V1, &piece))
}

/// A kept answer from its head and its pieces.
pub(super) fn kept_from_bytes<B: AsRef<[u8]>>(
    head: &[u8],
    pieces: impl IntoIterator<Item = B>,
) -> Result<KeptAnswer, Damage> {
    let record: KeptAnswerV1 = codec::unseal(V1, head)?;
    let mut body = Vec::new();
    for piece in pieces {
        body.extend(codec::unseal::<Vec<u8>>(V1, piece.as_ref())?);
    }
    if u32::try_from(body.len()) != Ok(record.body_bytes) {
        return Err(Damage::Body(format!("its body has {} bytes, not {}", body.len(), record.body_bytes)));
    }
    Ok(KeptAnswer {
        fingerprint: Fingerprint::from_bytes(record.fingerprint),
        expires_at: Timestamp::from_millis(record.expires_at_ms)?,
        answer: Answer {
            status: record.status,
            headers: record.headers,
            body,
            detail: record.detail,
            body_is_final: record.body_is_final,
        },
    })
}

/// Until when a kept answer is given, from its head.
pub(super) fn expiry_from_bytes(head: &[u8]) -> Result<Timestamp, Damage> {
    let record: KeptAnswerV1 = codec::unseal(V1, head)?;
    Ok(Timestamp::from_millis(record.expires_at_ms)?)
}
