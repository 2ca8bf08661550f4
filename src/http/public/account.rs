//! What an account holder sees of the account.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::error::ApiError;
use crate::http::views::OwnAccountView;
use crate::http::{State, block, guard, resource};

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(resource("", "GET, HEAD", [web::get().to(show), web::head().to(show)]));
}

async fn show(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let known = guard::known(&request)?;
    let store = state.store.clone();
    let account = block(move || store.get_account(known.account_id)).await?;
    let in_force = state.store.terms_in_force(account.id, known.standing.now)?;
    let (_plan, in_force) = in_force.ok_or(ApiError::NotFound("account"))?;
    Ok(HttpResponse::Ok().json(OwnAccountView::of(&account, in_force)))
}
