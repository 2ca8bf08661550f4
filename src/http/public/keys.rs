//! Key management by the account holder, and the rate-limit status. Unknown JSON fields are ignored; unknown parameters
//! of a new key's query are not, for a misspelt `scope` would make a key that may do more than was asked for.

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

/// Each field may stand in the body or in the query, where the body's goes first; all but the name may be absent.
async fn create(state: web::Data<State>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let known = guard::known(&request)?;
    let new: NewKey = extract::json_or_default(&extract::body(&request, payload).await?)?;
    let query = Query::of(&request);
    query.refuse_all_but(&["name", "scope", "expires_at"])?;
    // Asked for in any case, so that one that stands twice is refused.
    let (name, scope, expires_at) = (query.find("name")?, query.find("scope")?, query.find("expires_at")?);
    let name = new.name.as_deref().or(name).ok_or_else(|| ApiError::Invalid("field required: name".to_owned()))?;
    let (scope, expires_at) = (new.scope.as_deref().or(scope), new.expires_at.as_deref().or(expires_at));
    let draft = key_input::draft(name, scope, expires_at, known.standing.now)?;
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
