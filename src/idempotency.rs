//! Idempotency: a request that is sent again under the same key runs once and is answered the same.
//!
//! Which requests are running is known in memory only, so neither a crash nor a client that went away can leave a
//! key that is taken for ever. An answer is on disk before it is given, and before its key stops being a running one.
//! A crash between what a request did and the keeping of its answer (one commit of the store) lets it run again.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::domain::id::AccountId;
use crate::domain::idempotency::{Answer, Fingerprint, IdempotencyKey, KEPT_FOR, KeptAnswer};
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// Most bytes of the body of an answer that is kept: twice a request's, for the largest answer of ours repeats the
/// request and adds a little.
pub const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Requests of one account that run at once; others wait for their turn. They go on when their clients have gone, so the
/// bound on connections is none on them.
pub const RUNS_PER_ACCOUNT_MAX: usize = 64;
/// Those of all accounts. Each may hold a body of 1 MiB and, behind a gateway, an answer of twice that. It is not less, as a
/// few accounts whose requests take long would leave no turn to all others; and each request has cost its account a unit.
pub const RUNS_MAX: usize = 1024;

type Place = (AccountId, IdempotencyKey);

/// Who may run a request, and what those get who may not.
#[derive(Clone)]
pub struct Idempotency {
    store: Arc<Store>,
    running: Arc<DashMap<Place, Fingerprint>>,
    /// Of accounts that have requests that run or wait.
    turns: Arc<DashMap<AccountId, Arc<Semaphore>>>,
    all_turns: Arc<Semaphore>,
}

/// One of the requests that run at once; dropping it lets the next one run.
pub struct Turn {
    account: AccountId,
    turns: Arc<DashMap<AccountId, Arc<Semaphore>>>,
    /// Its place among its account's, and among all.
    places: [Option<OwnedSemaphorePermit>; 2],
}

/// What becomes of a request.
pub enum Claim {
    /// It must be run; nobody else runs it until this is dropped.
    Run(Running),
    /// It was run before and was answered this.
    Replay(Answer),
}

/// Why a request is neither run nor answered again.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The first one has not ended.
    #[error("the first request with this key is still running")]
    StillRunning,
    /// The key belongs to another request.
    #[error("the key belongs to another request")]
    OtherRequest,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running request. Dropping it lets the next one run.
pub struct Running {
    idempotency: Idempotency,
    place: Place,
    fingerprint: Fingerprint,
    started_at: Timestamp,
}

impl Idempotency {
    /// Over the answers in `store`.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        let all_turns = Arc::new(Semaphore::new(RUNS_MAX));
        Self { store, running: Arc::default(), turns: Arc::default(), all_turns }
    }

    /// Waits until one more request of an account may run.
    ///
    /// # Errors
    /// Never: the semaphores are not closed.
    pub async fn turn(&self, account: AccountId) -> Result<Turn, AcquireError> {
        let new = || Arc::new(Semaphore::new(RUNS_PER_ACCOUNT_MAX));
        let own = Arc::clone(&self.turns.entry(account).or_insert_with(new));
        let mut turn = Turn { account, turns: Arc::clone(&self.turns), places: [None, None] };
        // In this order: who waits for the others of its account takes no place from other accounts.
        let own = own.acquire_owned().await?;
        turn.places = [Some(own), Some(Arc::clone(&self.all_turns).acquire_owned().await?)];
        Ok(turn)
    }

    /// Decides on a request under a key of an account. Of any number that race, one is told to run.
    ///
    /// # Errors
    /// When the key belongs to another request, the first request is still running, or the store fails.
    pub fn claim(
        &self,
        account: AccountId,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        now: Timestamp,
    ) -> Result<Claim, ClaimError> {
        let place = (account, key);
        // Before the look into the store: whoever ran before keeps the answer there first and then lets go.
        match self.running.entry(place) {
            Entry::Occupied(running) if *running.get() == fingerprint => return Err(ClaimError::StillRunning),
            Entry::Occupied(_other) => return Err(ClaimError::OtherRequest),
            Entry::Vacant(free) => free.insert(fingerprint),
        };
        let running = Running { idempotency: self.clone(), place, fingerprint, started_at: now };
        match self.store.find_kept(account, &key, now)? {
            None => Ok(Claim::Run(running)),
            Some(kept) if kept.fingerprint == fingerprint => Ok(Claim::Replay(kept.answer)),
            Some(_other) => Err(ClaimError::OtherRequest),
        }
    }
}

impl Running {
    /// Whose request it is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.place.0
    }

    /// Keeps the answer to this request if it is one to keep. It is on disk when this returns; a request that comes
    /// after that is answered the same.
    ///
    /// # Errors
    /// When the store fails; then the request may run again.
    pub fn keep(self, answer: Answer) -> Result<(), StoreError> {
        if !Answer::is_kept(answer.status) {
            return Ok(());
        }
        let bytes = answer.body.len();
        if bytes > ANSWER_BYTES_MAX {
            tracing::warn!(bytes, "an answer is too long to be kept: its request will run again if it is repeated");
            return Ok(());
        }
        let (account, key) = self.place;
        let kept = KeptAnswer { fingerprint: self.fingerprint, expires_at: self.started_at.plus(KEPT_FOR), answer };
        self.idempotency.store.keep_answer(account, key, &kept)?.wait()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.places = [None, None];
        // Whoever has or waits for a place holds the semaphore as well.
        self.turns.remove_if(&self.account, |_account, turns| Arc::strong_count(turns) == 1);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.idempotency.running.remove(&self.place);
    }
}
