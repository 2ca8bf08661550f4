//! Keys of any account.

use actix_web::web::{self, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::{account_id, author};
use crate::domain::id::KeyId;
use crate::domain::key::{KeyPatch, Scope};
use crate::domain::text::Name;
use crate::http::error::ApiError;
use crate::http::extract::{self, PageQuery, field};
use crate::http::json_fields::{nullable, present};
use crate::http::views::{KeyView, List};
use crate::http::{State, block, key_input, resource};
use crate::keys;

pub(super) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource(
            "/accounts/{id}/keys",
            "GET, HEAD, POST",
            [web::get().to(list), web::head().to(list), web::post().to(create)],
        ))
        .service(resource(
            "/keys/{id}",
            "GET, HEAD, PATCH, DELETE",
            [web::get().to(show), web::head().to(show), web::patch().to(update), web::delete().to(revoke)],
        ))
        .service(resource("/keys/{id}/rotate", "POST", [web::post().to(rotate)]));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    #[serde(default, deserialize_with = "present")]
    scope: Option<String>,
    expires_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    expires_at: Option<Option<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default, deserialize_with = "present")]
    grace_seconds: Option<u64>,
}

async fn list(state: web::Data<State>, request: HttpRequest, account: Path<String>) -> Result<HttpResponse, ApiError> {
    let (account, query) = (account_id(&account)?, PageQuery::of(&request)?);
    let after = query.after(KeyId::parse)?;
    let page = block(move || state.store.list_keys(account, after, query.rows)).await?;
    let list = List::of(page, |found| found.key.id.to_string(), |found| Ok::<_, ApiError>(KeyView::from(found)))?;
    Ok(HttpResponse::Ok().json(list))
}

async fn create(
    state: web::Data<State>,
    request: HttpRequest,
    account: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let account = account_id(&account)?;
    let new: NewKey = extract::json(&extract::body(&request, payload).await?)?;
    let by = author(&state, &request);
    let draft = key_input::draft(&new.name, new.scope.as_deref(), new.expires_at.as_deref(), by.at)?;
    let issued = block(move || keys::issue(&state.store, &state.key_format, account, draft, &by)).await?;
    Ok(HttpResponse::Created().json(KeyView::from(issued)))
}

async fn show(state: web::Data<State>, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let id = key_input::parse_id(&id)?;
    let found = block(move || state.store.get_key(id, None)).await?;
    Ok(HttpResponse::Ok().json(KeyView::from(found)))
}

async fn update(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let id = key_input::parse_id(&id)?;
    let change: KeyChange = extract::json(&extract::body(&request, payload).await?)?;
    let by = author(&state, &request);
    let expiry = |text: Option<String>| text.map(|text| key_input::expiry(&text, by.at)).transpose();
    let patch = KeyPatch {
        name: field("name", change.name.as_deref().map(Name::new).transpose())?,
        scope: field("scope", change.scope.as_deref().map(Scope::parse).transpose())?,
        expires_at: field("expires_at", change.expires_at.map(expiry).transpose())?,
    };
    let found = block(move || state.store.update_key(id, patch, &by)).await?;
    Ok(HttpResponse::Ok().json(KeyView::from(found)))
}

async fn revoke(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let (id, by) = (key_input::parse_id(&id)?, author(&state, &request));
    block(move || state.store.revoke_key(id, None, &by)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn rotate(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let (id, by) = (key_input::parse_id(&id)?, author(&state, &request));
    let rotation: Rotation = extract::json_or_default(&extract::body(&request, payload).await?)?;
    let grace = key_input::grace(rotation.grace_seconds)?;
    let issued = block(move || keys::rotate(&state.store, &state.key_format, id, None, grace, &by)).await?;
    Ok(HttpResponse::Created().json(KeyView::from(issued)))
}
