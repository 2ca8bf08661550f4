//! The public API under `/api/v1/public`: what a session opens, and what a key opens.

mod account;
mod keys;
mod ping;

use actix_web::middleware::from_fn;
use actix_web::web;

use super::{guard, nothing_here, resource};

/// The scopes of sessions come first: what they do not match falls to the guard of keys.
pub(crate) fn routes(routes: &mut web::ServiceConfig) {
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
        // Usage is a session's too; nothing is there yet.
        .service(
            web::scope("/api/v1/public/usage").default_service(web::to(nothing_here)).wrap(from_fn(guard::by_session)),
        )
        .service(
            web::scope("/api/v1/public")
                .service(resource("/ping", "GET, HEAD", [web::get().to(ping::ping), web::head().to(ping::ping)]))
                .default_service(web::to(nothing_here))
                .wrap(from_fn(guard::by_key)),
        );
}
