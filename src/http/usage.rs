//! Usage on its way in: which endpoint a request is for, and how it was answered.

use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{ServiceRequest, ServiceResponse};

use super::{State, gateway};
use crate::domain::endpoint::EndpointName;
use crate::domain::usage::Spender;
use crate::gate::Known;

/// What stands before the paths of the built-in API; their names leave it out.
const BASE: &str = "/api/v1";

/// What a request was counted under; in the extensions of a request that was counted.
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

/// What a guarded request is for: a route of the built-in API, or a path of the gateway's.
pub(crate) fn endpoint(request: &ServiceRequest) -> EndpointName {
    let method = request.method().as_str();
    if gateway::is_on(request) {
        return EndpointName::of_path(method, request.path());
    }
    let pattern = request.match_pattern();
    let route = pattern.as_deref().and_then(|pattern| pattern.strip_prefix(BASE));
    route.map_or(EndpointName::UNKNOWN, |route| EndpointName::of_route(method, route))
}

/// Notes how a request was answered that was counted.
pub(crate) fn note_answer(state: &State, response: &ServiceResponse, took: Duration) {
    if let Some(Counted { spender, endpoint }) = response.request().extensions().get::<Counted>() {
        let status = response.status();
        let is_error = status.is_client_error() || status.is_server_error();
        state.usage.answer(*spender, endpoint, is_error, took);
    }
}
