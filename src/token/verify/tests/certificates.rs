//! `x5c`, and checks 1 to 4: what the certificates are, who vouches for them, and whom they name.

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::made::{
    ANY_USAGE, APP, CLIENT_AUTH, CertificateSpec, DAY, DIGITAL_SIGNATURE, KEY_AGREEMENT, NOW, OTHER, SERVER_AUTH,
    TestIdentity, TokenDraft, anchors, at, crl, thumbprint,
};
use super::{Reason, RequiredIdentity, TestPki, TokenQuestion, VerifiedForm};

#[test]
fn certificates_are_a_list_of_base64_of_one_certificate_each() {
    let world = TestPki::new();
    let (leaf, issuing) = (Base64::encode_string(&world.leaf.der), Base64::encode_string(&world.issuing.der));
    let both = Base64::encode_string(&[&*world.leaf.der, &*world.issuing.der].concat());
    for x5c in [
        json!(null),
        json!([]),
        json!(leaf),
        json!({ "0": leaf }),
        json!([leaf, 1]),
        json!([leaf, ""]),
        json!([format!("{leaf}\n"), issuing]),
        json!([format!(" {leaf}"), issuing]),
        json!([leaf.replace('+', "-").replace('/', "_"), issuing]),
        json!([leaf.trim_end_matches('='), issuing]),
        json!([format!("{leaf}="), issuing]),
        json!([both]),
        json!([leaf, Base64::encode_string(b"certificate")]),
        json!([leaf, issuing, issuing, issuing, issuing, issuing, issuing]),
        json!([issuing]),
    ] {
        // Where there is nothing to be padded or replaced the text is the right one.
        if x5c == json!([leaf, issuing]) {
            continue;
        }
        let token = world.draft().header(json!({ "x5c": x5c, "kid": null, "x5t#S256": null })).token();
        assert_eq!(world.reason(&token), Some(Reason::X5c), "{x5c}");
    }
}

#[test]
fn a_header_that_names_another_certificate_is_refused() {
    let world = TestPki::new();
    let other = thumbprint(&world.issuing);
    for header in [
        json!({ "x5t#S256": other }),
        json!({ "x5t#S256": "" }),
        json!({ "x5t#S256": 1 }),
        json!({ "kid": other }),
        json!({ "kid": "x".repeat(43) }),
    ] {
        assert_eq!(world.reason(&world.draft().header(header.clone()).token()), Some(Reason::X5c), "{header}");
    }
    for kid in [Value::Null, json!("x".repeat(42)), json!(format!("{}.", "x".repeat(42))), json!(1)] {
        let token = world.draft().header(json!({ "kid": kid, "x5t#S256": null })).token();
        assert_eq!(world.reason(&token), None, "{kid}");
    }
}

#[test]
fn a_leaf_is_no_ca() {
    let world = TestPki::new();
    assert_eq!(world.reason_of(&world.below(|leaf| leaf.ca = Some(None))), Some(Reason::X5c));
}

#[test]
fn a_chain_leads_to_a_trusted_ca_and_each_certificate_of_it_has_issued_the_one_before() {
    let mut world = TestPki::new();
    let TestPki { root, issuing, leaf, .. } = &world;
    let namesake = CertificateSpec::ca("issuing").self_signed();
    let stranger = CertificateSpec::leaf().signed_by(&namesake);
    let by_instance = CertificateSpec::leaf().signed_by(leaf);
    let forged = CertificateSpec::leaf().with(|leaf| leaf.serial = 9);
    let forged = TestIdentity { der: forged.signed_by(&namesake).der, ..forged.signed_by(issuing) };
    for chain in [
        &[leaf][..],
        &[&stranger, &namesake],
        &[&stranger, issuing],
        &[&stranger, &namesake, issuing],
        &[leaf, root, issuing],
        &[leaf, issuing, &namesake],
        &[leaf, issuing, issuing],
        &[leaf, leaf, issuing],
        &[leaf, &namesake, issuing],
        &[&by_instance, leaf, issuing],
        &[&forged, issuing],
    ] {
        assert_eq!(world.reason(&TokenDraft::of(chain).token()), Some(Reason::Untrusted));
    }
    let whole = TokenDraft::of(&[leaf, issuing, root]).token();
    let alone = TokenDraft::of(&[leaf]).token();
    assert_eq!(world.reason(&whole), None);
    world.verifier.anchors = anchors(&[issuing], &[]);
    for token in [&alone, &whole] {
        assert_eq!(world.reason(token), None, "the CA that is trusted is no root");
        // And once more, when it is known.
        assert_eq!(world.reason(token), None);
    }
}

#[test]
fn a_ca_vouches_within_its_limits_alone() {
    let world = TestPki::new();
    let judged = |cas: &[CertificateSpec], leaf: CertificateSpec| {
        let mut chain: Vec<TestIdentity> = Vec::new();
        for ca in cas {
            chain.push(ca.signed_by(chain.last().unwrap_or(&world.root)));
        }
        chain.push(leaf.signed_by(chain.last().unwrap()));
        world.reason(&TokenDraft::of(&chain.iter().rev().collect::<Vec<_>>()).token())
    };
    let ca = || CertificateSpec::ca("a CA");
    let untrusted = Some(Reason::Untrusted);
    assert_eq!(judged(&[ca()], CertificateSpec::leaf()), None);
    assert_eq!(judged(&[ca().with(|ca| ca.ca = None)], CertificateSpec::leaf()), untrusted);
    assert_eq!(judged(&[ca().with(|ca| ca.usage = Some(DIGITAL_SIGNATURE))], CertificateSpec::leaf()), untrusted);
    assert_eq!(judged(&[ca().with(|ca| ca.purposes = Some(vec![SERVER_AUTH]))], CertificateSpec::leaf()), untrusted);
    let ending = || ca().with(|ca| ca.ca = Some(Some(0)));
    assert_eq!(judged(&[ending()], CertificateSpec::leaf()), None);
    assert_eq!(judged(&[ending(), CertificateSpec::ca("below")], CertificateSpec::leaf()), untrusted);
    let named = |name| CertificateSpec::leaf().with(|leaf| leaf.dns = vec![name]);
    let bound = || ca().with(|ca| ca.permitted = Some("apps.internal"));
    assert_eq!(judged(&[bound()], named("a.apps.internal")), None);
    assert_eq!(judged(&[bound()], named("example.com")), untrusted);
    // Those who are not in time are no better.
    let old = |spec: CertificateSpec| spec.with(|leaf| (leaf.begins, leaf.ends) = (NOW - 9 * DAY, NOW - 8 * DAY));
    assert_eq!(judged(&[bound()], old(named("example.com"))), untrusted);
    assert_eq!(judged(&[old(bound())], named("example.com")), untrusted);
    assert_eq!(judged(&[old(ending()), CertificateSpec::ca("below")], CertificateSpec::leaf()), untrusted);
    assert_eq!(judged(&[old(bound())], named("a.apps.internal")), Some(Reason::CertificateExpired));
}

#[test]
fn critical_policies_of_a_certificate_are_no_reason_to_refuse_it() {
    let world = TestPki::new();
    let ca = CertificateSpec::ca("with policies").with(|ca| ca.critical_policies = true).signed_by(&world.root);
    let leaf = CertificateSpec::leaf().with(|leaf| leaf.critical_policies = true);
    let token = |leaf: CertificateSpec| TokenDraft::of(&[&leaf.signed_by(&ca), &ca]).token();
    assert_eq!(world.reason(&token(leaf)), None);
    let old = CertificateSpec::leaf().with(|leaf| (leaf.critical_policies, leaf.ends) = (true, NOW - 1));
    assert_eq!(world.reason(&token(old)), Some(Reason::CertificateExpired));
}

#[test]
fn a_crl_takes_back_the_leaf_or_a_ca_above_it_in_time_or_not() {
    let mut world = TestPki::new();
    let old = world.below(|leaf| (leaf.serial, leaf.ends) = (1, NOW - 1));
    let (token, old) = (world.draft().token(), TokenDraft::of(&[&old, &world.issuing]).token());
    let lists = [crl(&world.issuing, 1), crl(&world.root, 2)];
    for list in lists {
        world.verifier.anchors = anchors(&[&world.root], &[list]);
        assert_eq!((world.reason(&token), world.reason(&old)), (Some(Reason::Revoked), Some(Reason::Revoked)));
    }
    let lists = [crl(&world.issuing, 3), crl(&world.root, 3)];
    world.verifier.anchors = anchors(&[&world.root], &lists);
    assert_eq!((world.reason(&token), world.reason(&old)), (None, Some(Reason::CertificateExpired)));
}

#[test]
fn certificates_count_from_their_first_second_to_their_last_the_trusted_cas_too() {
    let mut world = TestPki::new();
    let (begins, ends) = (NOW - 7, NOW + 7);
    let dated = |spec: CertificateSpec| spec.with(|one| (one.begins, one.ends) = (begins, ends));
    let root = dated(CertificateSpec::ca("dated root")).self_signed();
    let issuing = dated(CertificateSpec::ca("dated issuing")).signed_by(&world.root);
    let chains = [
        [
            dated(CertificateSpec::leaf()).signed_by(&world.issuing),
            CertificateSpec::ca("issuing").signed_by(&world.root),
        ],
        [CertificateSpec::leaf().signed_by(&issuing), issuing],
        [CertificateSpec::leaf().signed_by(&root), CertificateSpec::ca("unused").self_signed()],
    ];
    world.verifier.anchors = anchors(&[&world.root, &root], &[]);
    world.verifier.skew = std::time::Duration::from_secs(300);
    for (at_place, [leaf, issuer]) in chains.iter().enumerate() {
        let chain = match at_place {
            0 => vec![leaf, &world.issuing],
            1 => vec![leaf, issuer],
            _ => vec![leaf],
        };
        let token = TokenDraft::of(&chain).claims(json!({ "iat": NOW, "nbf": NOW - 30, "exp": ends })).token();
        let judged = |now| {
            let judged = world.verifier.verify(&world.question(&token), at(now));
            judged.err().map(|denial| (denial.reason, denial.client.is_some()))
        };
        assert_eq!(judged(begins - 1), Some((Reason::CertificateNotYetValid, true)), "{at_place}");
        assert_eq!((judged(begins), judged(ends)), (None, None), "{at_place}");
        assert_eq!(judged(ends + 1), Some((Reason::CertificateExpired, true)), "{at_place}");
        assert_eq!(judged(begins), None, "what was known of it at another time is no reason now");
        let whose = if at_place == 0 { "its certificate " } else { "a CA above its certificate " };
        for now in [begins - 1, ends + 1] {
            let detail = world.verifier.verify(&world.question(&token), at(now)).unwrap_err().detail;
            assert!(detail.starts_with(whose), "{at_place}: {detail}");
        }
    }
}

#[test]
fn certificates_that_are_never_valid_together_are_a_matter_of_dates_and_not_of_trust() {
    let world = TestPki::new();
    let ended = CertificateSpec::ca("ended").with(|ca| ca.ends = NOW - 2 * DAY).signed_by(&world.root);
    let coming = CertificateSpec::ca("coming").with(|ca| ca.begins = NOW + 2 * DAY).signed_by(&world.root);
    for (ca, reason) in [(&ended, Reason::CertificateExpired), (&coming, Reason::CertificateNotYetValid)] {
        let denial = world.verify(&TokenDraft::of(&[&CertificateSpec::leaf().signed_by(ca), ca]).token()).unwrap_err();
        assert_eq!((denial.reason, denial.client.is_some()), (reason, true));
    }
}

#[test]
fn of_two_paths_the_one_that_is_valid_now_counts() {
    let mut world = TestPki::new();
    // Renewed with its name and its key, and both are listed.
    let key = || rcgen::KeyPair::from_pem(&world.root.key.serialize_pem()).unwrap();
    let old = CertificateSpec::ca("root").with(|ca| ca.ends = NOW - 1).signed_for(key(), &world.root);
    let coming = CertificateSpec::ca("root").with(|ca| ca.begins = NOW + 1).signed_for(key(), &world.root);
    let token = world.draft().token();
    for cas in [&[&old, &coming, &world.root][..], &[&world.root, &coming, &old]] {
        world.verifier.anchors = anchors(cas, &[]);
        assert_eq!(world.reason(&token), None);
    }
    world.verifier.anchors = anchors(&[&old], &[]);
    assert_eq!(world.reason(&token), Some(Reason::CertificateExpired));
}

#[test]
fn a_key_is_for_signing_and_for_clients() {
    let world = TestPki::new();
    let usage = Some(Reason::KeyUsage);
    for (bits, reason) in [(None, usage), (Some(KEY_AGREEMENT), usage), (Some(DIGITAL_SIGNATURE), None)] {
        assert_eq!(world.reason_of(&world.below(|leaf| leaf.usage = bits)), reason, "{bits:?}");
    }
    for (purposes, reason) in [
        (Some(vec![SERVER_AUTH]), usage),
        (Some(vec![ANY_USAGE]), usage),
        (Some(vec![SERVER_AUTH, CLIENT_AUTH]), None),
        (None, None),
    ] {
        assert_eq!(world.reason_of(&world.below(|leaf| leaf.purposes = purposes.clone())), reason, "{purposes:?}");
    }
    let comcast = |bits| {
        let leaf = world.below(|leaf| leaf.usage = Some(bits));
        let token = TokenDraft::of(&[&leaf, &world.issuing]).comcast(json!(["p"])).token();
        let question = TokenQuestion { form: VerifiedForm::Comcast, ..world.question(&token) };
        world.verifier.verify(&question, at(NOW)).err().map(|denial| denial.reason)
    };
    assert_eq!((comcast(DIGITAL_SIGNATURE), comcast(KEY_AGREEMENT)), (usage, usage));
    assert_eq!(comcast(DIGITAL_SIGNATURE | KEY_AGREEMENT), None);
}

#[test]
fn an_identity_is_whole_and_sound_and_has_an_instance() {
    let mut world = TestPki::new();
    for required in [RequiredIdentity::CloudFoundry, RequiredIdentity::Any] {
        world.verifier.identity = required;
        for at in 0..3 {
            let kind = ["organization", "space", "app"][at];
            let with =
                |change: &dyn Fn(&mut Vec<String>)| world.reason_of(&world.below(|leaf| change(&mut leaf.units)));
            assert_eq!(with(&|units| drop(units.remove(at))), Some(Reason::IdentityMissing), "{kind}");
            let malformed = Some(Reason::IdentityMalformed);
            assert_eq!(with(&|units| units.push(format!("{kind}:{OTHER}"))), malformed, "{kind}");
            assert_eq!(with(&|units| units[at] = format!("{kind}:billing")), malformed, "{kind}");
            assert_eq!(with(&|units| units[at] = format!("{kind}:")), malformed, "{kind}");
            assert_eq!(with(&|units| units.push(units[at].clone())), None, "{kind}");
        }
        assert_eq!(world.reason_of(&world.below(|leaf| leaf.name = None)), Some(Reason::Retired));
    }
}

#[test]
fn others_than_cloud_foundrys_count_where_any_do_under_a_uri_of_theirs() {
    let mut world = TestPki::new();
    let uri = "spiffe://example.org/billing";
    let leaf = world.below(|leaf| {
        leaf.units.clear();
        leaf.uris = vec!["spiffe://example.org/other", uri];
    });
    let token = |sub: &str, more: Value| {
        let guids = json!({ "org_guid": null, "space_guid": null, "app_guid": null, "cf_instance_guid": null });
        let draft = TokenDraft::of(&[&leaf, &world.issuing]).claims(guids);
        draft.claims(json!({ "sub": sub, "iss": sub })).claims(more).token()
    };
    let good = token(uri, json!({}));
    let bad = [
        token("spiffe://example.org/billin", json!({})),
        token(&format!("cf:app:{APP}"), json!({})),
        token(uri, json!({ "app_guid": APP })),
    ];
    assert_eq!(world.reason(&good), Some(Reason::IdentityMissing));
    world.verifier.identity = RequiredIdentity::Any;
    assert_eq!(world.reason(&good), None);
    for token in bad {
        assert_eq!(world.reason(&token), Some(Reason::SubjectMismatch));
    }
    let retired = world.below(|leaf| {
        (leaf.units, leaf.name) = (Vec::new(), None);
        leaf.dns = vec![""];
    });
    assert_eq!(world.reason_of(&retired), Some(Reason::Retired));
}
