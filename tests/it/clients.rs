//! Who may come in: certificates, identities, rules; what the denied see, and what becomes of those who were let in.

mod changes;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, SupportedProtocolVersion};
use tempfile::TempDir;
use vestibule::issuer::{CertificateAuthority, Credential, InstanceSpec, KeyKind};

use crate::support::app::App;
use crate::support::client::{Client, Connector, Ending, connector_with};
use crate::support::credentials::{Credentials, issue, roots_pem};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A back-end, and a folder for its CAs and its policy.
pub(crate) struct Backend {
    pub(crate) credentials: Credentials,
    pub(crate) files: TempDir,
}

impl Backend {
    pub(crate) fn new() -> Self {
        let files = TempDir::new().unwrap();
        fs::write(files.path().join("ca.crt"), roots_pem()).unwrap();
        Self { credentials: Credentials::new(), files }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.files.path().join("ca.crt")
    }

    pub(crate) fn policy(&self) -> PathBuf {
        self.files.path().join("policy.toml")
    }

    /// Replaces the policy file in one step.
    pub(crate) fn write_policy(&self, text: &str) {
        let next = self.files.path().join(".policy.next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.policy()).unwrap();
    }

    /// A sidecar before `app` that trusts the CAs.
    pub(crate) fn before(&self, app: impl std::fmt::Display) -> Setup {
        Setup::proxy(&self.credentials, app).arg("--client-ca").arg(self.ca().to_str().unwrap())
    }

    pub(crate) fn connector(&self, versions: &[&'static SupportedProtocolVersion]) -> Connector {
        connector_with(self.credentials.instance(), versions)
    }

    /// A client that shows `credential`.
    pub(crate) fn connector_as(
        &self,
        credential: &Credential,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Connector {
        let mut connector = self.connector(versions);
        let chain = CertificateDer::pem_slice_iter(credential.cert_pem.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).unwrap();
        connector.config = rustls::ClientConfig::builder_with_provider(connector.config.crypto_provider().clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(crate::support::credentials::roots())
            .with_client_auth_cert(chain, key)
            .unwrap();
        connector
    }
}

/// A request and its answer through an app that echoes.
pub(crate) fn visit(connector: &Connector, sidecar: &Sidecar) -> std::io::Result<Client> {
    let mut client = connector.connect(sidecar.addr())?;
    client.send(b"hello")?;
    assert_eq!(client.receive(5)?, b"hello");
    Ok(client)
}

/// The alert that ends the connection of a client that is not let in. In TLS 1.3 it comes after the client's own part.
#[track_caller]
pub(crate) fn alert(connector: &Connector, sidecar: &Sidecar) -> AlertDescription {
    let error = match connector.connect(sidecar.addr()) {
        Err(error) => error,
        Ok(mut client) => rustls::Stream::new(&mut client.tls, &mut client.tcp).read(&mut [0; 1]).unwrap_err(),
    };
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error}"),
    }
}

pub(crate) fn someone() -> (InstanceSpec, Credential) {
    let spec = InstanceSpec { key: KeyKind::P256, ..InstanceSpec::generate().unwrap() };
    let credential = issue(&spec);
    (spec, credential)
}

#[test]
fn green_comes_in_blue_is_told_by_an_alert_and_the_operator_sees_who_and_why() {
    for version in BOTH {
        let backend = Backend::new();
        let app = App::start();
        let ((green, green_pair), (blue, blue_pair)) = (someone(), someone());
        let sidecar = backend.before(app.addr()).arg("--allow-app").arg(&green.app.to_string()).ready();

        assert_eq!(alert(&backend.connector_as(&blue_pair, &[version]), &sidecar), AlertDescription::AccessDenied);
        let entry = sidecar.access_log_entry("denied");
        assert_eq!(entry["denial_reason"], "not_allowed");
        assert_eq!(entry["verdict"], "denial");
        assert_eq!(entry["client_app"], blue.app.to_string());
        assert_eq!(entry["client_space"], blue.space.to_string());
        assert_eq!(entry["client_org"], blue.organization.to_string());
        assert_eq!(app.unaccepted(), 0, "the denied never reach the app");

        let mut client = backend.connector_as(&green_pair, &[version]).connect(sidecar.addr()).unwrap();
        client.send(b"hi").unwrap();
        app.accept().read_exact(&mut [0; 2]).unwrap();
        client.close_notify();
        drop(client);
        let entry = sidecar.wait_until("green's entry", |line| line["verdict"] == "permit");
        assert_eq!(entry["rule"], format!("cf:app:{}", green.app));
        assert_eq!(entry["client_app"], green.app.to_string());
    }
}

#[test]
fn each_kind_of_refusal_has_its_own_alert_and_reason() {
    let backend = Backend::new();
    let app = App::start();
    let sidecar = backend.before(app.addr()).arg("--allow").arg("any").ready();
    let now = SystemTime::now();
    let stranger = CertificateAuthority::generate(now).unwrap();
    let (spec, _) = someone();
    let untrusted = stranger.issue(&spec, now).unwrap();
    let expired = crate::support::credentials::issue_at(
        &InstanceSpec { validity: Duration::from_secs(60), ..spec.clone() },
        now - Duration::from_secs(3600),
    );
    let early = crate::support::credentials::issue_at(&spec, now + Duration::from_secs(3600));
    for version in BOTH {
        assert_eq!(alert(&backend.connector(&[version]), &sidecar), AlertDescription::CertificateRequired);
        for (credential, wanted, reason) in [
            (&untrusted, AlertDescription::UnknownCA, "untrusted"),
            (&expired, AlertDescription::CertificateExpired, "expired"),
            (&early, AlertDescription::CertificateExpired, "not_yet_valid"),
        ] {
            assert_eq!(alert(&backend.connector_as(credential, &[version]), &sidecar), wanted, "{reason}");
            let entry = sidecar.wait_until(reason, |line| line["denial_reason"] == reason);
            // Whose certificate a client CA has issued is known, also past its time; what another one says is marked.
            let known = reason != "untrusted";
            assert_eq!(entry["client_app"] == spec.app.to_string(), known, "{entry}");
            assert_eq!(entry["client_serial"].is_string(), known, "{entry}");
            assert_eq!(entry["unverified_issuer"].is_string(), !known, "{entry}");
            let subject = entry["unverified_subject"].as_str().unwrap_or_default();
            assert_eq!(subject.contains(&spec.app.to_string()), !known, "{entry}");
        }
        let foreign = stranger
            .issue(&InstanceSpec { validity: Duration::from_secs(60), ..spec.clone() }, now - Duration::from_secs(3600))
            .unwrap();
        let connector = backend.connector_as(&foreign, &[version]);
        assert_eq!(alert(&connector, &sidecar), AlertDescription::CertificateExpired);
        let entry = sidecar.wait_until("a stranger past its time", |line| {
            line["denial_reason"] == "expired" && line["unverified_serial"].is_string()
        });
        assert!(entry["client_app"].is_null() && entry["client_serial"].is_null(), "{entry}");
        sidecar.wait_until("a client without", |line| line["denial_reason"] == "no_certificate");
    }
    assert_eq!(app.unaccepted(), 0);
}

#[test]
fn a_chain_that_is_longer_than_a_handshake_message_is_a_denial_like_any_that_is_too_long() {
    let backend = Backend::new();
    let sidecar = backend.before(app::echo()).arg("--allow").arg("any").ready();
    let (_, pair) = someone();
    for (copies, says) in [
        (20, " certificates, and no more than 10 are looked at"),
        (80, "more than 65535 bytes, and no more than 60000 are looked at; send fewer"),
    ] {
        let long = Credential { cert_pem: pair.cert_pem.clone() + &roots_pem().repeat(copies), ..pair.clone() };
        for version in BOTH {
            // rustls ends the longer one without an alert.
            assert!(visit(&backend.connector_as(&long, &[version]), &sidecar).is_err());
        }
        let of_these = || {
            let lines = sidecar.lines_of("connection closed");
            lines
                .iter()
                .filter(|line| {
                    line["denial_reason"] == "chain_too_long" && line["detail"].as_str().unwrap().contains(says)
                })
                .count()
        };
        eventually(says, || (of_these() == 2).then_some(()));
    }
    assert!(sidecar.reasons().iter().all(|reason| reason == "denied"), "{:?}", sidecar.reasons());
}

#[test]
fn a_thousand_denied_clients_leave_no_connection_to_the_app() {
    let backend = Backend::new();
    let app = App::start();
    let sidecar = backend.before(app.addr()).arg("--deny").arg("cf:any").arg("--allow").arg("any").ready();
    let (_, pair) = someone();
    let connector = backend.connector_as(&pair, &[&rustls::version::TLS13]);
    for _ in 0..1000 {
        assert_eq!(alert(&connector, &sidecar), AlertDescription::AccessDenied);
    }
    assert_eq!(app.unaccepted(), 0);
    eventually("a record of each", || {
        (sidecar.reasons().iter().filter(|reason| *reason == "denied").count() == 1000).then_some(())
    });
    let entry = sidecar.access_log_entry("denied");
    assert_eq!((entry["denial_reason"].as_str(), entry["rule"].as_str()), (Some("denied_by_rule"), Some("cf:any")));
}

#[test]
fn a_flood_of_denied_clients_does_not_flood_the_log_and_is_counted_whole() {
    let backend = Backend::new();
    let setup =
        backend.before(app::echo()).arg("--allow").arg("cn:somebody-else").env("VESTIBULE_ACCESS_LOG", "denied");
    let mut sidecar = setup.env("VESTIBULE_LOG_LEVEL", "info").ready();
    let (_, pair) = someone();
    let connector = backend.connector_as(&pair, &[&rustls::version::TLS13]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..100).for_each(|_| assert_eq!(alert(&connector, &sidecar), AlertDescription::AccessDenied))
            });
        }
    });
    sidecar.signal("TERM");
    assert!(sidecar.exited().success());
    assert_eq!(sidecar.wait_for("exited")["denied"], 400);
    let lines = sidecar.lines_of("connection closed");
    let left_out: u64 = lines.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
    assert!(lines.len() < 400, "{} lines", lines.len());
    assert!(lines.len() as u64 + left_out <= 400);
}

#[test]
fn audit_lets_in_and_records_what_would_have_been() {
    let backend = Backend::new();
    let (green, blue) = (someone(), someone());
    let rule = format!("cf:app:{}", green.0.app);
    let setup = backend.before(app::echo()).arg("--allow").arg(&rule).arg("--policy-mode").arg("audit");
    // Without a word about the access log: it has what is let in as well.
    let sidecar = setup.arg("--access-log").arg("denied").ready();
    drop(visit(&backend.connector_as(&green.1, &[&rustls::version::TLS13]), &sidecar).unwrap());
    drop(visit(&backend.connector_as(&blue.1, &[&rustls::version::TLS13]), &sidecar).unwrap());
    let entry = sidecar.wait_until("the audit", |line| line["verdict"] == "audit");
    assert_eq!((&entry["denial_reason"], &entry["level"]), (&"not_allowed".into(), &"info".into()));
    assert!(!sidecar.lines().iter().any(|line| line["verdict"] == "permit" && line["level"] == "info"));
    // Audit is no excuse for those whom nobody vouches for.
    assert_eq!(alert(&backend.connector(&[&rustls::version::TLS13]), &sidecar), AlertDescription::CertificateRequired);
}

#[test]
fn a_certificate_may_be_optional_only_where_a_rule_says_so() {
    let backend = Backend::new();
    let (_, pair) = someone();
    let request =
        |rule: &str| backend.before(app::echo()).arg("--client-auth").arg("request").arg("--allow").arg(rule).ready();
    let strict = request("cf:any");
    visit(&backend.connector_as(&pair, &BOTH), &strict).unwrap();
    assert_eq!(alert(&backend.connector(&[&rustls::version::TLS13]), &strict), AlertDescription::CertificateRequired);

    let lenient = request("cf:any,anonymous");
    visit(&backend.connector_as(&pair, &BOTH), &lenient).unwrap();
    visit(&backend.connector(&BOTH), &lenient).unwrap();
}

#[test]
fn an_app_that_last_refused_is_dialled_before_the_next_handshake_is_answered() {
    let backend = Backend::new();
    let (_, pair) = someone();
    let nobody = app::nobody();
    let sidecar = backend.before(nobody).arg("--allow").arg("cf:any").ready();
    let connector = backend.connector_as(&pair, &[&rustls::version::TLS13]);
    // The first client is past the point of no return when the app turns out to be away: no reset.
    let mut first = connector.connect(sidecar.addr()).unwrap();
    assert_eq!(first.receive_all(), (Vec::new(), Ending::Fin));
    sidecar.access_log_entry("app_refused");
    // From then on clients are turned away before anything is signed.
    for _ in 0..3 {
        let error = connector.connect(sidecar.addr()).err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let listener = std::net::TcpListener::bind(nobody).unwrap();
    let mut client = connector.connect(sidecar.addr()).unwrap();
    client.send(b"x").unwrap();
    listener.accept().unwrap().0.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn the_same_app_and_space_are_known_from_our_own_certificate() {
    let backend = Backend::new();
    let sibling = issue(&InstanceSpec { key: KeyKind::P256, ..backend.credentials.spec.sibling().unwrap() });
    let (_, stranger) = someone();
    for rule in ["cf:same:app", "cf:same:space", "cf:same:org"] {
        let sidecar = backend.before(app::echo()).arg("--allow").arg(rule).ready();
        visit(&backend.connector_as(&sibling, &BOTH), &sidecar).unwrap();
        assert_eq!(alert(&backend.connector_as(&stranger, &BOTH), &sidecar), AlertDescription::AccessDenied, "{rule}");
    }
}

#[test]
fn one_listener_may_ask_for_certificates_and_another_not() {
    let backend = Backend::new();
    let config = backend.files.path().join("vestibule.toml");
    let app = app::echo();
    let text = format!(
        "[[listener]]\nlisten = '127.0.0.1:0'\napp = '{app}'\nclient-ca = '{}'\nallow = 'cf:any'\n\
         [[listener]]\nlisten = '127.0.0.1:0'\napp = '{app}'\n",
        backend.ca().display()
    );
    fs::write(&config, text).unwrap();
    let sidecar =
        Setup::command(&["proxy", "--config", config.to_str().unwrap()]).credentials(&backend.credentials).ready();
    let addrs = sidecar.addrs();
    let connector = backend.connector(&[&rustls::version::TLS13]);
    let mut open = connector.connect(addrs[1]).unwrap();
    open.send(b"x").unwrap();
    assert_eq!(open.receive(1).unwrap(), b"x");
    assert_eq!(alert(&connector, &sidecar), AlertDescription::CertificateRequired);
}

#[test]
fn rules_that_cannot_hold_are_refused_at_the_start() {
    let backend = Backend::new();
    for (args, said) in [
        (vec!["--client-auth", "off", "--allow", "any"], "--client-auth"),
        (vec!["--allow", "cf:ap:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11"], "cf:ap"),
    ] {
        let setup = args.iter().fold(backend.before(app::echo()), |setup, arg| setup.arg(arg));
        let mut sidecar = setup.start();
        assert_eq!(sidecar.exited().code(), Some(2));
        assert!(format!("{:?}", sidecar.lines()).contains(said), "{:?}", sidecar.lines());
    }
    let mut sidecar = backend
        .before(app::echo())
        .arg("--policy")
        .arg("/nonexistent/policy.toml")
        .arg("--credential-timeout")
        .arg("300ms")
        .start();
    assert_eq!(sidecar.exited().code(), Some(78));
}

#[test]
fn a_denied_client_that_has_sent_a_request_already_reads_the_alert_and_no_reset() {
    let backend = Backend::new();
    let (_, pair) = someone();
    let sidecar = backend.before(app::echo()).arg("--allow").arg("cn:somebody-else").ready();
    let connector = backend.connector_as(&pair, &[&rustls::version::TLS13]);
    for _ in 0..50 {
        let tcp = TcpStream::connect(sidecar.addr()).unwrap();
        let mut client = connector.handshake(tcp).unwrap();
        // In TLS 1.3 the client is done before we have judged it, and sends at once; some of it we never read.
        let _ = client.send(&[7; 200_000]);
        let error = rustls::Stream::new(&mut client.tls, &mut client.tcp).read(&mut [0; 1]).unwrap_err();
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
}
