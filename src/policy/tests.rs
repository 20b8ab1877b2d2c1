//! Certificates of every kind against sets of rules. What is expected is worked out from the words in which both are
//! written, by code that shares nothing with the code under test.

use proptest::prelude::*;

use super::{DenialReason, Policy, PolicyMode, Routes, Rule};
use crate::identity::tests::{certificate, tlv};
use crate::identity::{Client, Identity};

const GREEN: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
const BLUE: &str = "00000000-0000-4000-8000-00000000b10e";
const SPACE: &str = "2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22";
const OTHER_SPACE: &str = "11111111-31f7-4b6e-a3ad-5d9d2c5b7e22";
const ORG: &str = "c9f1d2b3-44e5-4c66-9d77-8e88f9990a33";
const OTHER_ORG: &str = "22222222-44e5-4c66-9d77-8e88f9990a33";
const INSTANCE: &str = "51f0a007-a1b2-4c3d-5e6f-7a07";

/// A certificate in words: its subject's attributes and its alternative names, `ou=app:GUID`, `dns=a.example`.
pub(super) type CertificateText = Vec<String>;

pub(super) fn words(text: &str) -> CertificateText {
    let text = text
        .replace("GREEN", GREEN)
        .replace("BLUE", BLUE)
        .replace("OTHERSPACE", OTHER_SPACE)
        .replace("SPACE", SPACE)
        .replace("OTHERORG", OTHER_ORG)
        .replace("ORG", ORG)
        .replace("INSTANCE", INSTANCE);
    text.split_whitespace().map(|word| word.replace('~', " ")).collect()
}

/// Every certificate of the matrix.
fn certificates() -> Vec<CertificateText> {
    let ours = "ou=organization:ORG ou=space:SPACE ou=app:GREEN cn=INSTANCE";
    let texts = [
        // Cloud Foundry's, whole and in part.
        ours.to_owned(),
        ours.replace("GREEN", "BLUE"),
        ours.replace("SPACE", "OTHERSPACE"),
        ours.replace("ORG", "OTHERORG"),
        ours.replace("INSTANCE", "other-instance"),
        "ou=organization:OTHERORG ou=space:OTHERSPACE ou=app:BLUE cn=other-instance".to_owned(),
        "ou=app:GREEN".to_owned(),
        "ou=space:SPACE".to_owned(),
        "ou=organization:ORG".to_owned(),
        "ou=app:GREEN cn=INSTANCE".to_owned(),
        "ou=app:GREEN ou=space:SPACE ou=organization:ORG".to_owned(),
        "cn=INSTANCE ou=app:GREEN ou=app:GREEN".to_owned(),
        "ou=Sales ou=app:GREEN cn=INSTANCE".to_owned(),
        // Cloud Foundry's, with names that an app may choose.
        format!("{ours} dns=INSTANCE ip=10.0.0.7"),
        format!("{ours} dns=gorouter.service.cf.internal"),
        format!("{ours} dns=a.example.com dns=gorouter.service.cf.internal uri=spiffe://example.org/ns/web"),
        ours.replace("INSTANCE", "gorouter"),
        format!("ou=app:BLUE cn=router dns=app:{GREEN}"),
        // Not Cloud Foundry's.
        "cn=gorouter".to_owned(),
        "cn=Gorouter".to_owned(),
        "cn=gorouter~".to_owned(),
        "cn=gorouter cn=other".to_owned(),
        "o=gorouter".to_owned(),
        "ou=gorouter".to_owned(),
        "dns=gorouter.service.cf.internal".to_owned(),
        "cn=router dns=gorouter.service.cf.internal".to_owned(),
        "cn=router dns=ssh-proxy.service.cf.internal".to_owned(),
        "cn=router dns=GoRouter.Service.CF.Internal".to_owned(),
        "cn=router dns=gorouter.service.cf.internal.evil.com".to_owned(),
        "cn=router dns=x.gorouter.service.cf.internal".to_owned(),
        "cn=router dns=a.example.com".to_owned(),
        "cn=router dns=a.b.example.com".to_owned(),
        "cn=router dns=example.com".to_owned(),
        "cn=router dns=*.example.com".to_owned(),
        "cn=router dns=A.EXAMPLE.COM".to_owned(),
        "cn=a.example.com".to_owned(),
        "cn=gorouter.service.cf.internal".to_owned(),
        "cn=router uri=spiffe://example.org/ns/web".to_owned(),
        "cn=router uri=spiffe://example.org/ns/web/deeper".to_owned(),
        "cn=router uri=spiffe://example.org/ns/".to_owned(),
        "cn=router uri=spiffe://example.org/other".to_owned(),
        "cn=router uri=https://gorouter.service.cf.internal".to_owned(),
        "cn=router email=gorouter.service.cf.internal".to_owned(),
        "cn=router ip=10.0.0.7".to_owned(),
        "".to_owned(),
        "ou=Sales o=Example cn=somebody".to_owned(),
        // Look-alikes of Cloud Foundry's.
        format!("cn=app:{GREEN}"),
        format!("o=app:{GREEN} cn=somebody"),
        format!("cn=somebody dns=app.{GREEN}"),
        format!("cn=somebody uri=app:{GREEN}"),
        format!("cn=somebody email=app:{GREEN}"),
        format!("ou={GREEN} cn={INSTANCE}"),
        format!("ou=apps:{GREEN}"),
        format!("l=app:{GREEN} cn=INSTANCE"),
        // Unsound.
        "ou=app:GREEN ou=app:BLUE cn=INSTANCE".to_owned(),
        "ou=app:BLUE ou=app:GREEN ou=space:SPACE".to_owned(),
        "ou=app: ou=space:SPACE cn=INSTANCE".to_owned(),
        "ou=app:GREEN~ cn=INSTANCE".to_owned(),
        "ou=~app:GREEN cn=INSTANCE".to_owned(),
        "ou=App:GREEN cn=INSTANCE".to_owned(),
        "ou=app:green cn=INSTANCE".to_owned(),
        "ou=app:GREEN cn=one cn=two".to_owned(),
        "ou=app:GREEN cn=in/valid".to_owned(),
        "ou=app:GREEN ou=space:".to_owned(),
        "ou=space:SPACE ou=space:OTHERSPACE ou=app:GREEN dns=gorouter.service.cf.internal".to_owned(),
    ];
    texts.iter().map(|text| words(text)).collect()
}

/// Every set of rules of the matrix: allow, deny.
fn rule_sets() -> Vec<(CertificateText, CertificateText)> {
    [
        ("", ""),
        ("any", ""),
        ("anonymous", ""),
        ("cf:any", ""),
        ("cf:app:GREEN", ""),
        ("cf:app:BLUE", ""),
        ("cf:app:GREEN cf:app:BLUE", ""),
        ("cf:space:SPACE", ""),
        ("cf:org:ORG", ""),
        ("cf:instance:INSTANCE", ""),
        ("cf:same:app", ""),
        ("cf:same:space", ""),
        ("cf:same:org", ""),
        ("dns:gorouter.service.cf.internal", ""),
        ("dns:*.example.com", ""),
        ("uri:spiffe://example.org/ns/web", ""),
        ("uri:spiffe://example.org/ns/*", ""),
        ("cn:gorouter", ""),
        ("cn:INSTANCE", ""),
        ("any", "cf:app:BLUE"),
        ("any", "cf:any"),
        ("any", "any"),
        ("any anonymous", "dns:gorouter.service.cf.internal"),
        ("any", "dns:a.example.com"),
        ("any", "dns:*.example.com"),
        ("any", "cn:gorouter"),
        ("any", "uri:spiffe://example.org/ns/*"),
        ("dns:*.example.com", "uri:spiffe://example.org/ns/web cn:somebody"),
        ("cf:org:ORG", "cf:space:SPACE"),
        ("cf:any dns:*.example.com", "cf:instance:INSTANCE cn:router"),
        ("cf:app:GREEN dns:gorouter.service.cf.internal", "anonymous"),
        ("", "cf:app:BLUE"),
    ]
    .map(|(allow, deny)| (words(allow), words(deny)))
    .to_vec()
}

/// The certificate that these words describe, written by hand: no library that reads it has made it. All attributes of
/// the subject stand in one RDN or in one each.
pub(super) fn client(words: &CertificateText, in_one_rdn: bool) -> Client {
    let (mut subject, mut names) = (Vec::new(), Vec::new());
    for (i, (kind, value)) in words.iter().map(|word| word.split_once('=').unwrap()).enumerate() {
        let string_type = if i % 2 == 0 { 12 } else { 19 };
        let mut attribute = |arc| subject.push((arc, string_type, value.as_bytes()));
        match kind {
            "cn" => attribute(3),
            "l" => attribute(7),
            "o" => attribute(10),
            "ou" => attribute(11),
            "email" => names.extend(tlv(0x81, &[value.as_bytes()])),
            "dns" => names.extend(tlv(0x82, &[value.as_bytes()])),
            "uri" => names.extend(tlv(0x86, &[value.as_bytes()])),
            "ip" => names.extend(tlv(0x87, &[&value.parse::<std::net::Ipv4Addr>().unwrap().octets()])),
            kind => panic!("{kind}"),
        }
    }
    let names = tlv(0x30, &[&names]);
    let lists: &[&[u8]] = if names.len() > 2 { &[&names] } else { &[] };
    let rdns: Vec<_> = if in_one_rdn && !subject.is_empty() { vec![&subject[..]] } else { subject.chunks(1).collect() };
    // Its issuer is of another app, which must not matter.
    let stranger = format!("app:{BLUE}");
    Client::from_leaf(&certificate(&rdns, &[&[(11, 12, stranger.as_bytes())]], lists)).unwrap()
}

fn all_of<'a>(words: &'a CertificateText, kind: &str) -> Vec<&'a str> {
    words.iter().filter_map(|word| word.strip_prefix(kind)?.strip_prefix('=')).collect()
}

fn is_guid(text: &str) -> bool {
    let digits = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    digits && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// What the words say of the identity: `None` if it is unsound, else the values of app, space, organization, instance.
fn expected_identity(words: &CertificateText) -> Option<[Option<String>; 4]> {
    let mut parts = [const { None }; 4];
    for (part, prefix) in parts.iter_mut().zip(["app:", "space:", "organization:"]) {
        for unit in all_of(words, "ou") {
            if unit.replace(' ', "").to_lowercase().starts_with(prefix) {
                let guid = unit.strip_prefix(prefix).filter(|guid| is_guid(guid))?;
                if part.as_ref().is_some_and(|earlier| earlier != guid) {
                    return None;
                }
                *part = Some(guid.to_owned());
            }
        }
    }
    if parts.iter().all(Option::is_none) {
        return Some(parts);
    }
    for cn in all_of(words, "cn") {
        let sound = !cn.is_empty() && cn.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !sound || parts[3].as_ref().is_some_and(|earlier| earlier != cn) {
            return None;
        }
        parts[3] = Some(cn.to_owned());
    }
    Some(parts)
}

/// Whether a rule, in its words, means the holder of a certificate, in its words.
fn expected_match(rule: &str, words: &CertificateText, denies: bool) -> bool {
    let Some(identity) = expected_identity(words) else { return false };
    let of_cf = identity.iter().any(Option::is_some);
    let [app, space, organization, instance] = identity;
    let is = |part: Option<String>, value: &str| part.as_deref() == Some(value);
    let below = |name: &str, parent: &str| {
        let labels: Vec<_> = name.split('.').collect();
        labels.len() == parent.split('.').count() + 1 && labels[1..].join(".") == parent && labels[0] != "*"
    };
    let (kind, value) = rule.rsplit_once(':').unwrap_or((rule, ""));
    match (kind, value) {
        ("any", "") => true,
        ("anonymous", "") => false,
        ("cf", "any") => of_cf,
        ("cf:app", guid) => is(app, guid),
        ("cf:space", guid) => is(space, guid),
        ("cf:org", guid) => is(organization, guid),
        ("cf:instance", id) => is(instance, id),
        ("cf:same", "app") => is(app, GREEN),
        ("cf:same", "space") => is(space, SPACE),
        ("cf:same", "org") => is(organization, ORG),
        ("dns", name) => {
            let names = all_of(words, "dns").into_iter().map(str::to_lowercase);
            let parent = name.strip_prefix("*.");
            (denies || !of_cf) && names.into_iter().any(|n| parent.map_or(n == name, |parent| below(&n, parent)))
        }
        ("uri:spiffe", uri) => {
            let parent = uri.strip_suffix('*');
            let meant =
                |u: &str| u == uri || parent.is_some_and(|parent| u.len() > parent.len() && u.starts_with(parent));
            (denies || !of_cf) && all_of(words, "uri").iter().filter_map(|u| u.strip_prefix("spiffe:")).any(meant)
        }
        ("cn", name) => (denies || !of_cf) && all_of(words, "cn") == [name],
        other => panic!("{other:?}"),
    }
}

/// Whether a holder who is not meant by a rule that denies might be, under a name that is written in another way.
fn expected_doubt(rule: &str, words: &CertificateText) -> bool {
    let Some(identity) = expected_identity(words) else { return false };
    let is_sign = |name: &str| name.is_empty() && identity.iter().any(Option::is_some);
    let plain = |name: &str| {
        let label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        name.split('.').all(label)
    };
    let (cns, names) = (all_of(words, "cn"), all_of(words, "dns"));
    let (kind, value) = rule.rsplit_once(':').unwrap_or((rule, ""));
    match kind {
        "dns" if names.is_empty() => {
            let by_wildcard = |cn: &str| {
                value
                    .strip_prefix("*.")
                    .is_some_and(|parent| cn.split_once('.').is_some_and(|(_, rest)| rest == parent))
            };
            cns.len() > 1 || cns.iter().any(|cn| *cn == value || by_wildcard(cn))
        }
        "dns" => names.iter().filter(|name| !is_sign(name)).any(|name| match name.strip_prefix("*.") {
            Some(parent) => !plain(parent) || value.split_once('.').is_some_and(|(_, of)| of == parent),
            None => !plain(name),
        }),
        "cn" => cns.len() > 1 || cns.iter().any(|cn| cn.trim() != *cn || cn.eq_ignore_ascii_case(value)),
        "uri:spiffe" => all_of(words, "uri").iter().any(|uri| uri.starts_with("spiffe:") && uri.ends_with('/')),
        _ => false,
    }
}

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
