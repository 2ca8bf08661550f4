//! CORS: which pages of other origins may call the public API from a browser. Preflights are
//! answered before any guard, so they need no key and are not counted.
//!
//! What an upstream takes and says is not known here. So a gateway lets pages ask by any method and with any header and
//! read all headers: `*` means that as long as requests carry no credentials in the sense of Fetch, and ours never do.

use actix_cors::Cors;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{State, headers};

/// How long a browser may remember a preflight's answer: the 2 hours that Chromium allows at most.
const PREFLIGHT_SECS: usize = 7200;
/// All methods, or the names of all headers, to a browser.
const ANY: &str = "*";
/// The method that stands for any other in a preflight.
const KNOWN_METHOD: &str = "GET";

/// Our headers that a page may want to read.
const EXPOSED: [HeaderName; 9] = [
    header::RETRY_AFTER,
    header::ETAG,
    headers::IDEMPOTENT_REPLAYED,
    headers::X_LIMIT,
    headers::X_REMAINING,
    headers::X_RESET,
    headers::POLICY,
    headers::LIMITS,
    headers::REQUEST_ID,
];

/// The policy for the operator's origins.
pub(crate) fn policy(origins: &[String]) -> Cors {
    let policy = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::IF_NONE_MATCH,
            headers::IDEMPOTENCY_KEY,
            headers::API_KEY,
            headers::REQUEST_ID,
        ])
        .expose_headers(EXPOSED);
    for_origins(policy, origins)
}

/// The same in front of an upstream; goes with [`take_any_method`] before it.
pub(crate) fn gateway_policy(origins: &[String]) -> Cors {
    let policy = Cors::default()
        .allowed_methods([KNOWN_METHOD, ANY])
        .allow_any_header()
        // Ours by name as well, for browsers that do not know the star.
        .expose_headers(EXPOSED.iter().map(HeaderName::as_str).chain([ANY]));
    for_origins(policy, origins)
}

fn for_origins(policy: Cors, origins: &[String]) -> Cors {
    origins.iter().fold(policy.max_age(PREFLIGHT_SECS), |policy, origin| policy.allowed_origin(origin))
}

/// Lets a page of the operator's origins read an answer that was made before the policy was asked.
pub(crate) fn open_early(state: &State, response: &mut ServiceResponse<BoxBody>) {
    let asking = response.request().headers().get(header::ORIGIN);
    let is_known = |origin: &&HeaderValue| state.cors_origins.iter().any(|known| known.as_bytes() == origin.as_bytes());
    let Some(origin) = asking.filter(is_known).cloned() else { return };
    let any = state.gateway.as_ref().map(|_gateway| ANY);
    let ours = EXPOSED;
    let exposed: Vec<&str> = ours.iter().map(HeaderName::as_str).chain(any).collect();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Ok(exposed) = HeaderValue::try_from(exposed.join(", ")) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Has a preflight ask for a method that the policy knows: it has a list of them, and no word for any.
pub(crate) fn take_any_method(request: &mut ServiceRequest) {
    if request.method() == Method::OPTIONS
        && let Some(asked) = request.headers_mut().get_mut(header::ACCESS_CONTROL_REQUEST_METHOD)
        && Method::from_bytes(asked.as_bytes()).is_ok()
    {
        *asked = HeaderValue::from_static(KNOWN_METHOD);
    }
}

/// Drops what an upstream says of origins itself: browsers refuse an answer that says it twice.
pub(crate) fn drop_upstreams(headers: &mut HeaderMap) {
    headers.retain(|name, _value| !name.as_str().starts_with("access-control-"));
}
