//! CORS: which pages of other origins may call the public API from a browser. Preflights are
//! answered before any guard, so they need no key and are not counted.

use actix_cors::Cors;
use actix_web::http::header;

use super::headers;

/// How long a browser may remember a preflight's answer: the 2 hours that Chromium allows at most.
const PREFLIGHT_SECS: usize = 7200;

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
        .expose_headers([
            header::RETRY_AFTER,
            header::ETAG,
            headers::IDEMPOTENT_REPLAYED,
            headers::X_LIMIT,
            headers::X_REMAINING,
            headers::X_RESET,
            headers::POLICY,
            headers::LIMITS,
            headers::REQUEST_ID,
        ])
        .max_age(PREFLIGHT_SECS);
    origins.iter().fold(policy, |policy, origin| policy.allowed_origin(origin))
}
