//! What is read for the metrics of files for the app and of hooks: nothing where there are none.

use strum::VariantArray;

use super::{MetricsSnapshot, Sample, Value};
use crate::telemetry::{AppFileForm, HookResult};

pub(super) fn files(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let Some(counters) = seen.app_files.filter(|counters| counters.has_files()) else { return Vec::new() };
    let of_form = |form: AppFileForm| {
        let (written, failed) = counters.files(form);
        [("success", written), ("failed", failed)].map(|(result, count)| sample(&[form.as_str(), result], count))
    };
    AppFileForm::all().flat_map(of_form).collect()
}

pub(super) fn hooks(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let Some(counters) = seen.app_files.filter(|counters| counters.has_hook()) else { return Vec::new() };
    HookResult::VARIANTS.iter().map(|result| sample(&[result.as_str()], counters.hooks(*result))).collect()
}

fn sample(labels: &[&str], count: u64) -> Sample {
    Sample { labels: labels.iter().map(|&label| label.to_owned()).collect(), value: Value::Whole(count) }
}
