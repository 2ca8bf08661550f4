//! Around every request of both listeners: bounds on its head, its id, its error form, its log line.

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpRequest, web};
use tracing::Instrument;

use super::check::Endpoint;
use super::error::{self, ApiError, BodyIsFinal, Said};
use super::headers::{self, REQUEST_ID};
use super::idle::Connection;
use super::metrics::Outcome;
use super::notes::Notes;
use super::{Listener, State, accept, check, client, cors, gateway, host};
use crate::clock::Stopwatch;
use crate::domain::decision::Cost;
use crate::domain::endpoint::EndpointName;

/// Most bytes of path and query: what browsers and proxies pass on.
const URI_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of all header names and values: twice what nginx takes by default.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most characters of a client's own request id.
const REQUEST_ID_CHARS_MAX: usize = 128;
/// The media type of a problem (RFC 9457 §3).
const PROBLEM: &str = "application/problem+json";

/// Does all that this file is for. It is no async function: that would keep what it passes on, and copy it once more.
pub(crate) fn finish<B: MessageBody + 'static>(
    state: web::Data<State>,
    listener: Listener,
    request: ServiceRequest,
    next: Next<B>,
) -> impl Future<Output = Result<ServiceResponse<BoxBody>, Error>> {
    let started = Stopwatch::start();
    let id = request_id(&request, &state);
    let span = tracing::info_span!("request", request.id = id.to_str().unwrap_or_default());
    answer(state, listener, request, next, id, started).instrument(span)
}

async fn answer<B: MessageBody + 'static>(
    state: web::Data<State>,
    listener: Listener,
    mut request: ServiceRequest,
    next: Next<B>,
    id: HeaderValue,
    started: Stopwatch,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let running = request.conn_data::<Connection>().map(Connection::begin);
    let mut notes = Notes::new(id);
    let mut response = match check_head(&request).and_then(|()| judge(&mut request, &mut notes, &state, listener)) {
        Ok(()) if listener == Listener::Public && check::is_direct(&state, &request) => {
            check::directly(&state, request, &mut notes).await
        }
        Ok(()) => {
            notes.leave(&request);
            // An error of a handler, a guard or of the routing arrives as an answer, too.
            let response = next.call(request).await?.map_into_boxed_body();
            notes = Notes::take(response.request());
            response
        }
        Err(error) => refuse(&state, listener, request, error),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        response = in_our_form(response);
    }
    let duration_us = started.elapsed_us();
    state.metrics.count_response(listener, response.status(), duration_us);
    if let Some(counted) = &notes.counted {
        counted.note_answer(&state, response.status(), Duration::from_micros(duration_us));
    }
    log(&response, &notes, &state, duration_us);
    if response.request().method() == Method::HEAD {
        response = without_body(response);
    }
    // Not a copy: to have two of a value takes an allocation.
    response.headers_mut().insert(REQUEST_ID, notes.id);
    // Few bodies are long, and to exchange one copies its answer.
    Ok(match (response.response().body().size(), running) {
        (BodySize::None | BodySize::Sized(0), _) | (_, None) => response,
        (_, Some(running)) => response.map_body(|_head, body| running.until_handed_over(body)),
    })
}

/// An answer to HEAD: how long its body would be, and none. The HTTP library leaves the body out only if the request that it has
/// read last is a HEAD; a client that pipelines has sent another one by then.
fn without_body(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    response.map_body(|head, body| match body.size() {
        BodySize::None | BodySize::Sized(0) => body,
        size @ (BodySize::Sized(_) | BodySize::Stream) => {
            head.no_chunking(true);
            if let BodySize::Sized(bytes) = size {
                head.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
            }
            BoxBody::new(NoBody)
        }
    })
}

/// Nothing, after a head that says how long it would be.
struct NoBody;

impl MessageBody for NoBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

/// The answer to a request that comes no further, and so not to where its origin is looked at.
fn refuse(state: &State, listener: Listener, request: ServiceRequest, error: ApiError) -> ServiceResponse<BoxBody> {
    let mut response = request.error_response(error);
    match listener {
        Listener::Public => cors::open_early(state, &mut response),
        Listener::Admin => {}
    }
    response
}

fn check_head(request: &ServiceRequest) -> Result<(), ApiError> {
    let uri_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        return Err(ApiError::UriTooLong { bytes_max: URI_BYTES_MAX });
    }
    let (mut header_bytes, mut host) = (0_usize, Ok(()));
    for (name, value) in request.headers() {
        header_bytes = header_bytes.saturating_add(name.as_str().len()).saturating_add(value.len());
        if *name == header::HOST {
            host = host::check(value);
        }
    }
    if header_bytes > HEADER_BYTES_MAX {
        return Err(ApiError::HeadersTooLarge { bytes_max: HEADER_BYTES_MAX });
    }
    host
}

/// With a gateway, paths are judged before they are routed.
fn judge(request: &mut ServiceRequest, notes: &mut Notes, state: &State, listener: Listener) -> Result<(), ApiError> {
    match listener {
        Listener::Public => gateway::judge(state, request, notes),
        Listener::Admin => Ok(()),
    }
}

/// The client's own id if it is sane (1 to 128 visible ASCII characters), else a new one.
fn request_id(request: &ServiceRequest, state: &State) -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let sane = |id: &&HeaderValue| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let own = request.headers().get(REQUEST_ID).filter(sane).cloned();
    let new = || {
        // Hashed, so that two ids do not tell a client how many requests came between them.
        let number = state.request_numbers.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
        headers::words(&[&state.boot_id, "-", itoa::Buffer::new().format(number)])
    };
    own.unwrap_or_else(new)
}

/// What makes the request ids of one start differ from those of another.
pub(super) fn boot_id() -> Result<String, getrandom::Error> {
    Ok(format!("{:016x}", getrandom::u64()?))
}

/// Gives every error our form, also those that a library made, and the form of a problem where the
/// client asks for one.
fn in_our_form(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    if response.response().extensions().contains::<BodyIsFinal>() {
        return response;
    }
    let known = response.response().extensions().get::<Said>().cloned();
    let wants_problem = accept::has(response.request().headers(), PROBLEM);
    if known.is_some() && !wants_problem {
        return response;
    }
    let status = response.status();
    let said = known.unwrap_or_else(|| Said { detail: library_detail(status), violated_policy: None });
    let rewritten = if wants_problem {
        error::problem_body(status, &said).ok().map(|body| (PROBLEM, body))
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

/// The pattern of the route, or what stands for it in usage if it leads to the upstream.
fn route(request: &HttpRequest, notes: &Notes) -> Option<String> {
    request.match_pattern().or_else(|| {
        let is_upstreams = notes.route? != gateway::Route::Nowhere;
        let name = is_upstreams.then(|| EndpointName::of_path(request.method().as_str(), request.path()))?;
        name.as_str().split_once(' ').map(|(_method, path)| path.to_owned())
    })
}

/// The closing event of a request.
fn log(response: &ServiceResponse<BoxBody>, notes: &Notes, state: &State, duration_us: u64) {
    let request = response.request();
    let known = notes.known.as_ref();
    tracing::info!(
        method = request.method().as_str(),
        route = route(request, notes).as_deref().unwrap_or("-"),
        endpoint = notes.endpoint.as_ref().map(Endpoint::as_str),
        status = response.status().as_u16(),
        decision = notes.outcome.map(Outcome::as_str),
        cost = Some(notes.cost.as_units()).filter(|units| *units != Cost::ONE.as_units()),
        duration_us,
        client = %client::address(request, &state.trusted_proxies),
        account.id = known.map(|known| tracing::field::display(known.account_id)),
        plan.id = known.map(|known| known.plan.as_str()),
        remaining = known.map(|known| known.standing.remaining()),
        "answered"
    );
}
