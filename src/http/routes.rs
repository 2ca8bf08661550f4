//! What is served where. The order counts: the first that matches serves.
//!
//! | listener | path | who may | file |
//! |---|---|---|---|
//! | public | `/api/v1/public/keys…`, `/account`, `/usage` | a session (JWT) | `public/` |
//! | public | `/api/v1/public/…` | a key, limited and counted | `public/` |
//! | public | `/{slug}`, `/c/{link id}` | anybody | `redirect.rs` |
//! | public | `/dashboard` | anybody; its calls need a session | `dashboard/` |
//! | public | `/check`, `/check/…` | asks for a key, cost as said; without CORS `trace.rs` has it answered before | `check.rs` |
//! | public | with `--upstream`: its prefix in place of links and redirects | a key, limited and counted | `gateway/` |
//! | both | `/openapi.json`, `/docs` | anybody | `reference.rs` |
//! | admin | `/admin/v1/…` | the admin token | `admin/` |
//! | admin | `/` | anybody; its calls need the admin token | `dashboard/` |
//! | admin | `/healthz`, `/readyz`, `/metrics` | anybody | `ops.rs` |

use actix_web::{Route, web};

use super::error::ApiError;
use super::{Listener, admin, check, dashboard, gateway, ops, public, redirect, reference};

pub(super) fn public(routes: &mut web::ServiceConfig) {
    check::routes(routes);
    reference::routes(routes, Listener::Public);
    public::routes(routes);
    dashboard::account_routes(routes);
    redirect::routes(routes);
    routes.default_service(web::to(nothing_here));
}

pub(super) fn gateway(routes: &mut web::ServiceConfig) {
    check::routes(routes);
    public::session_routes(routes);
    dashboard::account_routes(routes);
    gateway::routes(routes);
}

pub(super) fn admin(routes: &mut web::ServiceConfig) {
    ops::routes(routes);
    reference::routes(routes, Listener::Admin);
    admin::routes(routes);
    dashboard::operator_routes(routes);
    routes.default_service(web::to(nothing_here));
}

/// The answer to a path that leads nowhere.
pub(crate) async fn nothing_here() -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::NotFound("resource"))
}

/// A resource that answers other methods with 405 and what it allows.
pub(crate) fn resource(
    path: &str,
    allow: &'static str,
    methods: impl IntoIterator<Item = Route>,
) -> actix_web::Resource {
    let answer = move || async move { Err::<actix_web::HttpResponse, _>(ApiError::MethodNotAllowed { allow }) };
    methods.into_iter().fold(web::resource(path), actix_web::Resource::route).default_service(web::to(answer))
}
