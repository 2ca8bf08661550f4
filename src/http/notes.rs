//! What becomes known of a request on its way, for its handler, its log line and usage. It is one value in the request's
//! extensions and not one for each fact, because each value there is an allocation and a look-up.

use std::mem;

use actix_web::HttpMessage;
use actix_web::http::header::HeaderValue;

use super::check::Endpoint;
use super::gateway;
use super::metrics::Outcome;
use super::usage::Counted;
use crate::domain::decision::Cost;
use crate::gate::Known;

/// The notes of one request. `trace.rs` begins them.
pub(crate) struct Notes {
    /// The request's id: 1 to 128 visible ASCII characters. Empty once the answer has it.
    pub(crate) id: HeaderValue,
    /// Where its path leads; with a gateway only.
    pub(crate) route: Option<gateway::Route>,
    /// How it was decided on, if it was.
    pub(crate) outcome: Option<Outcome>,
    /// What it costs, counted or not.
    pub(crate) cost: Cost,
    /// The account that it is for.
    pub(crate) known: Option<Known>,
    /// What it was counted under, if it was.
    pub(crate) counted: Option<Counted>,
    /// Which request a sub-request asks about.
    pub(crate) endpoint: Option<Endpoint>,
}

impl Notes {
    pub(crate) fn begin(request: &impl HttpMessage, id: HeaderValue) {
        let notes =
            Self { id, route: None, outcome: None, cost: Cost::ONE, known: None, counted: None, endpoint: None };
        request.extensions_mut().insert(notes);
    }

    /// Adds to the notes of a request.
    pub(crate) fn add(request: &impl HttpMessage, add: impl FnOnce(&mut Self)) {
        request.extensions_mut().get_mut().map(add);
    }

    /// The request's id, for its answer.
    pub(crate) fn take_id(request: &impl HttpMessage) -> HeaderValue {
        let nothing = HeaderValue::from_static("");
        request
            .extensions_mut()
            .get_mut()
            .map_or(nothing.clone(), |notes: &mut Self| mem::replace(&mut notes.id, nothing))
    }

    /// Looks a thing up; `None` if it is not there.
    pub(crate) fn find<T>(request: &impl HttpMessage, find: impl FnOnce(&Self) -> Option<T>) -> Option<T> {
        request.extensions().get().and_then(find)
    }
}
