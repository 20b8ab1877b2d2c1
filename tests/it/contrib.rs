//! What is in `contrib`, held to the program: it asks only for metrics that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use vestibule::metrics::METRICS;

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The names of all series.
fn series() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name();
        if metric.kind() == "histogram" {
            names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
        } else {
            names.insert(name);
        }
    }
    names
}

/// What stands in `text` as `(vestibule|process)_[a-z_]+`.
fn named(text: &str) -> BTreeSet<&str> {
    let starts = ["vestibule_", "process_"].into_iter().flat_map(|prefix| text.match_indices(prefix));
    let names = starts.map(|(at, prefix)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
        (&rest[..end], prefix)
    });
    names.filter(|(name, prefix)| name.len() > prefix.len()).map(|(name, _)| name).collect()
}

#[test]
fn every_metric_that_is_asked_for_is_one_of_the_program() {
    let (known, mut seen) = (series(), 0);
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib")) {
        let text = fs::read_to_string(&path).unwrap();
        for name in named(&text) {
            assert!(known.contains(name), "{} asks for {name}, which is no metric", path.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} names were found: are these the right files?");
}

#[test]
fn every_alert_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus");
    let [rules, tests] = ["rules.yaml", "rules_test.yaml"].map(|file| fs::read_to_string(folder.join(file)).unwrap());
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} has no test");
    }
}
