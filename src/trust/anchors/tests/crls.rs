//! What CRLs take back.

use super::*;

#[test]
fn a_crl_refuses_what_it_names_and_nothing_else() {
    let (ca, other) = (self_signed(ca_params("ca")), self_signed(ca_params("other")));
    let (taken_back, kept) = (numbered("a", &[1, 2], &ca), numbered("b", &[1, 3], &ca));
    let theirs = numbered("c", &[1, 2], &other);
    let list = crl(&ca, &[&[1, 2], &[9]], *NOW + DAY);
    let anchors = roots_with(&[&ca, &other], &[&list]);
    assert_eq!(verify(&anchors, &[&taken_back]), Err(DenialReason::Revoked));
    assert_eq!(verify(&anchors, &[&kept]), Ok(()));
    assert_eq!(verify(&anchors, &[&theirs]), Ok(()), "another CA's, of the same number");
    let stale = roots_with(&[&ca, &other], &[&crl(&ca, &[&[1, 2]], *NOW - DAY)]);
    assert_eq!(verify(&stale, &[&taken_back]), Err(DenialReason::Revoked), "by a list past its nextUpdate");
    assert_eq!(verify(&stale, &[&kept]), Ok(()));
    let newer = crl(&ca, &[], *NOW + DAY);
    let both = roots_with(&[&ca], &[&newer, &list]);
    assert_eq!(verify(&both, &[&taken_back]), Err(DenialReason::Revoked), "by the second list of one CA");
}

#[test]
fn a_crl_that_names_an_intermediate_refuses_all_below_it() {
    let root = self_signed(ca_params("root"));
    let serial = Some(SerialNumber::from_slice(&[7]));
    let issuing = signed(with(ca_params("issuing"), |params| params.serial_number = serial), &root);
    let client = numbered("client", &[7], &issuing);
    let by_root = crl(&root, &[&[7]], *NOW + DAY);
    let by_issuing = crl(&issuing, &[&[7]], *NOW + DAY);
    assert_eq!(verify(&roots_with(&[&root], &[&by_root]), &[&client, &issuing]), Err(DenialReason::Revoked));
    assert_eq!(verify(&roots_with(&[&root], &[&by_issuing]), &[&client, &issuing]), Err(DenialReason::Revoked));
    assert_eq!(verify(&roots_with(&[&issuing], &[&by_root]), &[&client, &issuing]), Ok(()), "it vouches by itself");
}

#[test]
fn a_crl_of_a_namesake_refuses_nobody_and_hides_no_other() {
    // A CA is renewed with a new key under its old name, as happens when CAs are rotated.
    let (old, new) = (self_signed(ca_params("ca")), self_signed(ca_params("ca")));
    let by_old = crl(&old, &[&[1]], *NOW + DAY);
    let by_new = crl(&new, &[&[2]], *NOW + DAY);
    let anchors = roots_with(&[&old, &new], &[&by_old, &by_new]);
    let verdict = |serial: &[u8], by: &TestCertificate| verify(&anchors, &[&numbered("client", serial, by)]);
    assert_eq!(verdict(&[1], &old), Err(DenialReason::Revoked));
    assert_eq!(verdict(&[2], &old), Ok(()));
    assert_eq!(verdict(&[1], &new), Ok(()));
    assert_eq!(verdict(&[2], &new), Err(DenialReason::Revoked));
    // Of another kind of key, even.
    let rsa_like = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let params = ca_params("ca");
    let cert = params.self_signed(&rsa_like).unwrap();
    let third = TestCertificate { der: cert.der().clone(), pem: cert.pem(), params, key: rsa_like };
    let anchors = roots_with(&[&old, &third], &[&crl(&third, &[&[1]], *NOW + DAY)]);
    assert_eq!(verify(&anchors, &[&numbered("client", &[1], &old)]), Ok(()));
    assert_eq!(verify(&anchors, &[&numbered("client", &[1], &third)]), Err(DenialReason::Revoked));
}

#[test]
fn crls_are_read_as_pem_several_in_a_file_as_well() {
    let ca = self_signed(ca_params("ca"));
    let pem = |serial: &[u8]| {
        let der = crl(&ca, &[serial], *NOW + DAY);
        der::pem::encode_string("X509 CRL", der::pem::LineEnding::LF, &der).unwrap()
    };
    let anchors = roots_with(&[&ca], &[(pem(&[1]) + &pem(&[2])).as_bytes()]);
    for serial in [&[1][..], &[2]] {
        assert_eq!(verify(&anchors, &[&numbered("client", serial, &ca)]), Err(DenialReason::Revoked));
    }
    let list = |bytes: &[u8]| {
        let crl = Text { path: "list.crl".into(), bytes: bytes.to_vec(), named: true };
        TrustAnchors::parse(&[text(&ca.pem)], &[crl], Role::Client).unwrap_err().to_string()
    };
    assert!(list(b"nothing").starts_with("list.crl: no CRL in PEM or DER in it"));
    assert!(list(&[0x30, 3, 1, 2, 3]).starts_with("list.crl: CRL 1: not a CRL; "));
    assert!(list(ca.pem.as_bytes()).starts_with("list.crl: no CRL"));
    // In a folder, what may be a CRL is not passed over.
    let in_folder = |name: &str, bytes: &[u8]| {
        let crl = Text { path: name.into(), bytes: bytes.to_vec(), named: false };
        TrustAnchors::parse(&[text(&ca.pem)], &[crl], Role::Client)
            .map(|(_, notes)| notes.len())
            .map_err(|error| error.to_string())
    };
    assert_eq!(in_folder("README", b"nothing"), Ok(1));
    assert_eq!(in_folder("ca.crt", ca.pem.as_bytes()), Ok(1));
    let wide: Vec<u8> = pem(&[1]).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let late = [b"\n".to_vec(), crl(&ca, &[&[1]], *NOW + DAY)].concat();
    for (name, bytes) in [("x", wide.as_slice()), ("x", &late), ("x.crl", b"nothing"), ("0a1b.r0", ca.pem.as_bytes())] {
        assert!(in_folder(name, bytes).unwrap_err().contains("no CRL in it that can be read"), "{name}");
    }
    let whole = pem(&[1]);
    assert!(list(&whole.as_bytes()[..whole.len() / 2]).starts_with("list.crl: torn or not PEM"));
}
