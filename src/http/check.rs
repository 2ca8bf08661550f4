//! The decision as a service: `/check` for a proxy's sub-request, `/check/…` for a proxy that puts a prefix before
//! the original path, `POST /check` with JSON for a server that asks by itself.

mod original;
mod question;

use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError, web};

pub(crate) use self::original::Endpoint;
use self::original::Original;
use super::error::ApiError;
use super::extract::{self, Query, field};
use super::notes::Notes;
use super::{State, headers};
use crate::domain::decision::Cost;
use crate::domain::id::ID_CHARS;
use crate::gate::Known;

const ACCOUNT: HeaderName = HeaderName::from_static("x-klinky-account");
const PLAN: HeaderName = HeaderName::from_static("x-klinky-plan");
const KEY: HeaderName = HeaderName::from_static("x-klinky-key");

/// Where it is asked.
const PATH: &str = "/check";
/// What stands before the original path in Envoy's form.
const PREFIX: &str = "/check/";

/// Most requests never come here, but are answered [`directly`].
pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    // In a scope, so that no other path is held against the pattern.
    let any_path = web::scope(PATH).service(web::resource("/{original:.*}").to(check));
    routes.service(web::resource(PATH).to(check)).service(any_path);
}

async fn check(state: web::Data<State>, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, ApiError> {
    let mut notes = Notes::take(&request);
    let answered = answer(&state, &request, payload.into_inner(), &mut notes).await;
    notes.leave(&request);
    answered
}

/// Whether [`directly`] answers a request. Where browsers may ask, CORS comes first; and another spelling of the path is the
/// routes' to read, which the log names.
pub(crate) fn is_direct(state: &State, request: &ServiceRequest) -> bool {
    let path = request.path();
    !state.has_cors() && (path == PATH || path.starts_with(PREFIX))
}

/// Answers as the routes do, without the way through them and what is before them: that takes more time than to decide.
pub(crate) async fn directly(state: &State, request: ServiceRequest, notes: &mut Notes) -> ServiceResponse {
    let (request, payload) = request.into_parts();
    let answered = answer(state, &request, payload, notes).await;
    ServiceResponse::new(request, answered.unwrap_or_else(HttpResponse::from_error))
}

async fn answer(
    state: &State,
    request: &HttpRequest,
    payload: Payload,
    notes: &mut Notes,
) -> Result<HttpResponse, ApiError> {
    if is_question(request) {
        // In a box, so that every other request has that much less to carry along.
        return Box::pin(question::answer(state, request, payload, notes)).await;
    }
    let Asked { what, denials } = Asked::of(request)?;
    let (admitted, asked) = match what {
        Err(error) => (Err(error), None),
        Ok((original, cost)) => {
            let admitted = match extract::api_key(request.headers()) {
                Ok(key) => decide(state, key, &original, cost).await,
                Err(error) => Err(error),
            };
            (admitted, Some((original, cost)))
        }
    };
    Ok(respond(state, admitted, asked, denials, notes))
}

/// What a proxy asks.
struct Asked {
    /// About which request, and what it costs; or what is wrong with the question.
    what: Result<(Original, Cost), ApiError>,
    denials: Denials,
}

impl Asked {
    fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        if !is_plain(request) {
            // The query is the client's: neither a cost nor a form of denials is read from it.
            let what = Original::in_path(request).map(|original| (original, Cost::ONE));
            return Ok(Self { what, denials: Denials::AsTheyAre });
        }
        let query = Query::of(request);
        let denials = denials(&query)?;
        let what = cost(&query).and_then(|cost| Ok((Original::in_headers(request)?, cost)));
        Ok(Self { what, denials })
    }
}

/// Whether no original path follows, in the path as the routes see it.
fn is_plain(request: &HttpRequest) -> bool {
    request.match_info().as_str() == PATH
}

/// How a denial is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denials {
    /// With its status and a JSON body.
    AsTheyAre,
    /// For nginx: with 401 or 403, and the body in a header.
    As403,
}

/// A server asks by itself if it posts JSON and shows no key; a proxy that passes on somebody's
/// POST says which request it asks about, or writes in the query what it wants: a client whose body
/// such a proxy passes on cannot put a question of its own in place of the proxy's.
fn is_question(request: &HttpRequest) -> bool {
    request.method() == Method::POST
        && is_plain(request)
        && request.query_string().is_empty()
        && request.content_type().eq_ignore_ascii_case("application/json")
        && !request.headers().contains_key(headers::API_KEY)
        && !original::is_named(request.headers())
}

fn denials(query: &Query) -> Result<Denials, ApiError> {
    match query.find("deny")? {
        None => Ok(Denials::AsTheyAre),
        Some("403") => Ok(Denials::As403),
        Some(_) => Err(ApiError::Invalid("deny: must be 403".to_owned())),
    }
}

fn cost(query: &Query) -> Result<Cost, ApiError> {
    match query.find("cost")? {
        None => Ok(Cost::ONE),
        // What is no number is as far out of range as 0.
        Some(text) => field("cost", Cost::new(text.parse().unwrap_or(0))),
    }
}

fn respond(
    state: &State,
    admitted: Result<Known, ApiError>,
    asked: Option<(Original, Cost)>,
    denials: Denials,
    notes: &mut Notes,
) -> HttpResponse {
    let mut response = match (&admitted, denials) {
        (Ok(known), Denials::AsTheyAre | Denials::As403) => allowed(known),
        (Err(error), Denials::AsTheyAre) => error.error_response(),
        (Err(error), Denials::As403) => error.response_for_auth_request(),
    };
    if let Some(known) = known(&admitted) {
        set_account(response.headers_mut(), known);
    }
    if let Some((original, cost)) = asked {
        remember(state, notes, admitted, original, cost);
    }
    response
}

fn decide(state: &State, key: &[u8], original: &Original, cost: Cost) -> impl Future<Output = Result<Known, ApiError>> {
    state.admit(key, original.access, cost, &original.name, state.clock.now())
}

/// An empty body: nginx opens a new connection for each sub-request whose answer has one.
fn allowed(known: &Known) -> HttpResponse {
    let mut response = HttpResponse::Ok().finish();
    headers::set_limits(response.headers_mut(), &known.standing);
    response
}

fn known(admitted: &Result<Known, ApiError>) -> Option<&Known> {
    match admitted {
        Ok(known) => Some(known),
        Err(ApiError::Stopped(known, _)) => Some(known),
        Err(_) => None,
    }
}

/// For metrics and the log line. Not how it was answered, for usage: what the API makes of the request is not seen here.
fn remember(state: &State, notes: &mut Notes, admitted: Result<Known, ApiError>, original: Original, cost: Cost) {
    let outcome = state.metrics.count_decision(&admitted);
    let known = match admitted {
        Ok(known) => Some(known),
        Err(ApiError::Stopped(known, _)) => Some(*known),
        Err(_) => None,
    };
    notes.outcome = Some(outcome);
    notes.cost = cost;
    notes.known = known;
    notes.endpoint = original.endpoint;
}

fn set_account(map: &mut HeaderMap, known: &Known) {
    let mut text = [0; ID_CHARS];
    map.insert(ACCOUNT, headers::word(known.account_id.write(&mut text)));
    map.insert(PLAN, headers::word(known.plan.as_str()));
    if let Some(key_id) = known.key_id {
        map.insert(KEY, headers::word(key_id.write(&mut text)));
    }
}
