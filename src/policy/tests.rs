//! Certificates of every kind against sets of rules. What is expected is worked out from the words in which both are
//! written, by code that shares nothing with the code under test.

use proptest::prelude::*;

use super::{DenialReason, Policy, PolicyMode, Routes, Rule};
use crate::identity::{Client, Identity};

mod oracle;

use oracle::{CertificateText, certificates, expected_doubt, expected_identity, expected_match, rule_sets};
pub(super) use oracle::{client, words};

fn parsed(rules: &CertificateText) -> Vec<Rule> {
    rules.iter().map(|rule| rule.parse().unwrap()).collect()
}

/// The identity of the one who is asked.
fn own() -> Identity {
    client(&words("ou=organization:ORG ou=space:SPACE ou=app:GREEN cn=own"), true).identity().unwrap().clone()
}

#[test]
fn every_certificate_is_judged_by_every_set_of_rules_as_their_words_say() {
    let (certificates, own) = (certificates(), own());
    assert!(certificates.len() >= 60, "{}", certificates.len());
    let (mut permits, mut denials) = (0, 0);
    for (allow, deny) in rule_sets() {
        let policy =
            Policy { mode: PolicyMode::Enforce, allow: parsed(&allow), deny: parsed(&deny), routes: Routes::default() };
        let audit = Policy { mode: PolicyMode::Audit, ..policy.clone() };
        for certificate in &certificates {
            let first = |rules: &CertificateText, denies| {
                rules.iter().find(|rule| expected_match(rule, certificate, denies)).cloned()
            };
            let doubted = deny.iter().find(|rule| expected_doubt(rule, certificate)).cloned();
            let expected = match (expected_identity(certificate), first(&deny, true), doubted, first(&allow, false)) {
                (None, _, _, _) => Err((DenialReason::IdentityInvalid, None)),
                (_, Some(rule), _, _) => Err((DenialReason::DeniedByRule, Some(rule))),
                (_, None, Some(rule), _) => Err((DenialReason::NameDoubtful, Some(rule))),
                (_, None, None, Some(rule)) => Ok(rule),
                (_, None, None, None) => Err((DenialReason::NotAllowed, None)),
            };
            for in_one_rdn in [true, false] {
                let client = client(certificate, in_one_rdn);
                let verdict = match policy.authorize(&client, Some(&own)) {
                    Ok(permit) => Ok(permit.rule().unwrap().to_string()),
                    Err(denial) => Err((denial.reason(), denial.rule().map(ToString::to_string))),
                };
                assert_eq!(verdict, expected, "{certificate:?} by {allow:?} without {deny:?}");
                // Audit lets everybody in, and says the same.
                let audited = audit.authorize(&client, Some(&own)).unwrap();
                assert_eq!(audited.audited_denial(), policy.authorize(&client, Some(&own)).as_ref().err());
                assert_eq!(
                    audited.rule().map(ToString::to_string),
                    expected.clone().map_or_else(|(_, rule)| rule, Some)
                );
                if verdict.is_ok() { permits += 1 } else { denials += 1 }
            }
        }
    }
    assert!(permits > 500 && denials > 1000, "{permits} and {denials}");
}

#[test]
fn the_anonymous_come_in_by_their_own_rule_alone() {
    for (allow, deny) in rule_sets() {
        for mode in [PolicyMode::Enforce, PolicyMode::Audit] {
            let policy = Policy { mode, allow: parsed(&allow), deny: parsed(&deny), routes: Routes::default() };
            let verdict = policy.authorize(&Client::Anonymous, Some(&own())).map_err(|denial| denial.reason());
            let named = |rules: &CertificateText| rules.contains(&"anonymous".to_owned());
            match (named(&allow), named(&deny)) {
                (_, true) => assert_eq!(verdict, Err(DenialReason::DeniedByRule)),
                (true, false) => assert_eq!(verdict.unwrap().rule(), Some(&Rule::Anonymous)),
                (false, false) => assert_eq!(verdict, Err(DenialReason::NoCertificate)),
            }
        }
    }
    assert!(Policy::anonymous().authorize(&Client::Anonymous, None).is_ok());
    assert!(Policy::anonymous().authorize(&client(&words("cn=x"), true), None).is_err());
}

#[test]
fn without_an_identity_of_our_own_nobody_shares_it() {
    let policy = |rule: &str| Policy {
        mode: PolicyMode::Enforce,
        allow: parsed(&words(rule)),
        deny: vec![],
        routes: Routes::default(),
    };
    let lone = client(&words("ou=app:GREEN"), true);
    let own = lone.identity();
    for rule in ["cf:same:app", "cf:same:space", "cf:same:org"] {
        assert!(policy(rule).needs_own_identity());
        assert_eq!(policy(rule).authorize(&lone, None).unwrap_err().reason(), DenialReason::NotAllowed);
    }
    // Neither has a space: that is nothing to share.
    assert!(policy("cf:same:app").authorize(&lone, own).is_ok());
    assert!(policy("cf:same:space").authorize(&lone, own).is_err());
    assert!(!policy("cf:any").needs_own_identity());
}

#[test]
fn a_second_app_beside_the_denied_one_is_no_way_around_the_deny() {
    let policy = Policy {
        mode: PolicyMode::Enforce,
        allow: vec![Rule::Any],
        deny: parsed(&words("cf:app:BLUE")),
        routes: Routes::default(),
    };
    let disguised = client(&words("ou=app:BLUE ou=app:GREEN"), true);
    let denial = policy.authorize(&disguised, None).unwrap_err();
    assert_eq!(denial.reason(), DenialReason::IdentityInvalid);
    assert_eq!(
        denial.to_string(),
        "the certificate claims to be Cloud Foundry's and is not sound: the app occurs twice in the subject with \
        different values"
    );
}

#[test]
fn a_denial_names_its_rule() {
    let policy = Policy {
        mode: PolicyMode::Enforce,
        allow: vec![Rule::Any],
        deny: parsed(&words("cn:x")),
        routes: Routes::default(),
    };
    let denial = policy.authorize(&client(&words("cn=x"), true), None).unwrap_err();
    assert_eq!(denial.to_string(), "a rule denies the client: cn:x");
    let denial =
        Policy { allow: vec![], deny: vec![], ..policy }.authorize(&client(&words("cn=x"), true), None).unwrap_err();
    assert_eq!((denial.to_string(), denial.rule()), ("no rule admits the client".to_owned(), None));
}

proptest! {
    #[test]
    fn rules_in_any_order_admit_the_same_and_a_deny_never_admits_more(
        certificate in prop::sample::select(certificates()),
        allow in prop::collection::vec(prop::sample::select(all_rules()), 0..5).prop_shuffle(),
        deny in prop::collection::vec(prop::sample::select(all_rules()), 0..3),
    ) {
        let (client, own) = (client(&certificate, false), own());
        let admits = |allow: &CertificateText, deny: &CertificateText| {
            let policy = Policy { mode: PolicyMode::Enforce, allow: parsed(allow), deny: parsed(deny), routes: Routes::default() };
            policy.authorize(&client, Some(&own)).ok().and_then(|permit| permit.rule().cloned())
        };
        let permit = admits(&allow, &deny);
        let reversed: CertificateText = allow.iter().rev().cloned().collect();
        prop_assert_eq!(admits(&reversed, &deny).is_some(), permit.is_some());
        prop_assert_eq!(admits(&allow, &vec![]).is_some() || permit.is_none(), true);
        if let Some(rule) = permit {
            let alone = vec![rule.to_string()];
            prop_assert!(allow.contains(&alone[0]) && admits(&alone, &deny) == Some(rule));
        }
    }
}

/// Every rule that stands in some set.
fn all_rules() -> CertificateText {
    rule_sets().into_iter().flat_map(|(allow, deny)| allow.into_iter().chain(deny)).collect()
}

#[test]
fn a_mark_of_the_platforms_makes_no_other_name_of_one_that_is_denied() {
    let marked = client(&words("ou=space:SPACE cn=Bob dns=evil.example uri=spiffe://o/admin/a"), true);
    for rule in ["cn:Bob", "dns:evil.example", "uri:spiffe://o/admin/*"] {
        let deny = vec![rule.parse().unwrap()];
        let policy = Policy { mode: PolicyMode::Enforce, allow: vec![Rule::Any], deny, routes: Routes::default() };
        let denial = policy.authorize(&marked, None).unwrap_err();
        assert_eq!(denial.reason(), DenialReason::DeniedByRule, "{rule}");
        // Nobody with an identity is admitted by a name.
        let policy = Policy {
            mode: PolicyMode::Enforce,
            allow: vec![rule.parse().unwrap()],
            deny: vec![],
            routes: Routes::default(),
        };
        assert_eq!(policy.authorize(&marked, None).unwrap_err().reason(), DenialReason::NotAllowed, "{rule}");
    }
}

#[test]
fn a_denied_uri_without_a_path_is_denied_with_an_empty_one() {
    for (denied, name) in [("uri:https://evil.example", "https://evil.example/"), ("uri:spiffe://o", "spiffe://o/")] {
        let policy = Policy {
            mode: PolicyMode::Enforce,
            allow: vec![Rule::Any],
            deny: vec![denied.parse().unwrap()],
            routes: Routes::default(),
        };
        let denial = policy.authorize(&client(&words(&format!("cn=x uri={name}")), true), None).unwrap_err();
        assert_eq!(denial.reason(), DenialReason::NameDoubtful, "{name}");
    }
}
