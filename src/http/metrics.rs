//! Metrics for Prometheus. No labels per account: their number would grow with the accounts.

use std::sync::atomic::AtomicU64;

use actix_web::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Listener;
use super::error::ApiError;
use crate::gate::{Known, Stop};
use crate::store::StoreStats;

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    responses: Family<ResponseLabels, Counter>,
    records: Family<KindLabels, Gauge<u64, AtomicU64>>,
    disk_bytes: Gauge<u64, AtomicU64>,
    commits: Family<ResultLabels, Gauge<u64, AtomicU64>>,
}

/// What a decision is called in metrics and logs; in the extensions of a request that was decided on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome(pub(crate) &'static str);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    listener: Listener,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl EncodeLabelValue for Listener {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.as_str().encode(encoder)
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("klinky");
        let (decisions, responses) = (Family::default(), Family::default());
        let (records, disk_bytes, commits) = (Family::default(), Gauge::default(), Family::default());
        registry.register("build", "This program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("decisions", "Decisions on requests that show a key", decisions.clone());
        registry.register("responses", "Answers", responses.clone());
        registry.register("records", "Records in the store", records.clone());
        registry.register("store_disk_bytes", "Size of the database's files", disk_bytes.clone());
        registry.register("store_commits", "Commits to disk since the start", commits.clone());
        Self { registry, decisions, responses, records, disk_bytes, commits }
    }

    /// Counts a decision and answers what it is called.
    pub(crate) fn count_decision(&self, admitted: &Result<Known, ApiError>) -> Outcome {
        let outcome = match admitted {
            Ok(_) => "allowed",
            Err(ApiError::Stopped(_, Stop::LimitReached)) => "limit_reached",
            Err(ApiError::Stopped(_, Stop::Suspended)) => "suspended",
            Err(ApiError::Stopped(_, Stop::NoApiAccess { .. })) => "no_api_access",
            Err(ApiError::Stopped(_, Stop::ReadOnlyKey)) => "read_only_key",
            Err(ApiError::MissingKey) => "missing_key",
            Err(ApiError::InvalidKey) => "invalid_key",
            Err(_) => "failed",
        };
        self.decisions.get_or_create(&DecisionLabels { outcome }).inc();
        Outcome(outcome)
    }

    pub(crate) fn count_response(&self, listener: Listener, status: StatusCode) {
        self.responses.get_or_create(&ResponseLabels { listener, status: status.as_u16() }).inc();
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn render(&self, store: &StoreStats) -> Result<String, std::fmt::Error> {
        let set = |kind, rows: usize| {
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            self.records.get_or_create(&KindLabels { kind }).set(rows);
        };
        set("plan", store.plans);
        set("account", store.accounts);
        set("key", store.keys);
        self.disk_bytes.set(store.disk_bytes);
        self.commits
            .get_or_create(&ResultLabels { result: "ok" })
            .set(store.commits.saturating_sub(store.commit_failures));
        self.commits.get_or_create(&ResultLabels { result: "failed" }).set(store.commit_failures);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
