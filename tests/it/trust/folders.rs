//! Folders of CAs and CRLs with files in them that cannot be used.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use rustls::AlertDescription;
use vestibule::issuer::CertificateAuthority;

use crate::clients::{BOTH, Backend, alert, someone, visit};
use crate::health::{admin, get};
use crate::support::credentials::roots_pem;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{app, eventually};

/// A sidecar that trusts the folder of the backend.
fn trusting_the_folder(backend: &Backend) -> Setup {
    let setup = Setup::proxy(&backend.credentials, app::echo()).env("VESTIBULE_ADMIN", "127.0.0.1:0");
    setup.arg("--client-ca").arg(backend.files.path().to_str().unwrap()).arg("--allow").arg("any")
}

fn metric(sidecar: &Sidecar, name: &str) -> String {
    let (_, text) = get(admin(sidecar), "/metrics");
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
}

#[test]
fn a_file_of_a_folder_that_is_no_ca_for_us_stops_neither_the_start_nor_a_reload() {
    let backend = Backend::new();
    let at = |name: &str| backend.files.path().join(name);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(at("garbage.crt"), garbage).unwrap();
    fs::write(at("half.crt"), &roots_pem()[..500]).unwrap();
    fs::write(at("empty.crt"), "").unwrap();
    fs::write(at("large.crt"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    fs::copy(backend.credentials.key(), at("instance.key")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling.crt")).unwrap();
    let odd = ["garbage.crt", "half.crt", "empty.crt", "large.crt", "instance.key", "dangling.crt"];
    let sidecar = trusting_the_folder(&backend).ready();
    let named = |name: &str| {
        let names = |line: &&serde_json::Value| line["error"].as_str().is_some_and(|text| text.contains(name));
        sidecar.lines().iter().filter(|line| line["level"] == "warn").filter(names).count()
    };
    for name in odd {
        eventually(name, || (named(name) == 1).then_some(()));
    }
    let unusable = || metric(&sidecar, "vestibule_unusable_trust_files");
    eventually("a count of all", || (unusable() == "6").then_some(()));
    let (_, pair) = someone();
    visit(&backend.connector_as(&pair, &BOTH), &sidecar).unwrap();

    let mut check = Command::new(VESTIBULE);
    check.arg("check").arg("--client-ca").arg(backend.files.path()).arg("--allow").arg("any").env_clear();
    check.arg("--cert").arg(backend.credentials.cert()).arg("--key").arg(backend.credentials.key());
    let report = String::from_utf8(check.output().unwrap().stdout).unwrap();
    for name in odd {
        assert!(
            report.lines().any(|line| line.starts_with("warning  client_ca") && line.contains(name)),
            "{name}: {report}"
        );
    }

    // A CA that is added beside them is taken, and what was said is not said again.
    let other = CertificateAuthority::generate(SystemTime::now()).unwrap();
    fs::write(at("other.crt"), other.roots_pem()).unwrap();
    let theirs = backend.connector_as(&other.issue(&someone().0, SystemTime::now()).unwrap(), &BOTH);
    eventually("the other CA's clients", || visit(&theirs, &sidecar).ok());
    assert!(odd.iter().all(|name| named(name) == 1));

    // One that was good counts as it was, until its file is gone.
    let mut live = visit(&theirs, &sidecar).unwrap();
    fs::write(at("other.crt"), &other.roots_pem()[..700]).unwrap();
    eventually("a word about it", || (named("it counts as it was when it was last good") == 1).then_some(()));
    live.send(b"here").unwrap();
    assert_eq!(live.receive(4).unwrap(), b"here");
    visit(&theirs, &sidecar).unwrap();
    fs::remove_file(at("other.crt")).unwrap();
    live.receive_all();
    assert_eq!(alert(&theirs, &sidecar), AlertDescription::UnknownCA);
}

#[test]
fn a_file_that_was_named_itself_still_has_to_be_good() {
    let backend = Backend::new();
    fs::write(backend.ca(), &roots_pem()[..500]).unwrap();
    let mut sidecar =
        backend.before(app::echo()).arg("--credential-timeout").arg("300ms").arg("--allow").arg("any").start();
    assert_eq!(sidecar.exited().code(), Some(78));
    // Nor may a folder be left without any.
    let mut sidecar = trusting_the_folder(&backend).arg("--credential-timeout").arg("300ms").start();
    assert_eq!(sidecar.exited().code(), Some(78));
    let said = format!("{:?}", sidecar.lines());
    assert!(said.contains("no client CA in ") && said.contains("ca.crt: torn or not PEM"), "{said}");
}
