//! What is read for the metrics of the listeners that speak HTTP: series for each, by its address.

use strum::VariantArray;

use super::{MetricsSnapshot, Sample, Value};
use crate::telemetry::{CallerSource, GoawayReason, MethodLabel, RequestCounters, RequestReason, StrippedField};

/// The classes of statuses, by their first digits.
const STATUS_CLASSES: &[(&str, usize)] = &[("1xx", 1), ("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5)];

/// One value of each.
pub(super) fn whole(seen: &MetricsSnapshot<'_>, value: fn(&RequestCounters) -> u64) -> Vec<Sample> {
    samples_by(seen, &[()], |counters, ()| (Vec::new(), value(counters)))
}

/// Those that have ended; combinations that never came are left out.
pub(super) fn ended(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let kinds: Vec<_> = MethodLabel::VARIANTS
        .iter()
        .flat_map(|method| STATUS_CLASSES.iter().map(move |class| (*method, *class)))
        .collect();
    let mut samples = samples_by(seen, &kinds, |counters, (method, (class, first))| {
        (vec![class, method.into()], counters.by_class(method, first))
    });
    samples.retain(|sample| !matches!(sample.value, Value::Whole(0)));
    samples
}

pub(super) fn refused(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(seen, RequestReason::VARIANTS, |counters, reason| (vec![reason.as_str()], counters.ended(reason)))
}

pub(super) fn callers(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(seen, CallerSource::VARIANTS, |counters, source| (vec![source.into()], counters.callers(source)))
}

pub(super) fn stripped(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(seen, StrippedField::VARIANTS, |counters, field| (vec![field.into()], counters.stripped(field)))
}

pub(super) fn goaways(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(seen, GoawayReason::VARIANTS, |counters, reason| (vec![reason.into()], counters.goaways(reason)))
}

pub(super) fn upstream_requests(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    samples_by(seen, &[("reused", true), ("opened", false)], |counters, (word, reused)| {
        (vec![word], counters.upstream_requests(reused))
    })
}

pub(super) fn times(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let each = seen.counters.requests();
    let each = each.iter();
    each.map(|(listener, counters)| Sample {
        labels: vec![listener.to_string()],
        value: Value::Histogram(counters.times()),
    })
    .collect()
}

/// One sample for each listener and each of `what`.
fn samples_by<T: Copy>(
    seen: &MetricsSnapshot<'_>,
    what: &[T],
    each: impl Fn(&RequestCounters, T) -> (Vec<&'static str>, u64),
) -> Vec<Sample> {
    let listeners = seen.counters.requests();
    let of_one = |listener: &str, counters: &RequestCounters| -> Vec<Sample> {
        let sample = |one: &T| {
            let (more, value) = each(counters, *one);
            let labels = std::iter::once(listener.to_owned()).chain(more.into_iter().map(str::to_owned));
            Sample { labels: labels.collect(), value: Value::Whole(value) }
        };
        what.iter().map(sample).collect()
    };
    listeners.iter().flat_map(|(listener, counters)| of_one(&listener.to_string(), counters)).collect()
}
