//! What an account holder's keys used.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::error::ApiError;
use crate::http::{State, guard, resource, usage_views};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(resource("", "GET, HEAD", [web::get().to(show), web::head().to(show)]));
}

async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let known = guard::known(&request)?;
    usage_views::answer(&state, &request, known.account_id).await
}
