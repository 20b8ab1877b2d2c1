use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::{Decode, Encode, Tagged};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use strum::VariantArray;

use super::{CertificateAuthority, Credential, Flaw, Folder, InstanceSpec, KeyKind, SubjectKey};
use crate::identity::{Certificate, Identity};

const DIEGO_CRT: &str =
    include_str!("../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt");
const DIEGO_KEY: &str =
    include_str!("../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.key");

/// RSA keys are slow to make, so the tests share what they can.
static AUTHORITY: LazyLock<CertificateAuthority> = LazyLock::new(|| CertificateAuthority::generate(now()).unwrap());
static RSA_3072: LazyLock<SubjectKey> = LazyLock::new(|| SubjectKey::generate(KeyKind::Rsa3072).unwrap());

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_308_931_750)
}

fn spec() -> InstanceSpec {
    InstanceSpec { key: KeyKind::P256, ..InstanceSpec::generate().unwrap() }
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

fn parsed(der: &[u8]) -> x509_cert::Certificate {
    x509_cert::Certificate::from_der(der).unwrap()
}

/// What Diego's certificate in the fixtures says.
fn diegos_spec() -> InstanceSpec {
    let identity = Identity::from_der(&chain(DIEGO_CRT)[0]).unwrap().unwrap();
    InstanceSpec {
        organization: identity.organization.unwrap(),
        space: identity.space.unwrap(),
        app: identity.app.unwrap(),
        instance: identity.instance,
        ip: "10.255.117.107".parse().unwrap(),
        ..InstanceSpec::generate().unwrap()
    }
}

/// What rustls makes of the pair: it loads, and the two belong together.
fn certified(credential: &Credential, key_pem: &str) -> Result<CertifiedKey, rustls::Error> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let key = default_provider().key_provider.load_private_key(key)?;
    let pair = CertifiedKey::new(chain(&credential.cert_pem), key);
    pair.keys_match()?;
    Ok(pair)
}

/// Whether a client that trusts the root alone accepts the chain for `name` at the time `at`.
fn verify(
    credential: &Credential,
    authority: &CertificateAuthority,
    name: &str,
    at: SystemTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(chain(&authority.roots_pem())[0].clone()).unwrap();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), default_provider().into()).build().unwrap();
    let chain = chain(&credential.cert_pem);
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).map(|_| ())
}

#[test]
fn the_leaf_is_diegos_but_for_what_is_random() {
    let ours = AUTHORITY.issue_with_key(&diegos_spec(), &RSA_3072, now()).unwrap();
    let (theirs, ours) = (parsed(&chain(DIEGO_CRT)[0]), parsed(&ours.leaf));
    assert_eq!(ours.signature_algorithm().to_der(), theirs.signature_algorithm().to_der(), "NULL and all");
    assert_eq!(ours.signature().bit_len(), theirs.signature().bit_len());
    let (ours, theirs) = (ours.tbs_certificate(), theirs.tbs_certificate());
    assert_eq!(ours.version(), theirs.version());
    assert_eq!(ours.signature(), theirs.signature());
    assert_eq!(ours.issuer().to_der(), theirs.issuer().to_der(), "one RDN, PrintableString");
    assert_eq!(ours.validity().to_der(), theirs.validity().to_der(), "UTCTime, whole seconds, no backdating");
    assert_eq!(ours.subject().to_der(), theirs.subject().to_der(), "two RDNs, three OUs in one, sorted");
    let (our_key, their_key) = (ours.subject_public_key_info(), theirs.subject_public_key_info());
    assert_eq!(our_key.algorithm.to_der(), their_key.algorithm.to_der(), "NULL and all");
    assert_eq!(our_key.subject_public_key.bit_len(), their_key.subject_public_key.bit_len());
    assert!(ours.serial_number().as_bytes()[0] < 0x80, "positive");
    assert!(ours.serial_number().as_bytes().len() <= 17, "128 bits");

    let (ours, theirs) = (ours.extensions().unwrap(), theirs.extensions().unwrap());
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!((ours.extn_id, ours.critical), (theirs.extn_id, theirs.critical));
        if ours.extn_id == AUTHORITY_KEY_IDENTIFIER {
            let (ours, theirs) = (ours.extn_value.as_bytes(), theirs.extn_value.as_bytes());
            assert_eq!((ours.len(), &ours[..4]), (theirs.len(), &theirs[..4]), "a key identifier of 160 bits alone");
        } else {
            assert_eq!(ours.extn_value, theirs.extn_value);
        }
    }
}

const AUTHORITY_KEY_IDENTIFIER: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.5.29.35");

#[test]
fn the_issuing_ca_has_the_structure_of_the_one_in_the_fixtures() {
    let ours = AUTHORITY.issue_with_key(&diegos_spec(), &RSA_3072, now()).unwrap();
    let (theirs, ours) = (parsed(&chain(DIEGO_CRT)[1]), parsed(&chain(&ours.cert_pem)[1]));
    let (ours, theirs) = (ours.tbs_certificate(), theirs.tbs_certificate());
    assert_eq!(ours.subject().to_der(), theirs.subject().to_der());
    let shape = |extensions: &[x509_cert::ext::Extension]| -> Vec<_> {
        extensions.iter().map(|e| (e.extn_id, e.critical, e.extn_value.as_bytes().len())).collect()
    };
    assert_eq!(shape(ours.extensions().unwrap()), shape(theirs.extensions().unwrap()));
    for n in [0, 1] {
        assert_eq!(ours.extensions().unwrap()[n].extn_value, theirs.extensions().unwrap()[n].extn_value);
    }
    let root = parsed(&chain(&AUTHORITY.roots_pem())[0]);
    assert_eq!(root.tbs_certificate().subject(), ours.issuer());
    assert_eq!(root.tbs_certificate().subject(), root.tbs_certificate().issuer());
    assert!(ours.subject().iter().all(|attribute| attribute.value.tag() == der::Tag::PrintableString));
}

#[test]
fn the_files_have_the_blocks_labels_and_lines_of_diegos() {
    let ours = AUTHORITY.issue_with_key(&diegos_spec(), &RSA_3072, now()).unwrap();
    let frame = |pem: &str| -> Vec<String> {
        assert!(pem.ends_with("-----\n") && !pem.contains('\r') && !pem.contains("\n\n"));
        pem.lines().filter(|line| line.starts_with('-')).map(str::to_owned).collect()
    };
    assert_eq!(frame(&ours.cert_pem), frame(DIEGO_CRT), "leaf and issuing CA, and no root");
    assert_eq!(frame(&ours.key_pem), frame(DIEGO_KEY), "PKCS#1");
    assert_eq!(ours.key_pem.lines().nth(1).unwrap().len(), DIEGO_KEY.lines().nth(1).unwrap().len());
    assert!(!chain(&ours.cert_pem).contains(&chain(&AUTHORITY.roots_pem())[0]));
    assert!(!format!("{ours:?} {:?} {:?}", *RSA_3072, *AUTHORITY).contains("PRIVATE KEY"));
}

#[test]
fn a_client_that_trusts_the_root_verifies_the_instance_id_and_the_address() {
    let spec = spec();
    let credential = AUTHORITY.issue(&spec, now()).unwrap();
    let id = spec.instance.as_ref().unwrap().as_str();
    let second = Duration::from_secs(1);
    verify(&credential, &AUTHORITY, id, now()).unwrap();
    verify(&credential, &AUTHORITY, "127.0.0.1", now()).unwrap();
    verify(&credential, &AUTHORITY, "somebody-else", now()).unwrap_err();
    verify(&credential, &AUTHORITY, id, now() - second).unwrap_err();
    verify(&credential, &AUTHORITY, id, now() + spec.validity + second).unwrap_err();
    let roots = RootCertStore { roots: chain(&AUTHORITY.roots_pem()).iter().map(|c| anchor(c)).collect() };
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), default_provider().into()).build().unwrap();
    let chain = chain(&credential.cert_pem);
    let at = UnixTime::since_unix_epoch(now().duration_since(UNIX_EPOCH).unwrap());
    clients.verify_client_cert(&chain[0], &chain[1..], at).unwrap();
}

fn anchor(der: &CertificateDer<'static>) -> rustls::pki_types::TrustAnchor<'static> {
    let mut store = RootCertStore::empty();
    store.add(der.clone()).unwrap();
    store.roots.remove(0)
}

#[test]
fn rustls_accepts_every_kind_of_key_in_every_form() {
    for &kind in KeyKind::VARIANTS {
        let key = if kind == KeyKind::Rsa3072 { RSA_3072.clone() } else { SubjectKey::generate(kind).unwrap() };
        let credential = AUTHORITY.issue_with_key(&spec(), &key, now()).unwrap();
        certified(&credential, &credential.key_pem).unwrap();
        certified(&credential, &key.to_pkcs8_pem().unwrap()).unwrap();
        let (label, read) = match kind {
            KeyKind::Rsa2048 => ("RSA PRIVATE KEY", "RSA 2048"),
            KeyKind::Rsa3072 => ("RSA PRIVATE KEY", "RSA 3072"),
            KeyKind::Rsa4096 => ("RSA PRIVATE KEY", "RSA 4096"),
            KeyKind::P256 => ("EC PRIVATE KEY", "P-256"),
            KeyKind::P384 => ("EC PRIVATE KEY", "P-384"),
            KeyKind::Ed25519 => ("PRIVATE KEY", "Ed25519"),
        };
        assert!(credential.key_pem.starts_with(&format!("-----BEGIN {label}-----\n")), "{kind}");
        assert_eq!(Certificate::from_der(&credential.leaf).unwrap().key_type(), read);
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(key.kind(), kind);
    }
}

#[test]
fn the_retirement_certificate_is_sound_and_nameless() {
    let retired = diegos_spec().retired();
    let credential = AUTHORITY.issue_with_key(&retired, &RSA_3072, now()).unwrap();
    let leaf = Certificate::from_der(&credential.leaf).unwrap();
    assert!(leaf.is_retirement());
    assert_eq!(leaf.common_name(), None);
    assert_eq!(leaf.alt_names().dns, [""]);
    assert_eq!(leaf.alt_names().ips, [retired.ip]);
    let identity = leaf.identity().unwrap().unwrap();
    assert_eq!((identity.app, identity.instance), (Some(retired.app), None));
    certified(&credential, &credential.key_pem).unwrap();
    verify(&credential, &AUTHORITY, "51f0a007-a1b2-4c3d-5e6f-7a07", now()).unwrap_err();
}

#[test]
fn each_certificate_has_a_serial_number_of_its_own() {
    let key = SubjectKey::generate(KeyKind::P256).unwrap();
    let spec = spec();
    let serials: std::collections::HashSet<String> = (0..200)
        .map(|_| AUTHORITY.issue_with_key(&spec, &key, now()).unwrap().leaf)
        .map(|leaf| Certificate::from_der(&leaf).unwrap().serial())
        .collect();
    assert_eq!(serials.len(), 200);
}

#[test]
fn a_sibling_is_another_instance_of_the_same_app() {
    let one = InstanceSpec::generate().unwrap();
    let two = one.sibling().unwrap();
    assert_ne!(one.instance, two.instance);
    assert_eq!(InstanceSpec { instance: one.instance.clone(), ..two }, one);
    assert_eq!(one.instance.unwrap().as_str().len(), 28);
    assert_ne!(InstanceSpec::generate().unwrap().app, one.app);
}

#[test]
fn dates_that_x509_cannot_write_are_refused() {
    let key = SubjectKey::generate(KeyKind::Ed25519).unwrap();
    let long = InstanceSpec { validity: Duration::from_secs(9000 * 365 * 86_400), ..spec() };
    AUTHORITY.issue_with_key(&long, &key, now()).unwrap_err();
    let longer = InstanceSpec { validity: Duration::MAX, ..spec() };
    AUTHORITY.issue_with_key(&longer, &key, now()).unwrap_err();
    AUTHORITY.issue_with_key(&spec(), &key, UNIX_EPOCH - Duration::from_secs(1)).unwrap_err();
}

#[test]
fn a_later_call_reuses_the_ca() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new").join("authority");
    assert!(CertificateAuthority::open(&path).is_err());
    let first = CertificateAuthority::open_or_create(&path, now()).unwrap();
    let second = CertificateAuthority::open_or_create(&path, now()).unwrap();
    assert_eq!(first.roots_pem(), second.roots_pem());
    let spec = spec();
    let credential = second.issue(&spec, now()).unwrap();
    verify(&credential, &first, spec.instance.unwrap().as_str(), now()).unwrap();
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_ne!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o055, 0, "for the app's user");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left behind");
    fs::write(path.join("issuing.key"), "nonsense").unwrap();
    let error = CertificateAuthority::open(&path).unwrap_err().to_string();
    assert!(error.contains("issuing.key: not an RSA key in PEM"), "{error}");
}

#[test]
fn the_key_is_renamed_before_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::instance(dir.path().join("new"));
    let credential = |key: &SubjectKey| AUTHORITY.issue_with_key(&spec(), key, now()).unwrap();
    let (old, new) = (
        credential(&SubjectKey::generate(KeyKind::P256).unwrap()),
        credential(&SubjectKey::generate(KeyKind::P256).unwrap()),
    );
    let read = || (fs::read_to_string(folder.cert()).unwrap(), fs::read_to_string(folder.key()).unwrap());
    folder.write(&old).unwrap();
    let staged = folder.stage(&new).unwrap();
    assert_eq!(read(), (old.cert_pem.clone(), old.key_pem.clone()));
    assert_eq!(fs::read_to_string(folder.dir().join("instance.crt.tmp")).unwrap(), new.cert_pem);
    assert_eq!(fs::read_to_string(folder.dir().join("instance.key.tmp")).unwrap(), new.key_pem);
    let half = staged.rename_key().unwrap();
    assert_eq!(read(), (old.cert_pem.clone(), new.key_pem.clone()));
    half.rename_cert().unwrap();
    assert_eq!(read(), (new.cert_pem.clone(), new.key_pem.clone()));
    assert_eq!(fs::read_dir(folder.dir()).unwrap().count(), 2, "no temporary file is left behind");
}

#[test]
fn each_flaw_is_the_one_it_claims_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let id = spec.instance.clone().unwrap();
    for &flaw in Flaw::VARIANTS {
        let folder = Folder::instance(dir.path().join(flaw.to_string()));
        flaw.write(&folder, &AUTHORITY, &spec, now()).unwrap();
        let cert_pem = fs::read_to_string(folder.cert()).unwrap();
        let key_pem = fs::read_to_string(folder.key()).unwrap();
        assert_eq!(flaw.to_string().parse(), Ok(flaw));
        if flaw == Flaw::Torn {
            assert!(CertificateDer::from_pem_slice(cert_pem.as_bytes()).is_err());
            assert!(!cert_pem.is_empty() && PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).is_ok());
            continue;
        }
        let leaf = chain(&cert_pem)[0].to_vec();
        let credential = Credential { cert_pem, key_pem, leaf };
        assert_eq!(certified(&credential, &credential.key_pem).is_err(), flaw == Flaw::Mismatch, "{flaw}");
        let hour = Duration::from_secs(3600);
        let at = |when| verify(&credential, &AUTHORITY, id.as_str(), when).is_ok();
        assert_eq!(at(now()), flaw == Flaw::Mismatch, "{flaw}");
        assert_eq!(at(now() + hour), matches!(flaw, Flaw::Mismatch | Flaw::NotYetValid), "{flaw}");
    }
}
