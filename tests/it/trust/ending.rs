//! What is said of the served certificate before it ends.

use std::time::Duration;

use vestibule::issuer::{InstanceSpec, KeyKind};

use crate::support::app;
use crate::support::credentials::{Credentials, issue_at};
use crate::support::sidecar::Setup;

#[test]
fn the_served_certificate_is_warned_of_once_before_its_end_and_once_at_it() {
    let mut credentials = Credentials::new();
    let spec = InstanceSpec { validity: Duration::from_secs(8), key: KeyKind::P256, ..credentials.spec.clone() };
    credentials.folder.write(&issue_at(&spec, std::time::SystemTime::now())).unwrap();
    let sidecar = Setup::proxy(&credentials, app::echo()).ready();
    let said = |level: &str, words: &str| {
        let says = |line: &&serde_json::Value| line["message"].as_str().is_some_and(|text| text.contains(words));
        sidecar.lines().iter().filter(|line| line["level"] == level).filter(says).count()
    };
    let quarter = "the served certificate expires soon";
    let line =
        sidecar.wait_until("a warning", |line| line["message"].as_str().is_some_and(|text| text.contains(quarter)));
    assert!(line["not_after"].is_string(), "{line}");
    assert_eq!(said("error", "has expired"), 0);
    // A look that finds nothing new is no reason to say it again.
    (0..3).for_each(|_| sidecar.signal("HUP"));
    let over = "the served certificate has expired";
    sidecar.wait_until("an error", |line| line["message"].as_str().is_some_and(|text| text.contains(over)));
    // A successor is another certificate, and a good one is nothing to speak of.
    credentials.rotate();
    sidecar.wait_for("certificate rotated");
    assert_eq!((said("warn", quarter), said("error", over)), (1, 1));
}
