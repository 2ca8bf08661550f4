//! Metrics for Prometheus. No labels per account: their number would grow with the accounts.

use std::sync::Arc;
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
use crate::backups::BackupTotals;
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
    backups: Option<Backups>,
}

/// Shown only by a server that makes backups: an age of one that was never wanted would alarm.
struct Backups {
    totals: Arc<BackupTotals>,
    newest_secs: Gauge<u64, AtomicU64>,
    failures: Gauge<u64, AtomicU64>,
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
    /// `backups`: what became of them, if there are any.
    pub(crate) fn new(backups: Option<Arc<BackupTotals>>) -> Self {
        let mut registry = Registry::with_prefix("klinky");
        let (decisions, responses) = (Family::default(), Family::default());
        let (records, disk_bytes, commits) = (Family::default(), Gauge::default(), Family::default());
        registry.register("build", "This program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("decisions", "Decisions on requests that show a key", decisions.clone());
        registry.register("responses", "Answers", responses.clone());
        registry.register("records", "Records in the store", records.clone());
        registry.register("store_disk_bytes", "Size of the database's files", disk_bytes.clone());
        registry.register("store_commits", "Commits to disk since the start", commits.clone());
        let backups = backups.map(|totals| Backups::register(totals, &mut registry));
        Self { registry, decisions, responses, records, disk_bytes, commits, backups }
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
        self.backups.iter().for_each(Backups::set);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Backups {
    fn register(totals: Arc<BackupTotals>, registry: &mut Registry) -> Self {
        let (newest_secs, failures) = (Gauge::default(), Gauge::default());
        let help = "When the newest backup was made, in Unix seconds; 0 if there is none";
        registry.register("backup_newest_timestamp_seconds", help, newest_secs.clone());
        registry.register("backup_failures", "Backups that failed since the start", failures.clone());
        Self { totals, newest_secs, failures }
    }

    fn set(&self) {
        self.newest_secs.set(self.totals.newest_secs());
        self.failures.set(self.totals.failures());
    }
}
