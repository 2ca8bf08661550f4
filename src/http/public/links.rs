//! Links: what the built-in API is for.

use std::borrow::Borrow;

use actix_web::web::{self, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::link_input::{LinkInput, VariantInput, variants_of};
use super::link_views::LinkView;
use crate::domain::id::LinkId;
use crate::domain::link::{Link, LinkPatch};
use crate::http::error::ApiError;
use crate::http::extract::{self, NumberQuery};
use crate::http::json_fields::Object;
use crate::http::{State, block, guard, resource};
use crate::links::{self, BULK_MAX, LinkDraft};
use crate::store::{LinkError, Store, StoreError};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource(
            "/links",
            "GET, HEAD, POST",
            [web::get().to(list), web::head().to(list), web::post().to(create)],
        ))
        .service(resource("/links/bulk", "POST", [web::post().to(create_many)]))
        .service(resource(
            "/links/{id}",
            "GET, HEAD, PUT, DELETE",
            [web::get().to(show), web::head().to(show), web::put().to(update), web::delete().to(remove)],
        ))
        .service(resource("/links/{id}/variants", "PUT", [web::put().to(replace_variants)]));
}

/// Bytes of a link as JSON: most have fewer.
const LINK_BYTES: usize = 1024;

#[derive(Deserialize)]
struct Bulk {
    links: Vec<Object<LinkInput>>,
}

async fn create(state: web::Data<State>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let input: LinkInput = extract::json(&extract::body(&request, payload).await?)?;
    let created = create_all(&state, &request, vec![input.draft("")?]).await?;
    let base_url = state.base_url(&request);
    let link = created.first().ok_or(ApiError::Internal("no link was created", None))?;
    Ok(HttpResponse::Created().json(LinkView::of(link, &base_url, 0)))
}

/// All or nothing. The guard has counted a unit for each of them.
async fn create_many(
    state: web::Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let bulk: Bulk = extract::json(&extract::body(&request, payload).await?)?;
    if bulk.links.is_empty() || bulk.links.len() > BULK_MAX {
        return Err(ApiError::Invalid(format!("links: must be 1 to {BULK_MAX}, got {}", bulk.links.len())));
    }
    let inputs = bulk.links.into_iter().enumerate();
    let drafts =
        inputs.map(|(place, Object(input))| input.draft(&format!("links[{place}]."))).collect::<Result<_, _>>()?;
    let (created, base_url) = (create_all(&state, &request, drafts).await?, state.base_url(&request));
    let items: Vec<LinkView<'_>> = created.iter().map(|link| LinkView::of(link, &base_url, 0)).collect();
    Ok(HttpResponse::Created().json(super::Items { items }))
}

async fn create_all(state: &State, request: &HttpRequest, drafts: Vec<LinkDraft>) -> Result<Vec<Link>, ApiError> {
    let (known, store) = (guard::known(request)?, state.store.clone());
    block(move || links::create(&store, known.account_id, &drafts, known.standing.now)).await
}

pub(super) async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (known, query) = (guard::known(&request)?, NumberQuery::of(&request)?);
    let (base_url, skip, limit) = (state.base_url(&request), query.skip_rows(), query.rows());
    let (links, total) = block(move || -> Result<_, StoreError> {
        state.recorder.catch_up()?;
        let (links, total) = state.store.list_links(known.account_id, skip, limit);
        let links: Result<Vec<_>, _> = links.into_iter().map(|link| with_clicks(&state.store, link)).collect();
        Ok((links?, total))
    })
    .await?;
    let items: Vec<LinkView<'_>> = links.iter().map(|(link, clicks)| LinkView::of(link, &base_url, *clicks)).collect();
    Ok(HttpResponse::Ok().json(query.page(items, u64::try_from(total).unwrap_or(u64::MAX))))
}

async fn show(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let (known, id, base_url) = (guard::known(&request)?, link_id(&id)?, state.base_url(&request));
    // All of it is in memory, unless there are clicks to be recorded first.
    if state.recorder.is_idle()
        && let Some(clicks) = state.store.click_count(id)
    {
        let link = state.store.get_link(known.account_id, id)?;
        return shown(&LinkView::of(&link, &base_url, clicks));
    }
    let (link, clicks) = block(move || -> Result<_, LinkError> {
        state.recorder.catch_up()?;
        Ok(with_clicks(&state.store, state.store.get_link(known.account_id, id)?)?)
    })
    .await?;
    shown(&LinkView::of(&link, &base_url, clicks))
}

/// With room for all of it at once, where `json` begins with 128 bytes.
fn shown(link: &LinkView<'_>) -> Result<HttpResponse, ApiError> {
    let mut body = Vec::with_capacity(LINK_BYTES);
    let written = serde_json::to_writer(&mut body, link);
    written.map_err(|error| ApiError::Internal("a link cannot be shown", Some(error.into())))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

async fn update(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let id = link_id(&id)?;
    let input: LinkInput = extract::json(&extract::body(&request, payload).await?)?;
    let link = state.store.get_link(guard::known(&request)?.account_id, id)?;
    change(&state, &request, id, input.change(&link.slug)?).await
}

async fn replace_variants(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let id = link_id(&id)?;
    let inputs: Vec<Object<VariantInput>> = extract::json_array(&extract::body(&request, payload).await?, "variants")?;
    let variants = variants_of(inputs, "variants")?;
    change(&state, &request, id, LinkPatch { variants: Some(variants), ..LinkPatch::default() }).await
}

async fn change(
    state: &web::Data<State>,
    request: &HttpRequest,
    id: LinkId,
    patch: LinkPatch,
) -> Result<HttpResponse, ApiError> {
    let (known, base_url, state) = (guard::known(request)?, state.base_url(request), state.clone());
    let (link, clicks) = block(move || -> Result<_, LinkError> {
        state.recorder.catch_up()?;
        Ok(with_clicks(&state.store, state.store.update_link(known.account_id, id, patch, known.standing.now)?)?)
    })
    .await?;
    shown(&LinkView::of(&link, &base_url, clicks))
}

async fn remove(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let (known, id) = (guard::known(&request)?, link_id(&id)?);
    block(move || state.store.remove_link(known.account_id, id, known.standing.now)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A link, and how often it was clicked.
fn with_clicks<L: Borrow<Link>>(store: &Store, link: L) -> Result<(L, u64), StoreError> {
    let clicks = store.click_totals(link.borrow().id)?.sum().clicks;
    Ok((link, clicks))
}

/// A link's id from a path; what is no id is no link's id.
pub(super) fn link_id(text: &str) -> Result<LinkId, ApiError> {
    LinkId::parse(text).map_err(|_no_id| ApiError::NotFound("link"))
}
