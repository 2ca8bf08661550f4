//! Durations as Prometheus has them: histograms with bounds in seconds.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::durations::{BOUNDS_US, Durations, Noted};

/// A histogram that requests note durations in. That of the library takes a lock for each.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram(Arc<Durations>);

/// A histogram of what was noted elsewhere.
#[derive(Debug)]
pub(super) struct NotedHistogram(pub(super) Noted);

impl Histogram {
    pub(super) fn note_us(&self, us: u64) {
        self.0.note_us(us);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        NotedHistogram(self.0.noted()).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl EncodeMetric for NotedHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self(Noted { ranges, sum_us }) = self;
        let bounds = BOUNDS_US.iter().map(|&us| secs(us)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(ranges.iter().copied()).collect();
        let count = ranges.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        encoder.encode_histogram::<NoLabelSet>(secs(*sum_us), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Seconds of so many microseconds.
pub(super) fn secs(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}
