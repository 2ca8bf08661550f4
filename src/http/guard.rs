//! The two ways into the public API: with a key, limited and counted; with a session, neither.
//! Both leave what they know of the account with the request, and its standing in the answer's headers.

use std::io;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, web};
use futures_util::future::ready;
use futures_util::stream;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::{ApiError, StoreFailed};
use super::json_fields::Object;
use super::metrics::Outcome;
use super::notes::Notes;
use super::usage::{self, Counted};
use super::{State, etag, extract, headers, idempotency};
use crate::domain::decision::Cost;
use crate::domain::endpoint::EndpointName;
use crate::domain::time::Timestamp;
use crate::gate::{Access, Known};
use crate::links::BULK_MAX;

/// Lets a request pass that shows a valid key of an account with units left, and counts it. What is read gets a validator,
/// what is written is written once. That is done here, because each layer of middleware is a box and a copy of all.
pub(crate) async fn by_key<B: MessageBody + 'static>(
    state: web::Data<State>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let now = state.clock.now();
    let cost = if is_bulk(&request) { bulk_cost(&state, &mut request, now).await } else { Ok(Cost::ONE) };
    let asked = Asked { cost, endpoint: usage::endpoint(&request), now };
    admit(&state, request, asked, async |request: ServiceRequest| match etag::is_read(request.method()) {
        true => etag::validate(request, next).await,
        false => idempotency::once(&state, request, next).await,
    })
    .await
}

/// What a request asks for.
pub(crate) struct Asked {
    /// Its cost, or why that cannot be told.
    pub(crate) cost: Result<Cost, ApiError>,
    /// What it is called in usage.
    pub(crate) endpoint: EndpointName,
    /// When it came.
    pub(crate) now: Timestamp,
}

/// Goes on with a request that shows a valid key of an account with units left, and counts it.
pub(crate) async fn admit<B: MessageBody + 'static>(
    state: &State,
    request: ServiceRequest,
    Asked { cost, endpoint, now }: Asked,
    next: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let paid = *cost.as_ref().unwrap_or(&Cost::ONE);
    let admitted = match (cost, extract::api_key(request.headers())) {
        (Ok(cost), Ok(key)) => state.admit(key, access(request.method()), cost, &endpoint, now).await,
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    };
    let outcome = state.metrics.count_decision(&admitted);
    Notes::add(&request, |notes| {
        notes.outcome = Some(outcome);
        notes.cost = paid;
    });
    let counted = admitted.as_ref().ok().cloned();
    let mut response = pass(request, next, admitted).await?;
    let Some(mut known) = counted else { return Ok(response) };
    if response.response().extensions().contains::<StoreFailed>() {
        // The answer says that nothing was counted.
        if let Err(error) = state.gate.give_back(&mut known, &endpoint, paid) {
            return Ok(response.error_response(ApiError::from(error)).map_into_boxed_body());
        }
        headers::set_limits(response.headers_mut(), &known.standing);
        // The log says what it came to. The metric is of decisions, and has counted this one.
        Notes::add(response.request(), |notes| {
            notes.outcome = Some(Outcome::Failed);
            notes.known = Some(known);
        });
    } else if let Some(counted) = Counted::of(&known, endpoint) {
        Notes::add(response.request(), |notes| notes.counted = Some(counted));
    }
    Ok(response)
}

/// Lets a request pass that has the session of an existing account. For the rate-limit status, a
/// key does as well: it is looked at and not counted.
pub(crate) async fn by_session<B: MessageBody + 'static>(
    state: web::Data<State>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let now = state.clock.now();
    let by_key = is_status(&request) && request.headers().contains_key(headers::API_KEY);
    let known = if by_key { look(&state, request.request(), now) } else { session(&state, request.request(), now) };
    pass(request, |request| next.call(request), known).await
}

/// The one call of account holders that a key opens as well.
fn is_status(request: &ServiceRequest) -> bool {
    path(request) == "/api/v1/public/keys/rate-limit"
}

/// The one call that costs more than a unit: one for each link.
fn is_bulk(request: &ServiceRequest) -> bool {
    request.method() == Method::POST && path(request) == "/api/v1/public/links/bulk"
}

/// The path as the routes see it: `%62ulk` is the same call, and must not be a cheaper one.
fn path(request: &ServiceRequest) -> &str {
    request.match_info().as_str()
}

/// Counts the links in the body of a bulk call, and hands the body on. A body that is none of a bulk call costs
/// a unit like any other request; the handler says what is wrong with it.
async fn bulk_cost(state: &State, request: &mut ServiceRequest, now: Timestamp) -> Result<Cost, ApiError> {
    #[derive(Deserialize)]
    struct Count {
        links: Vec<IgnoredAny>,
    }
    // Nobody's body is read who may not come in.
    let known = state.gate.look(extract::api_key(request.headers())?, access(request.method()), now)?;
    if known.standing.remaining() == 0 {
        // Whatever it costs does not fit.
        return Ok(Cost::ONE);
    }
    let payload = request.extract::<web::Payload>().await.map_err(|_broken| ApiError::BadRequest)?;
    let body = extract::body(request.request(), payload).await;
    let count = body.as_ref().ok().and_then(|body| serde_json::from_slice::<Object<Count>>(body).ok());
    request.set_payload(match body {
        Ok(body) => Payload::from(body.freeze()),
        Err(error) => Payload::Stream { payload: Box::pin(stream::once(ready(Err(unread(&error))))) },
    });
    let links = count.map(|Object(count)| count.links.len()).filter(|&links| links <= BULK_MAX);
    Ok(links.and_then(|links| Cost::new(u32::try_from(links).ok()?).ok()).unwrap_or(Cost::ONE))
}

/// A body that could not be read, as a fault that the handler's reading of it ends in the same answer.
fn unread(error: &ApiError) -> PayloadError {
    if matches!(error, ApiError::BodyTooLarge { .. }) {
        PayloadError::Overflow
    } else if matches!(error, ApiError::Timeout { .. }) {
        PayloadError::Io(io::ErrorKind::TimedOut.into())
    } else {
        PayloadError::Incomplete(None)
    }
}

/// Whether a method may change something (RFC 9110 §9.2.1 lists the safe ones).
pub(crate) fn access(method: &Method) -> Access {
    if method.is_safe() { Access::Read } else { Access::Write }
}

fn look(state: &State, request: &HttpRequest, now: Timestamp) -> Result<Known, ApiError> {
    Ok(state.gate.look(extract::api_key(request.headers())?, Access::Read, now)?)
}

fn session(state: &State, request: &HttpRequest, now: Timestamp) -> Result<Known, ApiError> {
    let token = extract::bearer(request.headers()).ok_or(ApiError::MissingToken)?;
    let account = state.verifier.verify(token, now).map_err(|_invalid| ApiError::InvalidToken)?;
    // The session of an account that was deleted is worth nothing.
    state.gate.standing(account, now)?.ok_or(ApiError::InvalidToken)
}

/// Goes on with a request that passed, and writes the account's standing into whatever comes back.
async fn pass<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
    outcome: Result<Known, ApiError>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let known = match outcome {
        Ok(known) => known,
        Err(error) => {
            if let ApiError::Stopped(known, _) = &error {
                Notes::add(&request, |notes| notes.known = Some((**known).clone()));
            }
            return Ok(request.error_response(error));
        }
    };
    let standing = known.standing;
    Notes::add(&request, |notes| notes.known = Some(known));
    // An error of a handler or of the routing arrives as an answer, too.
    let mut response = next(request).await?.map_into_boxed_body();
    headers::set_limits(response.headers_mut(), &standing);
    Ok(response)
}

/// What is known of the account of a request that passed.
pub(crate) fn known(request: &HttpRequest) -> Result<Known, ApiError> {
    Notes::find(request, |notes| notes.known.clone())
        .ok_or(ApiError::Internal("a handler runs without its guard", None))
}
