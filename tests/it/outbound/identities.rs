//! Who answers, and whom the server sees: nobody else gets a byte of the app's.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use vestibule::crypto::provider;
use vestibule::issuer::{CertificateAuthority, Folder};

use super::{Caller, app_guid, entry, outbound, say, server};
use crate::clients::Backend;
use crate::support::app;
use crate::support::app::App;
use crate::support::client::Ending;
use crate::support::credentials::Credentials;
use crate::support::sidecar::Setup;

#[test]
fn whoever_answers_and_is_not_the_expected_app_gets_no_byte_and_the_app_sees_a_reset() {
    let caller = Caller::new();
    let backend = Backend::new();
    let app = App::start();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let another = Credentials::new().spec.app;
    let sidecar = caller.dialling(&[serving.addr()], &format!("cf:app:{another}")).ready();
    assert_eq!(say(outbound(&sidecar), b"secret"), (vec![], Ending::Reset));
    let entry = entry(&sidecar, "unexpected_identity");
    let detail = entry["detail"].as_str().unwrap();
    let said = format!(
        "{} has answered, and cf:app:{another} is expected; see where the route leads, or expect this app by the key expect of its [[outbound]] table",
        app_guid(&backend)
    );
    assert_eq!(detail, said);
    let denied = sidecar.wait_until("the warning", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("endpoint denied"))
    });
    assert!(!denied["message"].as_str().unwrap().contains("other endpoints"), "there is no other: {denied}");
    assert_eq!(
        (&entry["server_app"], &entry["bytes_up"]),
        (&backend.credentials.spec.app.to_string().into(), &0.into())
    );
    assert_eq!(app.unaccepted(), 0, "nobody has dialled the app behind it");
    assert_eq!(serving.access_log_entry("handshake_failed")["bytes_up"], 0);
}

#[test]
fn a_certificate_of_another_ca_is_untrusted_whatever_it_says() {
    let caller = Caller::new();
    // Another CA that is called alike, and names the app that is expected.
    let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
    let backend = Backend::new();
    let credential = authority.issue(&backend.credentials.spec, SystemTime::now()).unwrap();
    Folder::instance(backend.credentials.dir()).write(&credential).unwrap();
    let serving = Setup::proxy(&backend.credentials, app::echo()).ready();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    assert_eq!(say(outbound(&sidecar), b"secret"), (vec![], Ending::Reset));
    let refused = entry(&sidecar, "untrusted");
    assert_eq!((&refused["bytes_up"], refused["server_app"].is_null()), (&0.into(), true));

    // The platform's folder vouches for nobody, and the entry says that it would.
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("other.crt"), authority.roots_pem()).unwrap();
    let platform = caller.dialling(&[serving.addr()], &app_guid(&backend));
    let sidecar = platform.env("CF_SYSTEM_CERT_PATH", folder.path().to_str().unwrap()).ready();
    // It is called like our own issuer, so it counts as its successor.
    assert_eq!(say(outbound(&sidecar), b"hello"), (b"hello".to_vec(), Ending::Fin));
}

/// The first certificate of `pem`, and the others.
fn leaf_and_cas(pem: &str) -> (&str, &str) {
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_at(pem.find(END).unwrap() + END.len())
}

#[test]
fn a_ca_behind_our_certificate_that_has_not_signed_it_vouches_for_nobody() {
    let caller = Caller::new();
    // A server under another CA that is called alike, and that CA behind our own certificate.
    let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
    let backend = Backend::new();
    let credential = authority.issue(&backend.credentials.spec, SystemTime::now()).unwrap();
    Folder::instance(backend.credentials.dir()).write(&credential).unwrap();
    let serving = Setup::proxy(&backend.credentials, app::echo()).ready();
    let ours = std::fs::read_to_string(caller.credentials.cert()).unwrap();
    let mixed = [leaf_and_cas(&ours).0, leaf_and_cas(&credential.cert_pem).1].concat();
    std::fs::write(caller.credentials.cert(), mixed).unwrap();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    assert_eq!(say(outbound(&sidecar), b"secret"), (vec![], Ending::Reset));
    let refused = entry(&sidecar, "untrusted");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("no CA that has signed it follows it in its file"), "{refused}");
    assert_eq!(refused["bytes_up"], 0);
}

#[test]
fn without_a_ca_behind_our_certificate_its_issuer_is_found_in_the_platforms_folder() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let ours = std::fs::read_to_string(caller.credentials.cert()).unwrap();
    std::fs::write(caller.credentials.cert(), leaf_and_cas(&ours).0).unwrap();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    assert_eq!(say(outbound(&sidecar), b"secret"), (vec![], Ending::Reset));
    assert_eq!(entry(&sidecar, "untrusted")["bytes_up"], 0);

    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("platform.crt"), crate::support::credentials::roots_pem()).unwrap();
    let platform = caller.dialling(&[serving.addr()], &app_guid(&backend));
    let sidecar = platform.env("CF_SYSTEM_CERT_PATH", folder.path().to_str().unwrap()).ready();
    // The server asks for a certificate that it can verify, and ours has its CA no longer behind it: who answers is believed all the same.
    say(outbound(&sidecar), b"x");
    let judged = sidecar.wait_until("an outbound entry", |line| line["direction"] == "outbound");
    assert_eq!(judged["server_app"], backend.credentials.spec.app.to_string(), "{judged}");
}

#[test]
fn a_server_that_does_not_accept_our_identity_is_named_with_its_alert() {
    let caller = Caller::new();
    let another = Credentials::new().spec.app;
    let (backend, serving) = server(&format!("cf:app:{another}"));
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    assert_eq!(say(outbound(&sidecar), b"hello"), (vec![], Ending::Reset));
    let entry = entry(&sidecar, "client_certificate_rejected");
    let (detail, us) = (entry["detail"].as_str().unwrap(), format!("cf:app:{}", caller.guid()));
    assert!(detail.contains("AccessDenied") && detail.contains(&us) && detail.contains("let in"), "{entry}");
    assert_eq!(serving.access_log_entry("denied")["client_app"], caller.guid());
}

/// A server with the certificate of `backend` that speaks `version` alone, and trusts no client but those of `anchor`.
fn trusting(
    backend: &Backend,
    version: &'static SupportedProtocolVersion,
    anchor: CertificateDer<'static>,
) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(backend.credentials.cert()).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(backend.credentials.key()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(anchor).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let config = Arc::new(config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
            let refused = stream.read(&mut [0; 1]);
            assert!(refused.is_err(), "it has read something");
            // The alert is not lost with what was not read.
            let _ = stream.sock.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream.sock, &mut std::io::sink());
        }
    });
    addr
}

#[test]
fn who_has_refused_us_is_named_in_either_version_of_tls() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (caller, backend) = (Caller::new(), Backend::new());
        // An anchor that has issued nothing, and is called like no CA.
        let anchor = CertificateDer::from_pem_file(Credentials::new().cert()).unwrap();
        let sidecar = caller.dialling(&[trusting(&backend, version, anchor)], &app_guid(&backend)).ready();
        assert_eq!(say(outbound(&sidecar), b"hello"), (vec![], Ending::Reset));
        let entry = entry(&sidecar, "client_certificate_rejected");
        assert_eq!(entry["server_app"], backend.credentials.spec.app.to_string(), "{version:?}: {entry}");
        assert_eq!(entry["rule"], app_guid(&backend), "{version:?}: {entry}");
    }
}

#[test]
fn a_server_that_knows_our_ca_by_name_and_by_another_key_is_told_to_trust_ours() {
    let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
    let anchor = CertificateDer::from_pem_slice(authority.roots_pem().as_bytes()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (caller, backend) = (Caller::new(), Backend::new());
        let server = trusting(&backend, version, anchor.clone());
        let sidecar = caller.dialling(&[server], &app_guid(&backend)).ready();
        assert_eq!(say(outbound(&sidecar), b"hello"), (vec![], Ending::Reset));
        let entry = entry(&sidecar, "client_certificate_rejected");
        let detail = entry["detail"].as_str().unwrap();
        assert!(detail.contains("the alert DecryptError") && detail.contains(&caller.guid()), "{version:?}: {detail}");
        assert!(detail.ends_with("one that it trusts is called alike, and has another key"), "{version:?}: {detail}");
        assert!(!detail.contains("on that port"), "TLS is spoken there: {detail}");
    }
}

#[test]
fn a_name_that_the_certificate_does_not_have_is_refused_with_those_that_it_has() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let named = |name: &str| {
        let setup = caller.dialling(&[serving.addr()], &app_guid(&backend));
        setup.arg("--outbound-server-name").arg(name).ready()
    };
    let right = named(backend.credentials.instance());
    assert_eq!(say(outbound(&right), b"x"), (b"x".to_vec(), Ending::Fin));
    assert_eq!(serving.access_log_entry("completed")["server_name"], backend.credentials.instance());
    let wrong = named("another.example");
    assert_eq!(say(outbound(&wrong), b"x"), (vec![], Ending::Reset));
    let detail = entry(&wrong, "name_mismatch")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("another.example") && detail.contains(backend.credentials.instance()), "{detail}");
}

#[test]
fn an_identity_suffices_where_no_name_is_to_be_checked() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let start = |name: &str| {
        let to = format!("localhost:{}", serving.addr().port());
        let setup = caller.dialling_by_flags("0", &to, &app_guid(&backend));
        setup.env("VESTIBULE_OUTBOUND_SERVER_NAME", name).ready()
    };
    let checked = start("");
    assert_eq!(say(outbound(&checked), b"x"), (vec![], Ending::Reset));
    // Where one address refuses and somebody else answers at the other, the answer is what is told.
    let told = entry(&checked, "name_mismatch");
    assert_eq!(told["endpoint_addr"], serving.addr().to_string());
    let unchecked = start("off");
    assert_eq!(say(outbound(&unchecked), b"x"), (b"x".to_vec(), Ending::Fin));
    assert_eq!(serving.access_log_entry("completed")["server_name"], "localhost");
}
