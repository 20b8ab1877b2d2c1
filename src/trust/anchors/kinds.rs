//! Chains that are too long, of kinds that are not supported, or that call their policies critical.

use rcgen::{CustomExtension, KeyPair};

use super::tests::*;
use crate::identity::Role;
use crate::policy::{Denial, DenialReason};
use crate::trust::anchors::TrustAnchors;

/// certificatePolicies with one policy, 1.2.3.4.
const POLICIES: &[u8] = &[0x30, 0x07, 0x30, 0x05, 0x06, 0x03, 0x2a, 0x03, 0x04];

fn critical(id: &[u64], value: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(id, value.to_vec());
    extension.set_criticality(true);
    extension
}

fn denial(anchors: &TrustAnchors, chain: &[&TestCertificate]) -> Denial {
    anchors.verify(&ders(chain), *NOW).unwrap_err()
}

#[test]
fn critical_policies_are_accepted_in_a_leaf_and_in_a_ca_and_only_over_the_bytes_that_were_signed() {
    let with_policies =
        |params| with(params, |params| params.custom_extensions = vec![critical(&[2, 5, 29, 32], POLICIES)]);
    let root = self_signed(ca_params("root"));
    let middle = signed(with_policies(ca_params("middle")), &root);
    let client = signed(with_policies(params("client")), &middle);
    let anchors = roots(&[&root]);
    assert_eq!(verify(&anchors, &[&client, &middle]), Ok(()));
    // Each single bit of the mark, of the policy or of the name makes it another certificate.
    let chain = ders(&[&client, &middle]);
    let at = chain[0].windows(8).position(|window| window == [6, 3, 0x55, 0x1d, 32, 1, 1, 0xff]).unwrap() + 7;
    for (place, value) in [(at, 0), (at + 10, 5), (at - 40, 0x7f)] {
        let mut forged = chain[0].to_vec();
        forged[place] = if forged[place] == value { value ^ 1 } else { value };
        let said = ask(&anchors, &[forged.into(), chain[1].clone()], *NOW);
        assert!(said.is_err(), "byte {place} as {value}");
    }
    let other = self_signed(ca_params("root"));
    assert_eq!(verify(&anchors, &[&signed(with_policies(params("client")), &other)]), Err(DenialReason::Untrusted));
}

#[test]
fn other_critical_extensions_are_refused_and_named() {
    let ca = self_signed(ca_params("ca"));
    let anchors = roots(&[&ca]);
    for (id, value) in [
        (&[1, 2, 3, 4][..], &[5, 0][..]),
        // policyConstraints and inhibitAnyPolicy would have to be acted on.
        (&[2, 5, 29, 36], &[0x30, 3, 0x80, 1, 0]),
        (&[2, 5, 29, 54], &[2, 1, 0]),
        (&[2, 5, 29, 32], &[0x30, 2, 5, 0]),
    ] {
        let odd = |params| with(params, |params| params.custom_extensions = vec![critical(id, value)]);
        let denial = denial(&anchors, &[&signed(odd(params("client")), &ca)]);
        assert_eq!(denial.reason(), DenialReason::Unsupported);
        let id: Vec<_> = id.iter().map(ToString::to_string).collect();
        let named = format!("it calls the extension {} critical, which is not known here", id.join("."));
        assert!(denial.to_string().contains(&named), "{denial}");
    }
}

#[test]
fn a_chain_is_looked_at_only_while_it_is_short_and_simple() {
    let root = self_signed(ca_params("root"));
    let middle = signed(ca_params("middle"), &root);
    let client = signed(params("client"), &middle);
    let anchors = roots(&[&root]);
    let strangers: Vec<_> = (0..9).map(|n| self_signed(ca_params(&format!("stranger {n}")))).collect();
    let mut chain = vec![&client, &middle];
    chain.extend(&strangers[..8]);
    assert_eq!(verify(&anchors, &chain), Ok(()), "ten, of which eight are not needed");
    chain.push(&strangers[8]);
    let denied = denial(&anchors, &chain);
    assert_eq!(denied.reason(), DenialReason::ChainTooLong);
    assert!(denied.to_string().contains("11 certificates, and no more than 10 are looked at"), "{denied}");

    // Nine of one name, each of which may have issued each: 60,000 ways.
    let namesakes: Vec<_> = (0..9).map(|_| self_signed(ca_params("one name"))).collect();
    let lost = signed(params("client"), &namesakes[0]);
    let denied = denial(&anchors, &std::iter::once(&lost).chain(&namesakes).collect::<Vec<_>>());
    assert_eq!(denied.reason(), DenialReason::ChainTooLong);
    assert!(denied.to_string().contains("too many ways lead through it"), "{denied}");

    // A CA that was renewed under its name and is sent with its predecessors is no such thing.
    let older: Vec<_> = (0..3).map(|_| signed(ca_params("middle"), &root)).collect();
    assert_eq!(verify(&anchors, &[&client, &older[0], &older[1], &older[2], &middle]), Ok(()));

    let wide = signed(
        with(params("client"), |params| {
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![0; 60_000])];
        }),
        &root,
    );
    assert_eq!(denial(&anchors, &[&wide]).reason(), DenialReason::ChainTooLong);
}

#[test]
fn a_key_that_can_sign_no_handshake_is_refused_with_what_it_is() {
    let ca = self_signed(ca_params("ca"));
    let anchors = roots(&[&ca]);
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        assert_eq!(
            verify(&anchors, &[&signed_for(params("x"), KeyPair::generate_for(algorithm).unwrap(), &ca)]),
            Ok(())
        );
    }
}

#[test]
fn a_ca_that_may_not_sign_or_not_for_clients_vouches_for_nobody_listed_or_sent() {
    use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
    let root = self_signed(ca_params("root"));
    let limited = |name: &str, change: fn(&mut rcgen::CertificateParams)| with(ca_params(name), change);
    let no_signing = limited("no signing", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let servers = limited("servers", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (params_of, reason) in [(no_signing, DenialReason::ConstraintViolated), (servers, DenialReason::WrongPurpose)] {
        let middle = signed(params_of, &root);
        let client = signed(params("client"), &middle);
        assert_eq!(verify(&roots(&[&root]), &[&client, &middle]), Err(reason));
        let said = denial(&roots(&[&root]), &[&client, &middle]).to_string();
        assert!(said.contains("a CA above it"), "{said}");
        let both = [text(&(root.pem.clone() + &middle.pem))];
        let (anchors, notes) = TrustAnchors::parse(&both, &[], Role::Client).unwrap();
        assert!(notes.len() == 1 && notes[0].contains("and is left out"), "{notes:?}");
        assert_eq!(verify(&anchors, &[&client, &middle]), Err(reason));
        assert_eq!(verify(&anchors, &[&client]), Err(DenialReason::Untrusted));
    }
}

#[test]
fn a_key_that_may_not_make_signatures_does_not_come_in() {
    use rcgen::KeyUsagePurpose;
    let root = self_signed(ca_params("root"));
    let with_usage = |usage| signed(with(params("client"), |params| params.key_usages = vec![usage]), &root);
    assert_eq!(verify(&roots(&[&root]), &[&with_usage(KeyUsagePurpose::DigitalSignature)]), Ok(()));
    let denial = denial(&roots(&[&root]), &[&with_usage(KeyUsagePurpose::KeyEncipherment)]);
    assert_eq!(denial.reason(), DenialReason::WrongPurpose);
    assert!(denial.to_string().contains("its keyUsage lacks digitalSignature"), "{denial}");
}
