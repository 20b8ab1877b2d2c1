//! Check 6: when the token counts, for whom, and who it says it is; and the form of Comcast's plugin.

use std::time::Duration;

use serde_json::json;

use super::made::{APP, DAY, KEY_AGREEMENT, NOW, OTHER, TokenDraft, at, thumbprint};
use super::{CallerCertificate, Reason, TestPki, TokenQuestion};

#[test]
fn times_are_whole_numbers_and_count_to_the_second_with_the_skew() {
    let mut world = TestPki::new();
    for skew in [0, 60, 300] {
        world.verifier.skew = Duration::from_secs(skew.try_into().unwrap());
        let judged = |claims| world.reason(&world.draft().claims(claims).token());
        assert_eq!(judged(json!({ "iat": NOW - 900, "nbf": NOW - 900, "exp": NOW - skew + 1 })), None);
        assert_eq!(judged(json!({ "iat": NOW - 900, "nbf": NOW - 900, "exp": NOW - skew })), Some(Reason::Expired));
        assert_eq!(judged(json!({ "nbf": NOW + skew })), None);
        assert_eq!(judged(json!({ "nbf": NOW + skew + 1 })), Some(Reason::NotYetValid));
        assert_eq!(judged(json!({ "iat": NOW + skew, "exp": NOW + 900 })), None);
        assert_eq!(judged(json!({ "iat": NOW + skew + 1, "exp": NOW + 900 })), Some(Reason::IssuedInFuture));
    }
    let draft = world.draft();
    let (header, claims) = (json!(draft.header).to_string(), json!(draft.claims).to_string());
    for (name, value, reason) in [
        ("exp", NOW + 300, Reason::Expired),
        ("nbf", NOW - 30, Reason::NotYetValid),
        ("iat", NOW, Reason::IssuedInFuture),
    ] {
        assert_eq!(world.reason(&world.draft().claims(json!({ name: null })).token()), Some(reason), "{name}");
        for odd in [
            format!("{value}.0"),
            format!("{value}e0"),
            format!("\"{value}\""),
            "1e9".into(),
            "true".into(),
            "null".into(),
        ] {
            let claims = claims.replace(&format!("\"{name}\":{value}"), &format!("\"{name}\":{odd}"));
            assert_eq!(world.reason(&draft.token_of(&header, &claims)), Some(reason), "{name} {odd}");
        }
    }
    // Beyond all clocks, in both directions.
    let judged = |claims| world.reason(&world.draft().claims(claims).token());
    assert_eq!(judged(json!({ "exp": u64::MAX })), Some(Reason::TooLong));
    assert_eq!(judged(json!({ "exp": i64::MAX, "iat": i64::MIN })), Some(Reason::TooLong));
    assert_eq!(judged(json!({ "exp": i64::MIN })), Some(Reason::Expired));
    assert_eq!(judged(json!({ "nbf": u64::MAX })), Some(Reason::NotYetValid));
    assert_eq!(judged(json!({ "iat": u64::MAX })), Some(Reason::IssuedInFuture));
    assert_eq!(judged(json!({ "nbf": i64::MIN })), None);
}

#[test]
fn a_token_lives_no_longer_than_is_believed_and_than_its_certificates() {
    let mut world = TestPki::new();
    let judged = |world: &TestPki, claims| world.reason(&world.draft().claims(claims).token());
    assert_eq!(judged(&world, json!({ "exp": NOW + 3600 })), None);
    assert_eq!(judged(&world, json!({ "exp": NOW + 3601 })), Some(Reason::TooLong));
    assert_eq!(judged(&world, json!({ "iat": NOW - 3000, "exp": NOW + 601 })), Some(Reason::TooLong));
    world.verifier.max_ttl = Duration::from_secs(30 * 86_400);
    assert_eq!(judged(&world, json!({ "exp": NOW + DAY })), None);
    assert_eq!(judged(&world, json!({ "exp": NOW + DAY + 1 })), Some(Reason::OutlivesCertificate));
}

#[test]
fn an_audience_is_compared_byte_for_byte() {
    let world = TestPki::new();
    let judged = |aud| world.verify(&world.draft().claims(json!({ "aud": aud })).token());
    for aud in [
        json!(null),
        json!(""),
        json!("Me"),
        json!("me/"),
        json!("me us"),
        json!(1),
        json!([]),
        json!(["a"]),
        json!([["me"]]),
        json!(["me", 1]),
        json!({ "me": "me" }),
    ] {
        assert_eq!(judged(aud.clone()).unwrap_err().reason, Reason::Audience, "{aud}");
    }
    for (aud, found) in [(json!("us"), "us"), (json!(["a", "us"]), "us"), (json!(["us", "me"]), "me")] {
        assert_eq!(judged(aud).unwrap().audience(), Some(found));
    }
}

#[test]
fn a_token_says_of_its_instance_what_the_certificate_says_or_nothing() {
    let mut world = TestPki::new();
    let me = format!("cf:app:{APP}");
    for claims in [
        json!({ "sub": null }),
        json!({ "sub": 1 }),
        json!({ "sub": APP }),
        json!({ "sub": me.to_uppercase() }),
        json!({ "sub": format!("cf:app:{OTHER}") }),
        json!({ "iss": "issuer" }),
        json!({ "iss": "" }),
        json!({ "iss": [me] }),
        json!({ "org_guid": OTHER }),
        json!({ "space_guid": OTHER }),
        json!({ "app_guid": [APP] }),
        json!({ "cf_instance_guid": OTHER }),
    ] {
        let token = world.draft().claims(claims.clone()).token();
        assert_eq!(world.reason(&token), Some(Reason::SubjectMismatch), "{claims}");
    }
    for name in ["iss", "org_guid", "space_guid", "app_guid", "cf_instance_guid"] {
        assert_eq!(world.reason(&world.draft().claims(json!({ name: null })).token()), None, "{name}");
    }
    let token = world.draft().claims(json!({ "iss": "issuer" })).token();
    let other = world.draft().claims(json!({ "iss": "other" })).token();
    world.verifier.issuer = Some("issuer".to_owned());
    assert_eq!((world.reason(&token), world.reason(&other)), (None, Some(Reason::SubjectMismatch)));
    assert_eq!(world.reason(&world.draft().token()), None);
}

#[test]
fn a_bound_token_counts_with_its_certificate_alone() {
    let mut world = TestPki::new();
    let mine = CallerCertificate::of(&world.leaf.der);
    let other = CallerCertificate::of(&world.issuing.der);
    let bound = world.draft().claims(json!({ "cnf": { "x5t#S256": thumbprint(&world.leaf) } })).token();
    let unbound = world.draft().token();
    let odd = [
        json!({}),
        json!(thumbprint(&world.leaf)),
        json!([thumbprint(&world.leaf)]),
        json!({ "jkt": thumbprint(&world.leaf) }),
        json!({ "x5t#S256": format!("{}=", thumbprint(&world.leaf)) }),
        json!({ "x5t#S256": 1 }),
    ];
    let odd = odd.map(|cnf| world.draft().claims(json!({ "cnf": cnf })).token());
    // A null is there, and says nothing that could be compared.
    let claims = json!(world.draft().claims).to_string().replacen('{', "{\"cnf\":null,", 1);
    let null = world.draft().token_of(&json!(world.draft().header).to_string(), &claims);
    let judged = |world: &TestPki, token: &str, caller| {
        let question = TokenQuestion { caller, ..world.question(token) };
        world.verifier.verify(&question, at(NOW)).err().map(|denial| denial.reason)
    };
    let not_bound = Some(Reason::NotBound);
    for require in [false, true] {
        world.verifier.require_bound = require;
        assert_eq!(judged(&world, &bound, mine), None);
        assert_eq!(judged(&world, &bound, other), not_bound);
        assert_eq!(judged(&world, &bound, CallerCertificate::Unknown), not_bound);
        for token in odd.iter().chain([&null]) {
            assert_eq!(judged(&world, token, mine), not_bound);
        }
        for caller in [mine, other, CallerCertificate::Unknown] {
            assert_eq!(judged(&world, &unbound, caller), if require { not_bound } else { None });
        }
    }
}

#[test]
fn of_comcasts_form_nbf_is_needed_and_the_rest_is_judged_where_it_is_there() {
    let mut world = TestPki::new();
    let leaf = world.below(|leaf| leaf.usage = Some(leaf.usage.unwrap() | KEY_AGREEMENT));
    let draft = || TokenDraft::of(&[&leaf, &world.issuing]).comcast(json!(["p"]));
    let judged = |claims| world.comcast(&draft().claims(claims).token()).map_err(|denial| denial.reason);
    let sound = judged(json!({})).unwrap();
    // Without roles it is told that nothing is granted.
    assert!(sound.warnings().len() == 1 && sound.grant().policies.is_empty());
    assert_eq!(judged(json!({ "nbf": null })), Err(Reason::NotYetValid));
    assert_eq!(judged(json!({ "exp": 1, "iat": null })), Err(Reason::Expired));
    assert_eq!(judged(json!({ "exp": "1" })), Err(Reason::Expired));
    assert_eq!(judged(json!({ "iat": NOW + 600 })), Err(Reason::IssuedInFuture));
    assert_eq!(judged(json!({ "aud": "bank" })), Err(Reason::Audience));
    assert_eq!(judged(json!({ "sub": "x" })), Err(Reason::SubjectMismatch));
    assert_eq!(judged(json!({ "iat": null, "exp": NOW + 3601 })), Err(Reason::TooLong));
    assert_eq!(judged(json!({ "exp": null })), Err(Reason::TooLong));
    let bare = json!({
        "exp": null, "iat": null, "aud": null, "sub": null, "iss": null, "jti": null,
        "org_guid": null, "space_guid": null, "app_guid": null, "cf_instance_guid": null,
    });
    let token = draft().claims(bare).token();
    let standard = TokenDraft::of(&[&leaf, &world.issuing]).token();
    let comcast = draft().token();
    world.verifier.max_ttl = Duration::from_secs(86_400);
    let verified = world.comcast(&token).unwrap();
    assert_eq!((verified.expires_at(), verified.warnings().len()), (NOW + DAY, 3));
    assert_eq!((verified.audience(), verified.jti()), (None, None));
    // Each form has its certificates in one place.
    assert_eq!(world.comcast(&standard).unwrap_err().reason, Reason::X5c);
    assert_eq!(world.reason(&comcast), Some(Reason::X5c));
}
