//! The plans that a new store begins with: `data/plans.json`, embedded in the binary.

use serde::Deserialize;

use crate::domain::Invalid;
use crate::domain::decision::Limit;
use crate::domain::plan::{Plan, PlanId};
use crate::domain::text::{Name, Note};

const FIRST_PLANS: &str = include_str!("../data/plans.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    id: String,
    name: String,
    api_access: bool,
    requests_per_hour: u32,
    best_for: String,
}

/// The embedded file is not a list of plans; only an edit of it can cause this.
#[derive(Debug, thiserror::Error)]
pub enum PlansError {
    /// Not JSON of the right shape.
    #[error("data/plans.json does not read")]
    Json(#[from] serde_json::Error),
    /// A value out of range.
    #[error("data/plans.json has a value that is refused")]
    Value(#[from] Invalid),
}

/// The plans that a new store begins with.
///
/// # Errors
/// When the embedded file was edited into something that is not a list of plans.
pub fn first_plans() -> Result<Vec<Plan>, PlansError> {
    let files: Vec<PlanFile> = serde_json::from_str(FIRST_PLANS)?;
    files.into_iter().map(|file| Ok(plan(&file)?)).collect()
}

fn plan(file: &PlanFile) -> Result<Plan, Invalid> {
    Ok(Plan {
        id: PlanId::new(&file.id)?,
        name: Name::new(&file.name)?,
        api_access: file.api_access,
        requests_per_hour: Limit::new(file.requests_per_hour),
        best_for: Note::new(&file.best_for)?,
    })
}
