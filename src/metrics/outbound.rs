//! What is read for the metrics of all that listens for the app: series for each, by whom it dials.

use strum::VariantArray;

use super::{MetricsSnapshot, Sample, Value};
use crate::config::Protocol;
use crate::telemetry::{
    AttemptResult, EndpointCounts, OutboundCloseReason, OutboundCounters, RequestMode, ResolveResult,
};

/// One value of each.
pub(super) fn whole(seen: &MetricsSnapshot<'_>, value: fn(&OutboundCounters) -> u64) -> Vec<Sample> {
    samples_by(all(seen), &[()], |counters, ()| sample(counters, &[], Value::Whole(value(counters))))
}

/// One value of each that carries bytes.
pub(super) fn of_tcp(seen: &MetricsSnapshot<'_>, value: fn(&OutboundCounters) -> u64) -> Vec<Sample> {
    samples_by(all_tcp(seen), &[()], |counters, ()| sample(counters, &[], Value::Whole(value(counters))))
}

/// One value of each that has it.
pub(super) fn some(seen: &MetricsSnapshot<'_>, value: fn(&OutboundCounters) -> Option<Value>) -> Vec<Sample> {
    all(seen).filter_map(|counters| Some(sample(counters, &[], value(counters)?))).collect()
}

pub(super) fn closed(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(all_tcp(seen), OutboundCloseReason::VARIANTS, |counters, reason: OutboundCloseReason| {
        sample(counters, &[reason.as_str()], Value::Whole(counters.closed(reason)))
    })
}

/// One value of each that speaks HTTP.
pub(super) fn of_http(seen: &MetricsSnapshot<'_>, value: fn(&OutboundCounters) -> u64) -> Vec<Sample> {
    samples_by(all_http(seen), &[()], |counters, ()| sample(counters, &[], Value::Whole(value(counters))))
}

pub(super) fn requests(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(all_http(seen), OutboundCloseReason::VARIANTS, |counters, reason: OutboundCloseReason| {
        sample(counters, &[reason.as_str()], Value::Whole(counters.requests(reason)))
    })
}

/// The classes of statuses, by their first digits.
const STATUS_CLASSES: &[(&str, usize)] = &[("1xx", 1), ("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5)];

pub(super) fn responses(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(all_http(seen), STATUS_CLASSES, |counters, (class, first)| {
        let count = RequestMode::VARIANTS.iter().map(|mode| counters.responses(*mode, first)).sum();
        sample(counters, &[class], Value::Whole(count))
    })
}

/// Without the name of whom it dials: there is one forward proxy at most.
pub(super) fn forward_proxy_requests(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let proxy = seen.outbound.forward_proxy.iter();
    let modes = || RequestMode::VARIANTS.iter().filter(|mode| **mode != RequestMode::Http);
    let each = |counters: &OutboundCounters, mode: RequestMode| {
        STATUS_CLASSES.iter().map(move |(class, first)| (*class, counters.responses(mode, *first))).collect::<Vec<_>>()
    };
    proxy
        .flat_map(|proxy| {
            modes().flat_map(move |mode| {
                let labelled = move |(class, count): (&str, u64)| Sample {
                    labels: vec![<&str>::from(*mode).to_owned(), class.to_owned()],
                    value: Value::Whole(count),
                };
                each(&proxy.counters, *mode).into_iter().map(labelled)
            })
        })
        .collect()
}

pub(super) fn attempts(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(all(seen), AttemptResult::VARIANTS, |counters, result: AttemptResult| {
        sample(counters, &[result.into()], Value::Whole(counters.attempts(result)))
    })
}

pub(super) fn resolves(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(all(seen), ResolveResult::VARIANTS, |counters, result: ResolveResult| {
        sample(counters, &[result.into()], Value::Whole(counters.resolves(result)))
    })
}

pub(super) fn relayed(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(all(seen), &["up", "down"], |counters, direction| {
        let (up, down) = counters.bytes();
        sample(counters, &[direction], Value::Whole(if direction == "up" { up } else { down }))
    })
}

/// Those of outbound listeners: the forward proxy has as many as requests name.
pub(super) fn endpoints(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let listeners = seen.outbound.listeners.iter();
    listeners
        .flat_map(|outbound| {
            let EndpointCounts { ready, ejected, retiring } = outbound.endpoints.counts();
            [("ready", ready), ("ejected", ejected), ("retiring", retiring)]
                .map(|(state, count)| sample(&outbound.counters, &[state], Value::Whole(count as u64)))
        })
        .collect()
}

/// What is counted of each, the forward proxy last.
fn all<'a>(seen: &'a MetricsSnapshot<'_>) -> impl Iterator<Item = &'a OutboundCounters> {
    let listeners = seen.outbound.listeners.iter().map(|outbound| &*outbound.counters);
    listeners.chain(seen.outbound.forward_proxy.iter().map(|proxy| &*proxy.counters))
}

/// The same, of those that carry bytes.
fn all_tcp<'a>(seen: &'a MetricsSnapshot<'_>) -> impl Iterator<Item = &'a OutboundCounters> {
    let carrying = seen.outbound.listeners.iter().filter(|one| one.config.settings.protocol == Protocol::Tcp);
    carrying.map(|outbound| &*outbound.counters)
}

/// The same, of those that speak HTTP.
fn all_http<'a>(seen: &'a MetricsSnapshot<'_>) -> impl Iterator<Item = &'a OutboundCounters> {
    let speaking =
        seen.outbound.listeners.iter().filter(|outbound| outbound.config.settings.protocol == Protocol::Http1);
    let listeners = speaking.map(|outbound| &*outbound.counters);
    listeners.chain(seen.outbound.forward_proxy.iter().map(|proxy| &*proxy.counters))
}

/// One sample for each of `whose` and each of `what`.
fn samples_by<'a, T: Copy>(
    whose: impl Iterator<Item = &'a OutboundCounters>,
    what: &[T],
    each: impl Fn(&OutboundCounters, T) -> Sample,
) -> Vec<Sample> {
    whose.flat_map(|counters| what.iter().map(|one| each(counters, *one)).collect::<Vec<_>>()).collect()
}

/// A sample of `counters`, with `more` labels behind the name of whom it dials.
fn sample(counters: &OutboundCounters, more: &[&str], value: Value) -> Sample {
    let labels = std::iter::once(counters.name().to_string()).chain(more.iter().map(|&label| label.to_owned()));
    Sample { labels: labels.collect(), value }
}
