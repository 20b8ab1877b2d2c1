//! The answer to "how is it going" for machines: OpenMetrics text, and its older form.
//!
//! What is counted is in [`Counters`], [`Budgets`], [`RotationStats`] and [`Readiness`], and is read when somebody asks. [`METRICS`] is the
//! list of all metrics: the answer and the manual are made of it.

mod app_files;
mod outbound;
mod prometheus_text;
mod requests;
mod table;

use std::fmt;
use std::fmt::Write;
use std::iter::zip;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::budget::Budgets;
use crate::credentials::RotationStats;
use crate::lifecycle::{CheckStatus, Readiness};
use crate::outbound::OutboundOverview;
use crate::sandbox::SandboxReport;
use crate::sys::process;
use crate::telemetry::{AppFileCounters, Counters, HistogramSnapshot};

pub use table::METRICS;

/// One metric, as a row of the list.
#[derive(Debug)]
pub struct Metric {
    /// Without its unit and what its kind adds.
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&MetricsSnapshot<'_>) -> Vec<Sample>,
}

/// One series of a metric: the values of its labels in the order of the row, and its own.
#[derive(Debug)]
struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    Histogram(HistogramSnapshot),
    /// There is nothing but the labels.
    Info,
}

/// What the values are read from, once for each answer.
#[derive(Debug)]
struct MetricsSnapshot<'a> {
    counters: &'a Counters,
    budgets: &'a Budgets,
    rotation_stats: &'a RotationStats,
    readiness: &'a Readiness,
    checks: Vec<CheckStatus>,
    usage: Option<process::Usage>,
    started: Option<f64>,
    outbound: &'a OutboundOverview,
    app_files: Option<&'a AppFileCounters>,
    sandbox: &'a SandboxReport,
    max_connections: usize,
}

/// Everything that is measured, ready to be asked for.
#[derive(Debug)]
pub struct Metrics {
    reader: MetricsReader,
    registry: Registry,
}

impl Metrics {
    /// Metrics of what is counted there.
    pub fn new(sources: MetricsSources) -> Self {
        let mut registry = Registry::default();
        let reader = MetricsReader { sources, started: process::started() };
        registry.register_collector(Box::new(reader.clone()));
        Self { reader, registry }
    }

    /// All metrics as OpenMetrics 1.0 text.
    ///
    /// # Errors
    /// Never in practice: a text can always be added to.
    pub fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// All metrics in the Prometheus text format 0.0.4.
    pub fn prometheus_text(&self) -> String {
        let (mut text, snapshot) = (String::new(), self.reader.snapshot());
        for metric in METRICS {
            prometheus_text::write(&mut text, metric, &(metric.read)(&snapshot));
        }
        text
    }
}

/// Where the values come from.
#[derive(Debug, Clone)]
pub struct MetricsSources {
    /// What happens to connections.
    pub counters: Arc<Counters>,
    /// What strangers have us hold.
    pub budgets: Arc<Budgets>,
    /// What has become of new files.
    pub rotations: Arc<RotationStats>,
    /// Whether this instance should be given work.
    pub readiness: Arc<Readiness>,
    /// All that listens for the app.
    pub outbound: OutboundOverview,
    /// How the files for the app stand, if there are any.
    pub app_files: Option<Arc<AppFileCounters>>,
    /// What the process has given up.
    pub sandbox: Arc<SandboxReport>,
    /// Connections that are served at once.
    pub max_connections: usize,
}

#[derive(Debug, Clone)]
struct MetricsReader {
    sources: MetricsSources,
    started: Option<f64>,
}

impl MetricsReader {
    fn snapshot(&self) -> MetricsSnapshot<'_> {
        let sources = &self.sources;
        MetricsSnapshot {
            counters: &sources.counters,
            budgets: &sources.budgets,
            rotation_stats: &sources.rotations,
            readiness: &sources.readiness,
            checks: sources.readiness.checks(SystemTime::now()),
            usage: process::usage(),
            started: self.started,
            outbound: &sources.outbound,
            app_files: sources.app_files.as_deref(),
            sandbox: &sources.sandbox,
            max_connections: sources.max_connections,
        }
    }
}

impl Collector for MetricsReader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.snapshot();
        for metric in METRICS {
            let samples = (metric.read)(&seen);
            if samples.is_empty() {
                continue;
            }
            let mut series = encoder.encode_descriptor(metric.name, metric.help, metric.unit.as_ref(), metric.kind)?;
            for sample in &samples {
                let labels: Vec<_> = zip(metric.labels.iter().copied(), sample.labels.iter()).collect();
                match (&sample.value, labels.is_empty()) {
                    (Value::Info, _) => series.encode_info(&labels)?,
                    (value, true) => encode(&mut series, metric.kind, value)?,
                    (value, false) => encode(&mut series.encode_family(&labels)?, metric.kind, value)?,
                }
            }
        }
        Ok(())
    }
}

fn encode(series: &mut MetricEncoder<'_>, kind: MetricType, value: &Value) -> fmt::Result {
    match (value, kind) {
        (Value::Whole(value), MetricType::Counter) => series.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Value::Real(value), MetricType::Counter) => series.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Value::Whole(value), _) => series.encode_gauge(value),
        (Value::Real(value), _) => series.encode_gauge(value),
        (Value::Histogram(times), _) => {
            series.encode_histogram::<NoLabelSet>(times.sum, times.count(), &times.buckets, None)
        }
        (Value::Info, _) => Ok(()),
    }
}

impl Metric {
    /// The name that is asked for: `vestibule_relayed_bytes_total`. A histogram's series add `_bucket`, `_sum` and `_count`.
    pub fn name(&self) -> String {
        let mut name = self.name.to_owned();
        if let Some(unit) = &self.unit {
            // A string takes whatever is written.
            let _ = write!(name, "_{}", unit.as_str());
        }
        name + prometheus_text::suffix(self.kind.as_str())
    }

    /// `counter`, `gauge`, `histogram` or `info`.
    pub fn kind(&self) -> &str {
        self.kind.as_str()
    }

    /// The names of its labels.
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// What it measures, in sentences.
    pub fn help(&self) -> &'static str {
        self.help
    }
}

#[cfg(test)]
mod tests;
