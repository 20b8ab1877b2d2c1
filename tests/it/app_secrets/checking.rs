//! `check`: references are judged, and with `--connect` asked for, and no value is said.

use std::process::Command;

use serde_json::json;

use super::Instance;
use crate::support::credhub::CredHub;
use crate::support::sidecar::VESTIBULE;

fn check(
    instance: &Instance,
    credhub: &CredHub,
    options: &[&str],
    environment: &[(&str, &str)],
) -> (Vec<String>, String) {
    let mut command = Command::new(VESTIBULE);
    command.args(["check", "--listen", "127.0.0.1:0", "--resolve", "credhub,file", "--credhub-url", &credhub.url()]);
    command.args(["--credhub-ca", credhub.ca().to_str().unwrap()]).args(options).env_clear();
    command.env("CF_INSTANCE_CERT", instance.credentials.cert()).env("CF_INSTANCE_KEY", instance.credentials.key());
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.contains(" secrets ")).map(str::to_owned).collect();
    (lines, text)
}

#[test]
fn references_are_judged_offline_and_asked_for_with_connect() {
    let instance = Instance::new();
    let credhub =
        CredHub::knowing(&[("/c/db", json!({ "password": "S3cret" })), ("/user", json!({ "username": "S3cret" }))]);
    let document = r#"{"a":[{"name":"db","credentials":{"credhub-ref":"((/c/db))"}}]}"#;
    let environment = [
        ("VCAP_SERVICES", document),
        ("ONE", "credhub:/user#username"),
        ("TWO", "credhub:/nowhere"),
        ("THREE", "file:/nowhere/x?optional"),
    ];
    let (lines, _) = check(&instance, &credhub, &[], &environment);
    let told: Vec<_> = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        told[..4],
        [
            "ok secrets ONE refers to credhub:/user; --connect asks for it",
            "ok secrets THREE refers to file:/nowhere/x; --connect asks for it",
            "ok secrets TWO refers to credhub:/nowhere; --connect asks for it",
            "ok secrets VCAP_SERVICES: service \"db\" refers to credhub:/c/db; --connect asks for it",
        ]
    );
    assert_eq!(credhub.asked().len(), 0);

    let (lines, all) = check(&instance, &credhub, &["--connect"], &environment);
    let told: Vec<_> = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(told[0], "ok secrets ONE: credhub:/user is there");
    assert_eq!(told[1], "ok secrets THREE: file:/nowhere/x is not there, and need not be: the app does not get THREE");
    assert!(
        told[2].starts_with("problem secrets TWO: credhub:/nowhere: https://") && told[2].contains("404"),
        "{told:?}"
    );
    assert_eq!(told[3], "ok secrets VCAP_SERVICES: service \"db\": credhub:/c/db is there");
    assert!(!all.contains("S3cret"), "{all}");
    let (_, json) = check(&instance, &credhub, &["--connect", "--json"], &environment);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ok"], false);
    assert!(!json.to_string().contains("S3cret"));

    let (lines, _) =
        check(&instance, &credhub, &["--connect"], &[("ONE", "credhub:hidden"), ("TWO", "credhub:/user#username")]);
    assert!(lines[0].contains("ONE: has no name that CredHub could know") && !lines[0].contains("hidden"), "{lines:?}");
    let (lines, _) = check(&instance, &credhub, &[], &[]);
    assert!(lines[0].contains("nothing in the environment refers to a secret"), "{lines:?}");
}

#[test]
fn what_the_start_would_refuse_is_found_before() {
    let instance = Instance::new();
    let large = "x".repeat(131_072);
    let credhub = CredHub::knowing(&[("/nul", json!({ "p": "a\0b" })), ("/large", json!({ "p": large }))]);
    let environment = [
        ("ONE", "credhub:/nul#p"),
        ("TWO", "credhub:/large#p"),
        ("THREE", "credhub:/nul#p?file"),
        ("TWELVE", "credhub:/large#p?file"),
    ];
    let (lines, _) = check(&instance, &credhub, &["--connect"], &environment);
    let told = |name: &str| {
        let line =
            lines.iter().find(|line| line.contains(&format!(" {name}: "))).unwrap_or_else(|| panic!("{lines:?}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (name, why) in [("ONE", "it has a NUL byte in it"), ("TWO", "it is longer than a variable can be")] {
        assert!(told(name).starts_with("problem") && told(name).contains(why), "{lines:?}");
        assert!(told(name).contains("add ?file"), "{lines:?}");
    }
    assert_eq!(told("THREE"), "ok secrets THREE: credhub:/nul is there");
    assert_eq!(told("TWELVE"), "ok secrets TWELVE: credhub:/large is there");
    // The place for files is judged without anybody being asked.
    for (name, is_problem) in [("THREE", true), ("ONE", false)] {
        let environment = environment.iter().filter(|(known, _)| *known == name).copied().collect::<Vec<_>>();
        let (lines, _) = check(&instance, &credhub, &["--secrets-dir", "/nowhere"], &environment);
        let found = lines.iter().any(|line| line.starts_with("problem") && line.contains("/nowhere: No such file"));
        assert_eq!(found, is_problem, "{lines:?}");
    }
}
