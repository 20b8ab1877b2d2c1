//! CAs that are listed and taken back, made by rcgen.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::identity::Role;
use crate::policy::DenialReason;
use crate::trust::{Text, TrustAnchors};

/// A certificate and its key.
struct RevocationTestCa {
    der: CertificateDer<'static>,
    pem: String,
    params: CertificateParams,
    key: KeyPair,
}

fn params(name: &str, serial: u64, is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.is_ca = is_ca;
    params
}

fn ca(name: &str, serial: u64) -> CertificateParams {
    params(name, serial, IsCa::Ca(BasicConstraints::Unconstrained))
}

/// Under `by`, or self-signed; with `key`, or a new one.
fn made(params: CertificateParams, by: Option<&RevocationTestCa>, key: Option<&RevocationTestCa>) -> RevocationTestCa {
    let key =
        key.map_or_else(|| KeyPair::generate().unwrap(), |made| KeyPair::from_pem(&made.key.serialize_pem()).unwrap());
    let cert = match by {
        Some(by) => params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)),
        None => params.self_signed(&key),
    };
    let cert = cert.unwrap();
    RevocationTestCa { der: cert.der().clone(), pem: cert.pem(), params, key }
}

/// A CRL in PEM that names these serial numbers.
fn crl(by: &RevocationTestCa, serials: &[u64]) -> String {
    let now = SystemTime::now();
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + Duration::from_secs(3600)).into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&Issuer::from_params(&by.params, &by.key)).unwrap().pem().unwrap()
}

fn roots(cas: &[&RevocationTestCa], crls: &[String]) -> TrustAnchors {
    let text = |path: &str, bytes: String| Text { path: path.into(), bytes: bytes.into_bytes(), named: true };
    let cas = text("ca.pem", cas.iter().map(|ca| ca.pem.as_str()).collect());
    let crls: Vec<_> = crls.iter().map(|crl| text("list.crl", crl.clone())).collect();
    TrustAnchors::parse(&[cas], &crls, Role::Client).unwrap().0
}

fn verdict(anchors: &TrustAnchors, chain: &[&RevocationTestCa]) -> Result<(), DenialReason> {
    let chain: Vec<_> = chain.iter().map(|made| made.der.clone()).collect();
    anchors.verify(&chain, SystemTime::now()).map(|_| ()).map_err(|denial| denial.reason())
}

#[test]
fn an_intermediate_that_is_listed_beside_its_root_is_revoked_by_the_roots_crl() {
    let root = made(ca("root", 1), None, None);
    let issuing = made(ca("issuing", 2), Some(&root), None);
    let client = made(params("client", 3, IsCa::NoCa), Some(&issuing), None);
    let revoked = [crl(&root, &[2])];
    for cas in [&[&root][..], &[&root, &issuing], &[&issuing, &root]] {
        let anchors = roots(cas, &revoked);
        assert_eq!(verdict(&anchors, &[&client, &issuing]), Err(DenialReason::Revoked), "{} CAs", cas.len());
    }
    let both = roots(&[&root, &issuing], &revoked);
    assert_eq!(verdict(&both, &[&client]), Err(DenialReason::Revoked), "the client sends nothing but its own");
    assert_eq!(both.crl_notes(), ["list.crl: CRL 1: it revokes the CA CN=issuing, which vouches for nobody"]);
    let other = made(params("other", 4, IsCa::NoCa), Some(&root), None);
    assert_eq!(verdict(&both, &[&other]), Ok(()), "the root itself still vouches");
    assert_eq!(verdict(&roots(&[&root, &issuing], &[crl(&root, &[9])]), &[&client]), Ok(()));
}

#[test]
fn what_a_revoked_ca_has_issued_vouches_no_more_than_it_does() {
    let root = made(ca("root", 1), None, None);
    let middle = made(ca("middle", 2), Some(&root), None);
    let issuing = made(ca("issuing", 3), Some(&middle), None);
    let client = made(params("client", 4, IsCa::NoCa), Some(&issuing), None);
    let revoked = [crl(&root, &[2])];
    let all = roots(&[&root, &middle, &issuing], &revoked);
    assert_eq!(verdict(&all, &[&client]), Err(DenialReason::Revoked));
    assert!(all.crl_notes()[1].starts_with("the issuer of the CA CN=issuing is revoked"), "{:?}", all.crl_notes());
    // The one above was issued anew with its old key, and that is listed as well.
    let renewed = made(ca("middle", 5), Some(&root), Some(&middle));
    let all = roots(&[&root, &middle, &renewed, &issuing], &revoked);
    assert_eq!(verdict(&all, &[&client]), Ok(()));
    let of_renewed = made(params("client", 6, IsCa::NoCa), Some(&renewed), None);
    assert_eq!(verdict(&all, &[&of_renewed]), Ok(()), "one of its two certificates is good");
}

#[test]
fn a_root_that_takes_itself_back_vouches_for_nobody() {
    let root = made(ca("root", 1), None, None);
    let client = made(params("client", 2, IsCa::NoCa), Some(&root), None);
    assert_eq!(verdict(&roots(&[&root], &[crl(&root, &[1])]), &[&client]), Err(DenialReason::Revoked));
    let renewed = made(ca("root", 7), None, Some(&root));
    assert_eq!(verdict(&roots(&[&root, &renewed], &[crl(&root, &[1])]), &[&client]), Ok(()), "it was issued anew");
}

#[test]
fn a_crl_that_no_client_ca_has_signed_is_named() {
    let root = made(ca("root", 1), None, None);
    let namesake = made(ca("root", 1), None, None);
    let issuing = made(ca("issuing", 2), Some(&root), None);
    let client = made(params("client", 3, IsCa::NoCa), Some(&issuing), None);
    let forged = roots(&[&root, &issuing], &[crl(&namesake, &[2])]);
    assert_eq!(verdict(&forged, &[&client]), Ok(()));
    let notes = forged.crl_notes();
    assert!(
        notes[0]
            .starts_with("list.crl: CRL 1: no CA of ours has signed this CRL: CN=root is among them, with another key")
    );
    assert!(notes[1].contains("it names the CA CN=issuing, which vouches all the same"), "{notes:?}");
    let absent = roots(&[&issuing], &[crl(&root, &[9])]);
    assert!(absent.crl_notes()[0].contains("CN=root is not among them"), "{:?}", absent.crl_notes());
    // That of an intermediate which clients send along counts all the same.
    let below = roots(&[&root], &[crl(&issuing, &[3])]);
    assert_eq!(below.crl_notes().len(), 1);
    assert_eq!(verdict(&below, &[&client, &issuing]), Err(DenialReason::Revoked));
}

#[test]
fn a_damaged_crl_of_a_listed_ca_is_an_error_and_one_that_says_that_it_is_another_keys_is_none() {
    let (root, namesake) = (made(ca("root", 1), None, None), made(ca("root", 1), None, None));
    let of = |bytes: Vec<u8>| Text { path: "list.crl".into(), bytes, named: true };
    let judged = |list: &Text| TrustAnchors::lacks_crls(list, roots(&[&root], &[]).cas());
    let whole = CertificateRevocationListDer::from_pem_slice(crl(&root, &[7]).as_bytes()).unwrap().to_vec();
    assert_eq!(judged(&of(whole.clone())).unwrap(), None);
    let serial = whole.windows(4).position(|at| at == [0x30, 0x12, 0x02, 0x01]).map(|at| at + 4).unwrap();
    assert_eq!(whole[serial], 7);
    for at in [serial, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let error = judged(&of(damaged)).unwrap_err();
        assert!(error.is_about_crls());
        let error = error.to_string();
        assert!(error.starts_with("list.crl: CRL 1: the signature does not hold with the key of CN=root"), "{error}");
    }
    let of_another = of(crl(&namesake, &[7]).into_bytes());
    assert_eq!(judged(&of_another).unwrap(), None);
    let both = roots(&[&root, &namesake], &[]);
    assert_eq!(TrustAnchors::lacks_crls(&of(whole), both.cas()).unwrap(), None, "it is one of two with the name");
}

#[test]
fn a_limit_on_the_cas_below_holds_for_one_that_is_listed_itself() {
    let root = made(ca("root", 1), None, None);
    let short = made(params("short", 2, IsCa::Ca(BasicConstraints::Constrained(0))), Some(&root), None);
    let below = made(ca("below", 3), Some(&short), None);
    let (near, far) = (params("near", 4, IsCa::NoCa), params("far", 5, IsCa::NoCa));
    let (near, far) = (made(near, Some(&short), None), made(far, Some(&below), None));
    for cas in [&[&root][..], &[&short], &[&root, &short]] {
        let anchors = roots(cas, &[]);
        assert_eq!(verdict(&anchors, &[&near, &short]), Ok(()));
        assert_eq!(verdict(&anchors, &[&far, &below, &short]), Err(DenialReason::ConstraintViolated));
    }
}
