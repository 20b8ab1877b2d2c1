//! A token for each reason and each condition, sound in all that is asked before.

mod certificates;
mod claims;
mod made;
mod properties;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::made::{APP, CertificateSpec, NOW, TestIdentity, TokenDraft, anchors, at};
use super::*;
use crate::identity::Guid;
use crate::token::replay::ReplayCache;
use crate::token::roles::Roles;

/// A root, the CA below it, and an instance.
struct TestPki {
    root: TestIdentity,
    issuing: TestIdentity,
    leaf: TestIdentity,
    verifier: Verifier,
    audiences: Vec<String>,
}

impl TestPki {
    fn new() -> Self {
        let root = CertificateSpec::ca("root").self_signed();
        let issuing = CertificateSpec::ca("issuing").with(|ca| ca.serial = 2).signed_by(&root);
        let leaf = CertificateSpec::leaf().signed_by(&issuing);
        let verifier = Verifier {
            anchors: anchors(&[&root], &[]),
            identity: RequiredIdentity::CloudFoundry,
            skew: Duration::from_secs(60),
            max_ttl: Duration::from_secs(3600),
            issuer: None,
            require_bound: false,
            roles: None,
        };
        Self { root, issuing, leaf, verifier, audiences: vec!["me".to_owned(), "us".to_owned()] }
    }

    fn draft(&self) -> TokenDraft<'_> {
        TokenDraft::of(&[&self.leaf, &self.issuing])
    }

    /// A leaf below the issuing CA.
    fn below(&self, change: impl FnOnce(&mut CertificateSpec)) -> TestIdentity {
        CertificateSpec::leaf().with(change).signed_by(&self.issuing)
    }

    fn question<'a>(&'a self, token: &'a str) -> TokenQuestion<'a> {
        TokenQuestion {
            token,
            audiences: &self.audiences,
            form: VerifiedForm::Standard,
            caller: CallerCertificate::Unknown,
            role: None,
            once: None,
        }
    }

    fn verify(&self, token: &str) -> Result<VerifiedToken, TokenDenial> {
        self.verifier.verify(&self.question(token), at(NOW))
    }

    /// Why not; `None`: it is believed.
    fn reason(&self, token: &str) -> Option<TokenDenialReason> {
        self.verify(token).err().map(|denial| denial.reason)
    }

    /// The same of a token of `holder` below the issuing CA.
    fn reason_of(&self, holder: &TestIdentity) -> Option<TokenDenialReason> {
        self.reason(&TokenDraft::of(&[holder, &self.issuing]).token())
    }

    fn comcast(&self, token: &str) -> Result<VerifiedToken, TokenDenial> {
        let question = TokenQuestion { form: VerifiedForm::Comcast, ..self.question(token) };
        self.verifier.verify(&question, at(NOW))
    }
}

use TokenDenialReason as Reason;

#[test]
fn a_sound_token_is_believed_and_all_that_it_proves_is_told() {
    let world = TestPki::new();
    let verified = world.verify(&world.draft().token()).unwrap();
    assert_eq!(verified.client().identity().unwrap().app, Some(APP.parse::<Guid>().unwrap()));
    assert_eq!((verified.audience(), verified.jti(), verified.expires_at()), (Some("me"), Some("one"), NOW + 300));
    assert_eq!((verified.ttl_seconds(), verified.grant()), (made::DAY as u64, &Grant::default()));
    let verdict_json = serde_json::to_value(TokenVerdict::from(&verified)).unwrap();
    assert_eq!(verdict_json["verdict"], "permit");
    assert_eq!(verdict_json["identity"]["app_guid"], APP);
    assert_eq!((&verdict_json["expires_at"], &verdict_json["policies"]), (&json!("2027-01-15T08:05:00Z"), &json!([])));
    for name in ["reason", "check", "role"] {
        assert_eq!(verdict_json[name], Value::Null);
    }
}

#[test]
fn what_is_no_token_or_can_be_read_in_two_ways_is_malformed() {
    let world = TestPki::new();
    let draft = world.draft();
    let (header, claims) = (json!(draft.header).to_string(), json!(draft.claims).to_string());
    let token = draft.token();
    let mut malformed = vec![
        String::new(),
        "a.b".to_owned(),
        format!("{token}.x"),
        format!("{token}="),
        format!("{token}\n"),
        format!(" {token}"),
        format!("{token}{}", "A".repeat(crate::token::LONGEST_TOKEN)),
    ];
    for (header, claims) in [
        ("[]", claims.as_str()),
        (&header, "[]"),
        (&header, ""),
        (&header.replacen('{', "{\"alg\":\"none\",", 1), &claims),
        (&header, &claims.replacen('{', "{\"a\":{\"b\":1,\"b\":2},", 1)),
        (&header, &format!("{claims}{{}}")),
        (&header, &claims.replacen('{', "{\"a\":[[[[[[[[]]]]]]]],", 1)),
    ] {
        malformed.push(draft.token_of(header, claims));
    }
    for token in malformed {
        assert_eq!(world.reason(&token), Some(Reason::Malformed), "{token}");
    }
    assert_eq!(world.reason(&draft.token_of(&header, &claims.replacen('{', "{ \"a\":[[[[[[[]]]]]]],", 1))), None);
}

#[test]
fn a_token_that_carries_a_private_key_is_refused_wherever_that_is() {
    let world = TestPki::new();
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        for header in [json!({ name: "x" }), json!({ "JWK": { name: "x" } }), json!({ "a": [[{ "b": { name: 1 } }]] })]
        {
            let token = world.draft().header(header.clone()).token();
            assert_eq!(world.reason(&token), Some(Reason::PrivateKey), "{header}");
        }
    }
    assert_eq!(
        world.reason(&world.draft().header(json!({ "a": "d", "D": 1 })).claims(json!({ "d": 1 })).token()),
        None
    );
}

#[test]
fn a_header_that_changes_what_the_rest_means_is_refused_and_others_are_passed_over() {
    let world = TestPki::new();
    for name in ["crit", "b64", "zip", "enc", "jku", "x5u", "jwk"] {
        assert_eq!(world.reason(&world.draft().header(json!({ name: false })).token()), Some(Reason::Header), "{name}");
    }
    for typ in [json!("at+jwt"), json!(1), json!(["JWT"]), json!("")] {
        assert_eq!(world.reason(&world.draft().header(json!({ "typ": typ })).token()), Some(Reason::Header), "{typ}");
    }
    for typ in [json!(null), json!("jwt"), json!("Jose")] {
        assert_eq!(world.reason(&world.draft().header(json!({ "typ": typ, "cty": "x", "Crit": 1 })).token()), None);
    }
}

#[test]
fn an_algorithm_is_one_of_ours_and_one_of_the_key() {
    let world = TestPki::new();
    for alg in ["none", "HS256", "RS384", "ES512", "es256", "Ed25519", "", "RS256", "PS256", "ES384", "EdDSA"] {
        let token = world.draft().header(json!({ "alg": alg })).token();
        assert_eq!(world.reason(&token), Some(Reason::Algorithm), "{alg}");
    }
    assert_eq!(world.reason(&world.draft().header(json!({ "alg": null })).token()), Some(Reason::Algorithm));
    assert_eq!(world.reason(&world.draft().header(json!({ "alg": 1 })).token()), Some(Reason::Algorithm));
}

#[test]
fn a_use_is_counted_by_certificate_and_jti_and_the_first_alone_is_let_in() {
    let world = TestPki::new();
    let cache = ReplayCache::default();
    let used = |token: &str, now| {
        let question = TokenQuestion { once: Some(&cache), ..world.question(token) };
        world.verifier.verify(&question, at(now)).err().map(|denial| denial.reason)
    };
    let token = world.draft().token();
    assert_eq!(used(&token, NOW), None);
    assert_eq!(used(&token, NOW), Some(Reason::Replayed));
    // The last second in which it counts.
    assert_eq!(used(&token, NOW + 359), Some(Reason::Replayed));
    assert_eq!(used(&world.draft().claims(json!({ "aud": ["me"] })).token(), NOW), Some(Reason::Replayed));
    assert_eq!(used(&world.draft().claims(json!({ "jti": "two" })).token(), NOW), None);
    let other = world.below(|_| {});
    assert_eq!(used(&TokenDraft::of(&[&other, &world.issuing]).token(), NOW), None);
    for jti in [json!(null), json!(1), json!("")] {
        assert_eq!(used(&world.draft().claims(json!({ "jti": jti })).token(), NOW), Some(Reason::Replayed), "{jti}");
        assert_eq!(world.reason(&world.draft().claims(json!({ "jti": jti })).token()), None, "{jti}");
    }
    // What was refused before was not used.
    let token = world.draft().claims(json!({ "jti": "three", "aud": "other" })).token();
    assert_eq!(used(&token, NOW), Some(Reason::Audience));
    assert_eq!(used(&world.draft().claims(json!({ "jti": "three" })).token(), NOW), None);
}

#[test]
fn a_full_cache_lets_nobody_in() {
    let world = TestPki::new();
    let cache = ReplayCache::default();
    let mut jti = 0;
    while cache.first_use(&[0; 32], &jti.to_string(), NOW + 9, NOW).is_ok() {
        jti += 1;
    }
    assert_eq!(jti, 65_536);
    let token = world.draft().token();
    let question = TokenQuestion { once: Some(&cache), ..world.question(&token) };
    let denial = world.verifier.verify(&question, at(NOW)).unwrap_err();
    assert_eq!((denial.reason, denial.reason.check()), (Reason::ReplayCacheFull, 7));
    assert!(world.verifier.verify(&question, at(NOW + 10)).is_ok());
}

const ROLES: &str = r#"
[[role]]
name = "reader"
allow = ["cf:app:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11"]
policies = ["read", "list"]
max-ttl = "10m"

[[role]]
name = "denied"
allow = ["any"]
deny = ["cf:org:c9f1d2b3-44e5-4c66-9d77-8e88f9990a33"]
policies = ["admin"]

[[grant]]
allow = ["cf:any"]
policies = ["read", "write"]

[[grant]]
allow = ["cf:space:2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22"]
policies = ["write", "space"]
max-ttl = "5m"

[[grant]]
allow = ["cf:app:00000000-0000-4000-8000-000000000000"]
policies = ["other"]
max-ttl = "1s"
"#;

#[test]
fn a_role_gives_its_policies_and_without_one_all_matching_grants_do() {
    let mut world = TestPki::new();
    world.verifier.roles = Some(Arc::new(Roles::parse("roles.toml".as_ref(), ROLES).unwrap()));
    let token = world.draft().token();
    let ask = |role| {
        let question = TokenQuestion { role, ..world.question(&token) };
        let verified = world.verifier.verify(&question, at(NOW));
        verified.map(|one| (one.grant().policies.join(" "), one.ttl_seconds())).map_err(|denial| denial.reason)
    };
    assert_eq!(ask(Some("reader")), Ok(("read list".to_owned(), 600)));
    for role in ["denied", "Reader", "unknown", ""] {
        assert_eq!(ask(Some(role)), Err(Reason::NoRole), "{role}");
    }
    assert_eq!(ask(None), Ok(("read write space".to_owned(), 300)));
    // Never 0, and never beyond the certificate.
    let question = world.question(&token);
    let last = NOW + made::DAY;
    let late = world.draft().claims(json!({ "iat": last - 10, "nbf": last - 10, "exp": last })).token();
    let late = TokenQuestion { token: &late, ..question };
    assert_eq!(world.verifier.verify(&late, at(last)).unwrap().ttl_seconds(), 1);
}

#[test]
fn of_policies_that_are_asked_for_all_are_granted_or_none_and_no_others() {
    let mut world = TestPki::new();
    let leaf = world.below(|leaf| leaf.usage = Some(made::DIGITAL_SIGNATURE | made::KEY_AGREEMENT));
    let token = |policies: Value| TokenDraft::of(&[&leaf, &world.issuing]).comcast(policies).token();
    let asked = [json!(["write"]), json!(["write", "write", "read"]), json!(["write", "admin"]), json!(["WRITE"])];
    let tokens = asked.map(&token);
    let nothing = [json!([]), json!("read"), json!([1]), json!({ "read": 1 })].map(&token);
    let list = token(json!(["list"]));
    world.verifier.roles = Some(Arc::new(Roles::parse("roles.toml".as_ref(), ROLES).unwrap()));
    let granted = |token: &str, role| {
        let question = TokenQuestion { role, form: VerifiedForm::Comcast, ..world.question(token) };
        let verified = world.verifier.verify(&question, at(NOW));
        verified.map(|one| one.grant().policies.join(" ")).map_err(|denial| denial.reason)
    };
    assert_eq!(granted(&tokens[0], None), Ok("write".to_owned()));
    assert_eq!(granted(&tokens[1], None), Ok("read write".to_owned()));
    assert_eq!(granted(&tokens[2], None), Err(Reason::PolicyNotGranted));
    assert_eq!(granted(&tokens[3], None), Err(Reason::PolicyNotGranted));
    assert_eq!(
        granted(&list, None),
        Err(Reason::PolicyNotGranted),
        "a role's policies are granted with the role alone"
    );
    assert_eq!(granted(&list, Some("reader")), Ok("list".to_owned()));
    assert_eq!(granted(&tokens[0], Some("reader")), Err(Reason::PolicyNotGranted));
    assert_eq!(granted(&tokens[0], Some("unknown")), Err(Reason::NoRole));
    for token in &nothing {
        assert_eq!(granted(token, None), Err(Reason::PolicyNotGranted));
    }
}

#[test]
fn the_first_check_that_fails_decides_and_no_more_is_told_than_was_checked() {
    let world = TestPki::new();
    let stranger = CertificateSpec::ca("issuing").self_signed();
    let bad = json!({ "exp": 1, "nbf": NOW + DAY, "iat": NOW + DAY, "aud": "x", "sub": "x", "cnf": {}, "jti": null });
    let worst = CertificateSpec::leaf().with(|leaf| {
        leaf.ends = NOW - 1;
        leaf.usage = None;
        leaf.units.clear();
    });
    let judged = |leaf: &TestIdentity, issuer: &TestIdentity| {
        let token = TokenDraft::of(&[leaf, issuer]).claims(bad.clone()).signed_by(&stranger.key).token();
        let denial = world.verify(&token).unwrap_err();
        (denial.reason, denial.reason.check(), denial.client.is_some(), denial.jti.is_some())
    };
    assert_eq!(judged(&worst.signed_by(&stranger), &stranger), (Reason::Untrusted, 1, false, false));
    assert_eq!(judged(&worst.signed_by(&world.issuing), &world.issuing), (Reason::CertificateExpired, 2, true, false));
    let worst = worst.with(|leaf| leaf.ends = NOW + DAY);
    assert_eq!(judged(&worst.signed_by(&world.issuing), &world.issuing), (Reason::KeyUsage, 3, true, false));
    let worst = worst.with(|leaf| leaf.usage = CertificateSpec::leaf().usage);
    assert_eq!(judged(&worst.signed_by(&world.issuing), &world.issuing), (Reason::IdentityMissing, 4, true, false));
    assert_eq!(judged(&world.leaf, &world.issuing), (Reason::Signature, 5, true, false));
    let denial = world.verify(&world.draft().claims(json!({ "exp": 1 })).token()).unwrap_err();
    assert_eq!((denial.reason.check(), denial.jti.as_deref()), (6, Some("one")));
    let verdict_json = serde_json::to_value(TokenVerdict::from(&denial)).unwrap();
    assert_eq!(
        (&verdict_json["verdict"], &verdict_json["reason"], &verdict_json["check"]),
        (&json!("denial"), &json!("expired"), &json!(6))
    );
    assert_eq!((&verdict_json["identity"]["app_guid"], &verdict_json["ttl_seconds"]), (&json!(APP), &Value::Null));
}

use self::made::DAY;

#[test]
fn each_reason_has_a_word_and_the_number_of_its_check_and_they_stand_in_order() {
    use strum::VariantArray;
    let checks: Vec<_> = Reason::VARIANTS.iter().map(|reason| reason.check()).collect();
    assert!(checks.is_sorted(), "{checks:?}");
    assert_eq!((checks.len(), checks.last()), (26, Some(&8)));
    assert_eq!(Reason::CertificateNotYetValid.as_str(), "certificate_not_yet_valid");
    assert_eq!(Reason::X5c.as_str(), "x5c");
}
