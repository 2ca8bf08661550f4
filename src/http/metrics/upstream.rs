//! What came of the requests that went to an upstream: its own answers, and why there was none.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::http::error::ApiError;
use crate::http::gateway::Fault;

/// What may come of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Success,
    Redirect,
    ClientError,
    ServerError,
    Unreachable,
    Timeout,
    Malformed,
}

/// All of them, each as it is called.
const ENDINGS: [(Ending, &str); 7] = [
    (Ending::Success, "2xx"),
    (Ending::Redirect, "3xx"),
    (Ending::ClientError, "4xx"),
    (Ending::ServerError, "5xx"),
    (Ending::Unreachable, "unreachable"),
    (Ending::Timeout, "timeout"),
    (Ending::Malformed, "malformed"),
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Their counters, all from 0 on.
pub(super) struct Upstream([(Ending, Counter); 7]);

impl Upstream {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        let help = "Answers of the upstream by their class, and requests that it did not answer";
        registry.register("upstream_responses", help, family.clone());
        Self(ENDINGS.map(|(ending, result)| (ending, family.get_or_create_owned(&Labels { result }))))
    }

    /// Counts an answer by its status, or what was sent in its place. A fault of the client's is nobody's answer.
    pub(super) fn count(&self, answered: Result<u16, &ApiError>) {
        let ending = ending(answered);
        if let Some((_ending, counter)) = self.0.iter().find(|(of, _counter)| Some(*of) == ending) {
            counter.inc();
        }
    }
}

fn ending(answered: Result<u16, &ApiError>) -> Option<Ending> {
    match answered {
        Ok(200..=299) => Some(Ending::Success),
        Ok(300..=399) => Some(Ending::Redirect),
        Ok(400..=499) => Some(Ending::ClientError),
        Ok(500..=599) => Some(Ending::ServerError),
        // Of no class that HTTP knows.
        Ok(_) => Some(Ending::Malformed),
        Err(ApiError::Gateway(fault)) => match fault {
            Fault::Unreachable(_) => Some(Ending::Unreachable),
            Fault::Slow { .. } => Some(Ending::Timeout),
            Fault::Malformed(_) | Fault::LongHead(_) => Some(Ending::Malformed),
            Fault::Refused(_) | Fault::Unsupported(_) | Fault::Expectation | Fault::BrokenBody => None,
        },
        Err(_) => None,
    }
}
