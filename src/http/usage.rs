//! Usage on its way in: which endpoint a request is for, and how it was answered.

use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::StatusCode;

use super::State;
use crate::domain::endpoint::EndpointName;
use crate::domain::id::KeyId;
use crate::domain::usage::Change;
use crate::domain::window::Window;
use crate::gate::Known;
use crate::store::AccountCounter;

/// What stands before the paths of the built-in API; their names leave it out.
const BASE: &str = "/api/v1";

/// What a request was counted under.
pub(crate) struct Counted {
    counter: AccountCounter,
    window: Window,
    key_id: KeyId,
    endpoint: EndpointName,
}

impl Counted {
    /// `None` if nothing was counted, as for a session.
    pub(crate) fn of(known: &Known, endpoint: EndpointName) -> Option<Self> {
        let (counter, window) = (known.counter.clone(), known.standing.window());
        known.key_id.map(|key_id| Self { counter, window, key_id, endpoint })
    }

    /// Notes how the request was answered.
    pub(crate) fn note_answer(&self, state: &State, status: StatusCode, took: Duration) {
        let is_error = status.is_client_error() || status.is_server_error();
        let change = Change::answered(is_error, took);
        state.store.note_usage(&self.counter, self.window, self.key_id, &self.endpoint, &change);
    }
}

/// What a request for a route of the built-in API is for.
pub(crate) fn endpoint(request: &ServiceRequest) -> EndpointName {
    let method = request.method().as_str();
    let pattern = request.match_pattern();
    let route = pattern.as_deref().and_then(|pattern| pattern.strip_prefix(BASE));
    route.map_or(EndpointName::UNKNOWN, |route| EndpointName::of_route(method, route))
}
