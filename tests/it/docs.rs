//! What is written by hand, held to the program: its examples are read by it, its lists are complete. What is written by the
//! program itself is in [`super::manual`].
//!
//! After a change to the options, the metrics or the access log `UPDATE_DOCS=1 cargo test --test it` writes the tables anew.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use strum::VariantArray;
use vestibule::config::options::Opt;
use vestibule::config::resolve::resolve;
use vestibule::config::sources::{Environment, Sources};
use vestibule::config::{Config, envoy, options};
use vestibule::metrics::METRICS;
use vestibule::policy;
use vestibule::policy::PolicyFile;
use vestibule::telemetry::{CloseReason, FIELDS, OUTBOUND_FIELDS, OutboundCloseReason, REQUEST_FIELDS, RequestReason};
use vestibule::token::{Roles, TokenDenialReason};

const CONFIGURATION: &str = "docs/configuration.md";
const OPERATIONS: &str = "docs/operations.md";
const ACCESS_LOG: &str = "docs/reference/access-log.md";
const METRICS_MANUAL: &str = "docs/reference/metrics.md";
const CLIENTS: &str = "docs/clients.md";
const HTTP: &str = "docs/http.md";
const ROUTES: &str = "docs/http-routes.md";
const TROUBLESHOOTING: &str = "docs/troubleshooting.md";
const ENVOY_FIELDS: &str = "docs/reference/envoy-fields.md";
const TOKENS: &str = "docs/tokens.md";
const DOCUMENTS: [&str; 32] = [
    "docs/glossary.md",
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    CONFIGURATION,
    CLIENTS,
    HTTP,
    ROUTES,
    OPERATIONS,
    TROUBLESHOOTING,
    TOKENS,
    "docs/outbound.md",
    "docs/forward-proxy.md",
    "docs/secrets.md",
    ACCESS_LOG,
    METRICS_MANUAL,
    ENVOY_FIELDS,
    "docs/containers.md",
    "docs/cloud-foundry.md",
    "docs/diego.md",
    "docs/performance.md",
    "docs/reference/options.md",
    "docs/reference/exit-statuses.md",
    "contrib/README.md",
    "SECURITY.md",
    "RELEASING.md",
    "deploy/README.md",
    "examples/README.md",
    "bench/README.md",
    "bench/OUTBOUND.md",
    "fuzz/README.md",
];

fn path(document: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(document)
}

fn read(document: &str) -> String {
    fs::read_to_string(path(document)).unwrap()
}

/// Compares what stands between the marks of `section` with `expected`, or writes it there.
#[track_caller]
fn hold(document: &str, section: &str, expected: &str) {
    let (begin, end) = (format!("<!-- {section}: begin -->\n"), format!("<!-- {section}: end -->\n"));
    let text = read(document);
    let (before, rest) = text.split_once(&begin).unwrap();
    let (found, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path(document), format!("{before}{begin}{expected}{end}{after}")).unwrap();
    } else {
        assert_eq!(found, expected, "{document} is stale: UPDATE_DOCS=1 cargo test --test it docs writes it anew");
    }
}

/// `names` with commas between them, some in each line.
fn in_lines(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    let lines: Vec<_> = names.chunks(8).map(|line| line.join(", ")).collect();
    format!("{}.\n", lines.join(",\n"))
}

#[test]
fn the_keys_that_a_listener_may_have_are_named() {
    let own = options::of("run")
        .filter(|option| option.table == Some(options::Table::Listener))
        .map(|option| format!("`{}`", option.name));
    hold(CONFIGURATION, "listener", &in_lines(own));
}

#[test]
fn the_keys_that_an_outbound_may_have_are_named() {
    let keys = options::OPTIONS.iter().filter_map(|option| option.key_in(options::Table::Outbound));
    let own = keys.map(|key| format!("`{key}`"));
    hold(CONFIGURATION, "outbound", &in_lines(own));
}

fn configured(file: Option<&str>) -> Config {
    let flags: Vec<_> = file.iter().map(|_| ("config", "vestibule.toml".into())).collect();
    let read_file = |_: &Path| Ok(file.unwrap_or_default().to_owned());
    resolve(&Sources {
        flags: &flags,
        environment: &Environment::new(),
        read_file: &read_file,
        starts_app: true,
        cpus: 2,
    })
    .unwrap()
}

#[test]
fn the_example_file_names_every_key_and_holds_the_defaults() {
    let text = read(CONFIGURATION);
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(configured(Some(example)), configured(None), "copied as it is, it changes nothing");
    let default = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let defaults: Vec<_> = example.lines().filter_map(default).collect();
    assert!(defaults.len() > 20, "{defaults:?}");
    assert_eq!(configured(Some(&defaults.join("\n"))), configured(None));
    for key in options::of("run").filter_map(Opt::key) {
        let begins = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} = "));
        assert!(example.lines().any(begins), "{key} is not in the example");
    }
    // What is commented out can be read as well.
    let uncommented: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let extras = uncommented.into_iter().filter(|line| line.contains(" = ")).collect::<Vec<_>>().join("\n");
    let configured = configured(Some(&extras));
    assert_eq!((configured.listeners.len(), configured.outbounds.len()), (2, 2), "{extras}");
}

#[test]
fn the_fields_and_reasons_of_access_log_entries_are_those_of_the_program() {
    let mut fields = "| field | meaning |\n|---|---|\n".to_owned();
    for (name, meaning) in FIELDS {
        writeln!(fields, "| `{name}` | {meaning} |").unwrap();
    }
    hold(ACCESS_LOG, "fields", &fields);
    let mut reasons = "| reason | what happened | whose matter | line at `info` with |\n|---|---|---|---|\n".to_owned();
    for &reason in CloseReason::VARIANTS {
        let line = match (reason, reason.is_refusal()) {
            (CloseReason::Probe, _) => "never",
            (CloseReason::Completed, _) => "`all`; `denied` where audit mode let the client in",
            (reason, _) if reason.is_failed_attempt() => "`all`; `denied` the first in an hour",
            (_, true) => "`denied`, `all`",
            (_, false) => "`all`",
        };
        writeln!(reasons, "| `{}` | {} | {} | {line} |", reason.as_str(), reason.meaning(), reason.concern()).unwrap();
    }
    hold(ACCESS_LOG, "reasons", &reasons);
    let mut fields = "| field | meaning |\n|---|---|\n".to_owned();
    for (name, meaning) in OUTBOUND_FIELDS {
        writeln!(fields, "| `{name}` | {meaning} |").unwrap();
    }
    hold(ACCESS_LOG, "outbound fields", &fields);
    let mut reasons =
        "| reason | what happened | whose matter, or what helps | line at `info` with |\n|---|---|---|---|\n"
            .to_owned();
    for &reason in OutboundCloseReason::VARIANTS {
        let line = if reason.is_failure() { "`denied`, `all`" } else { "`all`" };
        writeln!(reasons, "| `{}` | {} | {} | {line} |", reason.as_str(), reason.meaning(), reason.concern()).unwrap();
    }
    hold(ACCESS_LOG, "outbound reasons", &reasons);
    // What each end sees is told for all that an end can see.
    let operations = read(OPERATIONS);
    for &reason in CloseReason::VARIANTS.iter().filter(|reason| **reason != CloseReason::Internal) {
        assert!(operations.contains(&format!("`{}`", reason.as_str())), "{}", reason.as_str());
    }
}

#[test]
fn the_fields_and_reasons_of_requests_are_those_of_the_program_and_each_reason_has_a_remedy() {
    let mut fields = "| field | meaning |\n|---|---|\n".to_owned();
    for (name, meaning) in REQUEST_FIELDS {
        writeln!(fields, "| `{name}` | {meaning} |").unwrap();
    }
    hold(ACCESS_LOG, "request fields", &fields);
    let mut reasons = "| status | `reason` | what happened |\n|---|---|---|\n".to_owned();
    let remedies = read(TROUBLESHOOTING);
    for &reason in RequestReason::VARIANTS {
        let status = reason.status().map(|status| status.to_string()).unwrap_or_default();
        writeln!(reasons, "| {status} | `{}` | {} |", reason.as_str(), reason.meaning()).unwrap();
        assert!(remedies.contains(&format!("<a id=\"request-{}\"></a>", reason.as_str())), "{}", reason.as_str());
    }
    hold(HTTP, "request-reasons", &reasons);
}

#[test]
fn the_labels_of_outbound_metrics_are_explained_with_all_their_values() {
    use vestibule::telemetry::{AttemptResult, RequestMode, ResolveResult};
    let text = read(METRICS_MANUAL);
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |start: &str| {
        let found = rows.iter().find(|row| row.starts_with(&format!("| {start} |")) && row.matches('|').count() == 3);
        *found.unwrap_or_else(|| panic!("no row for {start}"))
    };
    let labels = METRICS.iter().filter(|metric| metric.name().starts_with("vestibule_outbound_"));
    for label in labels.flat_map(|metric| metric.labels()).filter(|label| **label != "result") {
        row(&format!("`{label}`"));
    }
    let all = |start: &str, values: Vec<&str>| {
        for value in values {
            assert!(row(start).contains(&format!("`{value}`")), "{value} is not in the row of {start}");
        }
    };
    all("`result` of attempts", AttemptResult::VARIANTS.iter().map(|value| (*value).into()).collect());
    all("`result` of lookups", ResolveResult::VARIANTS.iter().map(|value| (*value).into()).collect());
    let modes = RequestMode::VARIANTS.iter().filter(|mode| **mode != RequestMode::Http);
    all("`mode`", modes.map(|value| (*value).into()).collect());
    all("`state`", vec!["ready", "ejected", "retiring"]);
}

#[test]
fn the_table_of_metrics_is_that_of_the_program() {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let labels: Vec<_> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name(), metric.kind());
        writeln!(table, "| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help()).unwrap();
    }
    hold(METRICS_MANUAL, "metrics", &table);
}

#[test]
fn the_receivers_are_shown_as_they_are_tried() {
    // What verifies a token, and not what is around it.
    for (name, language, begin, end) in [
        ("receiver.py", "python", "def verify(", "\n\ndef algorithms("),
        ("receiver.mjs", "js", "/** The app that has made", "\n/** Whether a way"),
        ("Receiver.java", "java", "    /** The app that has made", "\n    /** The key says"),
        ("receiver.go", "go", "// verify gives", "\n// isSigned"),
    ] {
        let program = read(&format!("examples/tokens/{name}"));
        let from = program.find(begin).unwrap();
        let shown = &program[from..program.find(end).unwrap()];
        let indent = begin.len() - begin.trim_start().len();
        let shown: String = shown.lines().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
        hold(TOKENS, name, &format!("\n```{language}\n{}\n```\n\n", shown.trim_end()));
    }
}

#[test]
fn every_denial_of_a_token_has_a_remedy_in_the_order_in_which_it_is_asked_and_the_example_of_roles_is_one() {
    let text = read(TOKENS);
    let rows: Vec<_> = text.lines().filter(|line| line.split('|').count() == 6 && line.contains("| `")).collect();
    let mut explained = Vec::new();
    for row in rows {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (Some(check), Some(reasons)) = (cells.next(), cells.next()) else { continue };
        if check.parse::<u8>().is_ok() {
            explained.extend(reasons.split(", ").map(|reason| (check.to_owned(), reason.trim_matches('`').to_owned())));
        }
    }
    let known =
        TokenDenialReason::VARIANTS.iter().map(|reason| (reason.check().to_string(), reason.as_str().to_owned()));
    assert_eq!(explained, known.collect::<Vec<_>>());
    let file = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    assert_eq!(Roles::parse(Path::new("roles.toml"), file).map(|roles| roles.nobodies()), Ok(Vec::new()));
}

#[test]
fn every_denial_is_explained_and_the_example_of_a_policy_is_one() {
    let text = read(CLIENTS);
    for &denial in policy::DenialReason::VARIANTS {
        assert!(text.contains(&format!("`{denial}`")), "{denial}");
    }
    let file = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    assert_eq!(PolicyFile::parse(Path::new("policy.toml"), file).unwrap().allow.len(), 2);
}

#[test]
fn the_example_of_routes_is_one_and_every_refusal_of_a_request_is_explained() {
    let text = read(ROUTES);
    let file = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    assert_eq!(PolicyFile::parse(Path::new("policy.toml"), file).unwrap().deny.len(), 1);
    let reasons =
        ["certificate_required", "denied", "path_not_allowed", "method_not_allowed", "path_ambiguous", "path_changed"];
    for reason in reasons {
        assert!(text.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn every_denial_and_close_reason_has_a_remedy_to_link_to() {
    let text = read(TROUBLESHOOTING);
    for &denial in policy::DenialReason::VARIANTS {
        assert!(text.contains(&format!("<a id=\"denied-{denial}\"></a>")), "{denial}");
    }
    for &reason in CloseReason::VARIANTS {
        assert!(text.contains(&format!("<a id=\"closed-{}\"></a>", reason.as_str())), "{}", reason.as_str());
    }
}

#[test]
fn the_tables_of_envoys_fields_are_those_of_the_program() {
    for (section, rows) in [("envoy.yaml", envoy::bootstrap_fields()), ("secrets", envoy::secret_fields())] {
        let mut table = "\n| field | | |\n|---|---|---|\n".to_owned();
        for row in rows {
            writeln!(table, "| `{}` | {} | {} |", row.field, row.handling, row.meaning).unwrap();
        }
        hold(ENVOY_FIELDS, section, &format!("{table}\n"));
    }
}

/// What GitHub makes of a heading, to link to it.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Where a `#` behind the name of a document that holds `text` may lead: its headings, and `<a id="...">`.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut anchors, mut in_code) = (BTreeSet::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        anchors.extend(line.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        if let (true, Some(heading)) = (line.starts_with('#'), line.trim_start_matches('#').strip_prefix(' ')) {
            let first = slug(heading);
            // The second heading of one name is numbered.
            let mut name = first.clone();
            for number in 1.. {
                if anchors.insert(name) {
                    break;
                }
                name = format!("{first}-{number}");
            }
        }
    }
    anchors
}

#[test]
fn every_link_leads_to_a_file_and_to_a_place_in_it() {
    for document in DOCUMENTS {
        for link in read(document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = match file {
                "" => path(document),
                file => path(document).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{document} links to {link:?}");
            if let Some(anchor) = anchor {
                let known = anchors(&fs::read_to_string(&target).unwrap());
                assert!(known.contains(anchor), "{document} links to {link:?}, and there is no such heading or id");
            }
        }
    }
}

#[test]
fn a_heading_is_linked_to_as_github_does() {
    let text = "## TLS: `a_b`, and (more)\n```sh\n# no heading\n```\n<a id=\"x\"></a>\n## Same\n## Same\n";
    let expected = ["same", "same-1", "tls-a_b-and-more", "x"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
}

/// Every file and folder below `folder`, folders with a slash behind them.
fn all_below(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap().path();
        let name = entry.to_str().unwrap();
        if entry.is_dir() {
            found.push(format!("{name}/"));
            all_below(&entry, found);
        } else {
            found.push(name.to_owned());
        }
    }
}

#[test]
fn the_types_that_the_glossary_names_are_in_the_files_that_it_names() {
    let mut sources = Vec::new();
    all_below(&path("src"), &mut sources);
    let glossary = read("docs/glossary.md");
    let mut seen = 0;
    for row in glossary.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let mut text = String::new();
        for name in row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") || name.ends_with('/') {
                let below = format!("/src/{name}");
                let of_it = sources.iter().filter(|source| source.ends_with(".rs") && source.contains(&below));
                text = of_it.map(|source| fs::read_to_string(source).unwrap()).collect();
            } else if name.starts_with(char::is_uppercase) {
                let name = name.split("::").next().unwrap();
                let declares = |kind: &str| {
                    let declaration = format!("{kind} {name}");
                    let mut ends = text.match_indices(&declaration).map(|(at, found)| at + found.len());
                    ends.any(|end| !text[end..].starts_with(char::is_alphanumeric))
                };
                assert!(["struct", "enum", "trait"].into_iter().any(declares), "{name} is not where {row} says");
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "{seen} types");
}

#[test]
fn the_files_that_the_map_and_the_glossary_name_are_there() {
    let mut sources = Vec::new();
    all_below(&path("src"), &mut sources);
    for document in ["ARCHITECTURE.md", "docs/glossary.md"] {
        // Between two backticks: every second piece of a line.
        let text = read(document);
        let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        for name in quoted.filter(|name| name.ends_with(".rs") || name.ends_with('/')) {
            // Under a folder's own row its files are named without it.
            let suffix = format!("/{name}");
            let is_there = path(name).exists() || sources.iter().any(|source| source.ends_with(&suffix));
            assert!(is_there, "{document} names {name}");
        }
    }
}
