use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::run;
use crate::cli::IssuerArgs;
use crate::exit::Exit;
use crate::identity::{Certificate, Identity};
use crate::issuer::{Flaw, KeyKind};

fn options(dir: &Path) -> IssuerArgs {
    IssuerArgs {
        dir: dir.to_owned(),
        validity: Duration::from_secs(3600),
        rotate_every: None,
        org: None,
        space: None,
        app: None,
        instance: None,
        ip: Ipv4Addr::LOCALHOST.into(),
        key: KeyKind::P256,
        retire: false,
        inject: None,
        client: false,
        clients_named: Vec::new(),
        second_instance: false,
        once: true,
    }
}

fn run_text(options: &IssuerArgs) -> String {
    let mut out = Vec::new();
    run(options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn leaf(path: &Path) -> Certificate {
    Certificate::from_der(&CertificateDer::from_pem_slice(&fs::read(path).unwrap()).unwrap()).unwrap()
}

#[test]
fn a_later_call_keeps_the_ca_and_the_identities_and_renews_the_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let options = IssuerArgs { client: true, second_instance: true, ..options(dir.path()) };
    let pairs = ["instance.crt", "second/instance.crt", "client.crt"].map(|name| dir.path().join(name));
    run_text(&options);
    let before = pairs.each_ref().map(|pair| leaf(pair));
    let roots = fs::read(dir.path().join("ca.crt")).unwrap();

    run_text(&options);
    let after = pairs.each_ref().map(|pair| leaf(pair));
    assert_eq!(fs::read(dir.path().join("ca.crt")).unwrap(), roots);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.identity(), after.identity());
        assert_ne!(before.serial(), after.serial());
    }
    let [own, second, client] = after.each_ref().map(|leaf| leaf.identity().unwrap().unwrap());
    assert_eq!((own.app, own.space), (second.app, second.space));
    assert_ne!(own.instance, second.instance);
    assert_ne!(own.app, client.app);
}

#[test]
fn the_output_is_a_script_for_a_shell_whatever_the_folder_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a 'b'\n$(c)");
    let text = run_text(&options(&path));
    let script = format!(r#"{text}printf '%s:%s' "$CF_INSTANCE_CERT" "$CF_INSTANCE_KEY""#);
    let shell = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    let expected = format!("{0}/instance.crt:{0}/instance.key", path.display());
    assert_eq!(String::from_utf8(shell.stdout).unwrap(), expected);
    assert_eq!(String::from_utf8(shell.stderr).unwrap(), "", "nothing else was taken for a command");
}

#[test]
fn what_was_typed_is_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    run_text(&options(dir.path()));
    let app = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
    let typed = IssuerArgs {
        org: Some("C9F1D2B3-44E5-4C66-9D77-8E88F9990A33".to_owned()),
        app: Some(app.to_owned()),
        instance: Some("web-0".to_owned()),
        ip: "10.0.0.9".parse().unwrap(),
        key: KeyKind::Ed25519,
        ..options(dir.path())
    };
    let before = leaf(&dir.path().join("instance.crt")).identity().unwrap().unwrap();
    let text = run_text(&typed);
    let leaf = leaf(&dir.path().join("instance.crt"));
    let identity = leaf.identity().unwrap().unwrap();
    assert_eq!(identity.app.unwrap().to_string(), app);
    assert_eq!(identity.organization.unwrap().to_string(), "c9f1d2b3-44e5-4c66-9d77-8e88f9990a33");
    assert_eq!(identity.space, before.space);
    assert_eq!(identity.instance.unwrap().as_str(), "web-0");
    assert_eq!(leaf.alt_names().ips, [typed.ip]);
    assert_eq!(leaf.key_type(), "Ed25519");
    assert!(text.contains(&format!("app {app}, instance web-0, serial {}, valid until ", leaf.serial())), "{text}");
}

#[test]
fn a_retirement_keeps_the_app_and_drops_the_name() {
    let dir = tempfile::tempdir().unwrap();
    run_text(&options(dir.path()));
    let cert = dir.path().join("instance.crt");
    let before = leaf(&cert).identity().unwrap().unwrap();
    let text = run_text(&IssuerArgs { retire: true, once: false, ..options(dir.path()) });
    assert!(text.contains("instance (retirement)"), "{text}");
    assert!(leaf(&cert).is_retirement());
    assert_eq!(leaf(&cert).identity().unwrap().unwrap().app, before.app);
}

#[test]
fn a_torn_file_is_repaired_by_the_next_call() {
    let dir = tempfile::tempdir().unwrap();
    let text = run_text(&IssuerArgs { inject: Some(Flaw::Torn), ..options(dir.path()) });
    assert!(text.contains("faulty on purpose: torn"), "{text}");
    let cert = dir.path().join("instance.crt");
    assert!(CertificateDer::from_pem_slice(&fs::read(&cert).unwrap()).is_err());
    run_text(&options(dir.path()));
    assert!(leaf(&cert).identity().unwrap().is_some());
}

#[test]
fn all_diagnostics_are_reported_at_once_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let wrong = IssuerArgs {
        validity: Duration::from_millis(999),
        rotate_every: Some(Duration::ZERO),
        app: Some("green".to_owned()),
        instance: Some("a b".to_owned()),
        retire: true,
        inject: Some(Flaw::Torn),
        ..options(&path)
    };
    let fault = run(&wrong, &mut Vec::new()).unwrap_err();
    assert_eq!(fault.exit, Exit::Usage);
    for flag in ["--validity ", "--rotate-every ", "--retire ", "--app: ", "--instance: "] {
        assert!(fault.message().contains(flag), "{flag} in {fault}");
    }
    assert_eq!(fault.message().lines().count(), 5);
    assert!(!path.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let fault = run(&options(&file.join("below")), &mut Vec::new()).unwrap_err();
    assert_eq!(fault.exit, Exit::Config);
    assert!(fault.message().contains("file/below: cannot be created: "), "{fault}");
    assert!(fault.message().ends_with("; name a folder, not a file or what would be below one"), "{fault}");
}

/// Asks the process to end once it has seen three rotations.
struct StopAfterThreeRotations(Vec<u8>);

impl io::Write for StopAfterThreeRotations {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.windows(11).any(|text| text == b"rotation 4:") {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn it_rotates_until_it_is_asked_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let fast = IssuerArgs { once: false, rotate_every: Some(Duration::from_millis(20)), ..options(dir.path()) };
    let mut out = StopAfterThreeRotations(Vec::new());
    run(&fast, &mut out).unwrap();
    let text = String::from_utf8(out.0).unwrap();
    assert!(text.contains("# rotating every 20ms; Ctrl-C ends it\n# rotation 2: instance: app "), "{text}");
    let last = text.lines().last().unwrap();
    let serial = leaf(&dir.path().join("instance.crt")).serial();
    assert!(last.starts_with("# rotation ") && last.contains(&serial), "{last}: {serial}");
}

#[test]
fn a_retirement_and_a_fault_do_not_change_who_the_instance_is() {
    let dir = TempDir::new().unwrap();
    let once = |options: &IssuerArgs| run(&IssuerArgs { once: true, ..options.clone() }, &mut Vec::new()).unwrap();
    let identity = || {
        let pem = std::fs::read(dir.path().join("instance.crt")).unwrap();
        Identity::from_der(&CertificateDer::from_pem_slice(&pem).unwrap()).unwrap().unwrap()
    };
    let plain = options(dir.path());
    // The first one already announces its end.
    once(&IssuerArgs { retire: true, ..options(dir.path()) });
    once(&plain);
    let first = identity();
    assert!(first.instance.is_some());
    once(&IssuerArgs { retire: true, ..options(dir.path()) });
    once(&IssuerArgs { inject: Some(Flaw::Torn), ..options(dir.path()) });
    once(&plain);
    assert_eq!(identity(), first);
}

#[test]
fn several_clients_are_several_apps() {
    let dir = TempDir::new().unwrap();
    let clients_named = vec!["a".to_owned(), "b".to_owned()];
    run(&IssuerArgs { once: true, clients_named, ..options(dir.path()) }, &mut Vec::new()).unwrap();
    let app = |name: &str| {
        let pem = std::fs::read(dir.path().join(format!("{name}.crt"))).unwrap();
        Identity::from_der(&CertificateDer::from_pem_slice(&pem).unwrap()).unwrap().unwrap().app
    };
    let apps: std::collections::HashSet<_> = ["instance", "a", "b"].map(app).into();
    assert_eq!(apps.len(), 3);
}
