//! What becomes known of a request on its way, for its handler, its log line and usage. It is one value in the request's
//! extensions and not one for each fact, because each value there is an allocation and a look-up.

use actix_web::HttpMessage;
use actix_web::http::header::HeaderValue;

use super::check::Endpoint;
use super::gateway;
use super::metrics::Outcome;
use super::usage::Counted;
use crate::domain::decision::Cost;
use crate::gate::Known;

/// The notes of one request. They are `trace.rs`'s, which leaves them with the request as long as others are at it.
pub(crate) struct Notes {
    /// The request's id: 1 to 128 visible ASCII characters.
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
    pub(crate) const fn new(id: HeaderValue) -> Self {
        Self { id, route: None, outcome: None, cost: Cost::ONE, known: None, counted: None, endpoint: None }
    }

    /// Leaves the notes with a request, for its guard and its handler.
    pub(crate) fn leave(self, request: &impl HttpMessage) {
        request.extensions_mut().insert(self);
    }

    /// Takes back what was left with a request; nothing is known if that is gone.
    pub(crate) fn take(request: &impl HttpMessage) -> Self {
        let left = request.extensions_mut().remove();
        left.unwrap_or_else(|| Self::new(HeaderValue::from_static("")))
    }

    /// Adds to the notes that were left with a request.
    pub(crate) fn add(request: &impl HttpMessage, add: impl FnOnce(&mut Self)) {
        request.extensions_mut().get_mut().map(add);
    }

    /// Looks a thing up in the notes that were left with a request; `None` if it is not there.
    pub(crate) fn find<T>(request: &impl HttpMessage, find: impl FnOnce(&Self) -> Option<T>) -> Option<T> {
        request.extensions().get().and_then(find)
    }
}
