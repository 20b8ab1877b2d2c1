//! `layout/start.ld`, which says what stands together in the static build, held to the program. Nothing fails where a name in it has gone:
//! an idle process is larger, and nobody notices.
//!
//! What is compared is the program as it is tested, in which functions are whole that the static build inlines, and the other way round:
//! so a share has to be there, and not all. `layout/update --check` says exactly how well the list fits a static build.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The names of the list, each with `*` for what may be anything.
fn listed() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("layout/start.ld");
    let text = fs::read_to_string(path).unwrap();
    // Each stands there a second time, as what a compiler takes for unlikely.
    let first = text.lines().filter_map(|line| line.trim().trim_start_matches("*(").split(' ').next());
    first.filter_map(|word| word.strip_prefix(".text.")).map(|name| name.trim_end_matches(')').to_owned()).collect()
}

/// The names of the program's functions, sorted.
fn functions() -> Vec<String> {
    let out = Command::new("nm").args(["--defined-only", env!("CARGO_BIN_EXE_vestibule")]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8(out.stdout).unwrap();
    let words = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut names: Vec<_> = words
        .filter(|words| "tTwW".contains(words[words.len() - 2]))
        .map(|words| words[words.len() - 1].to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether any of the sorted `names` is like `pattern`.
fn has(names: &[String], pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let beginning = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let first = names.partition_point(|name| name.as_str() < beginning);
    let like = names[first..].iter().take_while(|name| name.starts_with(beginning));
    like.map(|name| &name[beginning.len()..]).any(|end| follows(end, &rest))
}

/// Whether `text` is what `parts` say, with anything before each of them; an empty last one lets anything follow.
fn follows(text: &str, parts: &[&str]) -> bool {
    match parts {
        [] => text.is_empty(),
        [""] => true,
        [last] => text.ends_with(last),
        [part, others @ ..] => text.match_indices(part).any(|(at, _)| follows(&text[at + part.len()..], others)),
    }
}

#[test]
fn most_functions_that_stand_together_in_the_static_build_are_ones_of_the_program() {
    let (listed, functions) = (listed(), functions());
    assert!(listed.len() > 300 && functions.len() > 3_000, "{} names, {} functions", listed.len(), functions.len());
    let (ours, others): (Vec<_>, Vec<_>) = listed.iter().partition(|name| name.starts_with("_ZN9vestibule"));
    assert!(ours.len() > 20, "only {} of the list are of this crate", ours.len());
    for (whose, names) in [("this crate's", ours), ("the others'", others)] {
        let gone: Vec<_> = names.iter().filter(|name| !has(&functions, name)).collect();
        assert!(
            gone.len() * 2 < names.len(),
            "of {whose} {} names in layout/start.ld {} are in the program no more; let layout/update write it anew: {gone:#?}",
            names.len(),
            gone.len()
        );
    }
}

#[test]
fn a_name_is_found_by_what_does_not_change_from_build_to_build() {
    let names = ["_RNvCs12_4core3fmt", "_ZN9vestibule4main17h0123456789abcdefE"].map(str::to_owned);
    for (pattern, is_there) in [
        ("_ZN9vestibule4main17h*", true),
        ("_ZN9vestibule*", true),
        ("_RNvCs*_4core3fmt", true),
        ("_RNvCs*_4core3fm", false),
        ("_RNvCs*_4core*", true),
        ("_RNvCs*_5alloc*", false),
        ("_ZN9vestibule3run17h*", false),
        ("_ZN9vestibule", false),
    ] {
        assert_eq!(has(&names, pattern), is_there, "{pattern}");
    }
}
