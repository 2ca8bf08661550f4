//! Takes requests apart: keys, bearer tokens, bodies, queries. Bad input is met here.

use std::io;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::headers;
use crate::domain::Invalid;

/// Most bytes of a body: far above any call of ours, far below what hurts a small VM.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest wait for a whole body: 1 MiB over a slow mobile link takes about 20 s.
pub(crate) const BODY_SECS_MAX: u64 = 30;
/// Most rows of a page of an admin list.
const PAGE_ROWS_MAX: usize = 1000;
/// Most rows of a page of the public API.
const PER_PAGE_MAX: u64 = 100;
/// Rows of a page of the public API that says nothing of it.
const PER_PAGE_DEFAULT: u64 = 20;
/// Highest page: far beyond the end of any list.
const PAGES_MAX: u64 = 1_000_000_000;
/// Rows of a page that says nothing of it.
const PAGE_ROWS_DEFAULT: usize = 100;

/// The key that a request shows. Two headers are as wrong as a wrong key: a proxy may have read the other one.
pub(crate) fn api_key(headers: &HeaderMap) -> Result<&[u8], ApiError> {
    let mut shown = headers.get_all(headers::API_KEY);
    match (shown.next(), shown.next()) {
        (None, _) => Err(ApiError::MissingKey),
        (Some(key), None) => Ok(key.as_bytes()),
        (Some(_), Some(_)) => Err(ApiError::InvalidKey),
    }
}

/// The bearer token of a request; `None` if it has no `Authorization` or more than one, or another scheme.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(header::AUTHORIZATION);
    let (Some(only), None) = (shown.next(), shown.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Reads a whole body, within its bounds of size and time.
pub(crate) async fn body(request: &HttpRequest, payload: Payload) -> Result<BytesMut, ApiError> {
    body_of(request, payload, BODY_BYTES_MAX).await
}

/// The same, with a bound of its own: for what anybody may send who shows no key.
pub(crate) async fn body_of(
    request: &HttpRequest,
    mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    bytes_max: usize,
) -> Result<BytesMut, ApiError> {
    let too_large = || ApiError::BodyTooLarge { bytes_max };
    let timeout = || ApiError::Timeout { secs: BODY_SECS_MAX };
    if announced_bytes(request.headers()).is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large());
    }
    let read = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| {
                if matches!(error, PayloadError::Overflow) {
                    too_large()
                } else if matches!(&error, PayloadError::Io(cause) if cause.kind() == io::ErrorKind::TimedOut) {
                    timeout()
                } else {
                    ApiError::BadRequest
                }
            })?;
            if body.len().saturating_add(chunk.len()) > bytes_max {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    let limit = Duration::from_secs(BODY_SECS_MAX);
    tokio::time::timeout(limit, read).await.unwrap_or_else(|_elapsed| Err(timeout()))
}

fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a JSON object. Faults name the field: `field required: name`, `trial.plan: invalid type: …`.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii_start().first() == Some(&b'{') {
        return parse(body, "");
    }
    // serde would read an array as an object's fields in order.
    Err(not_this(body, "object"))
}

fn not_this(body: &[u8], wanted: &str) -> ApiError {
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_other) => ApiError::Invalid(format!("request body: must be a JSON {wanted}")),
        Err(_syntax) => invalid_json(),
    }
}

fn invalid_json() -> ApiError {
    ApiError::Invalid("Invalid JSON in request body".to_owned())
}

/// `root` stands before the paths that faults name.
fn parse<T: DeserializeOwned>(body: &[u8], root: &str) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        if error.inner().classify() == serde_json::error::Category::Data {
            ApiError::Invalid(field_fault(&format!("{root}{}", error.path()), &error.inner().to_string()))
        } else {
            invalid_json()
        }
    })?;
    reader.end().map_err(|_trailing| invalid_json())?;
    Ok(value)
}

/// Reads a JSON object that may be left out altogether.
pub(crate) fn json_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() { Ok(T::default()) } else { json(body) }
}

/// Reads a JSON array of objects. Faults name the array `name`: `field required: variants[1].label`.
pub(crate) fn json_array<T: DeserializeOwned>(body: &[u8], name: &str) -> Result<Vec<T>, ApiError> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return parse(body, name);
    }
    Err(not_this(body, "array"))
}

/// Words a fault of serde as the API does.
fn field_fault(path: &str, serde_text: &str) -> String {
    let text = serde_text.rsplit_once(" at line ").map_or(serde_text, |(text, _position)| text);
    let text = &text.replace("expected u32", "expected a whole number from 0 to 4294967295");
    // What is one has a bound of its own, which is named once it is a number.
    let text = text.replace("expected u64", "expected a whole number of at least 0");
    let at_root = path == "." || path.is_empty();
    let inside = |name: &str| if at_root { name.to_owned() } else { format!("{path}.{name}") };
    match text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(missing) => format!("field required: {}", inside(missing)),
        None if at_root => text,
        None => format!("{path}: {text}"),
    }
}

/// Names the field that a value was refused for.
pub(crate) fn field<T>(name: &str, checked: Result<T, Invalid>) -> Result<T, ApiError> {
    checked.map_err(|error| ApiError::Invalid(format!("{name}: {error}")))
}

/// The query of a request, decoded. A name that stands twice is refused when it is asked for.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(request: &HttpRequest) -> Self {
        match request.query_string() {
            "" => Self(Vec::new()),
            // Any text is a form; what does not decode becomes a replacement character.
            text => Self(serde_urlencoded::from_str(text).unwrap_or_default()),
        }
    }

    /// Refuses parameters of other names.
    pub(crate) fn refuse_all_but(&self, names: &[&str]) -> Result<(), ApiError> {
        match self.0.iter().find(|(found, _value)| !names.contains(&found.as_str())) {
            Some((unknown, _value)) => {
                Err(ApiError::Invalid(format!("unknown query parameter {unknown:?}, expected {}", names.join(", "))))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(found, _value)| found == name).map(|(_name, value)| value.as_str());
        match (values.next(), values.next()) {
            // Nobody means this character; keeping it would be to keep something else than was sent.
            (Some(lossy), None) if lossy.contains(char::REPLACEMENT_CHARACTER) => {
                Err(ApiError::Invalid(format!("{name}: must be UTF-8")))
            }
            (first, None) => Ok(first),
            (_, Some(_)) => Err(ApiError::Invalid(format!("{name}: must stand once"))),
        }
    }
}

/// Which page of a list of the public API is asked for.
pub(crate) struct NumberQuery {
    page: u64,
    per_page: u64,
}

impl NumberQuery {
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let query = Query::of(request);
        let number = |name: &str, default: u64, most: u64| match query.find(name)? {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| ApiError::Invalid(format!("{name}: must be 1 to {most}"))),
        };
        Ok(Self { page: number("page", 1, PAGES_MAX)?, per_page: number("per_page", PER_PAGE_DEFAULT, PER_PAGE_MAX)? })
    }

    /// Rows of the pages before.
    pub(crate) fn skip(&self) -> u64 {
        self.page.saturating_sub(1).saturating_mul(self.per_page)
    }

    pub(crate) fn skip_rows(&self) -> usize {
        usize::try_from(self.skip()).unwrap_or(usize::MAX)
    }

    /// Rows of this page, at most.
    pub(crate) fn rows(&self) -> usize {
        usize::try_from(self.per_page).unwrap_or(usize::MAX)
    }

    pub(crate) fn page<T>(&self, items: Vec<T>, total: u64) -> NumberedPage<T> {
        let pages = total.div_ceil(self.per_page);
        NumberedPage { items, total, page: self.page, per_page: self.per_page, pages }
    }
}

/// A page of a list of the public API.
#[derive(Serialize)]
pub(crate) struct NumberedPage<T> {
    items: Vec<T>,
    total: u64,
    page: u64,
    per_page: u64,
    pages: u64,
}

/// Which page of an admin list is asked for.
pub(crate) struct PageQuery {
    pub(crate) rows: usize,
    pub(crate) after: Option<String>,
}

impl PageQuery {
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let query = Query::of(request);
        let rows = match query.find("limit")? {
            None => PAGE_ROWS_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|rows| (1..=PAGE_ROWS_MAX).contains(rows))
                .ok_or_else(|| ApiError::Invalid(format!("limit: must be 1 to {PAGE_ROWS_MAX}")))?,
        };
        Ok(Self { rows, after: query.find("after")?.map(str::to_owned) })
    }

    /// The cursor, read by `parse`.
    pub(crate) fn after<T>(&self, parse: impl Fn(&str) -> Result<T, Invalid>) -> Result<Option<T>, ApiError> {
        field("after", self.after.as_deref().map(parse).transpose())
    }
}
