//! `Idempotency-Key` on a POST: the first request runs, later ones get its answer again.
//!
//! This stands inside of the guard: a replay is a request, is counted, and carries the limits of its own time.
//! It is for what a key opens. Key management by session is outside of it: its answers hold secrets, which a
//! replay would have to store.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, rt, web};
use tracing::Instrument;

use super::error::{ApiError, BodyIsFinal, Said};
use super::{State, block, extract, guard, headers};
use crate::domain::idempotency::{Answer, Fingerprint, IdempotencyKey};
use crate::idempotency::{Claim, Running};

/// Marks an answer all of whose headers belong to it, as they are none of ours.
pub(crate) struct AllHeaders;

/// The headers that belong to an answer of ours; all others are those of the request that gets it.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ALLOW];
/// Headers of any answer that are made anew when it is given again.
const OWN_HEADERS: [HeaderName; 2] = [header::CONTENT_LENGTH, header::DATE];

/// Has a POST with a key run once.
pub(crate) async fn once<B: MessageBody + 'static>(
    state: &State,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    run_once(state, request, move |request| async move { Ok(next.call(request).await?.map_into_boxed_body()) }).await
}

/// Has `run` answer a POST with a key that it has not answered yet, and all that has none.
pub(crate) async fn run_once<F>(
    state: &State,
    mut request: ServiceRequest,
    run: impl FnOnce(ServiceRequest) -> F,
) -> Result<ServiceResponse<BoxBody>, Error>
where
    F: Future<Output = Result<ServiceResponse<BoxBody>, Error>> + 'static,
{
    if !is_asked(request.request()) {
        return run(request).await;
    }
    // Boxed, as it is rare: every request would carry its size.
    let running = match Box::pin(claim(state, &mut request)).await {
        Ok(Claim::Run(running)) => running,
        Ok(Claim::Replay(answer)) => {
            let again = replay(answer);
            return Ok(match again {
                Ok(response) => request.into_response(response),
                Err(error) => request.error_response(error),
            });
        }
        Err(error) => return Ok(request.error_response(error)),
    };
    let turn = Box::pin(state.idempotency.turn(running.account())).await;
    let turn = turn.map_err(|closed| ApiError::Internal("there are no turns", Some(Box::new(closed))))?;
    // On its own, so that what was begun is ended, and its answer kept, even if the client goes away.
    let answer = run(request);
    let run = async move {
        let kept = keep(running, answer.await?).await;
        drop(turn);
        Ok(kept)
    };
    let done = rt::spawn(run.in_current_span()).await;
    done.map_err(|panicked| ApiError::Internal("a handler panicked", Some(Box::new(panicked))))?
}

/// Whether a request's answer may have to be given again.
pub(crate) fn is_asked(request: &HttpRequest) -> bool {
    request.method() == Method::POST && request.headers().contains_key(headers::IDEMPOTENCY_KEY)
}

/// Reads what the claim depends on. The body is put back for the handler.
async fn claim(state: &State, request: &mut ServiceRequest) -> Result<Claim, ApiError> {
    let key = key(request)?;
    let known = guard::known(request.request())?;
    let payload = request.extract::<web::Payload>().await.map_err(|_broken| ApiError::BadRequest)?;
    let body = extract::body(request.request(), payload).await?.freeze();
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let fingerprint = Fingerprint::of(request.method().as_str(), target, &body);
    request.set_payload(Payload::from(body));
    let idempotency = state.idempotency.clone();
    block(move || idempotency.claim(known.account_id, key, fingerprint, known.standing.now)).await
}

fn key(request: &ServiceRequest) -> Result<IdempotencyKey, ApiError> {
    let name = "Idempotency-Key";
    let mut shown = request.headers().get_all(headers::IDEMPOTENCY_KEY);
    match (shown.next(), shown.next()) {
        (Some(only), None) => extract::field(name, IdempotencyKey::parse(only.as_bytes())),
        (_, _) => Err(ApiError::Invalid(format!("{name}: must stand once"))),
    }
}

/// Keeps an answer whose body is at hand; one that is streamed passes by.
async fn keep(running: Running, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let (request, response) = response.into_parts();
    let (head, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(body) => body,
        Err(streamed) => return ServiceResponse::new(request, head.set_body(streamed)),
    };
    let answer = answer(&head, &body);
    if let Err(error) = block(move || running.keep(answer)).await {
        // What was done is done, and the client learns of it; only a repetition is not answered the same.
        tracing::error!(error = &error as &dyn std::error::Error, "could not keep an answer");
    }
    ServiceResponse::new(request, head.set_body(BoxBody::new(body)))
}

fn answer(head: &HttpResponse<()>, body: &[u8]) -> Answer {
    let extensions = head.extensions();
    let belongs = |name: &HeaderName| match extensions.contains::<AllHeaders>() {
        true => !OWN_HEADERS.contains(name),
        false => KEPT_HEADERS.contains(name),
    };
    let kept = head.headers().iter().filter(|(name, _value)| belongs(name));
    Answer {
        status: head.status().as_u16(),
        headers: kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned())).collect(),
        body: body.to_owned(),
        detail: extensions.get::<Said>().map(|said| said.detail.clone()),
        body_is_final: extensions.contains::<BodyIsFinal>(),
    }
}

fn replay(answer: Answer) -> Result<HttpResponse, ApiError> {
    let unreadable = || ApiError::Internal("a kept answer is none", None);
    let status: StatusCode = answer.status.try_into().map_err(|_range| unreadable())?;
    let mut response = HttpResponse::new(status).set_body(BoxBody::new(answer.body));
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(|_form| unreadable())?;
        let value = HeaderValue::try_from(value).map_err(|_form| unreadable())?;
        response.headers_mut().append(name, value);
    }
    response.headers_mut().insert(headers::IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    if let Some(detail) = answer.detail {
        response.extensions_mut().insert(Said { detail, violated_policy: None });
    }
    if answer.body_is_final {
        response.extensions_mut().insert(BodyIsFinal);
    }
    Ok(response)
}
