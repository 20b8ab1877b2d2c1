//! In which form metrics are wanted (RFC 9110, 12.5.1).

/// OpenMetrics 1.0.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The Prometheus text format.
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether `accepted`, the values of the Accept headers, name OpenMetrics, and do not like plain text better.
/// What they say of all types at once asks for neither.
pub(super) fn prefers_open_metrics<'a>(accepted: impl Iterator<Item = &'a str>) -> bool {
    let (mut open_metrics, mut plain) = (0.0_f32, 0.0_f32);
    for range in accepted.flat_map(|accept| accept.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if name.eq_ignore_ascii_case("application/openmetrics-text") {
            open_metrics = open_metrics.max(weight);
        } else if name.eq_ignore_ascii_case("text/plain") {
            plain = plain.max(weight);
        }
    }
    open_metrics > 0.0 && open_metrics >= plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefers(accept: &str) -> bool {
        prefers_open_metrics([accept].into_iter())
    }

    #[test]
    fn open_metrics_is_for_those_who_name_it() {
        // Prometheus 2 and 3.
        assert!(prefers(
            "application/openmetrics-text;version=1.0.0;q=0.75,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.25,*/*;q=0.1"
        ));
        assert!(prefers(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.4"
        ));
        assert!(prefers("Application/OpenMetrics-Text"));
    }

    #[test]
    fn plain_text_is_for_everybody_else() {
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3,text/plain;q=0.5",
            "application/openmetrics-text;q=x",
            "application/openmetrics-text-2",
            ";;,,;q=1",
        ] {
            assert!(!prefers(accept), "{accept}");
        }
        assert!(!prefers_open_metrics(std::iter::empty()));
    }
}
