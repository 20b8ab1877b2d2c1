//! Certificates made by rcgen, so that neither our issuer nor our reader has made them.

mod crls;

use crate::policy::{Policy, PolicyMode, Routes, Rule};
use crate::tls::ClientVerifier;
use crate::trust::{ClientAuthenticator, ClientPolicy};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::{Text, TrustAnchors, TrustAnchorsError};
use crate::crypto::provider;
use crate::identity::Role;
use crate::policy::DenialReason;

const DAY: Duration = Duration::from_secs(86_400);

/// All certificates of these tests are dated around it.
pub(super) static NOW: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// A certificate and its key.
pub(super) struct TestCertificate {
    der: CertificateDer<'static>,
    pub(super) pem: String,
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate of this name that is about to be made: valid from yesterday until tomorrow, for clients.
pub(super) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    dated(params, *NOW - DAY, *NOW + DAY)
}

pub(super) fn ca_params(name: &str) -> CertificateParams {
    with(params(name), |params| {
        params.extended_key_usages.clear();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    })
}

fn dated(params: CertificateParams, from: SystemTime, until: SystemTime) -> CertificateParams {
    with(params, |params| {
        params.not_before = from.into();
        params.not_after = until.into();
    })
}

pub(super) fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

pub(super) fn self_signed(params: CertificateParams) -> TestCertificate {
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    TestCertificate { der: cert.der().clone(), pem: cert.pem(), params, key }
}

pub(super) fn signed(params: CertificateParams, by: &TestCertificate) -> TestCertificate {
    signed_for(params, KeyPair::generate().unwrap(), by)
}

pub(super) fn signed_for(params: CertificateParams, key: KeyPair, by: &TestCertificate) -> TestCertificate {
    let cert = params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap();
    TestCertificate { der: cert.der().clone(), pem: cert.pem(), params, key }
}

pub(super) fn text(bytes: &str) -> Text {
    Text { path: "ca.pem".into(), bytes: bytes.into(), named: true }
}

pub(super) fn roots(cas: &[&TestCertificate]) -> TrustAnchors {
    roots_with(cas, &[])
}

fn roots_with(cas: &[&TestCertificate], crls: &[&[u8]]) -> TrustAnchors {
    let cas: Vec<_> = cas.iter().map(|ca| text(&ca.pem)).collect();
    let crls: Vec<_> =
        crls.iter().map(|crl| Text { path: "list.crl".into(), bytes: crl.to_vec(), named: true }).collect();
    TrustAnchors::parse(&cas, &crls, Role::Client).unwrap().0
}

pub(super) fn verify(anchors: &TrustAnchors, chain: &[&TestCertificate]) -> Result<(), DenialReason> {
    ask(anchors, &ders(chain), *NOW)
}

pub(super) fn ders(chain: &[&TestCertificate]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|made| made.der.clone()).collect()
}

/// Asked twice, since the second answer may be remembered.
pub(super) fn ask(anchors: &TrustAnchors, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), DenialReason> {
    let once = || anchors.verify(chain, now).map_err(|denial| denial.reason());
    let (first, again) = (once(), once());
    assert_eq!(first, again);
    first.map(|client| assert_eq!(client.chain(), Some(chain)))
}

/// A CRL in DER that names these serial numbers.
fn crl(by: &TestCertificate, serials: &[&[u8]], next_update: SystemTime) -> Vec<u8> {
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: (*NOW - DAY).into(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: (*NOW - 2 * DAY).into(),
        next_update: next_update.into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&Issuer::from_params(&by.params, &by.key)).unwrap().der().to_vec()
}

fn numbered(name: &str, serial: &[u8], by: &TestCertificate) -> TestCertificate {
    signed(with(params(name), |params| params.serial_number = Some(SerialNumber::from_slice(serial))), by)
}

fn purposes(purposes: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    with(params("client"), |params| params.extended_key_usages = purposes.to_vec())
}

#[test]
fn a_ca_vouches_for_what_it_has_signed_and_for_nothing_else() {
    let (ca, other, namesake) =
        (self_signed(ca_params("ca")), self_signed(ca_params("other")), self_signed(ca_params("ca")));
    let anchors = roots(&[&ca]);
    assert_eq!(verify(&anchors, &[&signed(params("client"), &ca)]), Ok(()));
    assert_eq!(verify(&anchors, &[&signed(params("client"), &other)]), Err(DenialReason::Untrusted));
    assert_eq!(
        verify(&anchors, &[&signed(params("client"), &namesake)]),
        Err(DenialReason::Untrusted),
        "the name alone"
    );
    assert_eq!(verify(&anchors, &[&signed(params("client"), &namesake), &ca]), Err(DenialReason::Untrusted));
    assert_eq!(
        verify(&anchors, &[&signed(params("client"), &other), &other]),
        Err(DenialReason::Untrusted),
        "brought along"
    );
    assert_eq!(verify(&anchors, &[&self_signed(params("client"))]), Err(DenialReason::Untrusted));
    assert_eq!(verify(&anchors, &[]), Err(DenialReason::NoCertificate));
    assert!(verify(&anchors, &[&ca]).is_err(), "a CA is no client");
}

#[test]
fn an_intermediate_may_be_sent_by_the_client_or_be_listed_itself() {
    let root = self_signed(ca_params("root"));
    let issuing = signed(ca_params("issuing"), &root);
    let client = signed(params("client"), &issuing);
    assert_eq!(verify(&roots(&[&root]), &[&client, &issuing]), Ok(()));
    assert_eq!(verify(&roots(&[&root]), &[&client, &root, &issuing]), Ok(()), "in any order");
    assert_eq!(verify(&roots(&[&root]), &[&client]), Err(DenialReason::Untrusted));
    assert_eq!(verify(&roots(&[&issuing]), &[&client]), Ok(()));
    assert_eq!(verify(&roots(&[&issuing]), &[&client, &issuing]), Ok(()));
}

#[test]
fn one_who_is_no_ca_vouches_for_nobody() {
    let root = self_signed(ca_params("root"));
    let client = signed(params("client"), &root);
    let forged = signed(params("forged"), &client);
    assert_eq!(verify(&roots(&[&root]), &[&forged, &client]), Err(DenialReason::ConstraintViolated));
    let (both, notes) = TrustAnchors::parse(&[text(&(client.pem.clone() + &root.pem))], &[], Role::Client).unwrap();
    assert_eq!(verify(&both, &[&forged]), Err(DenialReason::Untrusted));
    assert_eq!(verify(&both, &[&client]), Ok(()));
    assert_eq!(notes, ["ca.pem: certificate 1 is not a CA and is left out: CN=client"]);
    let error = TrustAnchors::parse(&[text(&client.pem)], &[], Role::Client).unwrap_err();
    assert!(matches!(error, TrustAnchorsError::Empty { .. }), "{error}");
    // A CA that may have no CA below it.
    let bounds = IsCa::Ca(BasicConstraints::Constrained(0));
    let short = signed(with(ca_params("short"), |params| params.is_ca = bounds), &root);
    let below = signed(ca_params("below"), &short);
    assert_eq!(
        verify(&roots(&[&root]), &[&signed(params("x"), &below), &below, &short]),
        Err(DenialReason::ConstraintViolated)
    );
}

#[test]
fn a_cas_own_certificate_breaks_a_limit_where_a_client_ca_has_signed_it_and_is_untrusted_where_none_has() {
    let (root, stranger) = (self_signed(ca_params("root")), self_signed(ca_params("stranger")));
    let namesake = self_signed(ca_params("root"));
    let middle = signed(ca_params("middle"), &root);
    let (below, foreign) = (signed(ca_params("below"), &middle), signed(ca_params("foreign"), &stranger));
    let anchors = roots(&[&root]);
    for chain in [vec![&root], vec![&middle], vec![&below, &middle], vec![&below, &root, &middle]] {
        assert_eq!(verify(&anchors, &chain), Err(DenialReason::ConstraintViolated));
    }
    for chain in [vec![&stranger], vec![&foreign], vec![&foreign, &stranger], vec![&namesake], vec![&below]] {
        assert_eq!(verify(&anchors, &chain), Err(DenialReason::Untrusted));
    }
}

#[test]
fn dates_count_the_cas_included() {
    let ca = self_signed(ca_params("ca"));
    let anchors = roots(&[&ca]);
    let at = |from, until| verify(&anchors, &[&signed(dated(params("client"), from, until), &ca)]);
    assert_eq!(at(*NOW - 2 * DAY, *NOW - DAY), Err(DenialReason::Expired));
    assert_eq!(at(*NOW + DAY, *NOW + 2 * DAY), Err(DenialReason::NotYetValid));
    let client = signed(dated(params("client"), *NOW - 9 * DAY, *NOW + 9 * DAY), &ca);
    let chain = [client.der.clone()];
    assert_eq!(ask(&anchors, &chain, *NOW), Ok(()));
    assert_eq!(ask(&anchors, &chain, *NOW + 5 * DAY), Err(DenialReason::Expired), "the CA");
    assert_eq!(ask(&anchors, &chain, *NOW - 5 * DAY), Err(DenialReason::NotYetValid), "the CA");
    assert_eq!(ask(&anchors, &chain, SystemTime::UNIX_EPOCH - DAY), Err(DenialReason::NotYetValid));
}

#[test]
fn a_ca_renewed_with_its_old_key_vouches_as_long_as_either_certificate_does() {
    let old = self_signed(dated(ca_params("ca"), *NOW - 9 * DAY, *NOW - DAY));
    let params_now = ca_params("ca");
    let renewed = params_now.self_signed(&old.key).unwrap();
    let client = signed(params("client"), &old);
    assert_eq!(verify(&roots(&[&old]), &[&client]), Err(DenialReason::Expired));
    let (both, _) = TrustAnchors::parse(&[text(&(old.pem.clone() + &renewed.pem()))], &[], Role::Client).unwrap();
    assert_eq!(verify(&both, &[&client]), Ok(()));
}

#[test]
fn a_certificate_for_servers_alone_is_none_for_clients() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let ca = self_signed(ca_params("ca"));
    let with = |usages: &[ExtendedKeyUsagePurpose]| verify(&roots(&[&ca]), &[&signed(purposes(usages), &ca)]);
    assert_eq!(with(&[ServerAuth]), Err(DenialReason::WrongPurpose));
    assert_eq!(with(&[ServerAuth, ClientAuth]), Ok(()));
    assert_eq!(with(&[]), Ok(()), "without a limit there is none");
}

#[test]
fn files_are_read_whole_or_not_at_all() {
    let ca = self_signed(ca_params("ca"));
    // Diego's bundle has the same CA three times.
    let (anchors, notes) = TrustAnchors::parse(&[text(&ca.pem.repeat(3)), text(&ca.pem)], &[], Role::Client).unwrap();
    assert_eq!((anchors.0.cas.len(), notes.len()), (1, 0));
    let with_prose = format!("# our CA - the only one\n{}\n# - end -\n", ca.pem);
    assert!(TrustAnchors::parse(&[text(&with_prose)], &[], Role::Client).is_ok());
    for end in 1..ca.pem.trim_end().len() {
        assert!(TrustAnchors::parse(&[text(&ca.pem[..end])], &[], Role::Client).is_err(), "{end}");
        // Some dashes may be anything; whoever takes something away by them is looked at for longer.
        assert_eq!(
            TrustAnchors::parse(&[text(&(ca.pem.clone() + &ca.pem[..end]))], &[], Role::Client).is_err(),
            end > 5,
            "{end}"
        );
    }
    let said = |bytes: &str, named| {
        let odd = Text { path: "odd.pem".into(), bytes: bytes.into(), named };
        TrustAnchors::parse(&[text(&ca.pem), odd], &[], Role::Client)
            .map(|(_, notes)| notes)
            .map_err(|error| error.to_string())
    };
    assert_eq!(said("read me", true).unwrap_err(), "odd.pem: no certificate in PEM in it");
    assert_eq!(said("read me", false).unwrap(), ["odd.pem: no certificate in PEM in it, left out"]);
    let broken = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ca.pem);
    for named in [true, false] {
        assert_eq!(
            said(&broken, named).unwrap_err(),
            "odd.pem: certificate 2: not an X.509 certificate; write the file anew, or take it out"
        );
    }
    let error = TrustAnchors::parse(&[], &[], Role::Client).unwrap_err();
    assert!(matches!(error, TrustAnchorsError::Empty { .. }));
}

#[test]
fn the_systems_bundle_can_be_read() {
    let bytes = std::fs::read("/etc/ssl/certs/ca-certificates.crt").expect("the package ca-certificates");
    let (anchors, notes) =
        TrustAnchors::parse(&[Text { path: "bundle".into(), bytes, named: true }], &[], Role::Client).unwrap();
    assert!(anchors.0.cas.len() > 50, "{notes:?}");
    assert!(anchors.hints().is_empty(), "too long for every handshake");
}

#[test]
fn clients_are_told_each_ca_once() {
    let (a, b) = (self_signed(ca_params("a")), self_signed(ca_params("b")));
    assert_eq!(roots(&[&a, &b, &a]).hints().len(), 2);
}

/// Whether a handshake in memory succeeds, as each side sees it.
fn handshake(
    anchors: &TrustAnchors,
    optional: bool,
    client: Option<&TestCertificate>,
    version: &'static rustls::SupportedProtocolVersion,
) -> [Result<(), String>; 2] {
    let server = self_signed(params("server"));
    let private = |made: &TestCertificate| PrivateKeyDer::try_from(made.key.serialize_der()).unwrap();
    let mut names = CertificateParams::new(vec!["server".to_owned()]).unwrap();
    names.is_ca = IsCa::NoCa;
    let cert = names.self_signed(&server.key).unwrap();
    let allow = if optional { vec![Rule::Any, Rule::Anonymous] } else { vec![Rule::Any] };
    let policy = Policy { mode: PolicyMode::Enforce, allow, deny: Vec::new(), routes: Routes::default() };
    let client_policy = ClientPolicy { anchors: anchors.clone(), policy, callers: None, notes: Vec::new() };
    let authenticator = ClientAuthenticator::new(Arc::new(client_policy), !optional, None);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(Arc::new(ClientVerifier::new(
            authenticator,
            crate::config::DenialAlert::AccessDenied,
        )))
        .with_single_cert(vec![cert.der().clone()], private(&server))
        .unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(trusted);
    let client_config = match client {
        Some(made) => builder.with_client_auth_cert(vec![made.der.clone()], private(made)).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let mut ends = (
        ClientConnection::new(Arc::new(client_config), ServerName::try_from("server").unwrap()).unwrap(),
        ServerConnection::new(Arc::new(config)).unwrap(),
    );
    let mut said = [Ok(()), Ok(())];
    for _ in 0..8 {
        let mut wire = Vec::new();
        while ends.0.wants_write() {
            ends.0.write_tls(&mut wire).unwrap();
        }
        ends.1.read_tls(&mut &wire[..]).unwrap();
        let server = ends.1.process_new_packets().map(|_| ()).map_err(|error| error.to_string());
        let mut wire = Vec::new();
        while ends.1.wants_write() {
            ends.1.write_tls(&mut wire).unwrap();
        }
        ends.0.read_tls(&mut &wire[..]).unwrap();
        let client = ends.0.process_new_packets().map(|_| ()).map_err(|error| error.to_string());
        for (said, result) in said.iter_mut().zip([client, server]) {
            if said.is_ok() {
                *said = result;
            }
        }
    }
    assert!(said[1].is_err() || !ends.1.is_handshaking());
    said
}

#[test]
fn the_handshake_asks_the_same_and_the_client_is_told_by_an_alert() {
    let (ca, other) = (self_signed(ca_params("ca")), self_signed(ca_params("other")));
    let anchors = roots_with(&[&ca], &[&crl(&ca, &[&[5]], *NOW + DAY)]);
    let good = signed(params("client"), &ca);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for optional in [true, false] {
            let [client, server] = handshake(&anchors, optional, Some(&good), version);
            assert_eq!((client, server), (Ok(()), Ok(())));
            for (bad, alert) in [
                (signed(dated(params("x"), *NOW - 2 * DAY, *NOW - DAY), &ca), "CertificateExpired"),
                (numbered("x", &[5], &ca), "CertificateRevoked"),
                (signed(params("x"), &other), "UnknownCA"),
                (signed(purposes(&[ExtendedKeyUsagePurpose::ServerAuth]), &ca), "UnsupportedCertificate"),
            ] {
                let [client, server] = handshake(&anchors, optional, Some(&bad), version);
                assert!(server.is_err() && client.as_ref().is_err_and(|said| said.contains(alert)), "{client:?}");
            }
            let [client, server] = handshake(&anchors, optional, None, version);
            assert_eq!((client.is_ok(), server.is_ok()), (optional, optional), "{client:?} {server:?}");
        }
    }
}

#[test]
fn who_was_vouched_for_is_known_by_every_byte_and_only_while_all_that_was_looked_at_is_valid() {
    let root = self_signed(dated(ca_params("root"), *NOW - 9 * DAY, *NOW + 9 * DAY));
    let issuing = signed(dated(ca_params("issuing"), *NOW - DAY, *NOW + DAY), &root);
    let client = signed(dated(params("client"), *NOW - 2 * DAY, *NOW + 3 * DAY), &issuing);
    let anchors = roots(&[&root]);
    let chain = ders(&[&client, &issuing]);
    assert_eq!(ask(&anchors, &chain, *NOW), Ok(()));
    assert_eq!(ask(&anchors, &chain, *NOW + 2 * DAY), Err(DenialReason::Expired), "the CA between");
    assert_eq!(ask(&anchors, &chain[..1], *NOW), Err(DenialReason::Untrusted), "without what was shown with it");
    let mut forged = client.der.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(ask(&anchors, &[forged.into(), chain[1].clone()], *NOW), Err(DenialReason::Untrusted));
    assert_eq!(ask(&anchors, &chain, *NOW), Ok(()), "it still is");
}

#[test]
fn more_clients_than_are_remembered_are_vouched_for_all_the_same() {
    let ca = self_signed(ca_params("ca"));
    let anchors = roots(&[&ca]);
    let clients: Vec<TestCertificate> = (0..70).map(|at| signed(params(&format!("client {at}")), &ca)).collect();
    for client in clients.iter().chain(&clients) {
        assert_eq!(verify(&anchors, &[client]), Ok(()));
    }
}
