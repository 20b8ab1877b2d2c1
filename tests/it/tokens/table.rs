//! A table of tokens, each with what has to be said of it; and for each way in which one may be wrong at least one.

use std::thread;

use serde_json::{Value, json};

use super::programs::{Made, verify};

/// How many checks there are before a certificate's identity is to be told.
const UNTRUSTED: u64 = 1;

/// What is wrong with how `case` was judged.
pub(super) fn faults(case: &Value) -> Vec<String> {
    let words = |list: &Value| list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    let options: Vec<String> = words(&case["options"]);
    let (status, said) = verify(case["token"].as_str().unwrap(), &options);
    let mut faults = Vec::new();
    let mut wrong = |what: &str, expected: &Value, found: &Value| {
        if expected != found {
            faults.push(format!("{}: {what} is {found}, and should be {expected}", case["name"]));
        }
    };
    let permit = case["reason"].is_null();
    wrong("status", &u8::from(!permit).into(), &status.into());
    wrong("verdict", &if permit { "permit" } else { "denial" }.into(), &said["verdict"]);
    wrong("reason", &case["reason"], &said["reason"]);
    wrong("check", &case["check"], &said["check"]);
    let told = !said["identity"].is_null();
    match case["check"].as_u64() {
        Some(check) if check <= UNTRUSTED => wrong("identity is told", &false.into(), &told.into()),
        None => wrong("identity is told", &true.into(), &told.into()),
        Some(_) => {}
    }
    for (name, sorted) in [("policies", true), ("role", false)] {
        let Some(expected) = case.get(name) else { continue };
        let mut found = said[name].clone();
        if let (true, Some(list)) = (sorted, found.as_array_mut()) {
            list.sort_by_key(Value::to_string);
        }
        wrong(name, expected, &found);
    }
    if let Some([least, most]) = case["ttl_seconds"].as_array().map(Vec::as_slice) {
        let seconds = said["ttl_seconds"].as_u64();
        let fits = seconds.is_some_and(|seconds| (least.as_u64()..=most.as_u64()).contains(&Some(seconds)));
        wrong("ttl_seconds fit", &true.into(), &fits.into());
    }
    if !faults.is_empty() {
        faults.push(format!("    {options:?}: {said}"));
    }
    faults
}

/// Runs the cases of a group, and tells all that are judged wrongly.
fn judge(group: &str) {
    let Some(made) = Made::by("token_maker.py", &[group], "table.jsonl") else { return };
    let faults: Vec<_> = made.cases.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "of {} cases:\n{}", made.cases.len(), faults.join("\n"));
}

#[test]
fn a_text_that_is_no_token_of_ours_is_refused_for_what_is_wrong_with_it_first() {
    judge("text");
}

#[test]
fn a_token_is_worth_what_its_certificate_is_at_this_verifier() {
    judge("certificates");
}

#[test]
fn a_signature_is_right_to_the_bit_and_of_the_form_that_its_algorithm_has() {
    judge("signatures");
}

#[test]
fn claims_are_compared_one_by_one_and_the_first_that_is_wrong_is_told() {
    judge("claims");
}

#[test]
fn a_token_counts_from_bound_to_bound_of_its_time_and_of_its_certificates() {
    judge("clock");
}

#[test]
fn a_role_gives_what_it_says_and_without_one_all_matching_grants_do() {
    judge("roles");
}

#[test]
fn of_many_who_show_one_token_at_once_one_alone_is_let_in() {
    let Some(made) = Made::by("token_maker.py", &["text"], "table.jsonl") else { return };
    let sound = made.cases.iter().filter(|case| case["reason"].is_null()).take(5);
    let file = made.path("many.replays").to_str().unwrap().to_owned();
    for case in sound {
        let options: Vec<_> = case["options"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let options: Vec<_> = options.into_iter().chain(["--replay-file", &file]).map(str::to_owned).collect();
        let reasons: Vec<_> = thread::scope(|scope| {
            let judge = || verify(case["token"].as_str().unwrap(), &options).1["reason"].clone();
            let judges: Vec<_> = (0..8).map(|_| scope.spawn(judge)).collect();
            judges.into_iter().map(|judge| judge.join().unwrap()).collect()
        });
        let (let_in, refused): (Vec<_>, Vec<_>) = reasons.into_iter().partition(Value::is_null);
        assert_eq!((let_in.len(), refused), (1, vec![json!("replayed"); 7]), "{}", case["name"]);
    }
}
