//! The head of the upstream's answer as the client gets it.

use actix_web::body::BodySize;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Version};
use actix_web::{HttpRequest, HttpResponse};
use hyper::header::{self, HeaderMap};
use hyper::http::response::Parts;

use super::fault::Cause;
use super::hops::Hops;
use crate::http::error::BodyIsFinal;
use crate::http::idempotency::AllHeaders;

/// The status of an upgrade, which hyper hands on.
const SWITCHING_PROTOCOLS: u16 = 101;

/// The answer without its body.
///
/// # Errors
/// When it has no form that can be sent.
pub(crate) fn build(head: &Parts, client: Version) -> Result<HttpResponse<()>, Cause> {
    if head.status == SWITCHING_PROTOCOLS {
        return Err("the upstream switched to a protocol that nobody asked for".into());
    }
    // Chunks are undone; what else was done to the body would be lost with the header (RFC 9112 §7).
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked || codings.next().is_some() {
        return Err("the answer has a transfer coding that nobody asked for".into());
    }
    let mut built = HttpResponse::with_body(head.status.as_u16().try_into()?, ());
    if client < Version::HTTP_11 {
        // Chunks came with HTTP/1.1; before it, a body of unknown length ends with its connection.
        built.head_mut().no_chunking(true);
        built.head_mut().set_connection_type(ConnectionType::Close);
    }
    // An error of the upstream's is not written anew in our form.
    built.extensions_mut().insert(BodyIsFinal);
    built.extensions_mut().insert(AllHeaders);
    let hops = Hops::named_by(head.headers.get_all(header::CONNECTION).iter().map(header::HeaderValue::as_bytes));
    for (name, value) in &head.headers {
        let name = name.as_str();
        if !hops.has(name, name) && !is_ours(name) && name != header::VARY {
            let (name, value) = (HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(value.as_bytes())?);
            built.headers_mut().append(name, value);
        }
    }
    // In one line: of several, CORS reads the first and drops the others.
    let vary: Vec<&[u8]> = head.headers.get_all(header::VARY).iter().map(header::HeaderValue::as_bytes).collect();
    if !vary.is_empty() {
        built.headers_mut().insert(actix_web::http::header::VARY, HeaderValue::from_bytes(&vary.join(&b", "[..]))?);
    }
    Ok(built)
}

/// What only we say to clients. The length is told by the body; that of a 304, which has none, stays.
fn is_ours(name: &str) -> bool {
    matches!(name, "ratelimit" | "idempotent-replayed" | "x-request-id")
        || name.starts_with("ratelimit-")
        || name.starts_with("x-ratelimit-")
        || name.starts_with("x-klinky-")
}

/// How long a body is that is not there: an answer to HEAD says what GET would get, and other answers without a
/// body say nothing. `None` if the answer has a body.
pub(crate) fn bodiless(request: &HttpRequest, head: &Parts) -> Option<BodySize> {
    if request.method() == "HEAD" {
        return Some(announced_bytes(&head.headers).map_or(BodySize::None, BodySize::Sized));
    }
    matches!(head.status.as_u16(), 204 | 304).then_some(BodySize::None)
}

/// Whether an answer is made to be read as it comes, and may have no end.
pub(crate) fn is_event_stream(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes).unwrap_or_default();
    let essence = kind.split(|c| *c == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
