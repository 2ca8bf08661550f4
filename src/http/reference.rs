//! The reference of the API: at `/openapi.json` on both listeners, for anybody. The document is `data/openapi.yaml`, kept by hand.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{HttpResponse, web};

use super::error::ApiError;
use super::{etag, resource};

const DOCUMENT: &str = include_str!("../../data/openapi.yaml");

/// The document as JSON, with its fields in the order of the file; made when it is first asked for.
static JSON: LazyLock<Result<String, String>> = LazyLock::new(|| to_json(DOCUMENT));

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    let document = resource("/openapi.json", "GET, HEAD", [web::get().to(document), web::head().to(document)]);
    routes.service(
        document
            .wrap(from_fn(etag::validate))
            .wrap(DefaultHeaders::new().add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))),
    );
}

async fn document() -> Result<HttpResponse, ApiError> {
    let failed = |error: &String| ApiError::Internal("could not read the reference", Some(error.as_str().into()));
    let json = JSON.as_ref().map_err(failed)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(json.as_str()))
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
