//! What a session sees of the account's links: the dashboard shows them without spending the account's units. How many
//! clicked on which day is there, the visitors are not.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::clicks;
use super::link_views::LinkView;
use crate::domain::link::Link;
use crate::http::error::ApiError;
use crate::http::extract::NumberQuery;
use crate::http::{State, block, guard, resource};
use crate::store::StoreError;

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(resource("", "GET, HEAD", [web::get().to(list), web::head().to(list)])).service(resource(
        "/{id}/stats",
        "GET, HEAD",
        [web::get().to(clicks::stats), web::head().to(clicks::stats)],
    ));
}

async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (known, query) = (guard::known(&request)?, NumberQuery::of(&request)?);
    let base_url = state.base_url(&request);
    let page = block(move || -> Result<_, StoreError> {
        state.recorder.catch_up()?;
        let (links, total) = state.store.list_links(known.account_id, query.skip_rows(), query.rows());
        let clicks = |link| state.store.click_totals(link).map(|totals| totals.sum().clicks);
        let view = |link: &Arc<Link>| Ok::<_, StoreError>(LinkView::of(link, &base_url, clicks(link.id)?));
        let items = links.iter().map(view).collect::<Result<_, _>>()?;
        Ok(query.page(items, u64::try_from(total).unwrap_or(u64::MAX)))
    })
    .await?;
    Ok(HttpResponse::Ok().json(page))
}
