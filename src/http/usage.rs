//! Usage on its way in: which endpoint a request is for, and how it was answered.

use std::time::Duration;

use actix_web::dev::{ServiceRequest, ServiceResponse};

use super::State;
use super::notes::Notes;
use crate::domain::endpoint::EndpointName;
use crate::domain::usage::Spender;
use crate::gate::Known;

/// What stands before the paths of the built-in API; their names leave it out.
const BASE: &str = "/api/v1";

/// What a request was counted under.
pub(crate) struct Counted {
    spender: Spender,
    endpoint: EndpointName,
}

impl Counted {
    /// `None` if nothing was counted, as for a session.
    pub(crate) fn of(known: &Known, endpoint: EndpointName) -> Option<Self> {
        known.spender().map(|spender| Self { spender, endpoint })
    }
}

/// What a request for a route of the built-in API is for.
pub(crate) fn endpoint(request: &ServiceRequest) -> EndpointName {
    let method = request.method().as_str();
    let pattern = request.match_pattern();
    let route = pattern.as_deref().and_then(|pattern| pattern.strip_prefix(BASE));
    route.map_or(EndpointName::UNKNOWN, |route| EndpointName::of_route(method, route))
}

/// Notes how a request was answered that was counted.
pub(crate) fn note_answer(state: &State, response: &ServiceResponse, took: Duration) {
    Notes::add(response.request(), |notes| {
        let Some(Counted { spender, endpoint }) = &notes.counted else { return };
        let status = response.status();
        let is_error = status.is_client_error() || status.is_server_error();
        state.usage.answer(*spender, endpoint, is_error, took);
    });
}
