//! The request that is asked about: its method, which matters to read-only keys, and its endpoint, for the log.
//!
//! nginx and `HAProxy` name it in `X-Original-Method` and `X-Original-URI` (our recipes make them), Caddy and Traefik in
//! `X-Forwarded-Method` and `X-Forwarded-Uri`, Envoy asks with the method and the path themselves. A client may send
//! the pair that its proxy does not set: what such a pair says can only take rights away.

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName};

use super::PATH;
use crate::domain::endpoint::EndpointName;
use crate::gate::Access;
use crate::http::error::ApiError;
use crate::http::guard;

/// The headers in which proxies pass on the method of the request that they ask about.
static METHOD: [HeaderName; 2] =
    [HeaderName::from_static("x-original-method"), HeaderName::from_static("x-forwarded-method")];
/// The headers in which they pass on its path and query.
static URI: [HeaderName; 2] = [HeaderName::from_static("x-original-uri"), HeaderName::from_static("x-forwarded-uri")];
/// Longest path that is logged: no endpoint of an API has a longer one, and whoever sends 8 KiB of noise shall not
/// fill the log with it.
const PATH_BYTES_MAX: usize = 1024;

/// The request that is asked about, as far as it is known.
pub(super) struct Original {
    /// What it may do.
    pub(super) access: Access,
    /// `None` if nothing names it, or what does is of no use.
    pub(super) endpoint: Option<Endpoint>,
    /// What it is called in usage.
    pub(super) name: EndpointName,
}

/// A method and a path without its query: `POST /v1/reports`.
pub(crate) struct Endpoint(String);

impl Endpoint {
    /// Only what can stand in a log line as it is: a path of visible ASCII. The query is left out, for it may hold secrets.
    fn new(method: &Method, uri: &[u8]) -> Option<Self> {
        let path = std::str::from_utf8(uri).ok()?.split(['?', '#']).next()?;
        let is_path =
            path.starts_with('/') && path.len() <= PATH_BYTES_MAX && path.bytes().all(|c| c.is_ascii_graphic());
        is_path.then(|| Self(format!("{method} {path}")))
    }

    fn name(&self) -> EndpointName {
        let (method, path) = self.0.split_once(' ').unwrap_or((&self.0, ""));
        EndpointName::of_path(method, path)
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Original {
    /// Nothing is known of it; so it is taken for one that reads.
    pub(super) const UNKNOWN: Self = Self { access: Access::Read, endpoint: None, name: EndpointName::UNKNOWN };

    fn new(access: Access, endpoint: Option<Endpoint>) -> Self {
        let name = endpoint.as_ref().map_or(EndpointName::UNKNOWN, Endpoint::name);
        Self { access, endpoint, name }
    }

    /// What a proxy's headers say. Any of them, or the sub-request's own method, can make it a write: a client that
    /// sends one of the headers past a proxy that sets the other gains nothing. Where they disagree, there is no endpoint.
    pub(super) fn in_headers(request: &HttpRequest) -> Result<Self, ApiError> {
        let (methods, uris) = named(request.headers())?;
        let uri = only(uris.into_iter());
        let method = if methods.is_empty() { Some(request.method()) } else { only(methods.iter()) };
        let endpoint = method.zip(uri).and_then(|(method, uri)| Endpoint::new(method, uri));
        Ok(Self::new(access(request.method(), &methods), endpoint))
    }

    /// What Envoy's form says: the method is the sub-request's, and the path stands behind the prefix.
    pub(super) fn in_path(request: &HttpRequest) -> Result<Self, ApiError> {
        let (methods, _uris) = named(request.headers())?;
        let path = request.uri().path().strip_prefix(PATH);
        let endpoint = path.and_then(|path| Endpoint::new(request.method(), path.as_bytes()));
        Ok(Self::new(access(request.method(), &methods), endpoint))
    }

    /// What a server writes in its question: `GET /v1/reports`.
    pub(super) fn in_words(endpoint: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::Invalid("endpoint: must be a method and a path such as GET /v1/reports".to_owned());
        let (method, path) = endpoint.split_once(' ').ok_or_else(invalid)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_syntax| invalid())?;
        if !path.starts_with('/') {
            return Err(invalid());
        }
        Ok(Self::new(guard::access(&method), Endpoint::new(&method, path.as_bytes())))
    }
}

/// Whether any header names an original request.
pub(super) fn is_named(headers: &HeaderMap) -> bool {
    METHOD.iter().chain(&URI).any(|name| headers.contains_key(name))
}

/// The methods and the targets that headers name, in no order. To look at each header takes less time than to look four up.
fn named(headers: &HeaderMap) -> Result<(Vec<Method>, Vec<&[u8]>), ApiError> {
    let (mut methods, mut uris) = (Vec::new(), Vec::new());
    for (name, value) in headers {
        if METHOD.contains(name) {
            let method = Method::from_bytes(value.as_bytes());
            methods.push(method.map_err(|_syntax| ApiError::Invalid(format!("{name}: must be an HTTP method")))?);
        } else if URI.contains(name) {
            uris.push(value.as_bytes());
        }
    }
    Ok((methods, uris))
}

fn access(own: &Method, methods: &[Method]) -> Access {
    let writes = |method: &Method| guard::access(method) == Access::Write;
    if writes(own) || methods.iter().any(writes) { Access::Write } else { Access::Read }
}

/// The one value that all of them are.
fn only<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
