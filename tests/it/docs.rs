//! What is written by hand, held to the program: its examples are read by it, its lists are complete. What is written by the
//! program itself is in [`super::manual`].
//!
//! `UPDATE_DOCS=1 cargo test --test it docs` writes the lists anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use vestibule::config::Config;
use vestibule::config::envoy;
use vestibule::config::options;
use vestibule::config::options::Opt;
use vestibule::config::resolve::resolve;
use vestibule::config::sources::Environment;
use vestibule::config::sources::Inputs;
use vestibule::connection::Reason;
use vestibule::policy;
use vestibule::policy::PolicyFile;

const CONFIGURATION: &str = "docs/configuration.md";
const OPERATIONS: &str = "docs/operations.md";
const CLIENTS: &str = "docs/clients.md";
const ENVOY_FIELDS: &str = "docs/reference/envoy-fields.md";
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    CONFIGURATION,
    CLIENTS,
    OPERATIONS,
    ENVOY_FIELDS,
    "docs/containers.md",
    "docs/reference/options.md",
    "docs/reference/exit-statuses.md",
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

#[test]
fn the_keys_that_a_listener_may_have_are_named() {
    let own = options::of("run").filter(|option| option.per_listener).map(|option| format!("`{}`", option.name));
    hold(CONFIGURATION, "listener", &format!("{}.\n", own.collect::<Vec<_>>().join(", ")));
}

fn configured(file: Option<&str>) -> Config {
    let flags: Vec<_> = file.iter().map(|_| ("config", "vestibule.toml".into())).collect();
    let read_file = |_: &Path| Ok(file.unwrap_or_default().to_owned());
    resolve(&Inputs {
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
    assert_eq!(configured(Some(example)), configured(None));
    for key in options::of("run").filter_map(Opt::key) {
        let begins = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
        assert!(example.lines().any(begins), "{key} is not in the example");
    }
    // What is commented out can be read as well.
    let uncommented: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let extras = uncommented.into_iter().filter(|line| line.contains(" = ")).collect::<Vec<_>>().join("\n");
    assert_eq!(configured(Some(&extras)).listeners.len(), 2, "{extras}");
}

#[test]
fn every_reason_has_its_row_and_leaves_a_line_where_the_row_says() {
    let text = read(OPERATIONS);
    let rows = text.lines().skip_while(|line| !line.starts_with("| reason |")).skip(2);
    let rows = rows.map_while(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let found: Vec<_> = rows.map(|row| (row.split('`').next().unwrap(), row.rsplit(" | ").next().unwrap())).collect();
    let expected = Reason::ALL.map(|reason| {
        let line = if reason.is_refusal() { "`denied`, `all`" } else { "`all`" };
        (reason.as_str(), if reason == Reason::Probe { "never" } else { line })
    });
    assert_eq!(found, expected);
}

#[test]
fn every_denial_is_explained_and_the_example_of_a_policy_is_one() {
    let text = read(CLIENTS);
    for denial in policy::Reason::ALL {
        assert!(text.contains(&format!("`{denial}`")), "{denial}");
    }
    let file = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    assert_eq!(PolicyFile::parse(Path::new("policy.toml"), file).unwrap().allow.len(), 2);
}

#[test]
fn the_tables_of_envoys_fields_are_those_of_the_program() {
    for (section, rows) in [("envoy.yaml", envoy::bootstrap_fields()), ("secrets", envoy::secret_fields())] {
        let mut table = "\n| field | | |\n|---|---|---|\n".to_owned();
        for row in rows {
            writeln!(table, "| `{}` | {} | {} |", row.field, row.fate, row.meaning).unwrap();
        }
        hold(ENVOY_FIELDS, section, &format!("{table}\n"));
    }
}

#[test]
fn every_link_leads_to_a_file() {
    for document in DOCUMENTS {
        for link in read(document).split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let target = path(document).parent().unwrap().join(link);
            assert!(link.starts_with("http") || target.exists(), "{document} links to {link:?}");
        }
    }
}
