//! The head of a request as the upstream gets it: what concerns the client's connection stays here, what we say of the
//! client cannot be said by the client.

use std::borrow::Cow;

use actix_web::http::Version;
use actix_web::http::uri::Authority;
use actix_web::{HttpMessage, HttpRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};

use super::fault::{Cause, Fault};
use super::hops::Hops;
use super::upload::Upload;
use crate::http::notes::Notes;
use crate::http::{State, client};

/// The longest address as text: that of IPv6.
const ADDRESS_BYTES_MAX: usize = 45;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ACCOUNT: HeaderName = HeaderName::from_static("x-klinky-account");
const PLAN: HeaderName = HeaderName::from_static("x-klinky-plan");
const KEY: HeaderName = HeaderName::from_static("x-klinky-key");

/// Refuses what cannot be passed on, or not with the meaning that the client gives it.
///
/// # Errors
/// When there is something of the kind.
pub(crate) fn check(request: &HttpRequest) -> Result<(), Fault> {
    let map = request.headers();
    check_host(request)?;
    if map.contains_key(actix_web::http::header::TRAILER) {
        return Err(Fault::Unsupported("Trailers are not passed on. Send the request without a Trailer header."));
    }
    let upgrades =
        map.get_all(actix_web::http::header::UPGRADE).flat_map(|value| value.as_bytes().split(|c| *c == b','));
    // Clients that would rather speak HTTP/2 say so in every request, and are content with less.
    if upgrades.map(<[u8]>::trim_ascii).any(|protocol| !protocol.eq_ignore_ascii_case(b"h2c")) {
        return Err(Fault::Unsupported("Upgrades such as WebSocket are not passed on."));
    }
    let mut expectations = map.get_all(actix_web::http::header::EXPECT).map(|value| value.as_bytes().trim_ascii());
    if expectations.any(|expected| !expected.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Fault::Expectation);
    }
    let overrides = |name: &str| {
        matches!(hyphened(name).as_ref(), "x-http-method-override" | "x-http-method" | "x-method-override")
    };
    match map.keys().find(|name| overrides(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Fault::Refused(format!("{name}: is not passed on. Send the request with its own method."))),
    }
}

fn check_host(request: &HttpRequest) -> Result<(), Fault> {
    let refused = || Fault::Refused("Host: must stand once, and be the host that is asked.".to_owned());
    let mut hosts = request.headers().get_all(actix_web::http::header::HOST);
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if request.version() < Version::HTTP_11 => return Ok(()),
        (Some(only), None) => only.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        (None | Some(_), _) => None,
    };
    let host = host.filter(|host| !host.as_str().contains('@')).ok_or_else(refused)?;
    match request.uri().authority() {
        Some(asked) if asked != &host => Err(refused()),
        Some(_) | None => Ok(()),
    }
}

/// How many more servers a request may go through (RFC 9110 §7.6.2 gives this a meaning for OPTIONS, and for TRACE,
/// which goes nowhere). `None` if it does not say so in one number.
pub(crate) fn forwards_left(request: &HttpRequest) -> Option<u64> {
    let mut lines = request.headers().get_all(actix_web::http::header::MAX_FORWARDS);
    let only = lines.next().filter(|_only| request.method() == "OPTIONS" && lines.next().is_none())?;
    let digits = only.to_str().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // A number that is too long is more than anything goes through.
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The request for the upstream. Of the account that pays its notes tell; without one the path is public.
///
/// # Errors
/// When the request has no form that can be sent; no request that came this far is known to.
pub(crate) fn build(
    request: &HttpRequest,
    state: &State,
    host: &HeaderValue,
    body: Upload,
) -> Result<Request<Upload>, Cause> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let is_unsized = hyper::body::Body::size_hint(&body).exact().is_none();
    let mut built = Request::new(body);
    *built.method_mut() = Method::from_bytes(request.method().as_str().as_bytes())?;
    *built.uri_mut() = Uri::from(PathAndQuery::try_from(target)?);
    let map = built.headers_mut();
    map.reserve(request.headers().len().saturating_add(8));
    map.insert(header::HOST, host.clone());
    if request.headers().get(actix_web::http::header::CONTENT_LENGTH).is_some_and(|bytes| bytes == "0") {
        // Of a body that has one hyper writes the length; an empty one is none to it.
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    }
    if is_unsized {
        // Else hyper leaves the body of a GET away whose length it does not know.
        map.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let is_trusted = client::is_by_proxy(request, &state.trusted_proxies);
    copy(request, map, is_trusted)?;
    if let Some(left) = forwards_left(request) {
        map.insert(header::MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    set_forwarded(request, map)?;
    let extensions = request.extensions();
    let Some(notes) = extensions.get::<Notes>() else { return Err("nothing is noted of a request".into()) };
    map.insert(REQUEST_ID, HeaderValue::from_bytes(notes.id.as_bytes())?);
    if let Some(known) = &notes.known {
        map.insert(ACCOUNT, HeaderValue::try_from(known.account_id.to_string())?);
        map.insert(PLAN, HeaderValue::try_from(known.plan.as_str())?);
        if let Some(key) = known.key_id {
            map.insert(KEY, HeaderValue::try_from(key.to_string())?);
        }
    }
    Ok(built)
}

fn copy(request: &HttpRequest, map: &mut HeaderMap, is_trusted: bool) -> Result<(), Cause> {
    let connection = request.headers().get_all(actix_web::http::header::CONNECTION);
    let hops = Hops::named_by(connection.map(actix_web::http::header::HeaderValue::as_bytes));
    for (name, value) in request.headers() {
        let name = name.as_str();
        let plain = hyphened(name);
        // A proxy that is trusted spells what it sets with hyphens; other spellings are its client's.
        let is_by_proxy = is_trusted && name == plain;
        if !hops.has(name, &plain) && !is_ours(&plain) && (is_by_proxy || !is_of_proxies(&plain)) {
            map.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(value.as_bytes())?);
        }
    }
    Ok(())
}

/// A name as upstreams see it that know headers as variables (CGI, WSGI, Rack, PHP): `X_Klinky_Account` is the same as
/// `X-Klinky-Account` to all of them, and `X.Klinky.Account`, or any other character that a name may have, to some
/// (CVE-2026-88011 is that in Traefik).
fn hyphened(name: &str) -> Cow<'_, str> {
    let is_odd = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    if name.contains(is_odd) { name.replace(is_odd, "-").into() } else { name.into() }
}

/// What we say ourselves, and the path in other words, which the upstream must not take for the one that was judged.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "host" | "content-length" | "expect" | "x-api-key" | "x-request-id" | "x-original-url" | "x-rewrite-url"
    ) || name.starts_with("x-klinky-")
}

/// What only a proxy can know of its client.
fn is_of_proxies(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip")
}

/// Adds what we know of the client to what trusted proxies said; what others said is gone by now.
fn set_forwarded(request: &HttpRequest, map: &mut HeaderMap) -> Result<(), Cause> {
    let mut addresses = Vec::with_capacity(ADDRESS_BYTES_MAX);
    for line in map.get_all(FORWARDED_FOR) {
        addresses.extend_from_slice(line.as_bytes());
        addresses.extend_from_slice(b", ");
    }
    client::write(client::peer(request), &mut addresses);
    map.insert(FORWARDED_FOR, HeaderValue::from_bytes(&addresses)?);
    if !map.contains_key(FORWARDED_PROTO) {
        map.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    let host = request.headers().get(actix_web::http::header::HOST);
    if let Some(host) = host.filter(|_host| !map.contains_key(FORWARDED_HOST)) {
        map.insert(FORWARDED_HOST, HeaderValue::from_bytes(host.as_bytes())?);
    }
    let via = if request.version() < Version::HTTP_11 { "1.0 klinky" } else { "1.1 klinky" };
    map.append(header::VIA, HeaderValue::from_static(via));
    Ok(())
}
