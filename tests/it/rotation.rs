//! From the files to the handshake: what is picked up, what is refused, and what nobody may notice.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use strum::VariantArray;
use vestibule::issuer::{CertificateAuthority, Credential, Folder, InstanceSpec, KeyKind};

use crate::support::client::connector;
use crate::support::credentials::{Credentials, leaf};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

/// Waits until the sidecar shows `wanted`.
#[track_caller]
fn shows(sidecar: &Sidecar, instance: &str, wanted: &CertificateDer<'_>) {
    let connector = connector(instance);
    eventually("the new certificate", || {
        let shown = connector.connect(sidecar.addr()).ok()?.leaf();
        (shown == *wanted).then_some(())
    });
}

fn serving(credentials: &Credentials) -> Sidecar {
    let sidecar = Setup::proxy(credentials, app::echo()).ready();
    assert_eq!(connector(credentials.instance()).connect(sidecar.addr()).unwrap().leaf(), on_disk(credentials));
    sidecar
}

fn on_disk(credentials: &Credentials) -> CertificateDer<'static> {
    leaf(&fs::read(credentials.cert()).unwrap())
}

#[test]
fn a_rename_over_the_files_is_picked_up_and_running_connections_are_not_touched() {
    let mut credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let mut old = connector(credentials.instance()).connect(sidecar.addr()).unwrap();

    let new = credentials.rotate();
    shows(&sidecar, credentials.instance(), &new);

    old.send(b"still here").unwrap();
    assert_eq!(old.receive(10).unwrap(), b"still here");
    assert_eq!(sidecar.wait_for("certificate rotated")["generation"], 2);
}

#[test]
fn between_the_two_renames_the_old_pair_is_served_and_nothing_is_said() {
    let mut credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let old = on_disk(&credentials);
    let new = credentials.issue();
    let staged = credentials.folder.stage(&new).unwrap().rename_key().unwrap();

    for _ in 0..20 {
        let shown = connector(credentials.instance()).connect(sidecar.addr()).unwrap().leaf();
        assert_eq!(shown, old);
    }
    staged.rename_cert().unwrap();
    shows(&sidecar, credentials.instance(), &leaf(new.cert_pem.as_bytes()));
    let loud: Vec<_> =
        sidecar.lines().into_iter().filter(|line| line["level"] == "warn" || line["level"] == "error").collect();
    assert!(loud.is_empty(), "{loud:?}");
}

#[test]
fn a_rewrite_in_place_is_picked_up() {
    let mut credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let new = credentials.issue();
    fs::write(credentials.key(), &new.key_pem).unwrap();
    fs::write(credentials.cert(), &new.cert_pem).unwrap();
    shows(&sidecar, credentials.instance(), &leaf(new.cert_pem.as_bytes()));
}

#[test]
fn files_that_are_deleted_and_made_again_are_picked_up_and_missed_by_nobody() {
    let mut credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let old = on_disk(&credentials);
    fs::remove_file(credentials.key()).unwrap();
    fs::remove_file(credentials.cert()).unwrap();
    assert_eq!(connector(credentials.instance()).connect(sidecar.addr()).unwrap().leaf(), old);
    let new = credentials.rotate();
    shows(&sidecar, credentials.instance(), &new);
}

fn write_folder(dir: &Path, credential: &Credential) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("instance.crt"), &credential.cert_pem).unwrap();
    fs::write(dir.join("instance.key"), &credential.key_pem).unwrap();
}

#[test]
fn a_swap_of_kubernetes_data_symlink_is_picked_up() {
    let mut credentials = Credentials::empty();
    let dir = credentials.dir().to_owned();
    let mut swap = |version: &str| {
        let credential = credentials.issue();
        write_folder(&dir.join(version), &credential);
        symlink(version, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        leaf(credential.cert_pem.as_bytes())
    };
    swap("..1");
    symlink("..data/instance.crt", dir.join("instance.crt")).unwrap();
    symlink("..data/instance.key", dir.join("instance.key")).unwrap();
    let two = |swap: &mut dyn FnMut(&str) -> CertificateDer<'static>| (swap("..2"), dir.join("..1"));
    let sidecar = {
        let probe = Credentials::new();
        let setup = Setup::command(&["proxy", "--listen", "127.0.0.1:0", "--app", &app::echo().to_string()]);
        drop(probe);
        let cert = dir.join("instance.crt");
        let key = dir.join("instance.key");
        setup.env("CF_INSTANCE_CERT", cert.to_str().unwrap()).env("CF_INSTANCE_KEY", key.to_str().unwrap()).ready()
    };
    let (new, gone) = two(&mut swap);
    fs::remove_dir_all(gone).unwrap();
    shows(&sidecar, credentials.instance(), &new);
    let mut again = |version: &str| {
        let credential = credentials.issue();
        write_folder(&dir.join(version), &credential);
        symlink(version, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        leaf(credential.cert_pem.as_bytes())
    };
    let new = again("..3");
    let name = credentials.instance().to_owned();
    shows(&sidecar, &name, &new);
}

#[test]
fn a_folder_that_is_swapped_whole_is_picked_up() {
    let mut credentials = Credentials::empty();
    let here = credentials.dir().join("current");
    write_folder(&here, &credentials.issue());
    let (cert, key) = (here.join("instance.crt"), here.join("instance.key"));
    let sidecar = Setup::command(&["proxy", "--listen", "127.0.0.1:0", "--app", &app::echo().to_string()])
        .env("CF_INSTANCE_CERT", cert.to_str().unwrap())
        .env("CF_INSTANCE_KEY", key.to_str().unwrap())
        .ready();

    let new = credentials.issue();
    let next = credentials.dir().join("next");
    write_folder(&next, &new);
    fs::rename(&here, credentials.dir().join("old")).unwrap();
    fs::rename(&next, &here).unwrap();
    shows(&sidecar, credentials.instance(), &leaf(new.cert_pem.as_bytes()));
}

#[test]
fn hup_forces_a_look_and_changes_nothing_where_nothing_is_new() {
    let credentials = Credentials::new();
    let sidecar = serving(&credentials);
    for _ in 0..5 {
        sidecar.signal("HUP");
    }
    connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    assert!(sidecar.lines_of("certificate rotated").is_empty());
}

#[test]
fn broken_files_keep_the_last_good_pair_and_are_reported_once_per_cause() {
    let mut credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let good = on_disk(&credentials);
    let other = credentials.issue();
    let half = other.cert_pem.find("-----END").unwrap() / 2;
    // Some characters into the next mark. Fewer, mere dashes, may be anything.
    let first_block = other.cert_pem.match_indices("-----BEGIN").nth(1).unwrap().0 + 8;

    let cases: [(&str, &str, &str); 6] = [
        ("torn", &other.cert_pem[..half], "torn or not PEM"),
        ("torn between its blocks", &other.cert_pem[..first_block], "torn or not PEM"),
        ("empty", "", "the file is empty"),
        ("no PEM", "hello", "holds no CERTIFICATE block"),
        ("a key in its place", &other.key_pem, "holds no CERTIFICATE block"),
        ("of another key", &other.cert_pem, "the key does not belong to the certificate"),
    ];
    for (what, text, said) in cases {
        fs::write(credentials.cert(), text).unwrap();
        sidecar.wait_until(what, |line| line["error"].as_str().is_some_and(|error| error.contains(said)));
        let shown = connector(credentials.instance()).connect(sidecar.addr()).unwrap().leaf();
        assert_eq!(shown, good, "{what}: the last good pair is served");
    }
    let warnings = sidecar.lines().into_iter().filter(|line| line["level"] == "warn").count();
    // The two torn texts are one cause, and so are the two without a certificate, but each came back after another.
    assert_eq!(warnings, 4, "{:#?}", sidecar.lines());
    for line in sidecar.lines() {
        assert!(!line.to_string().contains("PRIVATE KEY-----"), "{line}");
    }

    fs::write(credentials.key(), &other.key_pem).unwrap();
    shows(&sidecar, credentials.instance(), &leaf(other.cert_pem.as_bytes()));
    sidecar.wait_for("credential reload recovered");
}

#[test]
fn an_unreadable_file_keeps_the_last_good_pair() {
    let credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let good = on_disk(&credentials);
    // Root reads everything; a folder in the file's place nobody reads.
    fs::remove_file(credentials.key()).unwrap();
    fs::create_dir(credentials.key()).unwrap();
    sidecar.wait_until("the cause", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("instance.key: not a regular file"))
    });
    assert_eq!(connector(credentials.instance()).connect(sidecar.addr()).unwrap().leaf(), good);
}

#[test]
fn every_kind_of_key_is_served() {
    let authority = CertificateAuthority::generate(std::time::SystemTime::now()).unwrap();
    for &kind in KeyKind::VARIANTS {
        let dir = tempfile::tempdir().unwrap();
        let spec = InstanceSpec { key: kind, ..InstanceSpec::generate().unwrap() };
        let credential = authority.issue(&spec, std::time::SystemTime::now()).unwrap();
        let folder = Folder::instance(dir.path());
        folder.write(&credential).unwrap();
        let sidecar = Setup::command(&["proxy", "--listen", "127.0.0.1:0", "--app", &app::echo().to_string()])
            .env("CF_INSTANCE_CERT", folder.cert().to_str().unwrap())
            .env("CF_INSTANCE_KEY", folder.key().to_str().unwrap())
            .ready();
        let mut connector = connector(spec.instance.as_ref().unwrap().as_str());
        let mut roots = rustls::RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(authority.roots_pem().as_bytes()) {
            roots.add(cert.unwrap()).unwrap();
        }
        connector.config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let client = connector.connect(sidecar.addr()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(client.tls.peer_certificates().unwrap().len(), 2, "{kind}: the leaf and the CA that issued it");
    }
}

#[test]
fn the_retirement_pair_is_served_and_nothing_exits() {
    let mut credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let name = credentials.instance().to_owned();
    credentials.spec = credentials.spec.retired();
    credentials.rotate();
    sidecar.wait_for("retirement certificate received; closing idle connections");
    // The certificate that is shown has no name that a router could accept.
    let error = connector(&name).connect(sidecar.addr()).err().unwrap();
    assert!(error.to_string().contains("certificate not valid for name"), "{error}");
}

#[test]
fn credentials_that_are_missing_at_the_start_may_come_late() {
    let mut credentials = Credentials::empty();
    let sidecar = Setup::proxy(&credentials, app::echo()).start();
    sidecar.wait_for("listening");
    // The listener is open; a client that comes much too early is told to try elsewhere.
    assert!(connector(credentials.instance()).connect(sidecar.addr()).is_err());
    sidecar.access_log_entry("no_credential");
    credentials.rotate();
    sidecar.wait_for("certificate loaded");
    connector(credentials.instance()).connect(sidecar.addr()).unwrap();
}

#[test]
fn a_client_that_comes_a_moment_before_the_first_pair_is_served() {
    let mut credentials = Credentials::empty();
    let setup = Setup::proxy(&credentials, app::echo()).env("VESTIBULE_APP_READY", "tcp");
    let sidecar = setup.env("VESTIBULE_HOLD_UNTIL_READY", "9s").start();
    let (addr, connector) = (sidecar.addr(), connector(credentials.instance()));
    let client = std::thread::spawn(move || connector.connect(addr).unwrap().leaf());
    eventually("the client", || established(addr).then_some(()));
    assert_eq!(credentials.rotate(), client.join().unwrap());
    assert!(!sidecar.reasons().iter().any(|reason| reason == "no_credential"));
}

/// Whether somebody is connected to `addr`, an address of 127.0.0.1, by the kernel's account.
fn established(addr: SocketAddr) -> bool {
    let here = format!("0100007F:{:04X}", addr.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    // Number, local address, remote address, state; 01 is established.
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        fields.get(1) == Some(&here.as_str()) && fields.get(3) == Some(&"01")
    })
}

#[test]
fn credentials_that_never_come_end_it_with_66_and_the_paths() {
    let credentials = Credentials::empty();
    let mut sidecar = Setup::proxy(&credentials, app::echo()).arg("--credential-timeout").arg("300ms").start();
    assert_eq!(sidecar.exited().code(), Some(66));
    let lines = sidecar.lines();
    // One error, with its remedy as a field; and behind it the last line.
    let [.., fault, end] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&end["message"], &end["code"]), (&"exited".into(), &66.into()));
    assert_eq!((&fault["level"], &fault["code"]), (&"error".into(), &66.into()));
    let message = fault["message"].as_str().unwrap();
    for path in [credentials.cert(), credentials.key()] {
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
    assert_eq!(fault["help"], "set --cert and --key, or CF_INSTANCE_CERT and CF_INSTANCE_KEY");
    assert_eq!(lines.iter().filter(|line| line["level"] == "error").count(), 1, "{lines:?}");
}

#[test]
fn what_helps_against_a_pair_that_is_there_and_cannot_be_used_is_not_to_name_it() {
    let credentials = Credentials::new();
    std::fs::copy(credentials.cert(), credentials.key()).unwrap();
    let mut sidecar = Setup::proxy(&credentials, app::echo()).arg("--credential-timeout").arg("300ms").start();
    assert_eq!(sidecar.exited().code(), Some(66));
    let fault = sidecar.wait_until("the fault", |line| line["level"] == "error");
    assert!(fault["message"].as_str().unwrap().contains("no private key"), "{fault}");
    assert_eq!(fault["help"], "write both files anew, or name the right ones by --cert and --key");
}

#[test]
fn hundreds_of_rotations_under_load_fail_no_request_and_show_no_pair_that_never_was() {
    // `VESTIBULE_TEST_ROTATIONS=10000` for the long form.
    let rotations: usize = std::env::var("VESTIBULE_TEST_ROTATIONS").map_or(300, |n| n.parse().unwrap());
    let mut credentials = Credentials::new();
    let sidecar = serving(&credentials);
    let connector = connector(credentials.instance());
    let addr = sidecar.addr();
    let done = AtomicBool::new(false);
    let issued = std::sync::Mutex::new(std::collections::HashSet::from([on_disk(&credentials)]));
    let served = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !done.load(Ordering::Relaxed) {
                        let mut client = connector.connect(addr).unwrap();
                        assert!(issued.lock().unwrap().contains(&client.leaf()), "a pair that was never issued");
                        client.send(b"request").unwrap();
                        assert_eq!(client.receive(7).unwrap(), b"request");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for _ in 0..rotations {
            let credential = credentials.issue();
            issued.lock().unwrap().insert(leaf(credential.cert_pem.as_bytes()));
            credentials.folder.write(&credential).unwrap();
        }
        let last = on_disk(&credentials);
        shows(&sidecar, credentials.instance(), &last);
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    });
    assert!(served > 20, "{served} requests are no load");
    assert!(sidecar.lines().iter().all(|line| line["level"] != "warn"), "{:#?}", sidecar.lines());
}
