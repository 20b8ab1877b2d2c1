use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::*;
use crate::identity::Role;
use crate::trust::Text;

const DAY: Duration = Duration::from_secs(86_400);

/// A CA, valid until `not_after`.
fn ca(not_after: SystemTime) -> (rcgen::Certificate, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "the CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = ((not_after - 10 * DAY).into(), not_after.into());
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), Issuer::new(params, key))
}

/// What is said of a server whose certificate is for `usage`, under a CA that is valid until `not_after`.
fn denial(not_after: SystemTime, usage: ExtendedKeyUsagePurpose) -> String {
    let (anchor, issuer) = ca(not_after);
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    (params.not_before, params.not_after) = ((SystemTime::now() - DAY).into(), (SystemTime::now() + DAY).into());
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let text = Text::of_certificates(Path::new("ca.crt"), std::iter::once(anchor.der()));
    let authenticator = ServerAuthenticator::new(ServerPolicy {
        anchors: TrustAnchors::parse(&[text], &[], Role::Server).unwrap().0,
        others: None,
        expected: None,
        own: None,
        name_check: NameCheck::All,
        asked: "CAs of --outbound-ca (ca.crt)".to_owned(),
        help: None,
        remedies: ServerRemedies {
            untrusted: "add the CA".to_owned(),
            no_ca: "give the CAs".to_owned(),
            ca_out_of_date: "give the CA that has taken its place".to_owned(),
            name_mismatch: "dial a name that it has".to_owned(),
            unexpected_identity: "see where the route leads".to_owned(),
        },
    });
    let name = ServerName::try_from("a.example").unwrap();
    authenticator.authorize(&[leaf.der().clone()], &name, SystemTime::now()).unwrap_err().to_string()
}

#[test]
fn what_helps_against_a_certificate_that_is_not_for_servers_is_no_other_ca() {
    let said = denial(SystemTime::now() + 10 * DAY, ExtendedKeyUsagePurpose::ClientAuth);
    assert!(said.ends_with("; have the server's certificate issued anew"), "{said}");
    assert!(!said.contains("add the CA"), "{said}");
}

#[test]
fn a_ca_of_ours_that_has_expired_is_named_with_its_source_and_the_server_is_not_to_blame() {
    let said = denial(SystemTime::now() - 2 * DAY, ExtendedKeyUsagePurpose::ServerAuth);
    let begin = "the CA CN=the CA, one of the CAs of --outbound-ca (ca.crt), has expired on 20";
    assert!(said.starts_with(begin) && said.ends_with("; give the CA that has taken its place"), "{said}");
    assert!(!said.contains("renewed"), "{said}");
}
