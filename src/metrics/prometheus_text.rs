//! The Prometheus text format 0.0.4, for scrapers that do not ask for OpenMetrics.
//!
//! The series are those of OpenMetrics. But in 0.0.4 a family has the name of its series, so that a counter's ends in `_total`;
//! there is no type `info`; and units and the end are not marked.

use std::fmt::{Display, Write};
use std::iter::{once, zip};

use prometheus_client::metrics::MetricType;

use super::{Metric, Sample, Value};

/// Adds the family `metric` to `text`: nothing where it has no series.
pub(super) fn write(text: &mut String, metric: &Metric, samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    let name = metric.name();
    let kind = if matches!(metric.kind, MetricType::Info) { "gauge" } else { metric.kind() };
    text.extend(["# HELP ", &name, " ", metric.help, "\n# TYPE ", &name, " ", kind, "\n"]);
    for sample in samples {
        let labels: Vec<_> = zip(metric.labels.iter().copied(), sample.labels.iter().map(String::as_str)).collect();
        match &sample.value {
            Value::Whole(value) => series(text, &name, &labels, value),
            Value::Real(value) => series(text, &name, &labels, value),
            Value::Info => series(text, &name, &labels, 1),
            Value::Histogram(times) => {
                let mut below = 0;
                for (bound, count) in &times.buckets {
                    below += count;
                    let bound = if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") };
                    let labels: Vec<_> = labels.iter().copied().chain(once(("le", bound.as_str()))).collect();
                    series(text, &format!("{name}_bucket"), &labels, below);
                }
                series(text, &format!("{name}_sum"), &labels, times.sum);
                series(text, &format!("{name}_count"), &labels, times.count());
            }
        }
    }
}

fn series(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    text.push_str(name);
    for (nth, (label, value)) in labels.iter().enumerate() {
        text.extend([if nth == 0 { "{" } else { "," }, label, "=\""]);
        text.extend(value.chars().map(|c| match c {
            '\\' => "\\\\".to_owned(),
            '"' => "\\\"".to_owned(),
            '\n' => "\\n".to_owned(),
            c => c.to_string(),
        }));
        text.push('"');
    }
    let close = if labels.is_empty() { "" } else { "}" };
    // A string takes whatever is written.
    let _ = writeln!(text, "{close} {value}");
}

/// What the series of a family of this kind have behind its name.
pub(super) fn suffix(kind: &str) -> &'static str {
    match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use prometheus_client::registry::Unit;

    use crate::telemetry::HistogramSnapshot;

    fn text(kind: MetricType, unit: Option<Unit>, labels: &'static [&'static str], samples: &[Sample]) -> String {
        let mut text = String::new();
        write(&mut text, &Metric { name: "a", unit, kind, labels, help: "It is.", read: |_| Vec::new() }, samples);
        text
    }

    #[test]
    fn a_family_is_named_like_its_series_and_labels_are_escaped() {
        let counted = Sample { labels: vec!["# \"y\"\\\n".into()], value: Value::Whole(1) };
        assert_eq!(
            text(MetricType::Counter, None, &["x"], &[counted]),
            "# HELP a_total It is.\n# TYPE a_total counter\na_total{x=\"# \\\"y\\\"\\\\\\n\"} 1\n"
        );
        let measured = Sample { labels: Vec::new(), value: Value::Real(2.5) };
        assert_eq!(
            text(MetricType::Gauge, Some(Unit::Seconds), &[], &[measured]),
            "# HELP a_seconds It is.\n# TYPE a_seconds gauge\na_seconds 2.5\n"
        );
        let mark = Sample { labels: vec!["1".into()], value: Value::Info };
        assert_eq!(
            text(MetricType::Info, None, &["v"], &[mark]),
            "# HELP a_info It is.\n# TYPE a_info gauge\na_info{v=\"1\"} 1\n"
        );
        assert_eq!(text(MetricType::Gauge, None, &[], &[]), "");
    }

    #[test]
    fn a_histograms_buckets_add_up() {
        let times = HistogramSnapshot { buckets: vec![(0.5, 2), (1.0, 0), (f64::INFINITY, 3)], sum: 9.25 };
        let sample = Sample { labels: Vec::new(), value: Value::Histogram(times) };
        assert_eq!(
            text(MetricType::Histogram, Some(Unit::Seconds), &[], &[sample]),
            "# HELP a_seconds It is.\n# TYPE a_seconds histogram\na_seconds_bucket{le=\"0.5\"} 2\na_seconds_bucket{le=\"1.0\"} 2\n\
             a_seconds_bucket{le=\"+Inf\"} 5\na_seconds_sum 9.25\na_seconds_count 5\n"
        );
    }
}
