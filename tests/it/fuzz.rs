//! The fuzz targets (`fuzz/`), which are a crate of their own: none is forgotten, and they are built of the libraries of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

/// The targets that `fuzz_targets/main.rs` lists.
fn listed(main: &str) -> Vec<&str> {
    let (_, list) = main.split_once("targets![\n").unwrap();
    let (list, _) = list.split_once("\n];").unwrap();
    list.lines().filter_map(|line| line.trim().trim_end_matches(',').split(' ').next()).collect()
}

#[test]
fn each_fuzz_target_is_run_and_the_readme_says_what_it_holds() {
    let (main, readme) = (read("fuzz/fuzz_targets/main.rs"), read("fuzz/README.md"));
    let listed = listed(&main);
    assert!(listed.len() > 25, "{listed:?}");
    for target in &listed {
        let text = read(&format!("fuzz/fuzz_targets/{target}.rs"));
        assert!(text.starts_with("//! "), "{target} does not say at its top what has to hold");
        assert!(readme.contains(&format!("`{target}`")), "fuzz/README.md says nothing of {target}");
    }
    for file in fs::read_dir(path("fuzz/fuzz_targets")).unwrap() {
        let file = file.unwrap().path();
        let is_target = fs::read_to_string(&file).unwrap().contains("\npub fn fuzz(");
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(!is_target || listed.contains(&name), "fuzz_targets/main.rs does not list {name}");
    }
    for line in main.split_once("targets![\n").unwrap().1.lines().filter(|line| line.contains('"')) {
        let dictionary = line.split('"').nth(1).unwrap();
        if dictionary.ends_with(".dict") {
            assert!(path("fuzz/dictionaries").join(dictionary).exists(), "there is no dictionary {dictionary}");
        }
    }
}

/// The versions of each crate in a lock file.
fn versions(lock: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim_matches('"');
        found.entry(value("name = ")).or_default().insert(value("version = "));
    }
    found
}

#[test]
fn the_fuzz_targets_are_built_of_the_same_versions_as_the_tests() {
    let (ours, theirs) = (read("Cargo.lock"), read("fuzz/Cargo.lock"));
    let (ours, theirs) = (versions(&ours), versions(&theirs));
    let shared: Vec<_> = theirs.iter().filter_map(|(name, theirs)| Some((name, theirs, ours.get(name)?))).collect();
    assert!(shared.len() > 100);
    for (name, theirs, ours) in shared {
        assert!(
            theirs.is_subset(ours),
            "fuzz/Cargo.lock has {name} {theirs:?}, Cargo.lock {ours:?}: it would be built twice; cargo update --manifest-path \
             fuzz/Cargo.toml {name} --precise VERSION"
        );
    }
}

#[test]
fn libraries_are_built_alike_for_the_product_for_fuzzing_and_for_measuring() {
    let libraries = |file: &str| {
        let manifest: toml::Table = toml::from_str(&read(file)).unwrap();
        let dev = &manifest["profile"]["dev"];
        (dev["debug"].clone(), dev["package"]["*"].clone())
    };
    for other in ["fuzz/Cargo.toml", "bench/Cargo.toml"] {
        assert_eq!(libraries(other), libraries("Cargo.toml"), "{other}: they would be built twice");
    }
}
