//! Creating accounts, for operators and for the demo; and finding them again, in `nearest.rs`.

pub mod nearest;

use std::time::Duration;

use crate::domain::Invalid;
use crate::domain::account::{Account, Terms, Trial};
use crate::domain::decision::Limit;
use crate::domain::plan::PlanId;
use crate::domain::text::{Email, Name};
use crate::domain::time::Timestamp;
use crate::ids;
use crate::store::{Author, DirectoryError, Store};

/// The plan of an account that says nothing of it.
pub const PLAN_DEFAULT: &str = "free";
/// The plan of a trial that says nothing of it.
pub const TRIAL_PLAN_DEFAULT: &str = "growth";
/// The length of a trial that says nothing of it.
pub const TRIAL_DEFAULT: Duration = Duration::from_secs(14 * 24 * 3600);

/// What an operator says of a new account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountDraft {
    /// For people.
    pub name: Name,
    /// Where to reach them.
    pub email: Option<Email>,
    /// The plan it begins on.
    pub plan: PlanId,
    /// Replaces the plan's limit.
    pub custom_limit: Option<Limit>,
    /// Another plan for a while.
    pub trial: Option<Trial>,
}

/// Creates an account. It is on disk when this returns.
///
/// # Errors
/// When a plan that it names does not exist, or the store fails.
pub fn create(store: &Store, draft: AccountDraft, by: &Author) -> Result<Account, DirectoryError> {
    let account = Account {
        id: ids::account_id(by.at),
        name: draft.name,
        email: draft.email,
        terms: Terms { plan: draft.plan, custom_limit: draft.custom_limit, trial: draft.trial, suspended: false },
        created_at: by.at,
        updated_at: by.at,
    };
    store.create_account(account, by)
}

/// A trial that begins at `now`, of Growth and for 14 days where nothing else is said.
///
/// # Errors
/// When its end does not lie in the future.
pub fn trial(plan: Option<PlanId>, ends_at: Option<Timestamp>, now: Timestamp) -> Result<Trial, Invalid> {
    let plan = plan.map_or_else(|| PlanId::new(TRIAL_PLAN_DEFAULT), Ok)?;
    let ends_at = ends_at.unwrap_or_else(|| now.plus(TRIAL_DEFAULT));
    Ok(Trial { plan, ends_at: in_future(ends_at, now)? })
}

/// Checks that an instant is yet to come.
///
/// # Errors
/// When it is not.
pub fn in_future(at: Timestamp, now: Timestamp) -> Result<Timestamp, Invalid> {
    if at > now { Ok(at) } else { Err(Invalid::new("must lie in the future")) }
}
