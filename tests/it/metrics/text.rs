//! A strict reader of both text forms, written from their specifications (OpenMetrics 1.0; Prometheus' exposition formats).

use std::collections::{BTreeMap, HashSet};

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    OpenMetrics,
    Classic,
}

/// What a family says of itself.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: String,
    helped: bool,
}

impl Family {
    /// Whether `series` is a name of this family's.
    fn owns(&self, series: &str, form: Form) -> bool {
        let suffixes: &[&str] = match (self.kind.as_str(), form) {
            ("counter", Form::OpenMetrics) => &["_total"],
            ("info", Form::OpenMetrics) => &["_info"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("gauge", _) | ("counter", Form::Classic) => &[""],
            (kind, _) => panic!("no such type: {kind:?}"),
        };
        suffixes.iter().any(|suffix| series.strip_suffix(suffix) == Some(&self.name))
    }
}

/// Every series with its value.
#[track_caller]
pub(super) fn parse(text: &str, form: Form) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.last() == Some(&"# EOF"), form == Form::OpenMetrics);
    lines.retain(|line| *line != "# EOF");
    let (mut family, mut families, mut found) = (Family::default(), HashSet::new(), BTreeMap::new());
    let mut bucket: Option<(f64, f64)> = None;
    for line in lines {
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.splitn(3, ' ');
            let (what, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            if name != family.name {
                assert!(families.insert(name.to_owned()), "the family {name} is there twice");
                family = Family { name: name.to_owned(), ..Family::default() };
            }
            match what {
                "HELP" => {
                    assert!(!family.helped && family.kind.is_empty(), "{line}");
                    family.helped = true;
                }
                "TYPE" => {
                    assert!(family.helped && family.kind.is_empty(), "{line}");
                    family.kind = rest.to_owned();
                }
                "UNIT" => assert!(form == Form::OpenMetrics && name.ends_with(&format!("_{rest}")), "{line}"),
                _ => panic!("{line}"),
            }
            bucket = None;
            continue;
        }
        let (at, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let (name, labels) = at.split_once('{').unwrap_or((at, "}"));
        assert!(family.owns(name, form), "{line} in {family:?}");
        let labels = labels.strip_suffix('}').unwrap();
        check_labels(labels);
        if let Some((bound, _)) = labels.strip_prefix("le=\"").and_then(|bound| bound.split_once('"')) {
            // OpenMetrics demands the form of a float that is canonical.
            assert!(bound == "+Inf" || bound.contains('.'), "{line}");
            let bound: f64 = bound.parse().unwrap();
            assert!(bucket.is_none_or(|(lower, count)| lower < bound && count <= value), "{line} after {bucket:?}");
            // Behind the last one those of other labels may follow.
            bucket = Some((bound, value)).filter(|_| bound.is_finite());
        }
        assert!(value >= 0.0, "{line}");
        assert!(found.insert(at.to_owned(), value).is_none(), "{at} is there twice");
    }
    for name in families.iter().filter(|name| found.contains_key(&format!("{name}_count"))) {
        assert_eq!(found[&format!("{name}_count")], found[&format!("{name}_bucket{{le=\"+Inf\"}}")]);
    }
    found
}

/// `name="value",...`, each name once, with every quotation mark inside of a value escaped.
fn check_labels(mut labels: &str) {
    let mut names = HashSet::new();
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"").unwrap();
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(names.insert(name), "{name} is there twice");
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let rest = &rest[end.unwrap() + 1..];
        labels = match rest.strip_prefix(',') {
            Some(next) => next,
            None => {
                assert_eq!(rest, "");
                rest
            }
        };
    }
}
