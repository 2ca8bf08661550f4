//! Plans.

use actix_web::web::{self, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::author;
use crate::domain::decision::Limit;
use crate::domain::plan::{Plan, PlanId, PlanPatch};
use crate::domain::text::{Name, Note};
use crate::http::error::ApiError;
use crate::http::extract::{self, PageQuery, field};
use crate::http::json_fields::present;
use crate::http::views::{List, PlanView};
use crate::http::{State, block, resource};

pub(super) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource(
            "/plans",
            "GET, HEAD, POST",
            [web::get().to(list), web::head().to(list), web::post().to(create)],
        ))
        .service(resource(
            "/plans/{id}",
            "GET, HEAD, PATCH, DELETE",
            [web::get().to(show), web::head().to(show), web::patch().to(update), web::delete().to(remove)],
        ));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPlan {
    id: String,
    name: String,
    api_access: bool,
    requests_per_hour: u32,
    #[serde(default)]
    best_for: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanChange {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    api_access: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    requests_per_hour: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    best_for: Option<String>,
}

async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let query = PageQuery::of(&request)?;
    let after = query.after(PlanId::new)?;
    let page = block(move || state.store.list_plans(after.as_ref(), query.rows)).await?;
    let list = List::of(page, |plan| plan.id.to_string(), |plan| Ok::<_, ApiError>(PlanView::from(plan)))?;
    Ok(HttpResponse::Ok().json(list))
}

async fn show(state: web::Data<State>, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let id = plan_id(&id)?;
    let plan = block(move || state.store.get_plan(&id)).await?;
    Ok(HttpResponse::Ok().json(PlanView::from(plan)))
}

async fn create(state: web::Data<State>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let new: NewPlan = extract::json(&extract::body(&request, payload).await?)?;
    let plan = Plan {
        id: field("id", PlanId::new(&new.id))?,
        name: field("name", Name::new(&new.name))?,
        api_access: new.api_access,
        requests_per_hour: Limit::new(new.requests_per_hour),
        best_for: field("best_for", Note::new(&new.best_for))?,
    };
    let by = author(&state, &request);
    let plan = block(move || state.store.create_plan(plan, &by)).await?;
    Ok(HttpResponse::Created().json(PlanView::from(plan)))
}

async fn update(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let id = plan_id(&id)?;
    let change: PlanChange = extract::json(&extract::body(&request, payload).await?)?;
    let patch = PlanPatch {
        name: field("name", change.name.as_deref().map(Name::new).transpose())?,
        api_access: change.api_access,
        requests_per_hour: change.requests_per_hour.map(Limit::new),
        best_for: field("best_for", change.best_for.as_deref().map(Note::new).transpose())?,
    };
    let by = author(&state, &request);
    let plan = block(move || state.store.update_plan(&id, patch, &by)).await?;
    Ok(HttpResponse::Ok().json(PlanView::from(plan)))
}

async fn remove(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let (id, by) = (plan_id(&id)?, author(&state, &request));
    block(move || state.store.remove_plan(&id, &by)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A plan's id from a path; what is no id is no plan's id.
fn plan_id(text: &str) -> Result<PlanId, ApiError> {
    PlanId::new(text).map_err(|_no_id| ApiError::NotFound("plan"))
}
