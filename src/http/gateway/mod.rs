//! The gateway: another API in place of the built-in links. Requests pass the same guard as those for links, and go on to
//! the upstream; what klinky itself serves (`/check`, and what a session opens) comes first.
//!
//! | step | file |
//! |---|---|
//! | the path, before anything is routed | `verdict.rs` |
//! | what cannot be passed on | `request_head.rs` |
//! | the guard, and replays | `../guard.rs`, `../idempotency.rs` |
//! | to the upstream | `request_head.rs`, `upload.rs`, `pool.rs` |
//! | and back | `response_head.rs`, `download.rs`, `watch.rs` |

mod download;
mod exchange;
mod fault;
mod hops;
mod once_more;
mod pool;
mod request_head;
mod response_head;
mod upload;
mod verdict;
mod watch;

use std::rc::Rc;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse, fn_service};
use actix_web::{Error, HttpRequest, HttpResponse, web};
use hyper::http::response::Parts;

use self::download::Download;
use self::exchange::Exchange;
pub(crate) use self::fault::Fault;
use self::pool::Pool;
pub(crate) use self::verdict::Route;
use super::error::ApiError;
use super::guard::{self, Asked};
use super::notes::Notes;
use super::{State, cors, idempotency};
use crate::domain::endpoint::EndpointName;
use crate::domain::idempotency::Answer;
use crate::idempotency::ANSWER_BYTES_MAX;

/// What a worker serves with a gateway, besides klinky's own. Called once for each worker.
pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    let pool = Rc::new(Pool::default());
    routes.default_service(fn_service(move |request| serve(Rc::clone(&pool), request)));
}

/// Serves a request that is for nothing of klinky's own. This is one function, and no scope with a guard and
/// middlewares, each of which costs allocations and another layer of futures to poll.
async fn serve(pool: Rc<Pool>, request: ServiceRequest) -> Result<ServiceResponse, Error> {
    let route = Notes::find(&request, |notes| notes.route).unwrap_or(Route::Nowhere);
    let state = request.app_data::<web::Data<State>>().cloned();
    let state = state.ok_or(ApiError::Internal("a gateway without a state", None))?;
    // Two boxes that malloc has at hand are cheaper than one of all that can be waited for.
    let forward = |request: ServiceRequest| Box::pin(forward(state.clone(), pool, request));
    let served = match route {
        Route::Nowhere => Ok(request.error_response(ApiError::NotFound("resource"))),
        // What cannot be passed on is refused before it is counted.
        Route::Public | Route::Guarded(_) if let Err(fault) = request_head::check(request.request()) => {
            Ok(request.error_response(ApiError::from(fault)))
        }
        Route::Public => forward(request).await,
        Route::Guarded(cost) => {
            let endpoint = EndpointName::of_path(request.method().as_str(), request.path());
            let asked = Asked { cost: Ok(cost), endpoint, now: state.clock.now() };
            guard::admit(&state, request, asked, |request| idempotency::run_once(&state, request, forward)).await
        }
    };
    let mut served = served?;
    if state.has_cors() {
        cors::drop_upstreams(served.headers_mut());
    }
    Ok(served)
}

/// Judges a request's path, and notes the verdict.
///
/// # Errors
/// When the path is refused.
pub(crate) fn judge(state: &State, request: &mut ServiceRequest, notes: &mut Notes) -> Result<(), ApiError> {
    if let Some(settings) = &state.gateway {
        if state.has_cors() {
            cors::take_any_method(request);
        }
        notes.route = Some(verdict::judge(settings, request.method(), request.uri())?);
    }
    Ok(())
}

/// Sends a request to the upstream, and its answer to the client.
async fn forward(state: web::Data<State>, pool: Rc<Pool>, request: ServiceRequest) -> Result<ServiceResponse, Error> {
    let (request, payload) = request.into_parts();
    let answered = answer(&state, &pool, &request, payload).await;
    let response = answered.unwrap_or_else(HttpResponse::from_error);
    Ok(ServiceResponse::new(request, response))
}

async fn answer(
    state: &State,
    pool: &Rc<Pool>,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    if request_head::forwards_left(request) == Some(0) {
        // It asks what is here, which is nothing but the way to the upstream.
        return Ok(HttpResponse::NoContent().finish());
    }
    let settings = state.gateway.as_ref().ok_or(ApiError::Internal("a gateway without an upstream", None))?;
    let exchange = Exchange { state, settings, pool, request };
    let mut status = 0;
    let passed_on = match exchange.run(payload).await {
        Ok((answer, connection, upload)) => {
            status = answer.status().as_u16();
            let (head, body) = answer.into_parts();
            let download = Download::new(body, connection, Rc::clone(pool), upload, settings.timeout);
            pass_on(request, &head, download).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    state.metrics.count_upstream(passed_on.as_ref().map(|_passed_on| status));
    passed_on
}

/// The upstream's answer for the client.
///
/// # Errors
/// When it cannot be passed on.
async fn pass_on(request: &HttpRequest, head: &Parts, mut download: Download) -> Result<HttpResponse, Fault> {
    let built = response_head::build(head, request.version()).map_err(Fault::Malformed)?;
    if let Some(size) = response_head::bodiless(request, head) {
        return Ok(built.set_body(BoxBody::new(Bodiless(size))));
    }
    if response_head::is_event_stream(head) {
        // Neither waited for nor kept, however short.
        return Ok(built.set_body(BoxBody::new(download)));
    }
    if let Some(body) = download.read_at_hand().await.map_err(Fault::Malformed)? {
        return Ok(built.set_body(BoxBody::new(body)));
    }
    if !idempotency::is_asked(request) || !Answer::is_kept(head.status.as_u16()) {
        return Ok(built.set_body(BoxBody::new(download)));
    }
    match Box::pin(download.read_whole(ANSWER_BYTES_MAX)).await {
        Ok(body) => Ok(built.set_body(BoxBody::new(body.map_err(Fault::Malformed)?))),
        Err(longer) => {
            tracing::warn!("an answer is, or takes, too long to be kept: its request will run again if it is repeated");
            Ok(built.set_body(BoxBody::new(longer)))
        }
    }
}

/// A body that is announced and not sent.
struct Bodiless(BodySize);

impl MessageBody for Bodiless {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<web::Bytes, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}
