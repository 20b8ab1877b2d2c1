//! What is read for the metrics of outbound listeners: series for each, by whom it dials.

use strum::VariantArray;

use super::{MetricsSnapshot, Sample, Value};
use crate::config::Protocol;
use crate::outbound::OutboundInfo;
use crate::telemetry::{AttemptResult, EndpointCounts, OutboundCloseReason, ResolveResult};

/// One value of each outbound.
pub(super) fn whole(seen: &MetricsSnapshot<'_>, value: fn(&OutboundInfo) -> u64) -> Vec<Sample> {
    seen.outbounds.iter().map(|outbound| sample(outbound, &[], Value::Whole(value(outbound)))).collect()
}

/// One value of each outbound that has it.
pub(super) fn some(seen: &MetricsSnapshot<'_>, value: fn(&OutboundInfo) -> Option<Value>) -> Vec<Sample> {
    seen.outbounds.iter().filter_map(|outbound| Some(sample(outbound, &[], value(outbound)?))).collect()
}

pub(super) fn closed(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let each = |outbound: &OutboundInfo, reason: OutboundCloseReason| {
        sample(outbound, &[reason.as_str()], Value::Whole(outbound.counters.closed(reason)))
    };
    by(seen, OutboundCloseReason::VARIANTS, each)
}

pub(super) fn requests(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    of_each_http(seen, OutboundCloseReason::VARIANTS, |outbound, reason| {
        sample(outbound, &[reason.as_str()], Value::Whole(outbound.counters.requests(reason)))
    })
}

pub(super) fn responses(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    of_each_http(seen, &["1xx", "2xx", "3xx", "4xx", "5xx"], |outbound, class| {
        let first = usize::from(class.as_bytes()[0] - b'0');
        sample(outbound, &[class], Value::Whole(outbound.counters.responses(first)))
    })
}

/// One value of each outbound that speaks HTTP.
pub(super) fn of_http(seen: &MetricsSnapshot<'_>, value: fn(&OutboundInfo) -> u64) -> Vec<Sample> {
    of_each_http(seen, &[()], |outbound, ()| sample(outbound, &[], Value::Whole(value(outbound))))
}

pub(super) fn attempts(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    by(seen, AttemptResult::VARIANTS, |outbound, result| {
        sample(outbound, &[result.into()], Value::Whole(outbound.counters.attempts(result)))
    })
}

pub(super) fn resolves(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    by(seen, ResolveResult::VARIANTS, |outbound, result| {
        sample(outbound, &[result.into()], Value::Whole(outbound.counters.resolves(result)))
    })
}

pub(super) fn relayed(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    by(seen, &["up", "down"], |outbound, direction| {
        let (up, down) = outbound.counters.bytes();
        sample(outbound, &[direction], Value::Whole(if direction == "up" { up } else { down }))
    })
}

pub(super) fn endpoints(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    by(seen, &["ready", "ejected", "retiring"], |outbound, state| {
        let EndpointCounts { ready, ejected, retiring } = outbound.endpoints.counts();
        let count = match state {
            "ready" => ready,
            "ejected" => ejected,
            _ => retiring,
        };
        sample(outbound, &[state], Value::Whole(count as u64))
    })
}

/// One sample for each outbound and each of `all`.
fn by<T: Copy>(seen: &MetricsSnapshot<'_>, all: &[T], each: impl Fn(&OutboundInfo, T) -> Sample) -> Vec<Sample> {
    seen.outbounds.iter().flat_map(|outbound| all.iter().map(|one| each(outbound, *one)).collect::<Vec<_>>()).collect()
}

/// The same, of those that speak HTTP.
fn of_each_http<T: Copy>(
    seen: &MetricsSnapshot<'_>,
    all: &[T],
    each: impl Fn(&OutboundInfo, T) -> Sample,
) -> Vec<Sample> {
    let speaking = seen.outbounds.iter().filter(|outbound| outbound.config.settings.protocol == Protocol::Http1);
    speaking.flat_map(|outbound| all.iter().map(|one| each(outbound, *one)).collect::<Vec<_>>()).collect()
}

/// A sample of `outbound`, with `more` labels behind its name.
fn sample(outbound: &OutboundInfo, more: &[&str], value: Value) -> Sample {
    let labels =
        std::iter::once(outbound.counters.name().to_string()).chain(more.iter().map(|&label| label.to_owned()));
    Sample { labels: labels.collect(), value }
}
