//! What became of a link: its clicks, and its statistics.

use actix_web::web::{self, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::link_input::parse_instant;
use super::link_views::{ClickView, StatsView};
use super::links::link_id;
use crate::domain::Invalid;
use crate::domain::click::winner;
use crate::domain::time::{Day, Timestamp};
use crate::http::error::ApiError;
use crate::http::extract::{NumberQuery, Query, field};
use crate::http::{State, block, guard, resource};
use crate::store::{LinkError, Span};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource("/links/{id}/clicks", "GET, HEAD", [web::get().to(list), web::head().to(list)]))
        .service(resource("/links/{id}/stats", "GET, HEAD", [web::get().to(stats), web::head().to(stats)]));
}

/// The clicks of a link, also of one that was deleted.
async fn list(state: web::Data<State>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, ApiError> {
    let (known, id) = (guard::known(&request)?, link_id(&id)?);
    let (query, mut span) = (NumberQuery::of(&request)?, span(&request)?);
    // Older clicks may or may not be purged yet: they are not shown either way.
    span.start = span.start.max(state.first_kept_click(known.standing.now));
    let page = block(move || -> Result<_, LinkError> {
        state.recorder.catch_up()?;
        state.store.find_own_link(known.account_id, id).ok_or(LinkError::NoLink)?;
        let (clicks, total) = state.store.list_clicks(id, span, query.skip(), query.rows())?;
        Ok(query.page(clicks.into_iter().map(ClickView::from).collect(), total))
    })
    .await?;
    Ok(HttpResponse::Ok().json(page))
}

pub(super) async fn stats(
    state: web::Data<State>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (known, id) = (guard::known(&request)?, link_id(&id)?);
    let view = block(move || -> Result<_, LinkError> {
        state.recorder.catch_up()?;
        let link = state.store.find_own_link(known.account_id, id).ok_or(LinkError::NoLink)?;
        let (totals, days) = (state.store.click_totals(id)?, state.store.click_days(id)?);
        let won = winner(&link, |label| totals.of(label));
        Ok(StatsView::of(&link, &totals, &days, won))
    })
    .await?;
    Ok(HttpResponse::Ok().json(view))
}

/// `start_date` and `end_date`: whole UTC days, the end included; or instants.
fn span(request: &HttpRequest) -> Result<Span, ApiError> {
    let query = Query::of(request);
    let start = query.find("start_date")?.map(parse_start).transpose();
    let end = query.find("end_date")?.map(parse_end).transpose();
    let (start, end) = (field("start_date", start)?, field("end_date", end)?);
    // The end is the first instant after the span, so equal ones are reversed, too.
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Err(ApiError::Invalid("start_date: must not lie after end_date".to_owned()));
    }
    Ok(Span { start: start.unwrap_or(Timestamp::EPOCH), end: end.unwrap_or(Timestamp::LAST) })
}

fn parse_start(text: &str) -> Result<Timestamp, Invalid> {
    Day::parse(text).map(Day::start).or_else(|_no_date| parse_instant(text))
}

fn parse_end(text: &str) -> Result<Timestamp, Invalid> {
    let after = |at: Timestamp| at.plus(std::time::Duration::from_millis(1));
    Day::parse(text).map(Day::end).or_else(|_no_date| parse_instant(text).map(after))
}
