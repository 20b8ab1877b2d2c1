//! HTTP mode by the cases in `tests/fixtures/http-cases/`: bytes on one side, and what must become of them on the other.
//!
//! Nothing here reads HTTP with the crates that the program reads it with. `VESTIBULE_HTTP_CASE=NAME` runs one case alone.

mod answers;
mod cases;
mod front;
mod hpack;
mod judge;
#[cfg(test)]
mod judge_tests;
mod message;
mod recorder;
mod requests;
mod requests_h2;
mod second_reader;
mod streams;
mod wire;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cases::Case;
use front::Front;
use recorder::Recorded;

/// What is wrong with the cases of a file, by name. Those with the same settings share a front.
fn failures(
    file: &str,
    mut run: impl FnMut(&Case, &Front) -> (Vec<String>, Vec<Recorded>),
) -> Vec<(String, Vec<String>)> {
    let mut fronts = BTreeMap::new();
    let (mut failures, mut recorded) = (Vec::new(), Vec::new());
    for case in cases::of(file) {
        let front = fronts.entry(case.settings.to_string()).or_insert_with(|| Front::vestibule(&case.settings));
        let wrong = match front {
            Err(fault) => vec![std::mem::replace(fault, "the same".to_owned())],
            Ok(front) => {
                let (mut wrong, connections) = run(&case, front);
                if !front.runs() {
                    wrong.push("the program ended".to_owned());
                }
                recorded.extend(connections.into_iter().map(|connection| (case.name.clone(), connection)));
                wrong
            }
        };
        if !wrong.is_empty() {
            failures.push((case.name, wrong));
        }
    }
    let read_otherwise = second_reader::disagreements(&recorded);
    if !read_otherwise.is_empty() {
        failures.push(("read otherwise by another parser".to_owned(), read_otherwise));
    }
    failures
}

/// Fails with all that is wrong.
#[track_caller]
fn none(file: &str, failures: &[(String, Vec<String>)]) {
    let lines = failures.iter().map(|(name, wrong)| format!("  {name}\n      {}\n", wrong.join("\n      ")));
    let text: String = lines.collect();
    assert!(failures.is_empty(), "{file}: {} cases\n{text}", failures.len());
}

#[test]
fn requests_over_http1_are_answered_and_reach_the_app_as_the_cases_say() {
    let file = "requests-h1.json";
    none(file, &failures(file, requests::run));
}

#[test]
fn requests_over_http2_are_answered_and_reach_the_app_as_the_cases_say() {
    let file = "requests-h2.json";
    none(file, &failures(file, requests_h2::run));
}

#[test]
fn answers_of_the_app_reach_clients_of_http1_as_the_cases_say() {
    let file = "answers-h1.json";
    none(file, &failures(file, |case, front| (answers::run(case, front, "http/1.1"), Vec::new())));
}

#[test]
fn answers_of_the_app_reach_clients_of_http2_as_the_cases_say() {
    let file = "answers-h1.json";
    none(file, &failures(file, |case, front| (answers::run(case, front, "h2"), Vec::new())));
}

/// The judging itself: where nothing stands in front of the app, what may pass passes and the rest is noticed.
#[test]
fn where_nothing_stands_in_front_of_the_app_the_cases_say_so() {
    let harmless = ["plain GET", "pipelined 2", "Expect 100", "double slash", "smuggled second request in a body"];
    let harmful = ["CL.TE both", "TE_underscore+CL", "chunk ext", "absolute-form https", "fragment", "TE gzip"];
    for case in cases::of("requests-h1.json") {
        let is_harmless = harmless.contains(&case.name.as_str());
        if is_harmless || harmful.contains(&case.name.as_str()) || case.group == "identity" {
            let wrong = requests::run(&case, &Front::nothing()).0;
            assert_eq!(wrong.is_empty(), is_harmless, "{}: {wrong:#?}", case.name);
        }
    }
    for case in cases::of("answers-h1.json") {
        let expected = match case.name.as_str() {
            "plain" | "truncated CL" | "truncated chunked" => true,
            "CL twice differ" | "HTTP/1.0 close" | "101 unasked" | "Connection: close + nominated" => false,
            _ => continue,
        };
        let wrong = answers::run(&case, &Front::nothing(), "http/1.1");
        // Nobody adds the date here.
        let wrong: Vec<_> = wrong.iter().filter(|wrong| *wrong != "0 Date fields").collect();
        assert_eq!(wrong.is_empty(), expected, "{}: {wrong:#?}", case.name);
    }
}

/// Waits for a fact, and not for longer than this.
fn within<T>(limit: Duration, mut fact: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = fact();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
