//! The admin API: `/admin/v1`, for whoever has the admin token. JSON is strict: unknown fields are 422.

mod account_list;
mod accounts;
mod keys;
mod lockout;
mod plans;
mod stats;
mod store;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpRequest, web};

pub(crate) use self::lockout::Lockouts;
pub(crate) use self::store::DUMPS_MAX;
use super::error::ApiError;
use super::{State, client, extract, nothing_here, request_id};
use crate::domain::id::AccountId;
use crate::store::Author;

pub(crate) fn routes(routes: &mut web::ServiceConfig) {
    routes.service(
        web::scope("/admin/v1")
            .configure(plans::routes)
            .configure(accounts::routes)
            .configure(keys::routes)
            .configure(store::routes)
            .configure(stats::routes)
            .default_service(web::to(nothing_here))
            .wrap(from_fn(by_admin_token)),
    );
}

/// Lets a request pass that shows the admin token, from an address that is not locked out.
async fn by_admin_token<B: MessageBody + 'static>(
    state: web::Data<State>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match check_token(&state, request.request()) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(error) => Ok(request.error_response(error)),
    }
}

fn check_token(state: &State, request: &HttpRequest) -> Result<(), ApiError> {
    let (address, now) = (client::address(request, &state.trusted_proxies), state.clock.now());
    if let Some(secs) = state.lockouts.secs_left(address, now) {
        return Err(ApiError::AdminLockedOut { secs });
    }
    match extract::bearer(request.headers()) {
        Some(token) if state.admin_token.matches(token.as_bytes()) => Ok(()),
        Some(_wrong) => {
            state.lockouts.note_wrong(address, now);
            Err(ApiError::AdminToken)
        }
        // Nobody guesses by saying nothing.
        None => Err(ApiError::AdminToken),
    }
}

fn author(state: &State, request: &HttpRequest) -> Author {
    Author { actor: "admin".to_owned(), request_id: request_id(request), at: state.clock.now() }
}

/// An account's id from a path; what is no id is no account's id.
fn account_id(text: &str) -> Result<AccountId, ApiError> {
    AccountId::parse(text).map_err(|_no_id| ApiError::NotFound("account"))
}
