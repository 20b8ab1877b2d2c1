//! The Prometheus text format 0.0.4, made of OpenMetrics text.
//!
//! The series are written alike. But in 0.0.4 a family has the name of its series, so that a counter's ends in `_total`;
//! there is no type `info`; and units and the end are not marked.

/// The text `open_metrics` in the format 0.0.4.
pub(super) fn of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        match line.split_once(' ') {
            Some(("#", rest)) => {
                // HELP comes right before TYPE, and has to name the family alike.
                let about = if rest.starts_with("HELP ") { lines.peek().copied().unwrap_or(line) } else { line };
                let kind = about.rsplit(' ').next().unwrap_or_default();
                let mut words = rest.splitn(3, ' ');
                let (Some(word @ ("HELP" | "TYPE")), Some(name), Some(end)) =
                    (words.next(), words.next(), words.next())
                else {
                    continue;
                };
                let end = if word == "TYPE" && end == "info" { "gauge" } else { end };
                text.extend(["# ", word, " ", name, suffix(kind), " ", end, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
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
    #[test]
    fn families_are_named_like_their_series() {
        let open_metrics = "# HELP a Counted.\n# TYPE a counter\na_total{x=\"# y\"} 1\n\
            # HELP b_seconds Measured.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 2.5\n\
            # HELP c What it is.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        let classic = "# HELP a_total Counted.\n# TYPE a_total counter\na_total{x=\"# y\"} 1\n\
            # HELP b_seconds Measured.\n# TYPE b_seconds gauge\nb_seconds 2.5\n\
            # HELP c_info What it is.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n";
        assert_eq!(super::of(open_metrics), classic);
    }
}
