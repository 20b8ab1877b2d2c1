//! What operators see of files that cannot be loaded, and of what is loaded.

use std::fs;

use serde_json::Value;

use crate::clients::Backend;
use crate::health::get;
use crate::metrics::Measured;
use crate::support::credentials::roots_pem;
use crate::support::{app, eventually};

#[test]
fn a_file_that_cannot_be_loaded_is_seen_everywhere_until_it_is_mended_and_the_instance_stays_ready() {
    for (kind, name, broken, source) in [
        ("policy", "policy.toml", "allow = ['cf:ap:x']", "policy"),
        ("client CA", "ca.crt", "-----BEGIN CERTIFICATE-----\nAAAA", "client_ca"),
        ("credential", "", "no certificate", "certificate"),
    ] {
        let backend = Backend::new();
        fs::write(backend.ca(), roots_pem()).unwrap();
        backend.write_policy("allow = ['any']");
        let setup = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap());
        let measured = Measured::new(setup);
        let series = format!("vestibule_files_usable{{source=\"{source}\"}}");
        assert_eq!(measured.series()[&series], 1.0);
        assert!(!measured.series().contains_key("vestibule_files_usable{source=\"client_crl\"}"), "there is none");
        let admin = measured.admin();
        let status = || serde_json::from_str::<Value>(&get(admin, "/status.json").1).unwrap();
        assert_eq!(status()["rotations"]["failing"], Value::Array(Vec::new()));

        let file = if name.is_empty() { backend.credentials.cert() } else { backend.files.path().join(name) };
        let good = fs::read(&file).unwrap();
        fs::write(&file, broken).unwrap();
        measured.wait_for(&series, 0.0);
        let message = format!("{kind} reload failed; keeping the last good generation");
        let line = measured.sidecar.wait_for(&message);
        let failing = status()["rotations"]["failing"][0].clone();
        assert_eq!((&failing["source"], &failing["error"]), (&source.into(), &line["error"]));
        assert!(failing["since"].is_string() && failing["since_seconds"].is_u64(), "{failing}");
        let (code, body) = get(admin, "/readyz?verbose");
        assert!(body.contains(&format!("\n{kind} reload failing since ")), "{body}");
        assert_eq!(code, 200, "what was good last stays in service");
        assert!(get(admin, "/").1.contains("the last good one stays"));

        fs::write(&file, good).unwrap();
        measured.sidecar.wait_for(&format!("{kind} reload recovered"));
        measured.wait_for(&series, 1.0);
        assert!(!get(admin, "/readyz?verbose").1.contains("failing"));
        assert!(eventually("no failure", || status()["rotations"]["failing"].as_array().map(Vec::is_empty)));
    }
}

#[test]
fn the_start_and_each_reload_say_what_is_in_force_and_audit_mode_is_warned_of() {
    let backend = Backend::new();
    backend.write_policy("mode = 'audit'\nallow = ['cf:same:app', 'dns:a.example']\ndeny = ['dns:b.example']");
    let sidecar = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap()).ready();
    let loaded = sidecar.wait_for("client CAs and rules loaded");
    assert_eq!((&loaded["mode"], &loaded["allow"], &loaded["deny"]), (&"audit".into(), &2.into(), &1.into()));
    assert_eq!((&loaded["client_cas"], &loaded["client_crls"]), (&2.into(), &0.into()));
    let warnings = || {
        let audit =
            |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with("audit mode: no rule is"));
        sidecar.lines().iter().filter(|line| audit(line) && line["level"] == "warn").count()
    };
    assert_eq!(warnings(), 1);
    backend.write_policy("mode = 'audit'\nallow = ['cf:same:app', 'dns:a.example', 'dns:c.example']");
    sidecar.wait_until("the reload", |line| line["message"] == "client CAs and rules reloaded" && line["allow"] == 3);
    assert_eq!(warnings(), 1, "it was said");
    backend.write_policy("allow = ['cf:same:app']");
    sidecar.wait_until("the reload", |line| {
        line["message"] == "client CAs and rules reloaded" && line["mode"] == "enforce"
    });
    backend.write_policy("mode = 'audit'\nallow = ['cf:same:app']");
    eventually("the next warning", || (warnings() == 2).then_some(()));
}
