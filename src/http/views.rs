//! The JSON shapes of plans, accounts, keys and standings, joined to the domain by `of`.

use serde::Serialize;

use crate::accounts::nearest::Found;
use crate::domain::account::{Account, InForce, Trial};
use crate::domain::decision::{Limit, Standing};
use crate::domain::plan::Plan;
use crate::keys::IssuedKey;
use crate::store::{AuditEntry, FieldChange, KeyUse, Page};

/// One page of an admin list; `next` is the `after` of the next one.
#[derive(Serialize)]
pub(crate) struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// Shapes a page: `view` makes an item, `id` its cursor.
    pub(crate) fn of<D, E>(
        page: Page<D>,
        id: impl Fn(&D) -> String,
        view: impl Fn(D) -> Result<T, E>,
    ) -> Result<Self, E> {
        let next = page.items.last().filter(|_last| page.has_more).map(id);
        Ok(Self { items: page.items.into_iter().map(view).collect::<Result<_, _>>()?, next })
    }
}

#[derive(Serialize)]
pub(crate) struct PlanView {
    id: String,
    name: String,
    api_access: bool,
    requests_per_hour: u32,
    best_for: String,
}

impl From<Plan> for PlanView {
    fn from(plan: Plan) -> Self {
        Self {
            id: plan.id.to_string(),
            name: plan.name.to_string(),
            api_access: plan.api_access,
            requests_per_hour: plan.requests_per_hour.as_units(),
            best_for: plan.best_for.as_str().to_owned(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct TrialView {
    plan: String,
    ends_at: String,
}

impl From<&Trial> for TrialView {
    fn from(trial: &Trial) -> Self {
        Self { plan: trial.plan.to_string(), ends_at: trial.ends_at.to_string() }
    }
}

#[derive(Serialize)]
pub(crate) struct AccountView {
    id: String,
    name: String,
    email: Option<String>,
    plan: String,
    custom_limit: Option<u32>,
    trial: Option<TrialView>,
    suspended: bool,
    api_access: bool,
    limit: u32,
    /// In the running hour; only in the lists that are sorted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u32>,
    created_at: String,
    updated_at: String,
}

impl AccountView {
    pub(crate) fn of(account: &Account, in_force: InForce) -> Self {
        let terms = &account.terms;
        Self {
            id: account.id.to_string(),
            name: account.name.to_string(),
            email: account.email.as_ref().map(|email| email.as_str().to_owned()),
            plan: terms.plan.to_string(),
            custom_limit: terms.custom_limit.map(Limit::as_units),
            trial: terms.trial.as_ref().map(TrialView::from),
            suspended: terms.suspended,
            api_access: in_force.api_access,
            limit: in_force.limit.as_units(),
            used: None,
            created_at: account.created_at.to_string(),
            updated_at: account.updated_at.to_string(),
        }
    }
}

impl From<Found> for AccountView {
    fn from(found: Found) -> Self {
        Self { used: Some(found.used.as_units()), ..Self::of(&found.account, found.in_force) }
    }
}

/// What an account holder sees of the account.
#[derive(Serialize)]
pub(crate) struct OwnAccountView {
    id: String,
    name: String,
    plan: String,
    trial: Option<TrialView>,
    suspended: bool,
    api_access: bool,
    limit: u32,
}

impl OwnAccountView {
    pub(crate) fn of(account: &Account, in_force: InForce) -> Self {
        Self {
            id: account.id.to_string(),
            name: account.name.to_string(),
            plan: account.terms.plan.to_string(),
            trial: account.terms.trial.as_ref().map(TrialView::from),
            suspended: account.terms.suspended,
            api_access: in_force.api_access,
            limit: in_force.limit.as_units(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct KeyView {
    id: String,
    account_id: String,
    name: String,
    /// Only in the one answer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    display: String,
    scope: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    last_used_at: Option<String>,
}

impl From<KeyUse> for KeyView {
    fn from(found: KeyUse) -> Self {
        let key = found.key;
        Self {
            id: key.id.to_string(),
            account_id: key.account_id.to_string(),
            name: key.name.to_string(),
            key: None,
            display: key.display.to_string(),
            scope: key.scope.as_str(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
            last_used_at: found.last_used_at.map(|at| at.to_string()),
        }
    }
}

impl From<IssuedKey> for KeyView {
    fn from(issued: IssuedKey) -> Self {
        let shown = issued.secret.reveal().to_owned();
        Self { key: Some(shown), ..Self::from(KeyUse { key: issued.key, last_used_at: None }) }
    }
}

#[derive(Serialize)]
pub(crate) struct StandingView {
    limit: u32,
    /// Only for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u32>,
    remaining: u32,
    reset_at: String,
}

impl StandingView {
    pub(crate) fn for_holder(standing: &Standing) -> Self {
        Self {
            limit: standing.limit.as_units(),
            used: None,
            remaining: standing.remaining(),
            reset_at: standing.reset().to_string(),
        }
    }

    pub(crate) fn for_operator(standing: &Standing) -> Self {
        Self { used: Some(standing.used.as_units()), ..Self::for_holder(standing) }
    }
}

#[derive(Serialize)]
pub(crate) struct AuditView {
    number: u64,
    at: String,
    actor: String,
    action: String,
    target: String,
    request_id: String,
    changed: Vec<FieldChangeView>,
}

#[derive(Serialize)]
struct FieldChangeView {
    field: String,
    from: Option<String>,
    to: Option<String>,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            number: entry.number,
            at: entry.at.to_string(),
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            request_id: entry.request_id,
            changed: entry
                .changed
                .into_iter()
                .map(|FieldChange { field, from, to }| FieldChangeView { field, from, to })
                .collect(),
        }
    }
}
