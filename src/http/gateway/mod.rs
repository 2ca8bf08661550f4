//! The gateway: another API in place of the built-in links. Requests pass the same guard as those for links, and go on to
//! the upstream; what klinky itself serves (`/check`, and what a session opens) comes first.
//!
//! | step | file |
//! |---|---|
//! | the path, before anything is routed | `verdict.rs` |
//! | what cannot be passed on | `request_head.rs` |
//! | the guard, and replays | `../guard.rs`, `../idempotency.rs` |
//! | to the upstream | `request_head.rs`, `upload.rs`, `pool.rs` |
//! | and back | `response_head.rs`, `download.rs` |

mod download;
mod exchange;
mod fault;
mod hops;
mod pool;
mod request_head;
mod response_head;
mod turn;
mod upload;
mod verdict;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::{Guard, fn_guard};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Payload};
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};

use self::download::Download;
use self::exchange::Exchange;
pub(crate) use self::fault::Fault;
use self::pool::Pool;
pub(crate) use self::verdict::Route;
use super::error::ApiError;
use super::{State, guard, idempotency};
use crate::domain::decision::Cost;
use crate::domain::idempotency::Answer;
use crate::gate::Known;
use crate::idempotency::ANSWER_BYTES_MAX;

/// What a worker serves with a gateway, besides klinky's own. Called once for each worker.
pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .app_data(web::Data::new(Pool::default()))
        .service(
            web::scope("")
                .guard(leads(|route| route == Route::Public))
                .default_service(web::to(forward))
                .wrap(from_fn(refuse_unfit)),
        )
        .service(
            web::scope("")
                .guard(leads(|route| matches!(route, Route::Guarded(_))))
                .default_service(web::to(forward))
                .wrap(from_fn(idempotency::once))
                .wrap(from_fn(guard::by_key))
                .wrap(from_fn(refuse_unfit)),
        );
}

/// Judges a request's path, and leaves the verdict with the request.
///
/// # Errors
/// When the path is refused.
pub(crate) fn judge(state: &State, request: &ServiceRequest) -> Result<(), ApiError> {
    if let Some(settings) = &state.gateway {
        let route = verdict::judge(settings, request.method(), request.uri())?;
        request.extensions_mut().insert(route);
    }
    Ok(())
}

/// What a request costs that was judged; `None` without a gateway.
pub(crate) fn cost(request: &ServiceRequest) -> Option<Cost> {
    match request.extensions().get::<Route>()? {
        Route::Guarded(cost) => Some(*cost),
        Route::Public | Route::Nowhere => Some(Cost::ONE),
    }
}

/// Whether a request was judged: then there is a gateway.
pub(crate) fn is_on(request: &ServiceRequest) -> bool {
    request.extensions().contains::<Route>()
}

fn leads(is_right: impl Fn(Route) -> bool) -> impl Guard {
    fn_guard(move |context| context.req_data().get::<Route>().is_some_and(|route| is_right(*route)))
}

/// Refuses what cannot be passed on, before it is counted.
async fn refuse_unfit<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match request_head::check(request.request()) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(fault) => Ok(request.error_response(ApiError::from(fault))),
    }
}

/// Sends a request to the upstream, and its answer to the client.
async fn forward(
    state: web::Data<State>,
    pool: web::Data<Pool>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let settings = state.gateway.as_ref().ok_or(ApiError::Internal("a gateway without an upstream", None))?;
    let known: Option<Known> = request.extensions().get::<Known>().cloned();
    let exchange = Exchange { state: &state, settings, pool: &pool, request: &request, known: known.as_ref() };
    let (answer, connection, upload) = exchange.run(payload.into_inner()).await?;
    let (head, body) = answer.into_parts();
    let built = response_head::build(&head, request.version()).map_err(Fault::Malformed)?;
    let mut download = Download::new(body, connection, pool.clone(), upload, settings.timeout);
    if let Some(size) = response_head::bodiless(&request, &head) {
        return Ok(built.set_body(BoxBody::new(Bodiless(size))));
    }
    if let Some(body) = download.read_at_hand().await.map_err(Fault::Malformed)? {
        return Ok(built.set_body(BoxBody::new(body)));
    }
    if !request_head::is_repeatable(&request) || !Answer::is_kept(head.status.as_u16()) {
        return Ok(built.set_body(BoxBody::new(download)));
    }
    match download.read_whole(ANSWER_BYTES_MAX).await {
        Ok(body) => Ok(built.set_body(BoxBody::new(body.map_err(Fault::Malformed)?))),
        Err(longer) => {
            tracing::warn!("an answer is too long to be kept: its request will run again if it is repeated");
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
