//! Around every request of both listeners: bounds on its head, its id, its error form, its log line.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use tracing::Instrument;

use super::check::Endpoint;
use super::error::{self, ApiError, BodyIsFinal, Said};
use super::headers::REQUEST_ID;
use super::metrics::Outcome;
use super::{Listener, State, client, gateway, usage};
use crate::clock::Stopwatch;
use crate::gate::Known;

/// Most bytes of path and query: what browsers and proxies pass on.
const URI_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of all header names and values: twice what nginx takes by default.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most characters of a client's own request id.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The id of a request, in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Does all that this file is for.
pub(crate) async fn finish<B: MessageBody + 'static>(
    state: web::Data<State>,
    listener: web::Data<Listener>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Stopwatch::start();
    let id = request_id(&request, &state);
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", request.id = id);
    let mut response = match check_head(&request).and_then(|()| judge(&request, &state, **listener)) {
        // An error of a handler, a guard or of the routing arrives as an answer, too.
        Ok(()) => next.call(request).instrument(span.clone()).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        response = in_our_form(response);
    }
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let duration_us = started.elapsed_us();
    state.metrics.count_response(**listener, response.status(), duration_us);
    usage::note_answer(&state, &response, Duration::from_micros(duration_us));
    span.in_scope(|| log(&response, &state, duration_us));
    Ok(response)
}

fn check_head(request: &ServiceRequest) -> Result<(), ApiError> {
    let uri_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        return Err(ApiError::UriTooLong { bytes_max: URI_BYTES_MAX });
    }
    let lengths = request.headers().iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()));
    if lengths.fold(0, usize::saturating_add) > HEADER_BYTES_MAX {
        return Err(ApiError::HeadersTooLarge { bytes_max: HEADER_BYTES_MAX });
    }
    Ok(())
}

/// With a gateway, paths are judged before they are routed.
fn judge(request: &ServiceRequest, state: &State, listener: Listener) -> Result<(), ApiError> {
    match listener {
        Listener::Public => gateway::judge(state, request),
        Listener::Admin => Ok(()),
    }
}

/// The client's own id if it is sane (1 to 128 visible ASCII characters), else a new one.
fn request_id(request: &ServiceRequest, state: &State) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let sane = |id: &&str| (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_graphic());
    let own = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
    own.map_or_else(
        || {
            let mut made = String::with_capacity(33);
            // Writing to a String cannot fail.
            let _infallible = write!(made, "{:016x}-{:x}", state.boot_id, COUNT.fetch_add(1, Ordering::Relaxed));
            made
        },
        str::to_owned,
    )
}

/// Gives every error our form, also those that a library made, and the form of a problem where the
/// client asks for one.
fn in_our_form(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    if response.response().extensions().contains::<BodyIsFinal>() {
        return response;
    }
    let known = response.response().extensions().get::<Said>().cloned();
    let accepts = response.request().headers().get_all(header::ACCEPT);
    let wants_problem = accepts
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("application/problem+json"));
    if known.is_some() && !wants_problem {
        return response;
    }
    let status = response.status();
    let said = known.unwrap_or_else(|| Said { detail: library_detail(status), violated_policy: None });
    let rewritten = if wants_problem {
        error::problem_body(status, &said).ok().map(|body| ("application/problem+json", body))
    } else {
        Some(("application/json", error::detail_json(&said.detail).into_bytes()))
    };
    let Some((content_type, body)) = rewritten else { return response };
    let mut response = response.map_body(|_head, _body| BoxBody::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn library_detail(status: actix_web::http::StatusCode) -> String {
    format!("{}.", status.canonical_reason().unwrap_or("Error"))
}

/// The closing event of a request.
fn log(response: &ServiceResponse<BoxBody>, state: &State, duration_us: u64) {
    let request = response.request();
    let extensions = request.extensions();
    let known = extensions.get::<Known>();
    tracing::info!(
        method = request.method().as_str(),
        route = request.match_pattern().as_deref().unwrap_or("-"),
        endpoint = extensions.get::<Endpoint>().map(Endpoint::as_str),
        status = response.status().as_u16(),
        decision = extensions.get::<Outcome>().map(|outcome| outcome.as_str()),
        duration_us,
        client = %client::address(request, &state.trusted_proxies),
        account.id = known.map(|known| tracing::field::display(known.account_id)),
        plan.id = known.map(|known| known.plan.as_str()),
        remaining = known.map(|known| known.standing.remaining()),
        "answered"
    );
}
