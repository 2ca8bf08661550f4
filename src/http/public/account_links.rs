//! What a session sees of the account's links: the dashboard shows them without spending the account's units. How many
//! clicked on which day is there, the visitors are not.

use actix_web::web;

use super::{clicks, links};
use crate::http::resource;

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource("", "GET, HEAD", [web::get().to(links::list), web::head().to(links::list)]))
        .service(resource("/{id}/stats", "GET, HEAD", [web::get().to(clicks::stats), web::head().to(clicks::stats)]));
}
