//! Broken set-ups, and what is said about each: the whole of it.

use std::io;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::*;
use crate::issuer::{CertificateAuthority, Credential, InstanceSpec, KeyKind, SubjectKey};

const DAY: Duration = Duration::from_secs(86_400);
const DIEGO_CERT: &[u8] = include_bytes!(
    "../../../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt"
);
const DIEGO_KEY: &[u8] = include_bytes!(
    "../../../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.key"
);

const ORGANIZATION: &str = "c9f1d2b3-44e5-4c66-9d77-8e88f9990a33";
const SPACE: &str = "2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22";
const APP: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";

static AUTHORITY: LazyLock<CertificateAuthority> = LazyLock::new(|| CertificateAuthority::generate(now()).unwrap());
static KEY: LazyLock<SubjectKey> = LazyLock::new(|| SubjectKey::generate(KeyKind::P256).unwrap());
static NAMES: LazyLock<PairFiles> =
    LazyLock::new(|| PairFiles { cert: "/c/instance.crt".into(), key: "/c/instance.key".into() });

/// 2027-01-15T08:00:00Z
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn spec() -> InstanceSpec {
    InstanceSpec {
        organization: ORGANIZATION.parse().unwrap(),
        space: SPACE.parse().unwrap(),
        app: APP.parse().unwrap(),
        instance: Some("i-1".parse().unwrap()),
        key: KeyKind::P256,
        ..InstanceSpec::generate().unwrap()
    }
}

fn issued() -> Credential {
    AUTHORITY.issue_with_key(&spec(), &KEY, now()).unwrap()
}

fn blocks(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(END).map(str::to_owned).collect()
}

/// Everything that is said.
fn report(cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>, now: SystemTime) -> String {
    let (cert, key) = (Ok(cert.as_ref().to_vec()), Ok(key.as_ref().to_vec()));
    report_on(PairReading { names: &NAMES, cert, key, written: None }, now)
}

fn report_on(files: PairReading<'_>, now: SystemTime) -> String {
    let mut found = Findings::default();
    check(&files, now, &mut found);
    found.to_text()
}

/// What is said and is not good.
fn complaints(cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>, now: SystemTime) -> String {
    bad(&report(cert, key, now))
}

fn bad(report: &str) -> String {
    report.split_inclusive('\n').filter(|line| !line.starts_with("ok ")).collect()
}

#[test]
fn a_sound_pair_is_told_line_by_line() {
    let issued = UNIX_EPOCH + Duration::from_secs(1_795_308_931);
    assert_eq!(
        report(DIEGO_CERT, DIEGO_KEY, issued + Duration::from_secs(1800)),
        "\
ok       certificate   /c/instance.crt and /c/instance.key belong together (RSA 3072)
ok       chain         issued by CN=instance-identity-ca; 1 CA follows the leaf
ok       validity      valid until 2026-11-23T00:55:31Z, 23h 30m left
ok       identity      organization c9f1d2b3-44e5-4c66-9d77-8e88f9990a33, space 2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22, \
app 7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11, instance 51f0a007-a1b2-4c3d-5e6f-7a07
"
    );
}

#[test]
fn each_file_that_cannot_be_read_is_named() {
    let read = |path: &str, kind: io::ErrorKind| LoadError::Read { path: path.into(), source: kind.into() };
    let cases = [
        (
            read("/c/instance.crt", io::ErrorKind::NotFound),
            read("/c/instance.key", io::ErrorKind::PermissionDenied),
            "problem  certificate   /c/instance.crt: no such file; give the right path by --cert or CF_INSTANCE_CERT, or start what writes it\n\
             problem  certificate   /c/instance.key: not readable by this user; check the file's mode and owner, and restart if --sandbox keeps it out; \
             run as a user who may, or have the writer allow it\n",
        ),
        (
            LoadError::NotAFile { path: "/c".into() },
            LoadError::Empty { path: "/c/instance.key".into() },
            "problem  certificate   /c: not a regular file; give the right path by --cert or CF_INSTANCE_CERT, or start what writes it\n\
             problem  certificate   /c/instance.key: the file is empty; have it written anew, under another name and then renamed\n",
        ),
        (
            LoadError::TooLarge { path: "/c/instance.crt".into(), largest: 1024 * 1024 },
            read("/c/instance.key", io::ErrorKind::NotFound),
            "problem  certificate   /c/instance.crt: larger than 1 MiB, so it is not what it should be; \
             give the right path by --cert or CF_INSTANCE_CERT, or start what writes it\n\
             problem  certificate   /c/instance.key: no such file; give the right path by --key or CF_INSTANCE_KEY, or start what writes it\n",
        ),
    ];
    for (cert, key, expected) in cases {
        let files = PairReading { names: &NAMES, cert: Err(cert), key: Err(key), written: None };
        assert_eq!(report_on(files, now()), expected);
    }
}

#[test]
fn a_missing_key_does_not_hide_that_the_certificate_has_expired() {
    let missing = LoadError::Read { path: "/c/instance.key".into(), source: io::ErrorKind::NotFound.into() };
    let cert = Ok(issued().cert_pem.into_bytes());
    let said = report_on(PairReading { names: &NAMES, cert, key: Err(missing), written: None }, now() + 2 * DAY);
    assert!(said.contains("/c/instance.key: no such file") && said.contains("expired 1d ago"), "{said}");
}

#[test]
fn what_is_no_pem_is_told_apart() {
    let Credential { cert_pem, key_pem, leaf } = issued();
    let torn = &cert_pem[..cert_pem.len() / 3];
    let encrypted = key_pem.replace("EC PRIVATE", "ENCRYPTED PRIVATE");
    for (cert, key, expected) in [
        (
            torn.as_bytes(),
            key_pem.as_bytes(),
            "problem  certificate   /c/instance.crt: the certificate file is torn or not PEM: line 1: it ends in the middle of a block; \
             write it anew, under another name and then renamed\n",
        ),
        (
            b"hello\n",
            key_pem.as_bytes(),
            "problem  certificate   /c/instance.crt: the certificate file holds no CERTIFICATE block; \
             write the leaf and the CA that issued it as CERTIFICATE blocks\n",
        ),
        (
            key_pem.as_bytes(),
            cert_pem.as_bytes(),
            "problem  certificate   /c/instance.crt holds the key and /c/instance.key the certificate; exchange --cert and --key\n",
        ),
        (
            leaf.as_slice(),
            key_pem.as_bytes(),
            "problem  certificate   /c/instance.crt: binary (DER or PKCS#12), not PEM; \
             convert it: openssl x509 -inform der -in FILE -out PEM, or openssl pkcs12 -nodes -in FILE -out PEM\n",
        ),
    ] {
        assert_eq!(report(cert, key, now()), expected);
    }
    for (key, expected) in [
        (
            &key_pem.as_bytes()[..key_pem.len() - 10],
            "problem  certificate   /c/instance.key: the key file is torn or not PEM: line 1: it ends in the middle of a block; \
             write it anew, under another name and then renamed\n",
        ),
        (
            b"hello\n".as_slice(),
            "problem  certificate   /c/instance.key: the key file holds no PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block; \
             write the key as PKCS#8, PKCS#1 or SEC1 in PEM\n",
        ),
        (
            encrypted.as_bytes(),
            "problem  certificate   /c/instance.key: the key is encrypted, and there is nobody to ask for its passphrase; \
             write it without one: openssl pkey -in FILE -out PLAIN\n",
        ),
        (
            &[0x30, 0x77, 0x02, 0x01],
            "problem  certificate   /c/instance.key: binary (DER or PKCS#12), not PEM; convert it: openssl pkey -inform der -in FILE -out PEM\n",
        ),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "problem  certificate   /c/instance.key: the key cannot be used: unexpected error: failed to parse private key as RSA, \
             ECDSA, or EdDSA; RSA of 2048 to 4096 bits, P-256, P-384 and Ed25519 can; have a pair issued with such a key\n",
        ),
    ] {
        assert_eq!(complaints(&cert_pem, key, now()), expected);
    }
}

#[test]
fn a_key_of_another_certificate_is_a_mismatch() {
    let other = SubjectKey::generate(KeyKind::P256).unwrap().to_pem().unwrap();
    assert_eq!(
        report(issued().cert_pem, other, now()),
        "problem  certificate   /c/instance.crt and /c/instance.key: the key does not belong to the certificate; \
         write both anew; if they are being replaced right now, check again in a moment\n"
    );
}

#[test]
fn a_leaf_that_is_not_first_is_found() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let [leaf, ca] = &blocks(&cert_pem)[..] else { panic!("not two blocks") };
    assert_eq!(
        report(format!("{ca}{leaf}"), key_pem, now()),
        "problem  chain         /c/instance.crt: the key belongs to certificate 2 of the file, not to the first; \
         write the leaf first, then the CA that issued it\n"
    );
}

#[test]
fn a_leaf_without_its_ca_is_a_warning() {
    let Credential { cert_pem, key_pem, .. } = issued();
    assert_eq!(
        complaints(&blocks(&cert_pem)[0], key_pem, now()),
        "warning  chain         no CA follows the leaf: clients that lack CN=instance-identity-ca cannot verify it; \
         append the issuing CA's certificate to the file\n"
    );
}

#[test]
fn a_ca_that_did_not_issue_the_leaf_is_found_by_its_name() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let root = &blocks(&AUTHORITY.roots_pem())[0];
    assert_eq!(
        complaints(format!("{}{root}", blocks(&cert_pem)[0]), key_pem, now()),
        "problem  chain         certificate 2, CN=instance-identity-root-ca, did not issue certificate 1, \
         whose issuer is CN=instance-identity-ca; write the leaf first, then the CA that issued it, then the CA above that\n"
    );
}

#[test]
fn a_ca_of_the_same_name_with_another_key_is_found_by_the_signature() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let other = CertificateAuthority::generate(now()).unwrap().roots_pem();
    assert_eq!(
        complaints(format!("{}{}", blocks(&cert_pem)[0], blocks(&other)[1]), key_pem, now()),
        "problem  chain         a signature is not by the CA that follows, though the name is right: CN=instance-identity-ca; \
         another CA of that name issued it: append that one instead\n"
    );
}

#[test]
fn a_whole_chain_up_to_the_root_is_verified() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let whole = format!("{cert_pem}{}", blocks(&AUTHORITY.roots_pem())[0]);
    let said = report(whole, key_pem, now());
    assert!(
        said.contains("ok       chain         issued by CN=instance-identity-ca; 2 CAs follow the leaf\n"),
        "{said}"
    );
}

/// A certificate of any shape, valid at `now()`, and its key.
fn shaped(shape: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec!["app.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2027, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 3, 1);
    params.distinguished_name.push(DnType::CommonName, "app.example");
    shape(&mut params);
    (params, KeyPair::generate().unwrap())
}

/// Issued by a CA whose dates and name are right.
fn issued_by_a_ca(params: &CertificateParams, key: &KeyPair) -> String {
    let (ca, ca_key) = shaped(|ca| {
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "ca");
    });
    let ca = CertifiedIssuer::self_signed(ca, ca_key).unwrap();
    format!("{}{}", params.signed_by(key, &ca).unwrap().pem(), ca.pem())
}

#[test]
fn a_self_signed_certificate_is_a_warning() {
    let (params, key) = shaped(|_| {});
    let cert = params.self_signed(&key).unwrap().pem();
    assert_eq!(
        complaints(&cert, key.serialize_pem(), now()),
        "warning  chain         the certificate is self-signed: only clients that were given this very one can verify it; \
         have it issued by a CA\n"
    );
    assert!(
        report(&cert, key.serialize_pem(), now())
            .contains("ok       identity      not Cloud Foundry's; the subject is CN=app.example\n")
    );
}

#[test]
fn the_certificate_of_a_ca_is_refused_by_clients() {
    let (params, key) = shaped(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(
        complaints(params.self_signed(&key).unwrap().pem(), key.serialize_pem(), now()),
        "problem  chain         the first certificate, CN=app.example, is a CA's: clients refuse it for a server; \
         write the leaf first, then the CA that issued it, then the CA above that\n"
    );
}

#[test]
fn an_issuer_that_may_not_issue_is_found() {
    let (params, key) = shaped(|_| {});
    let (leafs_name, issuer_key) = shaped(|issuer| issuer.distinguished_name.push(DnType::CommonName, "no ca"));
    let issuer = CertifiedIssuer::self_signed(leafs_name, issuer_key).unwrap();
    let chain = format!("{}{}", params.signed_by(&key, &issuer).unwrap().pem(), issuer.pem());
    assert_eq!(
        complaints(chain, key.serialize_pem(), now()),
        "problem  chain         certificate 2, CN=no ca, is not a CA's; have the pair issued by a CA\n"
    );
}

#[test]
fn a_certificate_for_clients_alone_is_found() {
    let (params, key) = shaped(|params| params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth));
    assert_eq!(
        complaints(issued_by_a_ca(&params, &key), key.serialize_pem(), now()),
        "problem  chain         the certificate is not for servers: its extended key usage lacks serverAuth; have it issued with serverAuth\n"
    );
}

#[test]
fn an_expired_certificate_is_a_problem() {
    let Credential { cert_pem, key_pem, .. } = issued();
    assert_eq!(
        complaints(cert_pem, key_pem, now() + 3 * DAY),
        "problem  validity      expired 2d ago, on 2027-01-16T08:00:00Z; have a new pair written; on Cloud Foundry restart the instance\n"
    );
}

#[test]
fn a_successor_that_has_not_come_in_time_is_a_warning_and_the_time_before_it_is_not() {
    let Credential { cert_pem, key_pem, .. } = issued();
    assert_eq!(complaints(&cert_pem, &key_pem, now() + DAY * 98 / 100), "");
    assert_eq!(
        complaints(&cert_pem, &key_pem, now() + DAY - Duration::from_secs(900)),
        "warning  validity      valid until 2027-01-16T08:00:00Z, 15m left, and no successor has come; \
         see whether what rotates the pair still runs\n"
    );
}

#[test]
fn a_certificate_from_the_near_future_speaks_of_the_clock_and_one_from_afar_does_not() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let problem = |wait| {
        format!(
            "problem  validity      not valid before 2027-01-15T08:00:00Z, in {wait}; wait, or have a pair issued that is valid now\n"
        )
    };
    let clock = "warning  clock         this clock may be 7m behind the issuer's; \
         compare `date -u` with another machine's; start time synchronisation\n";
    assert_eq!(complaints(&cert_pem, &key_pem, now() - Duration::from_secs(420)), problem("7m") + clock);
    assert!(!complaints(&cert_pem, &key_pem, now() - 30 * DAY).contains(" clock "));
}

#[test]
fn a_file_from_the_future_speaks_of_the_clock() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let files = |written| PairReading {
        names: &NAMES,
        cert: Ok(cert_pem.clone().into_bytes()),
        key: Ok(key_pem.clone().into_bytes()),
        written: Some(written),
    };
    assert_eq!(
        bad(&report_on(files(now() + Duration::from_secs(3600)), now())),
        "warning  clock         /c/instance.crt was written 1h from now by this clock; \
         the clock was set back or is behind: compare `date -u` with another machine's\n"
    );
    assert_eq!(bad(&report_on(files(now()), now())), "");
}

#[test]
fn a_ca_that_expires_before_the_leaf_is_a_warning_and_then_a_problem() {
    let (mut params, key) = shaped(|_| {});
    params.not_after = rcgen::date_time_ymd(2027, 6, 1);
    let chain = issued_by_a_ca(&params, &key);
    assert_eq!(
        complaints(&chain, key.serialize_pem(), now()),
        "warning  validity      the CA CN=ca expires on 2027-03-01T00:00:00Z, before the leaf; have the CA renewed before that day\n"
    );
    assert_eq!(
        complaints(&chain, key.serialize_pem(), now() + 60 * DAY),
        "problem  validity      the CA CN=ca expired on 2027-03-01T00:00:00Z; have a pair issued by a CA that is valid\n"
    );
}

#[test]
fn an_identity_that_is_not_sound_is_told_with_its_reason() {
    let unit = |text: &str| {
        let (params, key) = shaped(|params| params.distinguished_name.push(DnType::OrganizationalUnitName, text));
        complaints(issued_by_a_ca(&params, &key), key.serialize_pem(), now())
    };
    for (text, why) in [
        ("app:not-a-guid", "the app is malformed in the subject"),
        ("space:", "the space is empty in the subject"),
        (
            "App:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11",
            "the app is disguised in the subject: its prefix is not written plainly",
        ),
    ] {
        let expected = format!(
            "problem  identity      looks like Cloud Foundry's and is not sound: {why}; \
             have the certificate issued anew; whoever authorizes by identity refuses this one\n"
        );
        assert_eq!(unit(text), expected);
    }
}

#[test]
fn the_retirement_pair_is_recognised() {
    let Credential { cert_pem, key_pem, .. } = AUTHORITY.issue_with_key(&spec().retired(), &KEY, now()).unwrap();
    assert_eq!(
        complaints(cert_pem, key_pem, now()),
        "warning  retirement    the pair has no CN and an empty DNS name: the platform is about to stop this instance; \
         nothing if it is; else have a regular pair written\n"
    );
}

#[test]
fn a_certificate_behind_the_leaf_that_cannot_be_read_is_found() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let broken = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    assert_eq!(
        complaints(format!("{}{broken}", blocks(&cert_pem)[0]), key_pem, now()),
        "problem  chain         certificate 2 of the file: not an X.509 certificate; have the certificate issued anew\n"
    );
}

#[test]
fn no_byte_of_a_key_is_ever_said() {
    let Credential { cert_pem, key_pem, .. } = issued();
    let secret = key_pem.lines().nth(1).unwrap();
    for (cert, key) in [(&cert_pem, &key_pem), (&key_pem, &cert_pem), (&key_pem, &key_pem)] {
        assert!(!report(cert, key, now()).contains(&secret[..16]));
    }
}
