//! What the store, the recorder and the backups say of themselves, read when somebody scrapes.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::PREFIX;
use super::durations::{NotedHistogram, secs};
use crate::durations::Noted;
use crate::http::State;
use crate::log;
use crate::recorder::Backlog;
use crate::store::{StoreError, StoreStats, StoreWrites};

/// All that is read.
pub(crate) struct Stored {
    store: StoreStats,
    commit_durations: Noted,
    clicks: Backlog,
}

/// What became of the backups, of a server that makes them: an age of one that was never wanted would alarm.
pub(super) struct Backups {
    pub(super) newest_secs: u64,
    pub(super) failures: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl Stored {
    /// Reads it. Blocks.
    pub(crate) fn read(state: &State) -> Result<Self, StoreError> {
        let clicks = state.recorder.backlog();
        let commit_durations = state.store.commit_durations();
        Ok(Self { store: state.store.stats()?, commit_durations, clicks })
    }

    /// As metrics.
    pub(super) fn into_registry(self, backups: Option<&Backups>) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let Self { store, commit_durations, clicks } = self;
        registry.register(
            "records",
            "Records in the store; links and keys that were deleted included",
            records(&store),
        );
        registry.register_with_unit(
            "store_disk",
            "Size of the database's files",
            Unit::Bytes,
            ConstGauge::new(store.disk_bytes),
        );
        if let Some(bytes) = store.free_bytes {
            let help = "Free space on the disk of the data directory, as far as this process may use it";
            registry.register_with_unit("disk_free", help, Unit::Bytes, ConstGauge::new(bytes));
        }
        registry.register("store_writes", "Writes to the engine", writes(&store.writes));
        registry.register("store_commits", "Commits to disk", commits(&store));
        let help = "How long commits to disk took";
        let histogram = NotedHistogram(commit_durations);
        registry.register_with_unit("store_commit_duration", help, Unit::Seconds, histogram);
        let help = "Who waits for a commit";
        registry.register("store_commit_waiting", help, gauge(store.commit_waiting));
        let help = "For how long the oldest write has waited to be on disk; 0 if all is";
        let unsynced = ConstGauge::new(secs(store.unsynced_us));
        registry.register_with_unit("store_unsynced", help, Unit::Seconds, unsynced);
        let help = "Clicks and conversions in memory, yet to be written";
        registry.register("clicks_waiting", help, gauge(clicks.waiting));
        let help = "Clicks and conversions on disk that came faster than they could be recorded, yet to be";
        registry.register("clicks_deferred", help, ConstGauge::new(clicks.deferred));
        let help = "Clicks and conversions that were lost, because the store did not take them for too long";
        registry.register("clicks_dropped", help, ConstCounter::new(clicks.dropped));
        let help = "Lines of the log that were left out, because standard error did not take them";
        registry.register("log_lines_lost", help, ConstCounter::new(log::lost_lines()));
        if let Some(Backups { newest_secs, failures }) = backups {
            let help = "When the newest backup was made, in Unix seconds; 0 if there is none";
            registry.register("backup_newest_timestamp_seconds", help, ConstGauge::new(*newest_secs));
            registry.register("backup_failures", "Backups that failed", ConstCounter::new(*failures));
        }
        registry
    }
}

fn gauge(number: usize) -> ConstGauge<u64> {
    ConstGauge::new(u64::try_from(number).unwrap_or(u64::MAX))
}

fn records(store: &StoreStats) -> Family<KindLabels, Gauge<u64, AtomicU64>> {
    let family = Family::<KindLabels, Gauge<u64, AtomicU64>>::default();
    let StoreStats { plans, accounts, keys, links, .. } = *store;
    for (kind, rows) in [("plan", plans), ("account", accounts), ("key", keys), ("link", links)] {
        family.get_or_create(&KindLabels { kind }).set(u64::try_from(rows).unwrap_or(u64::MAX));
    }
    family
}

fn writes(writes: &StoreWrites) -> Family<KindLabels, Counter> {
    let family = Family::<KindLabels, Counter>::default();
    let StoreWrites { counter_blocks, changes, click_batches, usage_batches, kept_answers } = *writes;
    for (kind, count) in [
        ("counter_block", counter_blocks),
        ("change", changes),
        ("click_batch", click_batches),
        ("usage_batch", usage_batches),
        ("kept_answer", kept_answers),
    ] {
        family.get_or_create(&KindLabels { kind }).inc_by(count);
    }
    family
}

fn commits(store: &StoreStats) -> Family<ResultLabels, Counter> {
    let family = Family::<ResultLabels, Counter>::default();
    let ended_well = store.commits.saturating_sub(store.commit_failures);
    for (result, count) in [("ok", ended_well), ("failed", store.commit_failures)] {
        family.get_or_create(&ResultLabels { result }).inc_by(count);
    }
    family
}
