//! Key management by the account holder, and the rate-limit status. Unknown JSON fields are ignored.

use actix_web::web::{self, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::Items;

use crate::gate::Known;
use crate::http::error::ApiError;
use crate::http::extract::{self, Query};
use crate::http::views::{KeyView, StandingView};
use crate::http::{State, block, guard, key_input, request_id, resource};
use crate::keys;
use crate::store::{Author, KEYS_PER_ACCOUNT_MAX};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource("", "GET, HEAD, POST", [web::get().to(list), web::head().to(list), web::post().to(create)]))
        .service(resource("/rate-limit", "GET, HEAD", [web::get().to(rate_limit), web::head().to(rate_limit)]))
        .service(resource("/{id}", "DELETE", [web::delete().to(revoke)]))
        .service(resource("/{id}/rotate", "POST", [web::post().to(rotate)]));
}

#[derive(Default, Deserialize)]
struct NewKey {
    name: Option<String>,
    scope: Option<String>,
    expires_at: Option<String>,
}

#[derive(Default, Deserialize)]
struct Rotation {
    grace_seconds: Option<u64>,
}

async fn rate_limit(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(StandingView::for_holder(&guard::known(&request)?.standing)))
}

async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let known = guard::known(&request)?;
    let page = block(move || state.store.list_keys(known.account_id, None, KEYS_PER_ACCOUNT_MAX)).await?;
    Ok(HttpResponse::Ok().json(Items { items: page.items.into_iter().map(KeyView::from).collect() }))
}

/// The name may stand in the query, and the rest be absent.
async fn create(state: web::Data<State>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let known = guard::known(&request)?;
    let new: NewKey = extract::json_or_default(&extract::body(&request, payload).await?)?;
    let query = Query::of(&request);
    let name = new.name.as_deref().map_or_else(|| query.find("name"), |name| Ok(Some(name)))?;
    let name = name.ok_or_else(|| ApiError::Invalid("field required: name".to_owned()))?;
    let now = known.standing.now;
    let draft = key_input::draft(name, new.scope.as_deref(), new.expires_at.as_deref(), now)?;
    let by = holder(&request, &known);
    let issued = block(move || keys::issue(&state.store, &state.key_format, known.account_id, draft, &by)).await?;
    Ok(HttpResponse::Created().json(KeyView::from(issued)))
}

async fn revoke(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let known = guard::known(&request)?;
    let (id, by) = (key_input::parse_id(&id)?, holder(&request, &known));
    block(move || state.store.revoke_key(id, Some(known.account_id), &by)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn rotate(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let known = guard::known(&request)?;
    let (id, by, owner) = (key_input::parse_id(&id)?, holder(&request, &known), Some(known.account_id));
    let rotation: Rotation = extract::json_or_default(&extract::body(&request, payload).await?)?;
    let grace = key_input::grace(rotation.grace_seconds)?;
    let issued = block(move || keys::rotate(&state.store, &state.key_format, id, owner, grace, &by)).await?;
    Ok(HttpResponse::Created().json(KeyView::from(issued)))
}

fn holder(request: &HttpRequest, known: &Known) -> Author {
    Author { actor: format!("account:{}", known.account_id), request_id: request_id(request), at: known.standing.now }
}
