//! The public API under `/api/v1/public`: what a session opens, and what a key opens.

mod account;
mod account_links;
mod clicks;
mod keys;
mod link_input;
mod link_views;
mod links;
mod usage;

use actix_web::middleware::from_fn;
use actix_web::web;
use serde::Serialize;

use super::{guard, nothing_here};

/// A list that needs no pages, since its length is bounded.
#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

/// The scopes of sessions come first: what they do not match falls to the guard of keys.
pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(
        web::scope("/api/v1/public/account/links")
            .configure(account_links::routes)
            .default_service(web::to(nothing_here))
            .wrap(from_fn(guard::by_session)),
    );
    session_routes(routes);
    routes.service(
        web::scope("/api/v1/public")
            .configure(links::routes)
            .configure(clicks::routes)
            .default_service(web::to(nothing_here))
            .wrap(from_fn(guard::by_key)),
    );
}

/// What a session opens.
pub(crate) fn session_routes(routes: &mut web::ServiceConfig) {
    routes
        .service(
            web::scope("/api/v1/public/keys")
                .configure(keys::routes)
                .default_service(web::to(nothing_here))
                .wrap(from_fn(guard::by_session)),
        )
        .service(
            web::scope("/api/v1/public/account")
                .configure(account::routes)
                .default_service(web::to(nothing_here))
                .wrap(from_fn(guard::by_session)),
        )
        .service(
            web::scope("/api/v1/public/usage")
                .configure(usage::routes)
                .default_service(web::to(nothing_here))
                .wrap(from_fn(guard::by_session)),
        );
}
