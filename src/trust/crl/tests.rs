//! Lists in DER, put together by hand: what rcgen writes is always of version 2.

use super::*;

use rcgen::{CertificateParams, DnType, KeyPair, SigningKey};

use crate::crypto::provider;

/// ecdsa-with-SHA256.
const ALGORITHM: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const BEFORE: &[u8] = b"\x17\x0d250101000000Z";
const AFTER: &[u8] = b"\x17\x0d490101000000Z";

/// A list that is about to be made.
struct CrlSpec {
    version: Option<u8>,
    issuer: Vec<u8>,
    next_update: bool,
    entries: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = match u16::try_from(value.len()).unwrap().to_be_bytes() {
        [0, short] if short < 128 => vec![short],
        [0, low] => vec![0x81, low],
        [high, low] => vec![0x82, high, low],
    };
    [&[tag], &length[..], value].concat()
}

fn name(string_tag: u8, text: &str) -> Vec<u8> {
    let attribute = [tlv(6, &[0x55, 4, 3]), tlv(string_tag, text.as_bytes())].concat();
    tlv(0x31, &tlv(0x30, &attribute))
}

/// An extension by its OID's content.
fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
    tlv(0x30, &[tlv(6, oid), critical, tlv(4, value)].concat())
}

fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = if extensions.is_empty() { Vec::new() } else { tlv(0x30, &extensions.concat()) };
    tlv(0x30, &[tlv(2, serial), BEFORE.to_vec(), extensions].concat())
}

impl CrlSpec {
    /// As `openssl ca -gencrl` writes it by default.
    fn plain() -> Self {
        let entries = vec![entry(&[0x10, 1], &[])];
        Self { version: None, issuer: name(12, "ca"), next_update: true, entries, extensions: vec![] }
    }

    fn with(extension: Vec<u8>) -> Self {
        Self { version: Some(1), extensions: vec![extension], ..Self::plain() }
    }

    fn der(&self, key: &KeyPair) -> Vec<u8> {
        let version = self.version.map(|version| tlv(2, &[version])).unwrap_or_default();
        let next_update = if self.next_update { AFTER } else { &[] };
        let entries = if self.entries.is_empty() { vec![] } else { tlv(0x30, &self.entries.concat()) };
        let extensions =
            if self.extensions.is_empty() { vec![] } else { tlv(0xa0, &tlv(0x30, &self.extensions.concat())) };
        let issuer = tlv(0x30, &self.issuer);
        let list = [&version, ALGORITHM, &issuer, BEFORE, next_update, &entries, &extensions].concat();
        let list = tlv(0x30, &list);
        let signature = [&[0][..], &key.sign(&list).unwrap()].concat();
        tlv(0x30, &[&list[..], ALGORITHM, &tlv(3, &signature)].concat())
    }

    fn read(&self) -> Result<Crl, CrlError> {
        Crl::from_der(&self.der(&KeyPair::generate().unwrap()), "list.crl: CRL 1".to_owned())
    }
}

#[test]
fn both_versions_are_read_with_and_without_extensions_and_next_update() {
    for version in [None, Some(1)] {
        for extensions in [vec![], vec![extension(&[0x55, 0x1d, 20], false, &[2, 1, 9])]] {
            for next_update in [true, false] {
                let crl = CrlSpec { version, next_update, extensions: extensions.clone(), ..CrlSpec::plain() }
                    .read()
                    .unwrap();
                assert_eq!((crl.issuer.as_str(), crl.next_update.is_some()), ("CN=ca", next_update));
                assert!(crl.names(&name(12, "ca"), &[0x10, 1]));
                assert!(!crl.names(&name(12, "ca"), &[0x10, 2]));
                assert!(!crl.names(&name(12, "other"), &[0x10, 1]));
            }
        }
    }
    assert!(CrlSpec { entries: vec![], ..CrlSpec::plain() }.read().unwrap().serials.is_empty());
    assert_eq!(CrlSpec { version: Some(2), ..CrlSpec::plain() }.read().unwrap_err(), CrlError::Version);
}

#[test]
fn an_issuer_is_the_same_however_its_name_is_written() {
    let crl = CrlSpec { issuer: name(19, "The  CA"), ..CrlSpec::plain() }.read().unwrap();
    for same in [name(12, "The CA"), name(19, "the ca"), name(19, "The  CA")] {
        assert!(crl.names(&same, &[0x10, 1]));
        assert!(crl.names(&same, &[0, 0x10, 1]), "with a zero in front");
    }
    assert!(!crl.names(&name(12, "TheCA"), &[0x10, 1]));
    assert!(!crl.names(b"no name", &[0x10, 1]));
}

#[test]
fn what_an_entry_says_beside_the_number_makes_no_difference() {
    // reasonCode removeFromCRL, critical, and invalidityDate.
    let reason = extension(&[0x55, 0x1d, 21], true, &[10, 1, 8]);
    let invalid_since = extension(&[0x55, 0x1d, 24], false, b"\x18\x0f20250101000000Z");
    let entries = vec![entry(&[7], &[reason, invalid_since])];
    let crl = CrlSpec { version: Some(1), entries, ..CrlSpec::plain() }.read().unwrap();
    assert!(crl.names(&name(12, "ca"), &[7]));
}

#[test]
fn lists_that_need_more_than_is_done_here_are_refused_with_the_reason() {
    let said = |draft: CrlSpec| draft.read().unwrap_err().to_string();
    let point = |value: &[u8]| CrlSpec::with(extension(&[0x55, 0x1d, 28], true, &tlv(0x30, value)));
    assert!(said(CrlSpec::with(extension(&[0x55, 0x1d, 27], true, &[2, 1, 1]))).starts_with("a delta CRL"));
    assert!(said(point(&[0x84, 1, 0xff])).starts_with("an indirect CRL"));
    let entries = vec![entry(&[7], &[extension(&[0x55, 0x1d, 29], true, &tlv(0x30, &[]))])];
    assert!(said(CrlSpec { version: Some(1), entries, ..CrlSpec::plain() }).starts_with("an indirect CRL"));
    assert!(said(point(&[0x85, 1, 0xff])).starts_with("a CRL for attribute certificates alone"));
    assert!(said(point(&[0x83, 2, 1, 0xff])).starts_with("a CRL for some reasons alone"));
    assert!(point(&[0x81, 1, 0xff]).read().is_ok(), "of users alone");
    assert!(point(&[0x82, 1, 0xff]).read().is_ok(), "of CAs alone");
    assert!(said(CrlSpec::with(extension(&[0x2a, 3, 4], true, &[5, 0]))).contains("the critical extension 1.2.3.4"));
    assert!(CrlSpec::with(extension(&[0x2a, 3, 4], false, &[5, 0])).read().is_ok());
    let entries = vec![entry(&[7], &[extension(&[0x2a, 3, 4], true, &[5, 0])])];
    assert!(said(CrlSpec { version: Some(1), entries, ..CrlSpec::plain() }).contains("the critical extension 1.2.3.4"));
}

#[test]
fn a_list_is_cut_off_nowhere_and_its_signature_is_the_issuers() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let der = CrlSpec::plain().der(&key);
    for end in 0..der.len() {
        assert!(Crl::from_der(&der[..end], String::new()).is_err(), "{end}");
    }
    let crl = Crl::from_der(&der, String::new()).unwrap();
    let algorithms = provider().signature_verification_algorithms;
    let by = |key: &KeyPair| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ca");
        let cert = params.self_signed(key).unwrap();
        let anchor = webpki::anchor_from_trusted_cert(cert.der()).unwrap().to_owned();
        crl.may_be_by(anchor.subject_public_key_info.as_ref(), &algorithms)
    };
    assert!(by(&key));
    assert!(!by(&other));
}

#[test]
fn a_list_is_within_others_if_each_of_its_numbers_is_in_one_of_them() {
    let list = |numbers: &[u8], issuer: &str| {
        let entries = numbers.iter().map(|number| entry(&[*number], &[])).collect();
        CrlSpec { entries, issuer: name(12, issuer), ..CrlSpec::plain() }.read().unwrap()
    };
    assert!(list(&[1, 2], "a").is_covered_by(&[list(&[1, 2, 3], "a")]));
    assert!(list(&[1, 2], "a").is_covered_by(&[list(&[1], "a"), list(&[2], "a")]));
    assert!(!list(&[1, 2], "a").is_covered_by(&[list(&[1], "a"), list(&[2], "b")]));
    assert!(!list(&[1], "a").is_covered_by(&[]));
    assert!(list(&[], "a").is_covered_by(&[]));
}
