//! Usage as it is shown, to account holders and to operators: of a span of hours, by key and by endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::error::ApiError;
use super::extract::{Query, field};
use super::{State, block};
use crate::domain::Invalid;
use crate::domain::endpoint::EndpointName;
use crate::domain::id::{AccountId, KeyId};
use crate::domain::time::{Day, Timestamp};
use crate::domain::usage::{Tally, UsageRow};
use crate::domain::window::Window;
use crate::store::{StoreError, unless_refused};

/// Longest span that is shown at once: a month.
const SPAN_DAYS_MAX: u32 = 31;
/// The span that is shown if none is asked for: a day, the running hour included.
const SPAN_HOURS_DEFAULT: u32 = 24;
/// Spans that are read at once. That of an account with many endpoints is some hundred thousand rows.
pub(crate) const READS_MAX: usize = 4;

/// Answers what an account used in the span that the request asks for, what was left in memory included.
pub(crate) async fn answer(
    state: &actix_web::web::Data<State>,
    request: &HttpRequest,
    account: AccountId,
) -> Result<HttpResponse, ApiError> {
    let now = state.clock.now();
    let span = Span::of(&Query::of(request), now)?;
    let turn = Arc::clone(&state.usage_reads).acquire_owned().await;
    let turn = turn.map_err(|_closed| ApiError::Internal("usage is closed", None))?;
    // Older rows may or may not be purged yet: they are not shown either way.
    let first = span.first.max(state.first_kept_usage(now));
    let state = state.clone();
    let view = block(move || -> Result<_, StoreError> {
        // Until the rows are read, also if the client goes away.
        let _turn = turn;
        unless_refused(state.store.fold_usage_of(account))?;
        UsageView::of(&span, state.store.usage_of(account, first, span.end))
    })
    .await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Windows, the last one not included.
struct Span {
    first: Window,
    end: Window,
}

impl Span {
    /// `from` and `to`: whole UTC days, the end included, or instants, of whose hours all is shown.
    fn of(query: &Query, now: Timestamp) -> Result<Self, ApiError> {
        let from = field("from", query.find("from")?.map(parse_from).transpose())?;
        let to = field("to", query.find("to")?.map(parse_to).transpose())?;
        let end = to.unwrap_or_else(|| Window::at(now).plus(1));
        let first = from.unwrap_or_else(|| end.minus(SPAN_HOURS_DEFAULT));
        let hours = end.as_hours().saturating_sub(first.as_hours());
        if hours == 0 {
            return Err(ApiError::Invalid("from: must lie before to".to_owned()));
        }
        if hours > SPAN_DAYS_MAX.saturating_mul(24) {
            return Err(ApiError::Invalid(format!("from: must lie at most {SPAN_DAYS_MAX} days before to")));
        }
        Ok(Self { first, end })
    }
}

fn parse_from(text: &str) -> Result<Window, Invalid> {
    parse(text, Day::start).map(Window::at)
}

fn parse_to(text: &str) -> Result<Window, Invalid> {
    let at = parse(text, Day::end)?;
    let window = Window::at(at);
    Ok(if window.start() == at { window } else { window.plus(1) })
}

fn parse(text: &str, of_day: impl Fn(Day) -> Timestamp) -> Result<Timestamp, Invalid> {
    let form = |_neither| Invalid::new("must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z");
    Day::parse(text).map(of_day).or_else(|_no_date| Timestamp::parse(text)).map_err(form)
}

#[derive(Serialize)]
struct UsageView {
    from: String,
    to: String,
    total: SumsView,
    hours: Vec<HourView>,
}

#[derive(Serialize)]
struct HourView {
    hour: String,
    #[serde(flatten)]
    sums: SumsView,
}

#[derive(Serialize)]
struct SumsView {
    used: u64,
    denied: u64,
    errors: u64,
    by_key: Vec<KeyView>,
    by_endpoint: Vec<EndpointView>,
}

#[derive(Serialize)]
struct KeyView {
    key_id: String,
    used: u64,
    denied: u64,
    errors: u64,
}

#[derive(Serialize)]
struct EndpointView {
    endpoint: String,
    used: u64,
    denied: u64,
    errors: u64,
    p50_ms: Option<u32>,
    p99_ms: Option<u32>,
}

impl UsageView {
    /// Shapes rows, which come the oldest hour first. Hours without any are left out.
    fn of(span: &Span, rows: impl Iterator<Item = Result<UsageRow, StoreError>>) -> Result<Self, StoreError> {
        let (mut total, mut hours) = (Sums::default(), Vec::new());
        let mut running: Option<(Window, Sums)> = None;
        for row in rows {
            let row = row?;
            total.add(&row);
            match &mut running {
                Some((window, sums)) if *window == row.spender.window => sums.add(&row),
                Some(_) | None => {
                    let mut sums = Sums::default();
                    sums.add(&row);
                    hours.extend(running.replace((row.spender.window, sums)).map(HourView::from));
                }
            }
        }
        hours.extend(running.map(HourView::from));
        let (from, to) = (span.first.start().to_string(), span.end.start().to_string());
        Ok(Self { from, to, total: total.into(), hours })
    }
}

impl From<(Window, Sums)> for HourView {
    fn from((window, sums): (Window, Sums)) -> Self {
        Self { hour: window.start().to_string(), sums: sums.into() }
    }
}

/// What rows come to.
#[derive(Default)]
struct Sums {
    all: Tally,
    keys: BTreeMap<KeyId, Tally>,
    endpoints: BTreeMap<EndpointName, Tally>,
}

impl Sums {
    fn add(&mut self, row: &UsageRow) {
        self.all.add(&row.tally);
        self.keys.entry(row.spender.key_id).or_default().add(&row.tally);
        if let Some(tally) = self.endpoints.get_mut(&row.endpoint) {
            tally.add(&row.tally);
        } else {
            self.endpoints.insert(row.endpoint.clone(), row.tally);
        }
    }
}

impl From<Sums> for SumsView {
    fn from(sums: Sums) -> Self {
        let Tally { used, denied, errors, latency: _ } = sums.all;
        let by_key = sorted(sums.keys).into_iter().map(|(key_id, tally)| KeyView {
            key_id: key_id.to_string(),
            used: tally.used,
            denied: tally.denied,
            errors: tally.errors,
        });
        let by_endpoint = sorted(sums.endpoints).into_iter().map(|(endpoint, tally)| EndpointView {
            endpoint: endpoint.to_string(),
            used: tally.used,
            denied: tally.denied,
            errors: tally.errors,
            p50_ms: tally.latency.percentile_ms(50),
            p99_ms: tally.latency.percentile_ms(99),
        });
        Self { used, denied, errors, by_key: by_key.collect(), by_endpoint: by_endpoint.collect() }
    }
}

/// Who used most comes first, then who was denied most.
pub(crate) fn sorted<K: Ord>(tallies: BTreeMap<K, Tally>) -> Vec<(K, Tally)> {
    let mut sorted: Vec<(K, Tally)> = tallies.into_iter().collect();
    sorted.sort_by_key(|(_key, tally)| std::cmp::Reverse((tally.used, tally.denied)));
    sorted
}
