//! Which error of the API the errors of the layers below become.

use super::error::ApiError;
use super::gateway::Fault;
use crate::gate::Refusal;
use crate::idempotency::ClaimError;
use crate::keys::IssueError;
use crate::links::CreateError;
use crate::store::{DirectoryError, KEYS_PER_ACCOUNT_MAX, LinkError, RestoreError, StoreError};

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self::Gateway(fault)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidKey => Self::InvalidKey,
            Refusal::Stopped(known, stop) => Self::Stopped(known, stop),
            Refusal::Store(error) => Self::Store(error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::NoAccount => Self::NotFound("account"),
            DirectoryError::NoKey => Self::NotFound("key"),
            DirectoryError::NoPlan(_) => Self::NotFound("plan"),
            DirectoryError::PlanExists(id) => Self::Conflict(format!("Plan {id} exists already.")),
            DirectoryError::PlanInUse(id) => {
                Self::Conflict(format!("Plan {id} is in use. Move its accounts to another plan first."))
            }
            DirectoryError::KeysFull => Self::Conflict(format!(
                "The account has {KEYS_PER_ACCOUNT_MAX} live keys, the most that it may have. Revoke one first."
            )),
            DirectoryError::KeyEnded => {
                Self::Conflict("The key is revoked or expired. Create a new one instead.".to_owned())
            }
            DirectoryError::KeyRotated => Self::Conflict(
                "The key was rotated before. Rotate the key that took its place, or create a new one.".to_owned(),
            ),
            DirectoryError::Store(error) => Self::Store(error),
        }
    }
}

impl From<LinkError> for ApiError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NoLink => Self::NotFound("link"),
            LinkError::NoAccount => Self::NotFound("account"),
            LinkError::SlugTaken(slug) => Self::Conflict(format!("Slug {slug} is taken.")),
            LinkError::GeoRules(_) => Self::Invalid(error.to_string()),
            LinkError::Store(error) => Self::Store(error),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Random(cause) => Self::Internal("no randomness", Some(Box::new(cause))),
            CreateError::Link(error) => error.into(),
        }
    }
}

impl From<ClaimError> for ApiError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::StillRunning => {
                Self::Conflict("A request with this Idempotency-Key is still running. Repeat it later.".to_owned())
            }
            ClaimError::OtherRequest => {
                Self::Invalid("Idempotency-Key: was used for another request; take a new one".to_owned())
            }
            ClaimError::Store(error) => Self::Store(error),
        }
    }
}

impl From<IssueError> for ApiError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Random(cause) => Self::Internal("no randomness", Some(Box::new(cause))),
            IssueError::Directory(error) => error.into(),
        }
    }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::NotEmpty => Self::Conflict("The store is not empty. Restore only into a new one.".to_owned()),
            RestoreError::Twice(_) | RestoreError::Missing(_) | RestoreError::KeysFull(_) => {
                Self::Invalid(error.to_string())
            }
            RestoreError::Store(error) => Self::Store(error),
        }
    }
}
