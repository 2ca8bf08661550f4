//! For whoever watches the server: is it up, does its store answer, what are its numbers.

use actix_web::{HttpResponse, web};

use super::error::ApiError;
use super::metrics::Stored;
use super::{State, block, resource};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource("/healthz", "GET, HEAD", [web::get().to(health), web::head().to(health)]))
        .service(resource("/readyz", "GET, HEAD", [web::get().to(readiness), web::head().to(readiness)]))
        .service(resource("/metrics", "GET, HEAD", [web::get().to(metrics), web::head().to(metrics)]));
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "up"}))
}

async fn readiness(state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    block(move || state.store.probe()).await?;
    Ok(HttpResponse::Ok().json(serde_json::json!({"status": "ready"})))
}

async fn metrics(state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let failed = |error: std::fmt::Error| ApiError::Internal("could not write metrics", Some(Box::new(error)));
    let text = block(move || state.metrics.render(Stored::read(&state)?).map_err(failed)).await?;
    Ok(HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(text))
}
