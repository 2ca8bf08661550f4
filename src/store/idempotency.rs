//! Kept answers: what a POST with an `Idempotency-Key` was answered, for a client that sends it again.
//!
//! Rows of one answer lie in three trees. Whoever reads or writes them holds one lock, so they always agree; an index row
//! is written before and removed after the row that it names, so a crash leaves at most an index row that names nothing.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::changes::encode;
use super::records_idempotency::{self as records};
use super::steps::STEP_ROWS;
use super::{Commit, Store, StoreError, codec, codec_numbers, damaged, engine};
use crate::domain::id::AccountId;
use crate::domain::idempotency::{IdempotencyKey, KeptAnswer};
use crate::domain::time::Timestamp;

/// Most answers that are kept for one account; of more, the one that expires first is forgotten. Twice what the largest
/// built-in plan lets through in 24 hours (25 windows of 1000), and about 50 MB where an answer has 1 kB, as a link has: a bound on what one account can make
/// us store. A custom limit over 2000 can go beyond it; to stop such a client would harm more than to forget early.
pub const KEPT_PER_ACCOUNT_MAX: usize = 50_000;
/// Most bytes of the answers that are kept for one account: of larger ones, which an upstream may give, fewer are kept.
const KEPT_BYTES_PER_ACCOUNT_MAX: u64 = 64 * 1024 * 1024;
const TREE: &str = "idempotency";

/// The trees of kept answers.
pub(super) struct KeptAnswers {
    /// Heads, each followed by the pieces of its body.
    answers: sled::Tree,
    by_time: sled::Tree,
    by_account: sled::Tree,
    /// What is kept for each account, of those that have any; the lock of all trees.
    held: Mutex<HashMap<AccountId, Held>>,
}

/// What is kept for an account.
#[derive(Clone, Copy, Default)]
struct Held {
    answers: usize,
    /// Of all their rows.
    bytes: u64,
}

/// Where an answer is kept, and until when.
#[derive(Clone, Copy)]
struct Place {
    account: AccountId,
    key: IdempotencyKey,
    expires_at: Timestamp,
}

impl Store {
    /// The answer that is kept for an account's key, unless it has expired at `now`.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn find_kept(
        &self,
        account: AccountId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        Ok(self.kept.find(account, key)?.filter(|kept| now < kept.expires_at))
    }

    /// Keeps an answer, in place of an earlier one for the same key. It is on disk once the commit was waited for.
    ///
    /// # Errors
    /// When the store fails.
    pub fn keep_answer(
        &self,
        account: AccountId,
        key: IdempotencyKey,
        kept: &KeptAnswer,
    ) -> Result<Commit, StoreError> {
        self.room.check()?;
        self.kept.put(Place { account, key, expires_at: kept.expires_at }, kept)?;
        self.writes.note_answer();
        Ok(self.committer.commit())
    }

    /// How many answers are kept for an account, those included that have expired and are not yet purged.
    pub fn count_kept(&self, account: AccountId) -> usize {
        self.kept.held.lock().get(&account).map_or(0, |held| held.answers)
    }

    /// Forgets one step of the answers that expired before `now`; says whether more are left.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge_kept_step(&self, now: Timestamp) -> Result<bool, StoreError> {
        self.purge(|| self.kept.purge_step(now))
    }
}

impl KeptAnswers {
    /// Opens the trees and counts what they hold.
    pub(super) fn open(db: &sled::Db) -> Result<Self, StoreError> {
        let open = |name: &str| db.open_tree(name).map_err(engine("open a tree"));
        let (answers, by_time, by_account) =
            (open(TREE)?, open("idempotency_by_time")?, open("idempotency_by_account")?);
        let mut held: HashMap<AccountId, Held> = HashMap::new();
        for row in by_account.iter() {
            let (key, bytes) = row.map_err(engine("count kept answers"))?;
            held.entry(account_place(&key)?.account).or_default().add(codec_numbers::parse_kept_bytes(&bytes));
        }
        Ok(Self { answers, by_time, by_account, held: Mutex::new(held) })
    }

    fn find(&self, account: AccountId, key: &IdempotencyKey) -> Result<Option<KeptAnswer>, StoreError> {
        let place = codec::kept_key(account, key);
        let _lock = self.held.lock();
        let mut rows = self.answers.scan_prefix(place).values();
        let Some(head) = rows.next().transpose().map_err(engine("read a kept answer"))? else { return Ok(None) };
        let pieces = rows.collect::<Result<Vec<_>, _>>().map_err(engine("read a kept answer"))?;
        Ok(Some(records::kept_from_bytes(&head, pieces).map_err(damaged(TREE, &place))?))
    }

    fn put(&self, place: Place, kept: &KeptAnswer) -> Result<(), StoreError> {
        let at = codec::kept_key(place.account, &place.key);
        let mut batch = sled::Batch::default();
        let head = records::kept_to_bytes(kept).map_err(encode(TREE))?;
        let mut bytes = head.len();
        batch.insert(at.as_slice(), head);
        for (number, piece) in (0..=u16::MAX).zip(records::pieces_to_bytes(&kept.answer.body)) {
            let piece = piece.map_err(encode(TREE))?;
            bytes = bytes.saturating_add(piece.len());
            batch.insert(codec::kept_piece_key(&at, number).as_slice(), piece);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut all_held = self.held.lock();
        let earlier = self.answers.get(at).map_err(engine("read a kept answer"))?;
        if let Some(Ok(expires_at)) = earlier.map(|head| records::expiry_from_bytes(&head)) {
            self.forget(&mut all_held, Place { expires_at, ..place })?;
        }
        let writing = engine("keep an answer");
        self.by_time.insert(codec::kept_by_time_key(place.expires_at, &at), &[]).map_err(&writing)?;
        self.by_account.insert(by_account_key(&place), &codec_numbers::kept_bytes_value(bytes)).map_err(&writing)?;
        self.answers.apply_batch(batch).map_err(&writing)?;
        all_held.entry(place.account).or_default().add(bytes);
        while all_held.get(&place.account).is_some_and(Held::is_too_much) {
            self.forget_first_of(&mut all_held, place.account)?;
        }
        Ok(())
    }

    /// Forgets up to [`STEP_ROWS`] answers that expired before `now`; says how many.
    fn purge_step(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut rows: usize = 0;
        for key in self.by_time.range::<[u8; 8], _>(..codec::instant_prefix(now)).keys().take(STEP_ROWS) {
            let key = key.map_err(engine("list kept answers"))?;
            let (expires_at, account, key) =
                codec::parse_kept_by_time_key(&key).map_err(damaged("idempotency_by_time", &key))?;
            self.forget(&mut self.held.lock(), Place { account, key, expires_at })?;
            rows = rows.saturating_add(1);
        }
        Ok(rows)
    }

    /// Forgets all answers of an account.
    pub(super) fn remove_account(&self, account: AccountId) -> Result<(), StoreError> {
        for key in self.by_account.scan_prefix(account.as_bytes()).keys() {
            let place = account_place(&key.map_err(engine("list kept answers"))?)?;
            self.forget(&mut self.held.lock(), place)?;
        }
        Ok(())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) -> Result<(), StoreError> {
        let mut held = self.held.lock();
        for tree in [&self.answers, &self.by_account, &self.by_time] {
            tree.clear().map_err(engine("empty a tree"))?;
        }
        held.clear();
        Ok(())
    }

    fn forget_first_of(&self, held: &mut HashMap<AccountId, Held>, account: AccountId) -> Result<(), StoreError> {
        match self.by_account.scan_prefix(account.as_bytes()).keys().next() {
            Some(key) => self.forget(held, account_place(&key.map_err(engine("list kept answers"))?)?),
            None => {
                held.remove(&account);
                Ok(())
            }
        }
    }

    /// Removes an answer's rows, damaged or not. An index row may name an answer that is not there; another answer
    /// under the same key, which expires at another instant, is left alone.
    fn forget(&self, held: &mut HashMap<AccountId, Held>, place: Place) -> Result<(), StoreError> {
        let at = codec::kept_key(place.account, &place.key);
        let removing = engine("forget a kept answer");
        let head = self.answers.get(at).map_err(&removing)?;
        let expires_at = head.and_then(|head| records::expiry_from_bytes(&head).ok());
        if expires_at.is_none_or(|expires_at| expires_at == place.expires_at) {
            let mut batch = sled::Batch::default();
            for key in self.answers.scan_prefix(at).keys() {
                batch.remove(key.map_err(&removing)?);
            }
            self.answers.apply_batch(batch).map_err(&removing)?;
        }
        self.by_time.remove(codec::kept_by_time_key(place.expires_at, &at)).map_err(&removing)?;
        let row = self.by_account.remove(by_account_key(&place)).map_err(&removing)?;
        if let (Some(bytes), Some(of_account)) = (row, held.get_mut(&place.account)) {
            of_account.take_off(codec_numbers::parse_kept_bytes(&bytes));
            if of_account.answers == 0 {
                held.remove(&place.account);
            }
        }
        Ok(())
    }
}

impl Held {
    fn add(&mut self, bytes: u32) {
        self.answers = self.answers.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes.into());
    }

    fn take_off(&mut self, bytes: u32) {
        self.answers = self.answers.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes.into());
    }

    fn is_too_much(&self) -> bool {
        self.answers > KEPT_PER_ACCOUNT_MAX || self.bytes > KEPT_BYTES_PER_ACCOUNT_MAX
    }
}

fn by_account_key(place: &Place) -> [u8; 56] {
    codec::kept_by_account_key(place.account, place.expires_at, &place.key)
}

fn account_place(key: &[u8]) -> Result<Place, StoreError> {
    let parsed = codec::parse_kept_by_account_key(key).map_err(damaged("idempotency_by_account", key));
    parsed.map(|(account, expires_at, key)| Place { account, key, expires_at })
}
