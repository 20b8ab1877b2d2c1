//! CRLs as `openssl ca` writes them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustls::AlertDescription;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tempfile::TempDir;
use vestibule::issuer::Credential;

use super::slow_writers::write_slowly;
use crate::clients::{BOTH, Backend, alert, visit};
use crate::health::{admin, get};
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{app, eventually};

/// A CA that is kept by `openssl ca`.
struct OpenSsl {
    dir: TempDir,
}

impl OpenSsl {
    /// A root of this name.
    fn root(name: &str) -> Self {
        let ca = Self::without_certificate();
        let subject = format!("/CN={name}");
        ca.run(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "ca.key",
            "-out",
            "ca.crt",
            "-subj",
            &subject,
            "-extensions",
            "ca_ext",
        ]);
        ca
    }

    /// One that is signed by `self`.
    fn issuing(&self, name: &str) -> Self {
        let ca = Self::without_certificate();
        fs::write(ca.at("ca.crt"), self.sign(&ca.request("ca.key", name), "ca_ext")).unwrap();
        ca
    }

    fn without_certificate() -> Self {
        let ca = Self { dir: TempDir::new().unwrap() };
        let at = ca.dir.path().display();
        let config = format!(
            "[req]\ndistinguished_name=dn\n[dn]\n[ca]\ndefault_ca=this\n[this]\ndatabase={at}/index\nserial={at}/serial\n\
             new_certs_dir={at}\ncertificate={at}/ca.crt\nprivate_key={at}/ca.key\ndefault_md=sha256\npolicy=any\n\
             default_days=2\ndefault_crl_days=1\nunique_subject=no\n[any]\ncommonName=supplied\n\
             [ca_ext]\nbasicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n[leaf_ext]\nbasicConstraints=CA:FALSE\n\
             [crl_ext]\nissuerAltName=DNS:ca.example\n[key_ext]\nauthorityKeyIdentifier=keyid:always\n"
        );
        fs::write(ca.at("config"), config).unwrap();
        fs::write(ca.at("index"), "").unwrap();
        fs::write(ca.at("serial"), "1001\n").unwrap();
        ca.key("ca.key");
        ca
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn key(&self, name: &str) {
        self.run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", name]);
    }

    /// The text of a request for a certificate.
    fn request(&self, key: &str, name: &str) -> String {
        self.run(&["req", "-new", "-key", key, "-out", "request", "-subj", &format!("/CN={name}")]);
        fs::read_to_string(self.at("request")).unwrap()
    }

    fn sign(&self, request: &str, extensions: &str) -> String {
        fs::write(self.at("request"), request).unwrap();
        self.run(&["ca", "-batch", "-notext", "-in", "request", "-out", "signed", "-extensions", extensions]);
        fs::read_to_string(self.at("signed")).unwrap()
    }

    /// A client under this CA; its chain has the CA in it.
    fn client(&self, name: &str) -> Credential {
        self.key("client.key");
        let leaf = self.sign(&self.request("client.key", name), "leaf_ext");
        let der = CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap().to_vec();
        let key_pem = fs::read_to_string(self.at("client.key")).unwrap();
        Credential { cert_pem: leaf + &self.pem(), key_pem, leaf: der }
    }

    fn pem(&self) -> String {
        fs::read_to_string(self.at("ca.crt")).unwrap()
    }

    fn revoke(&self, chain: &str) {
        fs::write(self.at("revoked"), chain).unwrap();
        self.run(&["ca", "-revoke", "revoked"]);
    }

    /// The list of those who were revoked, written with `options`.
    fn crl(&self, options: &[&str]) -> String {
        self.run(&[&["ca", "-gencrl", "-out", "crl"], options].concat());
        fs::read_to_string(self.at("crl")).unwrap()
    }

    fn run(&self, args: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(&self.dir);
        if matches!(args[0], "req" | "ca") {
            command.args(["-config", "config"]);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn sidecar(backend: &Backend, cas: &str, crl: &str) -> Sidecar {
    setup(backend, cas, crl).ready()
}

fn setup(backend: &Backend, cas: &str, crl: impl AsRef<[u8]>) -> Setup {
    let list = backend.files.path().join("list.crl");
    fs::write(backend.ca(), cas).unwrap();
    fs::write(&list, crl).unwrap();
    backend.before(app::echo()).arg("--client-crl").arg(list.to_str().unwrap()).arg("--allow").arg("any")
}

/// The list with one bit of its signature the other way round.
fn damaged(crl: &str) -> Vec<u8> {
    let mut der = CertificateRevocationListDer::from_pem_slice(crl.as_bytes()).unwrap().to_vec();
    *der.last_mut().unwrap() ^= 1;
    der
}

/// What `vestibule check` says of the client CAs and CRLs.
fn checked(backend: &Backend) -> String {
    let mut check = Command::new(VESTIBULE);
    check.arg("check").arg("--client-ca").arg(backend.ca()).arg("--allow").arg("any").env_clear();
    check.arg("--cert").arg(backend.credentials.cert()).arg("--key").arg(backend.credentials.key());
    check.arg("--client-crl").arg(backend.files.path().join("list.crl"));
    String::from_utf8(check.output().unwrap().stdout).unwrap()
}

#[test]
fn both_versions_that_openssl_writes_with_and_without_extensions_revoke_whom_they_name() {
    let root = OpenSsl::root("root");
    let (revoked, kept) = (root.client("revoked"), root.client("kept"));
    root.revoke(&revoked.cert_pem);
    // Version 1 is the default.
    for options in [&[][..], &["-crlexts", "crl_ext"]] {
        let backend = Backend::new();
        let sidecar = sidecar(&backend, &root.pem(), &root.crl(options));
        for version in BOTH {
            visit(&backend.connector_as(&kept, &[version]), &sidecar).unwrap();
            let refused = alert(&backend.connector_as(&revoked, &[version]), &sidecar);
            assert_eq!(refused, AlertDescription::CertificateRevoked, "{options:?}");
            let entry = sidecar.wait_until("who it was", |line| line["denial_reason"] == "revoked");
            assert!(entry["client_serial"].is_string() && entry["client_subject"].is_string(), "{entry}");
        }
        assert!(sidecar.lines().iter().all(|line| line["level"] != "warn"), "{:?}", sidecar.lines());
        assert!(checked(&backend).contains("1 CRL, each of them current"), "{}", checked(&backend));
    }
}

#[test]
fn an_intermediate_that_stands_beside_its_root_does_not_outlive_its_revocation() {
    let root = OpenSsl::root("root");
    let issuing = root.issuing("issuing");
    let client = issuing.client("client");
    let other = root.client("other");
    let before = root.crl(&[]);
    root.revoke(&issuing.pem());
    let backend = Backend::new();
    let sidecar = sidecar(&backend, &(root.pem() + &issuing.pem()), &before);
    let (connector, others) = (backend.connector_as(&client, &BOTH), backend.connector_as(&other, &BOTH));
    let mut doomed = visit(&connector, &sidecar).unwrap();
    let mut stays = visit(&others, &sidecar).unwrap();

    let (next, list) = (backend.files.path().join(".next"), backend.files.path().join("list.crl"));
    fs::write(&next, root.crl(&[])).unwrap();
    fs::rename(next, list).unwrap();
    doomed.receive_all();
    sidecar.access_log_entry("policy_changed");
    assert_eq!(alert(&connector, &sidecar), AlertDescription::CertificateRevoked);
    stays.send(b"here").unwrap();
    assert_eq!(stays.receive(4).unwrap(), b"here");
    sidecar.wait_until("a word about it", |line| {
        let detail = line["detail"].as_str().unwrap_or_default();
        line["level"] == "warn" && detail.contains("it revokes the CA CN=issuing, which vouches for nobody")
    });
    assert!(checked(&backend).contains("it revokes the CA CN=issuing"), "{}", checked(&backend));
}

#[test]
fn of_many_crls_that_are_no_longer_good_a_few_are_named_and_all_of_them_count_as_they_were() {
    const FILES: usize = 40;
    const NAMED: usize = 8;
    let root = OpenSsl::root("root");
    let revoked = root.client("revoked");
    root.revoke(&revoked.cert_pem);
    let crl = root.crl(&[]);
    let backend = Backend::new();
    fs::write(backend.ca(), root.pem()).unwrap();
    let at = |name: &str| backend.files.path().join(name);
    for (folder, text) in [("good", &crl[..]), ("torn", &crl[..crl.len() / 2])] {
        fs::create_dir(at(folder)).unwrap();
        for number in 0..FILES {
            fs::write(at(folder).join(format!("{number:02}.crl")), text).unwrap();
        }
    }
    let lead_to = |folder: &str| {
        std::os::unix::fs::symlink(folder, at("next")).unwrap();
        fs::rename(at("next"), at("now")).unwrap();
    };
    lead_to("good");
    let setup = backend.before(app::echo()).arg("--client-crl").arg(at("now").to_str().unwrap());
    let sidecar = setup.arg("--allow").arg("any").ready();

    lead_to("torn");
    let others = sidecar.wait_for("client CRL reload failed for more files of folders; the others count");
    assert_eq!(others["more"], FILES - NAMED);
    let named = sidecar.lines_of("client CRL reload failed for a file of a folder; the others count");
    assert_eq!(named.len(), NAMED, "{named:#?}");
    assert!(named.iter().all(|line| line["error"].as_str().unwrap().ends_with("as it was when it was last good")));
    let refused = alert(&backend.connector_as(&revoked, &BOTH), &sidecar);
    assert_eq!(refused, AlertDescription::CertificateRevoked);
    lead_to("good");
    sidecar.lines_eventually("client CRL reload recovered", NAMED + 1);
}

#[test]
fn a_crl_past_its_next_update_is_marked_in_the_status_and_on_the_page() {
    let root = OpenSsl::root("root");
    let past = ["-crl_lastupdate", "20240101000000Z", "-crl_nextupdate", "20240102000000Z"];
    for (options, is_overdue) in [(&past[..], true), (&[], false)] {
        let backend = Backend::new();
        let setup = setup(&backend, &root.pem(), root.crl(options)).env("VESTIBULE_ADMIN", "127.0.0.1:0");
        let sidecar = setup.ready();
        let status: serde_json::Value = serde_json::from_str(&get(admin(&sidecar), "/status.json").1).unwrap();
        let crl = &status["listeners"][0]["policy"]["client_crls"][0];
        assert_eq!(crl["is_overdue"], is_overdue, "{crl}");
        let page = get(admin(&sidecar), "/").1;
        assert_eq!(
            page.contains("<span class=\"bad\">no longer current</span>: the next update was due by "),
            is_overdue
        );
        assert_eq!(page.contains(", next update by "), !is_overdue);
    }
}

#[test]
fn a_crl_that_is_rewritten_slowly_or_torn_takes_nobodys_revocation_back() {
    let (first, second) = (OpenSsl::root("first"), OpenSsl::root("second"));
    let clients = [first.client("a"), second.client("b")];
    first.revoke(&clients[0].cert_pem);
    second.revoke(&clients[1].cert_pem);
    let (one, other) = (first.crl(&[]), second.crl(&[]));
    let backend = Backend::new();
    fs::write(backend.ca(), first.pem() + &second.pem()).unwrap();
    let folder = backend.files.path().join("crls");
    fs::create_dir(&folder).unwrap();
    let list = folder.join("list.crl");
    fs::write(&list, format!("{one}{other}")).unwrap();
    let setup = backend.before(app::echo()).arg("--client-crl").arg(folder.to_str().unwrap());
    let sidecar = setup.arg("--allow").arg("any").env("VESTIBULE_ADMIN", "127.0.0.1:0").ready();
    let refused = || {
        for client in &clients {
            let refused = alert(&backend.connector_as(client, &BOTH), &sidecar);
            assert_eq!(refused, AlertDescription::CertificateRevoked);
        }
    };
    refused();
    write_slowly(&sidecar, &list, &[&format!("# anew\n{one}"), &other], false, true);
    sidecar.wait_for("client CAs and rules reloaded");
    refused();
    // Torn for good: it counts as it was, and what else changes is taken.
    fs::write(&list, &one[..one.len() / 2]).unwrap();
    sidecar.wait_until("a word about it", |line| {
        line["error"].as_str().is_some_and(|text| text.ends_with("it counts as it was when it was last good"))
    });
    refused();
    // Something else in its place does not take it back either.
    for other in ["# nothing to revoke\n".to_owned(), first.pem()] {
        fs::write(&list, &one[..one.len() / 2]).unwrap();
        let is_said = |what: &str| get(admin(&sidecar), "/readyz?verbose").1.contains(what).then_some(());
        eventually("that it is torn", || is_said("list.crl: torn or not PEM"));
        fs::write(&list, other).unwrap();
        eventually("that there is none", || is_said("list.crl: no CRL in it"));
        refused();
    }
    let third = OpenSsl::root("third");
    fs::write(backend.ca(), first.pem() + &second.pem() + &third.pem()).unwrap();
    let welcome = backend.connector_as(&third.client("c"), &BOTH);
    eventually("the third CA's clients", || visit(&welcome, &sidecar).ok());
    refused();
}

#[test]
fn a_crl_of_another_key_with_a_listed_cas_name_is_named_and_refuses_nobody() {
    let (root, namesake) = (OpenSsl::root("root"), OpenSsl::root("root"));
    let client = root.client("client");
    let same_number = namesake.client("client");
    namesake.revoke(&same_number.cert_pem);
    let backend = Backend::new();
    let sidecar = sidecar(&backend, &root.pem(), &namesake.crl(&["-crlexts", "key_ext"]));
    let words = "no CA of ours has signed this CRL: CN=root is among them, with another key";
    sidecar.wait_until("a word about it", |line| {
        line["level"] == "warn" && line["detail"].as_str().is_some_and(|detail| detail.contains(words))
    });
    visit(&backend.connector_as(&client, &BOTH), &sidecar).unwrap();
    assert!(checked(&backend).contains(words), "{}", checked(&backend));
}

#[test]
fn a_crl_with_a_listed_cas_name_and_a_signature_that_does_not_hold_keeps_out_whom_the_last_good_one_names() {
    let (root, namesake) = (OpenSsl::root("root"), OpenSsl::root("root"));
    let client = root.client("client");
    root.revoke(&client.cert_pem);
    let words = "the signature does not hold with the key of CN=root";
    for (good, bad) in [
        (root.crl(&["-crlexts", "key_ext"]), damaged(&root.crl(&["-crlexts", "key_ext"]))),
        (root.crl(&[]), damaged(&root.crl(&[]))),
        // It does not say that it is another key's.
        (root.crl(&[]), namesake.crl(&[]).into_bytes()),
    ] {
        let backend = Backend::new();
        let list = backend.files.path().join("list.crl");
        let running = setup(&backend, &root.pem(), &good).env("VESTIBULE_ADMIN", "127.0.0.1:0").ready();
        fs::write(&list, &bad).unwrap();
        let failed = running.wait_for("client CRL reload failed; keeping the last good generation");
        assert!(failed["error"].as_str().unwrap().contains(words), "{failed}");
        let refused = || alert(&backend.connector_as(&client, &BOTH), &running);
        assert_eq!(refused(), AlertDescription::CertificateRevoked);
        assert!(checked(&backend).contains(words), "{}", checked(&backend));
        fs::write(&list, &good).unwrap();
        running.wait_for("client CRL reload recovered");
        assert_eq!(refused(), AlertDescription::CertificateRevoked);
        // What was good is not in the way of a CA that is replaced.
        let other = namesake.client("other");
        fs::write(backend.ca(), namesake.pem()).unwrap();
        let welcome = backend.connector_as(&other, &BOTH);
        eventually("the new CA's clients", || visit(&welcome, &running).ok());

        let fresh = Backend::new();
        let mut sidecar = setup(&fresh, &root.pem(), &bad).arg("--credential-timeout").arg("300ms").start();
        assert_eq!(sidecar.exited().code(), Some(78));
        assert!(format!("{:?}", sidecar.lines()).contains(words), "{:?}", sidecar.lines());
    }
}

#[test]
fn lists_that_are_not_the_whole_truth_are_refused_with_the_reason() {
    let root = OpenSsl::root("root");
    let config = fs::read_to_string(root.at("config")).unwrap();
    for (extension, said) in [
        ("2.5.29.27=critical,DER:02:01:01", "a delta CRL, which only says what has changed"),
        ("issuingDistributionPoint=critical,@point\n[point]\nindirectCRL=TRUE", "an indirect CRL"),
        ("1.2.3.4=critical,ASN1:NULL", "the critical extension 1.2.3.4, which is not known"),
    ] {
        fs::write(root.at("config"), format!("{config}[odd]\n{extension}\n")).unwrap();
        let backend = Backend::new();
        let setup = setup(&backend, &root.pem(), root.crl(&["-crlexts", "odd"]));
        let mut sidecar = setup.arg("--credential-timeout").arg("300ms").start();
        assert_eq!(sidecar.exited().code(), Some(78));
        assert!(format!("{:?}", sidecar.lines()).contains(said), "{said}: {:?}", sidecar.lines());
    }
}

#[test]
fn a_crl_that_a_folder_or_nothing_takes_the_place_of_goes_on_to_count() {
    let root = OpenSsl::root("root");
    let client = root.client("client");
    root.revoke(&client.cert_pem);
    let backend = Backend::new();
    fs::write(backend.ca(), root.pem()).unwrap();
    let folder = backend.files.path().join("crls");
    fs::create_dir(&folder).unwrap();
    let list = folder.join("list.crl");
    fs::write(&list, root.crl(&[])).unwrap();
    let named = backend.files.path().join("named.crl");
    fs::copy(&list, &named).unwrap();
    for (place, gone) in [(&folder, &list), (&named, &named)] {
        let setup = backend.before(app::echo()).arg("--client-crl").arg(place.to_str().unwrap());
        let sidecar = setup.arg("--allow").arg("any").ready();
        let refused =
            || assert_eq!(alert(&backend.connector_as(&client, &BOTH), &sidecar), AlertDescription::CertificateRevoked);
        refused();
        fs::remove_file(gone).unwrap();
        fs::create_dir(gone).unwrap();
        let name = gone.file_name().unwrap().to_str().unwrap();
        sidecar.wait_until("a word about it", |line| line["level"] == "warn" && line.to_string().contains(name));
        refused();
    }
}
