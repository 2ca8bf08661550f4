//! Accounts, and what belongs to one: its session tokens and its running window.

use actix_web::web::{self, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::{account_id, account_list, author};
use crate::accounts::{self, AccountDraft, PLAN_DEFAULT};
use crate::domain::account::{Account, AccountPatch, InForce, Trial};
use crate::domain::decision::{Limit, Used};
use crate::domain::id::AccountId;
use crate::domain::plan::PlanId;
use crate::domain::text::{Email, Name};
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::http::error::ApiError;
use crate::http::extract::{self, field};
use crate::http::json_fields::{Object, nullable, present};
use crate::http::views::{AccountView, StandingView};
use crate::http::{State, block, headers, resource, usage_views};
use crate::store::{DirectoryError, Store};
use crate::tokens::{TTL_SECS_DEFAULT, Ttl};

pub(super) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource(
            "/accounts",
            "GET, HEAD, POST",
            [web::get().to(account_list::list), web::head().to(account_list::list), web::post().to(create)],
        ))
        .service(resource(
            "/accounts/{id}",
            "GET, HEAD, PATCH, DELETE",
            [web::get().to(show), web::head().to(show), web::patch().to(update), web::delete().to(remove)],
        ))
        .service(resource("/accounts/{id}/tokens", "POST", [web::post().to(create_token)]))
        .service(resource(
            "/accounts/{id}/rate-limit",
            "GET, HEAD, PUT",
            [web::get().to(rate_limit), web::head().to(rate_limit), web::put().to(set_used)],
        ))
        .service(resource("/accounts/{id}/usage", "GET, HEAD", [web::get().to(usage), web::head().to(usage)]));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    name: String,
    email: Option<String>,
    #[serde(default, deserialize_with = "present")]
    plan: Option<String>,
    custom_limit: Option<u32>,
    trial: Option<Object<TrialTerms>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountChange {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    plan: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    custom_limit: Option<Option<u32>>,
    #[serde(default, deserialize_with = "nullable")]
    trial: Option<Option<Object<TrialTerms>>>,
    #[serde(default, deserialize_with = "present")]
    suspended: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialTerms {
    plan: Option<String>,
    ends_at: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    #[serde(default, deserialize_with = "present")]
    ttl_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUsed {
    used: u32,
}

impl NewAccount {
    fn check(self, now: Timestamp) -> Result<AccountDraft, ApiError> {
        Ok(AccountDraft {
            name: field("name", Name::new(&self.name))?,
            email: field("email", self.email.as_deref().map(Email::new).transpose())?,
            plan: field("plan", PlanId::new(self.plan.as_deref().unwrap_or(PLAN_DEFAULT)))?,
            custom_limit: self.custom_limit.map(Limit::new),
            trial: self.trial.map(|Object(trial)| trial.check(now)).transpose()?,
        })
    }
}

impl AccountChange {
    fn check(self, now: Timestamp) -> Result<AccountPatch, ApiError> {
        let email = self.email.map(|email| email.as_deref().map(Email::new).transpose());
        let trial = self.trial.map(|trial| trial.map(|Object(trial)| trial.check(now)).transpose());
        Ok(AccountPatch {
            name: field("name", self.name.as_deref().map(Name::new).transpose())?,
            email: field("email", email.transpose())?,
            plan: field("plan", self.plan.as_deref().map(PlanId::new).transpose())?,
            custom_limit: self.custom_limit.map(|limit| limit.map(Limit::new)),
            trial: trial.transpose()?,
            suspended: self.suspended,
        })
    }
}

impl TrialTerms {
    fn check(self, now: Timestamp) -> Result<Trial, ApiError> {
        let plan = field("trial.plan", self.plan.as_deref().map(PlanId::new).transpose())?;
        let ends_at = field("trial.ends_at", self.ends_at.as_deref().map(Timestamp::parse).transpose())?;
        field("trial.ends_at", accounts::trial(plan, ends_at, now))
    }
}

async fn show(state: web::Data<State>, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let (id, store) = (account_id(&id)?, state.store.clone());
    let account = block(move || store.get_account(id)).await?;
    Ok(HttpResponse::Ok().json(view(&state.store, &account, state.clock.now())?))
}

async fn create(state: web::Data<State>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let new: NewAccount = extract::json(&extract::body(&request, payload).await?)?;
    let (by, store) = (author(&state, &request), state.store.clone());
    let (draft, now) = (new.check(by.at)?, by.at);
    let plan = draft.plan.clone();
    let created =
        block(move || accounts::create(&store, draft, &by).map_err(|error| plan_is_input(error, Some(&plan))));
    let account = created.await?;
    Ok(HttpResponse::Created().json(view(&state.store, &account, now)?))
}

async fn update(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let id = account_id(&id)?;
    let change: AccountChange = extract::json(&extract::body(&request, payload).await?)?;
    let (by, store) = (author(&state, &request), state.store.clone());
    let (patch, now) = (change.check(by.at)?, by.at);
    let plan = patch.plan.clone();
    let updated =
        block(move || store.update_account(id, patch, &by).map_err(|error| plan_is_input(error, plan.as_ref())));
    let account = updated.await?;
    Ok(HttpResponse::Ok().json(view(&state.store, &account, now)?))
}

async fn remove(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let (id, by) = (account_id(&id)?, author(&state, &request));
    block(move || state.store.remove_account(id, &by)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn create_token(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let id = account_id(&id)?;
    let new: NewToken = extract::json_or_default(&extract::body(&request, payload).await?)?;
    let ttl = field("ttl_seconds", Ttl::from_secs(new.ttl_seconds.unwrap_or(TTL_SECS_DEFAULT)))?;
    let (by, store) = (author(&state, &request), state.store.clone());
    let now = by.at;
    block(move || store.note_token(id, &by)).await?;
    let failed = |error| ApiError::Internal("could not sign a token", Some(Box::new(error)));
    let (token, expires_at) = state.signer.sign(id, ttl, now).map_err(failed)?;
    let answer = serde_json::json!({"token": token, "expires_at": expires_at.to_string()});
    Ok(HttpResponse::Created().json(answer))
}

async fn rate_limit(state: web::Data<State>, id: Path<String>) -> Result<HttpResponse, ApiError> {
    show_standing(&state, account_id(&id)?, state.clock.now())
}

fn show_standing(state: &State, account: AccountId, now: Timestamp) -> Result<HttpResponse, ApiError> {
    let known = state.gate.standing(account, now)?.ok_or(ApiError::NotFound("account"))?;
    let mut response = HttpResponse::Ok().json(StandingView::for_operator(&known.standing));
    headers::set_limits(response.headers_mut(), &known.standing);
    Ok(response)
}

async fn set_used(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let account = account_id(&id)?;
    let new: NewUsed = extract::json(&extract::body(&request, payload).await?)?;
    let (by, store) = (author(&state, &request), state.store.clone());
    let now = by.at;
    block(move || store.set_used(account, Window::at(now), Used::new(new.used), &by)).await?;
    show_standing(&state, account, now)
}

async fn usage(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let account = account_id(&id)?;
    state.store.find_terms(account)?.ok_or(ApiError::NotFound("account"))?;
    usage_views::answer(&state, &request, account).await
}

/// An account as it is shown. If it was removed since it was read, nothing is in force.
pub(super) fn view(store: &Store, account: &Account, now: Timestamp) -> Result<AccountView, ApiError> {
    let in_force = store.terms_in_force(account.id, now)?.map_or(InForce::NOTHING, |(_plan, in_force)| in_force);
    Ok(AccountView::of(account, in_force))
}

/// A plan that a body names and that does not exist is a fault of the body: of its `plan`, or else of its trial's.
fn plan_is_input(error: DirectoryError, plan: Option<&PlanId>) -> ApiError {
    if let DirectoryError::NoPlan(id) = error {
        let name = if plan == Some(&id) { "plan" } else { "trial.plan" };
        return ApiError::Invalid(format!("{name}: no such plan: {id}"));
    }
    error.into()
}
