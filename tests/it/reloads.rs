//! What operators see of files that cannot be loaded, and of what is loaded.

use std::fs;

use serde_json::Value;

use crate::clients::{BOTH, Backend, alert, someone, visit};
use crate::health::get;
use crate::metrics::Measured;
use crate::support::credentials::roots_pem;
use crate::support::sidecar::Setup;
use crate::support::{app, eventually};

/// What `/status.json` says of what cannot be loaded.
fn failing(measured: &Measured) -> Vec<Value> {
    let status: Value = serde_json::from_str(&get(measured.admin(), "/status.json").1).unwrap();
    status["rotations"]["failing"].as_array().unwrap().clone()
}

/// Waits until these sources are failing, and no other.
#[track_caller]
fn wait_for_failing(measured: &Measured, sources: &[&str]) -> Vec<Value> {
    eventually(&format!("{sources:?} failing"), || {
        let failing = failing(measured);
        (failing.iter().map(|failing| failing["source"].as_str().unwrap()).eq(sources.iter().copied()))
            .then_some(failing)
    })
}

#[test]
fn each_kind_that_is_broken_is_reported_with_its_own_age_and_keeps_and_recovers_by_itself() {
    let backend = Backend::new();
    backend.write_policy("allow = ['any']");
    let setup = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap());
    let measured = Measured::new(setup);
    let usable = |source: &str| format!("vestibule_files_usable{{source=\"{source}\"}}");
    let (_, pair) = someone();
    let connector = backend.connector_as(&pair, &BOTH);

    backend.write_policy("allow = ['cf:ap:x']");
    let first = wait_for_failing(&measured, &["policy"]).remove(0);
    assert_eq!(measured.series()[&usable("client_ca")], 1.0);
    // A second of difference, so that the two ages can be told apart.
    eventually("an age", || (failing(&measured)[0]["since_seconds"].as_u64() > Some(2)).then_some(()));
    fs::write(backend.ca(), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    let both = wait_for_failing(&measured, &["client_ca", "policy"]);
    assert_eq!(both[1]["since"], first["since"]);
    assert!(both[0]["since"].as_str() > first["since"].as_str(), "{both:?}");
    for source in ["client_ca", "policy"] {
        assert_eq!(measured.series()[&usable(source)], 0.0, "{source}");
    }
    let (code, body) = get(measured.admin(), "/readyz?verbose");
    assert_eq!(code, 200, "{body}");
    assert!(
        body.contains("\nclient CA reload failing since ") && body.contains("\npolicy reload failing since "),
        "{body}"
    );
    let page = get(measured.admin(), "/").1;
    assert!(page.contains(">client_ca</span>") && page.contains(">policy</span>"), "{page}");
    visit(&connector, &measured.sidecar).unwrap();

    // Rules that are good again count while the CAs are still broken.
    backend.write_policy("allow = ['cn:nobody']");
    let recovered = |kind: &str| measured.sidecar.lines_of(&format!("{kind} reload recovered")).len();
    eventually("the rules", || (alert_of(&connector, &measured) == Some(())).then_some(()));
    wait_for_failing(&measured, &["client_ca"]);
    assert_eq!((recovered("policy"), recovered("client CA")), (1, 0));
    fs::write(backend.ca(), roots_pem()).unwrap();
    wait_for_failing(&measured, &[]);
    measured.sidecar.wait_for("client CA reload recovered");
    assert_eq!((recovered("policy"), recovered("client CA")), (1, 1));
}

/// Whether a client that was let in until now is denied.
fn alert_of(connector: &crate::support::client::Connector, measured: &Measured) -> Option<()> {
    if visit(connector, &measured.sidecar).is_ok() {
        return None;
    }
    assert_eq!(alert(connector, &measured.sidecar), rustls::AlertDescription::AccessDenied);
    Some(())
}

#[test]
fn a_file_of_a_folder_that_cannot_be_used_is_seen_wherever_other_failures_are() {
    let backend = Backend::new();
    let folder = backend.files.path();
    let torn = folder.join("torn.crt");
    let setup = Setup::proxy(&backend.credentials, app::echo());
    let measured = Measured::new(setup.arg("--client-ca").arg(folder.to_str().unwrap()).arg("--allow").arg("any"));
    let usable = "vestibule_files_usable{source=\"client_ca\"}";
    assert_eq!(measured.series()[usable], 1.0);
    let generation = measured.series()["vestibule_credential_generation"];
    fs::write(&torn, &roots_pem()[..500]).unwrap();
    let failing = wait_for_failing(&measured, &["client_ca"]).remove(0);
    assert_eq!((&failing["file"], &failing["keeps_last_good"]), (&torn.to_str().unwrap().into(), &false.into()));
    let line = measured.sidecar.wait_for("client CA reload failed for a file of a folder; the others count");
    assert_eq!((&line["level"], &line["error"]), (&"warn".into(), &failing["error"]));
    assert!(line["error"].as_str().unwrap().ends_with("left out"), "{line}");
    let series = measured.series();
    assert_eq!((series[usable], series["vestibule_unusable_trust_files"]), (0.0, 1.0));
    assert_eq!(series["vestibule_credential_generation"], generation, "nothing else counts");
    let (code, body) = get(measured.admin(), "/readyz?verbose");
    assert!(code == 200 && body.contains("\nclient CA reload failing since ") && body.contains("torn.crt"), "{body}");
    assert!(get(measured.admin(), "/").1.contains("torn.crt"));
    fs::remove_file(&torn).unwrap();
    let recovered = measured.sidecar.wait_for("client CA reload recovered");
    assert_eq!(recovered["file"], torn.to_str().unwrap());
    measured.wait_for(usable, 1.0);
    wait_for_failing(&measured, &[]);
}

/// How many files of a folder, or notes on what is in files, have a line of their own.
const NAMED: usize = 8;

#[test]
fn of_many_files_of_a_folder_that_cannot_be_used_a_few_are_named_and_the_others_counted() {
    const FILES: usize = 1000;
    let backend = Backend::new();
    let at = |name: &str| backend.files.path().join(name);
    for folder in ["good", "bad"] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("ca.crt"), roots_pem()).unwrap();
    }
    for number in 0..FILES {
        fs::write(at("bad").join(format!("empty-{number:03}.crt")), "").unwrap();
    }
    // All of it at once, as Kubernetes does.
    let lead_to = |folder: &str| {
        std::os::unix::fs::symlink(folder, at("next")).unwrap();
        fs::rename(at("next"), at("now")).unwrap();
    };
    lead_to("good");
    let setup = Setup::proxy(&backend.credentials, app::echo());
    let measured = Measured::new(setup.arg("--client-ca").arg(at("now").to_str().unwrap()).arg("--allow").arg("any"));
    let generation = || measured.series()["vestibule_credential_generation"];
    let before = generation();

    lead_to("bad");
    let others = measured.sidecar.wait_for("client CA reload failed for more files of folders; the others count");
    assert_eq!((&others["level"], &others["more"]), (&"warn".into(), &(FILES - NAMED).into()));
    assert!(others["help"].as_str().unwrap().contains("/status.json"), "{others}");
    let message = "client CA reload failed for a file of a folder; the others count";
    let named = measured.sidecar.lines_of(message);
    assert_eq!(named.len(), NAMED, "{named:#?}");
    for (number, line) in named.iter().enumerate() {
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(&format!("empty-{number:03}.crt: the file is empty")), "{error}");
    }
    measured.wait_for("vestibule_unusable_trust_files", FILES as f64);
    let (_, pair) = someone();
    visit(&backend.connector_as(&pair, &BOTH), &measured.sidecar).unwrap();
    assert_eq!(generation(), before, "what was good stays");

    // What comes later is one of the others.
    fs::write(at("bad").join("later.crt"), "").unwrap();
    measured.sidecar.wait_until("another number", |line| line["more"] == FILES - NAMED + 1);
    assert_eq!(measured.sidecar.lines_of(message).len(), NAMED);

    lead_to("good");
    let recovered = measured.sidecar.lines_eventually("client CA reload recovered", NAMED + 1);
    assert_eq!(recovered.iter().filter(|line| line["file"].is_string()).count(), NAMED);
    assert!(recovered.iter().any(|line| line["more"] == FILES - NAMED + 1), "{recovered:#?}");
    measured.wait_for("vestibule_files_usable{source=\"client_ca\"}", 1.0);
}

#[test]
fn of_much_that_is_odd_in_a_file_a_little_is_told_and_the_rest_counted() {
    const LEAVES: usize = 50;
    let backend = Backend::new();
    let (_, pair) = someone();
    let end = "-----END CERTIFICATE-----\n";
    let leaf = &pair.cert_pem[..pair.cert_pem.find(end).unwrap() + end.len()];
    fs::write(backend.ca(), roots_pem() + &leaf.repeat(LEAVES)).unwrap();
    let sidecar = backend.before(app::echo()).arg("--allow").arg("any").ready();
    let others = sidecar.wait_for("client CAs, CRLs or rules: more doubtful content");
    assert_eq!((&others["level"], &others["more"]), (&"warn".into(), &(LEAVES - NAMED).into()));
    let told = sidecar.lines_of("client CAs, CRLs or rules: doubtful content");
    assert_eq!(told.len(), NAMED, "{told:#?}");
    assert!(told.iter().all(|line| line["detail"].as_str().unwrap().contains("is not a CA and is left out")));
}

#[test]
fn a_failure_whose_text_changes_all_the_time_is_one_failure_until_the_file_is_good() {
    let backend = Backend::new();
    backend.write_policy("allow = ['any']");
    let setup = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap());
    let measured = Measured::new(setup);
    let usable = "vestibule_files_usable{source=\"policy\"}";
    let mut flaps = 0;
    let mut flap = || {
        flaps += 1;
        backend.write_policy(&format!("allow = ['cf:ap:{flaps}']"));
    };
    eventually("a report", || {
        flap();
        (measured.series()[usable] == 0.0).then_some(())
    });
    let since = failing(&measured)[0]["since"].clone();
    let first = failing(&measured)[0]["error"].clone();
    eventually("another text", || {
        flap();
        assert_eq!(measured.series()[usable], 0.0);
        (failing(&measured)[0]["error"] != first).then_some(())
    });
    assert_eq!(failing(&measured)[0]["since"], since);
    let message = "policy reload failed; keeping the last good generation";
    assert_eq!(measured.sidecar.lines_of(message).len(), 1);
    assert_eq!(measured.series()["vestibule_rotations_total{result=\"failed\"}"], 1.0);
    backend.write_policy("allow = ['any']");
    measured.sidecar.wait_for("policy reload recovered");
    measured.wait_for(usable, 1.0);
}

#[test]
fn a_file_that_cannot_be_loaded_is_seen_everywhere_until_it_is_repaired_and_the_instance_stays_ready() {
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
