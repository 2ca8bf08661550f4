//! Metrics for Prometheus. No labels per account: their number would grow with the accounts.
//!
//! Requests count with atomics alone: whatever a label stands for is looked up once and kept.

mod decisions;
mod durations;
mod process;
mod stored;
mod upstream;

use std::sync::{Arc, OnceLock};

use actix_web::http::StatusCode;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::decisions::Decisions;
pub(crate) use self::decisions::Outcome;
use self::durations::Histogram;
pub(crate) use self::stored::Stored;
use self::upstream::Upstream;
use super::Listener;
use super::error::ApiError;
use crate::backups::BackupTotals;
use crate::config::GatewaySettings;
use crate::gate::Known;

/// What all names begin with.
const PREFIX: &str = "klinky";
/// The lowest status that there is, and how many there are.
const STATUS_MIN: u16 = 100;
const STATUSES: usize = 500;

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    decisions: Decisions,
    decision_durations: Histogram,
    public: OfListener,
    admin: OfListener,
    backups: Option<Arc<BackupTotals>>,
    upstream: Option<Upstream>,
}

/// What is counted for each listener.
struct OfListener {
    listener: Listener,
    all_responses: Family<ResponseLabels, Counter>,
    /// By status, from [`STATUS_MIN`] on; those that were answered.
    responses: Vec<OnceLock<Counter>>,
    durations: Histogram,
    connections: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    listener: Listener,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: Listener,
}

impl EncodeLabelValue for Listener {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.as_str().encode(encoder)
    }
}

/// An open connection, counted as long as this lives.
pub(crate) struct Connection(Gauge);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// `backups`: what became of them, if there are any. `gateway`: what stands in place of the links, if anything does.
    pub(crate) fn new(backups: Option<Arc<BackupTotals>>, gateway: Option<&GatewaySettings>) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("build", "This program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let decisions = Decisions::register(&mut registry);
        let decision_durations = Histogram::default();
        let help = "How long a decision took, with what it had to wait for the disk";
        registry.register_with_unit("decision_duration", help, Unit::Seconds, decision_durations.clone());
        let responses = Family::default();
        registry.register("responses", "Answers", responses.clone());
        let durations = Family::<ListenerLabels, Histogram>::default();
        let help = "From a request's head to the head of its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, durations.clone());
        let connections = Family::<ListenerLabels, Gauge>::default();
        registry.register("connections", "Open connections", connections.clone());
        let of = |listener| OfListener {
            listener,
            all_responses: responses.clone(),
            responses: (0..STATUSES).map(|_status| OnceLock::new()).collect(),
            durations: durations.get_or_create_owned(&ListenerLabels { listener }),
            connections: connections.get_or_create_owned(&ListenerLabels { listener }),
        };
        let (public, admin) = (of(Listener::Public), of(Listener::Admin));
        let upstream = gateway.map(|_gateway| Upstream::register(&mut registry));
        Self { registry, decisions, decision_durations, public, admin, backups, upstream }
    }

    /// Counts a decision and answers what it is called.
    pub(crate) fn count_decision(&self, admitted: &Result<Known, ApiError>) -> Outcome {
        self.decisions.count(admitted)
    }

    pub(crate) fn note_decision_us(&self, us: u64) {
        self.decision_durations.note_us(us);
    }

    pub(crate) fn count_response(&self, listener: Listener, status: StatusCode, us: u64) {
        self.of(listener).count_response(status, us);
    }

    /// Counts what came of a request to the upstream: the status of its answer, or what was sent in place of one.
    pub(crate) fn count_upstream(&self, answered: Result<u16, &ApiError>) {
        if let Some(upstream) = &self.upstream {
            upstream.count(answered);
        }
    }

    /// Counts a connection that was opened.
    pub(crate) fn count_connection(&self, listener: Listener) -> Connection {
        let connections = self.of(listener).connections.clone();
        connections.inc();
        Connection(connections)
    }

    fn of(&self, listener: Listener) -> &OfListener {
        match listener {
            Listener::Public => &self.public,
            Listener::Admin => &self.admin,
        }
    }

    /// The text that Prometheus scrapes. Blocks.
    pub(crate) fn render(&self, stored: Stored) -> Result<String, std::fmt::Error> {
        let backups = self.backups.as_ref();
        let backups =
            backups.map(|totals| stored::Backups { newest_secs: totals.newest_secs(), failures: totals.failures() });
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &stored.into_registry(backups.as_ref()))?;
        encode_registry(&mut text, &process::read())?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl OfListener {
    fn count_response(&self, status: StatusCode, us: u64) {
        self.durations.note_us(us);
        let labels = ResponseLabels { listener: self.listener, status: status.as_u16() };
        let place = self.responses.get(usize::from(labels.status.saturating_sub(STATUS_MIN)));
        if let Some(place) = place {
            place.get_or_init(|| self.all_responses.get_or_create_owned(&labels)).inc();
        }
    }
}
