//! The forms of the log, as the real binary writes them.

use std::process::Command;

use serde_json::Value;

use crate::support::app;
use crate::support::client::asking;
use crate::support::credentials::Credentials;
use crate::support::sidecar::Setup;
use crate::support::sidecar::VESTIBULE;

#[test]
fn every_line_of_lagers_form_has_its_five_members() {
    let credentials = Credentials::new();
    let mut sidecar = Setup::proxy(&credentials, app::echo()).env("VESTIBULE_LOG_FORMAT", "lager").start();
    let line = sidecar.wait_for("vestibule.ready");
    assert_eq!(line["data"]["generation"], 1);
    let listening = sidecar.wait_for("vestibule.listening");
    let addr = listening["data"]["listener"].as_str().unwrap().parse().unwrap();
    drop(asking(credentials.instance()).connect(addr).unwrap());
    let record = sidecar.wait_for("vestibule.connection ended");
    assert!(record["data"]["reason"].is_string(), "{record}");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    for line in sidecar.lines() {
        let members: Vec<_> = line.as_object().unwrap().keys().collect();
        assert_eq!(members, ["data", "level", "message", "source", "timestamp"], "{line}");
        assert_eq!(line["source"], "vestibule");
        assert!(["debug", "info", "error"].contains(&line["level"].as_str().unwrap()), "{line}");
        assert_eq!(line["timestamp"].as_str().unwrap().len(), "2026-01-01T00:00:00.000000000Z".len(), "{line}");
    }
}

#[test]
fn a_fault_after_the_start_is_a_line_of_the_form_that_was_asked_for() {
    let credentials = Credentials::empty();
    let output = |format: &str| {
        let output = Command::new(VESTIBULE)
            .args(["proxy", "--listen=127.0.0.1:0", "--admin=off", "--credential-timeout=0s", "--log-format", format])
            .env_clear()
            .env("CF_INSTANCE_CERT", credentials.cert())
            .env("CF_INSTANCE_KEY", credentials.key())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(66));
        String::from_utf8(output.stderr).unwrap()
    };
    for (format, message) in [("json", "no usable certificate"), ("lager", "vestibule.no usable certificate")] {
        let lines: Vec<Value> = output(format).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let fault = |line: &Value| line["level"] == "error" && line["message"].as_str().unwrap().starts_with(message);
        assert!(lines.iter().any(fault), "{lines:#?}");
    }
    // No terminal, no colour.
    let text = output("text");
    assert!(
        text.lines().any(|line| line.contains(" error no usable certificate")) && !text.contains('\u{1b}'),
        "{text}"
    );
}
