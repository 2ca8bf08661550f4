//! The two ways into the public API: with a key, limited and counted; with a session, neither.
//! Both leave what they know of the account with the request, and its standing in the answer's headers.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};

use super::error::ApiError;
use super::{State, extract, headers};
use crate::domain::decision::Cost;
use crate::domain::time::Timestamp;
use crate::gate::{Access, Known};

/// Lets a request pass that shows a valid key of an account with units left, and counts it.
pub(crate) async fn by_key<B: MessageBody + 'static>(
    state: web::Data<State>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let now = state.clock.now();
    let admitted = match extract::api_key(request.headers()) {
        Ok(key) => state.gate.admit(key, access(request.method()), Cost::ONE, now).await.map_err(ApiError::from),
        Err(error) => Err(error),
    };
    let outcome = state.metrics.count_decision(&admitted);
    request.extensions_mut().insert(outcome);
    pass(request, next, admitted).await
}

/// Lets a request pass that has the session of an existing account. For the rate-limit status, a
/// key does as well: it is looked at and not counted.
pub(crate) async fn by_session<B: MessageBody + 'static>(
    state: web::Data<State>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let now = state.clock.now();
    let by_key = request.path().ends_with("/keys/rate-limit") && request.headers().contains_key(headers::API_KEY);
    let known = if by_key { look(&state, request.request(), now) } else { session(&state, request.request(), now) };
    pass(request, next, known).await
}

/// Whether a method may change something (RFC 9110 §9.2.1 lists the safe ones).
pub(crate) fn access(method: &Method) -> Access {
    if method.is_safe() { Access::Read } else { Access::Write }
}

fn look(state: &State, request: &HttpRequest, now: Timestamp) -> Result<Known, ApiError> {
    Ok(state.gate.look(extract::api_key(request.headers())?, now)?)
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
    next: Next<B>,
    outcome: Result<Known, ApiError>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let known = match outcome {
        Ok(known) => known,
        Err(error) => {
            if let ApiError::Stopped(known, _) = &error {
                request.extensions_mut().insert((**known).clone());
            }
            return Ok(request.error_response(error));
        }
    };
    let standing = known.standing;
    request.extensions_mut().insert(known);
    // An error of a handler or of the routing arrives as an answer, too.
    let mut response = next.call(request).await?.map_into_boxed_body();
    headers::set_limits(response.headers_mut(), &standing);
    Ok(response)
}

/// What is known of the account of a request that passed.
pub(crate) fn known(request: &HttpRequest) -> Result<Known, ApiError> {
    let found = request.extensions().get::<Known>().cloned();
    found.ok_or(ApiError::Internal("a handler runs without its guard", None))
}
