//! Errors as answers. Statuses and public texts appear here alone: one match from error to both.
//! The cause of a failure of ours is logged here, once, and never sent.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::gateway::Fault;
use super::headers;
use crate::gate::{Known, Stop};
use crate::store::StoreError;

/// The problem type of a 429, from draft-ietf-httpapi-ratelimit-headers-11 §5.
const QUOTA_EXCEEDED_TYPE: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const QUOTA_EXCEEDED_TITLE: &str = "Request cannot be satisfied as assigned quota has been exceeded";

const ERROR_BODY: HeaderName = HeaderName::from_static("x-klinky-error-body");
const DENIED_STATUS: HeaderName = HeaderName::from_static("x-ratelimit-status");

/// Marks an answer that says that the store failed and nothing was counted.
pub(crate) struct StoreFailed;

/// Marks an answer whose body is what it must be, such as an empty one for nginx.
pub(crate) struct BodyIsFinal;

/// Everything that a request can be answered with besides success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("no API key")]
    MissingKey,
    #[error("an invalid API key")]
    InvalidKey,
    #[error("{1}")]
    Stopped(Box<Known>, Stop),
    #[error("no session token")]
    MissingToken,
    #[error("an invalid session token")]
    InvalidToken,
    #[error("no or a wrong admin token")]
    AdminToken,
    #[error("too many wrong admin tokens")]
    AdminLockedOut { secs: u32 },
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error("the {0} is gone")]
    Gone(&'static str),
    #[error("method not allowed")]
    MethodNotAllowed { allow: &'static str },
    #[error("conflict: {0}")]
    Conflict(String),
    #[error("invalid: {0}")]
    Invalid(String),
    #[error("the body exceeds {bytes_max} bytes")]
    BodyTooLarge { bytes_max: usize },
    #[error("the path exceeds {bytes_max} bytes")]
    UriTooLong { bytes_max: usize },
    #[error("the headers exceed {bytes_max} bytes")]
    HeadersTooLarge { bytes_max: usize },
    #[error("the body took too long")]
    Timeout { secs: u64 },
    #[error("the request cannot be read")]
    BadRequest,
    #[error("the host is neither a name nor an address")]
    BadHost,
    #[error("the gateway: {0}")]
    Gateway(Fault),
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("{0}")]
    Internal(&'static str, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}

/// Characters of each end of a `detail` that is too long: faults repeat what the client sent, which may be a megabyte,
/// and are kept with answers under an `Idempotency-Key`.
const DETAIL_PART_CHARS: usize = 250;

/// What an error answer says, kept beside the answer so that it can be said as a problem (RFC 9457).
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) detail: String,
    /// The quota policy that the request would have exceeded.
    pub(crate) violated_policy: Option<&'static str>,
}

#[derive(Serialize)]
struct Detail<'a> {
    detail: &'a str,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
}

impl ApiError {
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::MissingKey => "Missing API key. Include X-API-Key header.".to_owned(),
            Self::InvalidKey => "Invalid API key.".to_owned(),
            Self::Stopped(_, stop) => stop_detail(stop),
            Self::MissingToken => "Missing session token. Include Authorization: Bearer header.".to_owned(),
            Self::InvalidToken => "Invalid or expired session token.".to_owned(),
            Self::AdminToken => "Missing or wrong admin token. Include Authorization: Bearer header.".to_owned(),
            Self::AdminLockedOut { secs } => {
                format!("Too many wrong admin tokens from this address. Try again in {secs} seconds.")
            }
            Self::NotFound(what) => format!("No such {what}."),
            Self::Gone(what) => format!("This {what} leads nowhere any more."),
            Self::MethodNotAllowed { allow } => format!("Method not allowed. Allowed: {allow}."),
            Self::Conflict(what) | Self::Invalid(what) => shortened(what),
            Self::BodyTooLarge { bytes_max } => format!("Request body exceeds {bytes_max} bytes."),
            Self::UriTooLong { bytes_max } => format!("Request path and query exceed {bytes_max} bytes."),
            Self::HeadersTooLarge { bytes_max } => format!("Request headers exceed {bytes_max} bytes."),
            Self::Timeout { secs } => format!("Request body did not arrive within {secs} seconds."),
            Self::BadRequest => "The request cannot be read.".to_owned(),
            Self::BadHost => "Host: must be a name or an address, with or without a port.".to_owned(),
            Self::Gateway(fault) => fault.to_string(),
            Self::Store(StoreError::Commit { .. }) => {
                "The disk refused to write. Nothing was counted; a change may have been made.".to_owned()
            }
            Self::Store(_) => "The store is unavailable. Nothing was counted; please try again.".to_owned(),
            Self::Internal(_, _) => "Internal error.".to_owned(),
        }
    }

    /// An account's limit is a quota; the lock-out of who guesses is none.
    fn violated_policy(&self) -> Option<&'static str> {
        matches!(self, Self::Stopped(_, Stop::LimitReached)).then_some(headers::POLICY_NAME)
    }

    fn log_cause(&self) {
        match self {
            Self::Gateway(fault) => fault.log_cause(),
            Self::Store(cause) => tracing::error!(error = cause as &dyn std::error::Error, "the store failed"),
            Self::Internal(what, cause) => tracing::error!(
                error = cause.as_deref().map(|cause| cause as &dyn std::error::Error),
                "internal error: {what}"
            ),
            Self::MissingKey
            | Self::InvalidKey
            | Self::Stopped(_, _)
            | Self::MissingToken
            | Self::InvalidToken
            | Self::AdminToken
            | Self::AdminLockedOut { .. }
            | Self::NotFound(_)
            | Self::Gone(_)
            | Self::MethodNotAllowed { .. }
            | Self::Conflict(_)
            | Self::Invalid(_)
            | Self::BodyTooLarge { .. }
            | Self::UriTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::Timeout { .. }
            | Self::BadRequest
            | Self::BadHost => {}
        }
    }

    /// The answer to a sub-request of nginx, whose `auth_request` knows 2xx, 401 and 403 and drops bodies: a 429 goes
    /// as a 403, and what the body would say goes in a header. Any other status stays, and so a failure is an error there.
    pub(crate) fn response_for_auth_request(&self) -> HttpResponse<BoxBody> {
        let mut response = self.error_response();
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            *response.status_mut() = StatusCode::FORBIDDEN;
            response.headers_mut().insert(DENIED_STATUS, HeaderValue::from(status.as_u16()));
        }
        let mut response = response.drop_body().map_into_boxed_body();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().insert(ERROR_BODY, headers::json(&detail_json(&self.detail())));
        response.extensions_mut().insert(BodyIsFinal);
        response
    }

    /// The headers that belong to this error.
    fn add_headers(&self, headers: &mut header::HeaderMap) {
        match self {
            Self::MissingKey | Self::InvalidKey => {
                set(headers, header::WWW_AUTHENTICATE, "ApiKey header=\"X-API-Key\"");
            }
            Self::MissingToken | Self::InvalidToken | Self::AdminToken => {
                set(headers, header::WWW_AUTHENTICATE, "Bearer");
            }
            Self::Stopped(known, stop) => {
                headers::set_limits(headers, &known.standing);
                if matches!(stop, Stop::LimitReached) {
                    headers::set_retry_after(headers, known.standing.secs_to_reset());
                }
            }
            Self::AdminLockedOut { secs } => headers::set_retry_after(headers, *secs),
            Self::MethodNotAllowed { allow } => set(headers, header::ALLOW, allow),
            // What is left of the request is not read, so the connection cannot be used again.
            Self::BodyTooLarge { .. } | Self::Timeout { .. } => set(headers, header::CONNECTION, "close"),
            Self::NotFound(_)
            | Self::Gone(_)
            | Self::Conflict(_)
            | Self::Invalid(_)
            | Self::UriTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::BadRequest
            | Self::BadHost
            | Self::Gateway(_)
            | Self::Store(_)
            | Self::Internal(_, _) => {}
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::MissingKey | Self::InvalidKey | Self::MissingToken | Self::InvalidToken | Self::AdminToken => {
                StatusCode::UNAUTHORIZED
            }
            Self::Stopped(_, Stop::LimitReached) | Self::AdminLockedOut { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopped(_, Stop::Suspended | Stop::NoApiAccess { .. } | Stop::ReadOnlyKey) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Gone(_) => StatusCode::GONE,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Timeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BadRequest | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::Gateway(Fault::Refused(_) | Fault::BrokenBody) => StatusCode::BAD_REQUEST,
            Self::Gateway(Fault::Unsupported(_)) => StatusCode::NOT_IMPLEMENTED,
            Self::Gateway(Fault::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::Gateway(Fault::Unreachable(_) | Fault::Malformed(_) | Fault::LongHead(_)) => StatusCode::BAD_GATEWAY,
            Self::Gateway(Fault::Slow { .. }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_, _) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.log_cause();
        let said = Said { detail: self.detail(), violated_policy: self.violated_policy() };
        let mut response = say(self.status_code(), said);
        if matches!(self, Self::Store(_)) {
            response.extensions_mut().insert(StoreFailed);
        }
        self.add_headers(response.headers_mut());
        response
    }
}

fn say(status: StatusCode, said: Said) -> HttpResponse<BoxBody> {
    let mut response = HttpResponse::build(status).json(Detail { detail: &said.detail });
    response.extensions_mut().insert(said);
    response
}

/// The same error as a problem (RFC 9457), for clients that ask for one.
pub(crate) fn problem_body(status: StatusCode, said: &Said) -> Result<Vec<u8>, serde_json::Error> {
    let quota = said.violated_policy.is_some();
    serde_json::to_vec(&Problem {
        // RFC 9457 §4.2.1: about:blank goes with the status's own phrase as the title.
        r#type: if quota { QUOTA_EXCEEDED_TYPE } else { "about:blank" },
        title: if quota { QUOTA_EXCEEDED_TITLE } else { status.canonical_reason().unwrap_or("Error") },
        status: status.as_u16(),
        detail: &said.detail,
        violated_policies: said.violated_policy.map(|policy| [policy]),
    })
}

/// An error's JSON body, for answers that carry it in a header.
pub(crate) fn detail_json(detail: &str) -> String {
    serde_json::to_string(&Detail { detail }).unwrap_or_default()
}

/// A text without its middle if it is too long: it begins with the field's name and ends with the reason.
fn shortened(text: &str) -> String {
    let place = |chars| text.char_indices().nth(chars).map(|(place, _char)| place);
    let end = text.char_indices().rev().nth(DETAIL_PART_CHARS.saturating_sub(1)).map(|(place, _char)| place);
    match (place(DETAIL_PART_CHARS), end, place(DETAIL_PART_CHARS.saturating_mul(2))) {
        (Some(start), Some(end), Some(_longer)) => {
            format!("{}…{}", text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

fn set(headers: &mut header::HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

fn stop_detail(stop: &Stop) -> String {
    match stop {
        Stop::Suspended => "This account is suspended. Contact the operator of this API.".to_owned(),
        Stop::NoApiAccess { plan, offers } => {
            let upgrade = match offers.split_last() {
                Some((last, [])) => format!(" Upgrade to {last}."),
                Some((last, rest)) => format!(" Upgrade to {} or {last}.", rest.join(", ")),
                None => String::new(),
            };
            format!("Your plan ({plan}) does not include API access.{upgrade}")
        }
        Stop::ReadOnlyKey => "This API key is read-only. Use a read_write key for this request.".to_owned(),
        Stop::LimitReached => "Rate limit exceeded. Please try again later.".to_owned(),
    }
}
