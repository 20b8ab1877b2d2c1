//! What comes in from others, held to its reasons.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::deploy::yaml;

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

/// The direct dependencies in a manifest, and the comment directly above each.
fn direct(manifest: &str) -> BTreeMap<&str, String> {
    let (mut found, mut inside, mut comment) = (BTreeMap::new(), false, String::new());
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.trim_end_matches(']').ends_with("dependencies");
        } else if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
            continue;
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| inside) {
            found.insert(name, comment.trim().to_owned());
        }
        comment.clear();
    }
    found
}

#[test]
fn every_direct_dependency_has_a_reason_beside_it() {
    let text = read("Cargo.toml");
    let direct = direct(&text);
    assert!(direct.len() > 30 && direct.contains_key("rcgen"), "{direct:?}");
    for (name, reason) in direct {
        assert!(!reason.is_empty(), "Cargo.toml: why is {name} there? Say it in a comment above its line");
    }
}

#[test]
fn a_dependency_without_a_reason_is_seen() {
    let text = "[dependencies]\n# Why.\na = \"1\"\nb = \"1\"\n[features]\nc = []\n[target.'cfg(x)'.dependencies]\nd = { version = \"1\" }\n";
    let expected = [("a", "Why."), ("b", ""), ("d", "")].map(|(name, reason)| (name, reason.to_owned()));
    assert_eq!(direct(text), expected.into());
}

#[test]
fn every_crate_is_of_the_registry_with_a_checksum_or_our_own() {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        match package.get("source").and_then(toml::Value::as_str) {
            Some(source) => {
                assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}");
                assert_eq!(package["checksum"].as_str().unwrap().len(), 64, "{name}");
            }
            None => assert!(["vestibule", "vestibule-memcpy"].contains(&name), "{name} is of some folder"),
        }
    }
}

#[test]
fn tools_of_ci_are_pinned_by_their_checksums() {
    let tools = read(".ci/tools.txt");
    let pinned: Vec<_> = tools.lines().filter(|line| !line.starts_with([' ', '#']) && !line.is_empty()).collect();
    assert!(!pinned.is_empty());
    for line in &pinned {
        assert!(line.contains("=="), "{line}: of which version?");
    }
    assert!(tools.matches("--hash=sha256:").count() >= pinned.len());
}

/// The recipes without parameters.
fn recipes(justfile: &str) -> Vec<&str> {
    justfile.lines().filter_map(|line| line.strip_suffix(':')).collect()
}

#[test]
fn the_workflows_call_what_there_is_and_take_actions_by_checksum() {
    let justfile = read("justfile");
    let recipes = recipes(&justfile);
    let (mut actions, mut called) = (0, 0);
    for entry in fs::read_dir(path(".github/workflows")).unwrap() {
        let file = entry.unwrap().path();
        let workflow = yaml::documents(&fs::read_to_string(&file).unwrap()).remove(0);
        for (job, steps) in workflow["jobs"].as_object().unwrap().iter().map(|(name, job)| (name, &job["steps"])) {
            for step in steps.as_array().unwrap() {
                let place = format!("{}: {job}: {step}", file.display());
                if let Some(action) = step["uses"].as_str() {
                    let (_, version) = action.split_once('@').unwrap();
                    assert!(version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit()), "{place}");
                    actions += 1;
                }
                let words: Vec<_> = step["run"].as_str().unwrap_or_default().split_whitespace().collect();
                for name in words.windows(2).filter(|pair| pair[0] == "just").map(|pair| pair[1]) {
                    assert!(recipes.contains(&name), "{place}");
                    called += 1;
                }
                for script in
                    words.iter().filter(|word| [".ci/", "release/", "deploy/"].iter().any(|at| word.starts_with(at)))
                {
                    assert!(path(script).exists(), "{place}");
                }
            }
        }
    }
    assert!(actions > 5 && called > 3, "{actions} actions, {called} recipes");
}

#[test]
fn an_image_is_built_of_all_that_a_build_reads() {
    let let_in = read(".dockerignore");
    let let_in: Vec<_> = let_in.lines().filter_map(|line| line.strip_prefix('!')).collect();
    // What cargo builds of: the sources, its configuration, and what the build script reads.
    for name in ["Cargo.toml", "Cargo.lock", ".cargo", "src", "memcpy", "build.rs", "layout"] {
        assert!(path(name).exists() && let_in.contains(&name), "{name} is kept out by .dockerignore");
    }
}

#[test]
fn the_version_is_the_same_wherever_it_stands() {
    let version = env!("CARGO_PKG_VERSION");
    for file in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let lock: toml::Table = read(file).parse().unwrap();
        let ours =
            lock["package"].as_array().unwrap().iter().find(|package| package["name"].as_str() == Some("vestibule"));
        assert_eq!(ours.unwrap()["version"].as_str(), Some(version), "{file}: run cargo check there");
    }
    for (file, written) in [
        ("docs/man/vestibule.1", format!("\"vestibule {version}\"")),
        ("docs/containers.md", format!("registry.example.com/vestibule:{version}\n")),
    ] {
        assert!(read(file).contains(&written), "{file} names another version than {version}; see RELEASING.md");
    }
}

#[test]
fn every_recipe_that_ci_calls_is_one_of_the_justfile() {
    let justfile = read("justfile");
    let recipes = recipes(&justfile);
    let ci = read(".ci/run");
    let called: Vec<_> = ci.lines().filter_map(|line| line.trim().strip_prefix("recipe ")).collect();
    assert!(called.len() > 5, "{called:?}");
    for name in called {
        assert!(recipes.contains(&name), ".ci/run calls {name}; the justfile has {recipes:?}");
    }
}
