//! The decision as a service: `/check` for a proxy's sub-request, `POST /check` with JSON for a
//! server that asks by itself.

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::web::{self, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::extract::{self, Query, field};
use super::{State, guard, headers};
use crate::domain::decision::Cost;
use crate::gate::{Access, Known};

/// The headers in which proxies pass on the method of the request that they ask about.
const ORIGINAL_METHOD: [&str; 2] = ["x-original-method", "x-forwarded-method"];
/// Other headers that only a sub-request has.
const ORIGINAL_URI: [&str; 2] = ["x-original-uri", "x-forwarded-uri"];

const ACCOUNT: HeaderName = HeaderName::from_static("x-klinky-account");
const PLAN: HeaderName = HeaderName::from_static("x-klinky-plan");

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/check").to(check));
}

async fn check(state: web::Data<State>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    if is_question(&request) { ask(&state, &request, payload).await } else { sub_request(&state, &request).await }
}

/// A server asks by itself if it posts JSON and shows no key; a proxy that passes on somebody's
/// POST says which request it asks about, or writes in the query what it wants: a client whose body
/// such a proxy passes on cannot put a question of its own in place of the proxy's.
fn is_question(request: &HttpRequest) -> bool {
    let has = |name: &str| request.headers().contains_key(name);
    request.method() == Method::POST
        && request.query_string().is_empty()
        && request.content_type().eq_ignore_ascii_case("application/json")
        && !request.headers().contains_key(headers::API_KEY)
        && !ORIGINAL_METHOD.into_iter().chain(ORIGINAL_URI).any(has)
}

async fn sub_request(state: &State, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let query = Query::of(request);
    let denied_as_403 = match query.find("deny")? {
        None => false,
        Some("403") => true,
        Some(_) => return Err(ApiError::Invalid("deny: must be 403".to_owned())),
    };
    let cost = match query.find("cost")? {
        None => Cost::ONE,
        // What is no number is as far out of range as 0.
        Some(text) => field("cost", Cost::new(text.parse().unwrap_or(0)))?,
    };
    let access = original_access(request)?;
    let admitted = match extract::api_key(request.headers()) {
        Ok(key) => decide(state, key, access, cost).await,
        Err(error) => Err(error),
    };
    remember(state, request, &admitted);
    let mut response = match &admitted {
        Ok(known) => allowed(known),
        Err(error) if denied_as_403 => error.response_for_auth_request(),
        Err(error) => error.error_response(),
    };
    if let Some(known) = known(&admitted) {
        set_account(response.headers_mut(), known);
    }
    Ok(response)
}

async fn decide(state: &State, key: &[u8], access: Access, cost: Cost) -> Result<Known, ApiError> {
    Ok(state.gate.admit(key, access, cost, state.clock.now()).await?)
}

/// What the original request may do. Any of the proxy's headers, or the sub-request's own method, can
/// make it a write: a client that sends one of the headers past a proxy that sets the other gains nothing.
fn original_access(request: &HttpRequest) -> Result<Access, ApiError> {
    let mut access = guard::access(request.method());
    for name in ORIGINAL_METHOD {
        for value in request.headers().get_all(name) {
            let method = Method::from_bytes(value.as_bytes())
                .map_err(|_syntax| ApiError::Invalid(format!("{name}: must be an HTTP method")))?;
            if guard::access(&method) == Access::Write {
                access = Access::Write;
            }
        }
    }
    Ok(access)
}

/// An empty body: nginx opens a new connection for each sub-request whose answer has one.
fn allowed(known: &Known) -> HttpResponse {
    let mut response = HttpResponse::Ok().finish();
    headers::set_limits(response.headers_mut(), &known.standing);
    response
}

#[derive(Deserialize)]
struct Question {
    key: String,
    cost: Option<u32>,
    endpoint: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(flatten)]
    standing: Option<AnswerStanding>,
}

#[derive(Serialize)]
struct AnswerStanding {
    account_id: String,
    key_id: Option<String>,
    plan: String,
    limit: u32,
    remaining: u32,
    reset_at: String,
}

impl From<&Known> for AnswerStanding {
    fn from(known: &Known) -> Self {
        Self {
            account_id: known.account_id.to_string(),
            key_id: known.key_id.map(|id| id.to_string()),
            plan: known.plan.to_string(),
            limit: known.standing.limit.as_units(),
            remaining: known.standing.remaining(),
            reset_at: known.standing.reset().to_string(),
        }
    }
}

async fn ask(state: &State, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let question: Question = extract::json(&extract::body(request, payload).await?)?;
    let cost = field("cost", question.cost.map_or(Ok(Cost::ONE), Cost::new))?;
    let access = question.endpoint.as_deref().map_or(Ok(Access::Read), endpoint_access)?;
    let admitted = decide(state, question.key.as_bytes(), access, cost).await;
    remember(state, request, &admitted);
    let standing = known(&admitted).map(AnswerStanding::from);
    let mut response = match &admitted {
        Ok(known) => {
            let mut response = HttpResponse::Ok().json(Answer { allowed: true, detail: None, standing });
            headers::set_limits(response.headers_mut(), &known.standing);
            response
        }
        Err(error) => {
            let refused = error.error_response();
            if refused.status().is_server_error() {
                return Ok(refused);
            }
            let answer = Answer { allowed: false, detail: Some(error.detail()), standing };
            let body = serde_json::to_vec(&answer)
                .map_err(|error| ApiError::Internal("could not write an answer", Some(Box::new(error))))?;
            refused.set_body(actix_web::body::BoxBody::new(body))
        }
    };
    if let Some(known) = known(&admitted) {
        set_account(response.headers_mut(), known);
    }
    Ok(response)
}

/// `GET /v1/reports`: a method and a path.
fn endpoint_access(endpoint: &str) -> Result<Access, ApiError> {
    let invalid = || ApiError::Invalid("endpoint: must be a method and a path such as GET /v1/reports".to_owned());
    let (method, path) = endpoint.split_once(' ').ok_or_else(invalid)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_syntax| invalid())?;
    if path.starts_with('/') { Ok(guard::access(&method)) } else { Err(invalid()) }
}

fn known(admitted: &Result<Known, ApiError>) -> Option<&Known> {
    match admitted {
        Ok(known) => Some(known),
        Err(ApiError::Stopped(known, _)) => Some(known),
        Err(_) => None,
    }
}

/// For metrics and the log line.
fn remember(state: &State, request: &HttpRequest, admitted: &Result<Known, ApiError>) {
    request.extensions_mut().insert(state.metrics.count_decision(admitted));
    if let Some(known) = known(admitted) {
        request.extensions_mut().insert(known.clone());
    }
}

fn set_account(map: &mut HeaderMap, known: &Known) {
    map.insert(ACCOUNT, headers::text(format_args!("{}", known.account_id)));
    map.insert(PLAN, headers::text(format_args!("{}", known.plan)));
}
