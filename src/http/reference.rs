//! The reference of the API: for programs at `/openapi.json`, for people at `/docs`, on both listeners, to anybody. The
//! public one leaves out what the admin one serves.
//!
//! The document is `data/openapi.yaml`, kept by hand. Neither the page nor what it loads comes from anywhere else.

mod public_part;

use std::sync::LazyLock;

use actix_web::http::header::{self, HeaderName};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{HttpResponse, web};
use futures_util::future::{Ready, ready};

use super::error::ApiError;
use super::{Listener, etag, resource};

const DOCUMENT: &str = include_str!("../../data/openapi.yaml");
const PAGE: &str = include_str!("../../data/docs/page.html");
const STYLE: &str = include_str!("../../data/docs/page.css");
const SCRIPT: &str = include_str!("../../data/docs/page.js");
const ICON: &str = include_str!("../../data/docs/icon.svg");

/// What the page may load: its own style, script and document, and nothing else from anywhere.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The document as JSON, with its fields in the order of the file; made when it is first asked for.
static WHOLE: LazyLock<Result<String, String>> = LazyLock::new(|| to_json(DOCUMENT));
static PUBLIC_PART: LazyLock<Result<String, String>> = LazyLock::new(|| to_json(&public_part::public_part(DOCUMENT)));

pub(crate) fn routes(routes: &mut web::ServiceConfig, listener: Listener) {
    let document = move || document(listener);
    let document = resource("/openapi.json", "GET, HEAD", [web::get().to(document), web::head().to(document)]);
    let page = resource("/docs", "GET, HEAD", [web::get().to(page), web::head().to(page)]);
    let style = resource("/docs/page.css", "GET, HEAD", [web::get().to(style), web::head().to(style)]);
    let script = resource("/docs/page.js", "GET, HEAD", [web::get().to(script), web::head().to(script)]);
    let icon = resource("/docs/icon.svg", "GET, HEAD", [web::get().to(icon), web::head().to(icon)]);
    for file in [document, page, style, script, icon] {
        let file = file.wrap(from_fn(etag::validate));
        routes.service(file.wrap(DefaultHeaders::new().add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))));
    }
}

fn document(listener: Listener) -> Ready<Result<HttpResponse, ApiError>> {
    let failed = |error: &String| ApiError::Internal("could not read the reference", Some(error.as_str().into()));
    let json = match listener {
        Listener::Public => &PUBLIC_PART,
        Listener::Admin => &WHOLE,
    };
    ready(json.as_ref().map_err(failed).map(|json| file("application/json", json)))
}

async fn page() -> HttpResponse {
    let mut page = file("text/html; charset=utf-8", PAGE);
    let own: [(HeaderName, &str); 2] =
        [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY), (header::REFERRER_POLICY, "no-referrer")];
    for (name, value) in own {
        page.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    page
}

async fn style() -> HttpResponse {
    file("text/css; charset=utf-8", STYLE)
}

async fn script() -> HttpResponse {
    file("text/javascript; charset=utf-8", SCRIPT)
}

async fn icon() -> HttpResponse {
    file("image/svg+xml", ICON)
}

fn file(content_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok().content_type(content_type).body(text)
}

/// YAML as JSON. Aliases are written out.
fn to_json(yaml: &str) -> Result<String, String> {
    let mut json = Vec::new();
    serde_saphyr::with_deserializer_from_str(yaml, |document| {
        let mut writer = serde_json::Serializer::new(&mut json);
        serde_transcode::transcode(document, &mut writer).map_err(serde::de::Error::custom)
    })
    .map_err(|error| error.to_string())?;
    String::from_utf8(json).map_err(|error| error.to_string())
}
