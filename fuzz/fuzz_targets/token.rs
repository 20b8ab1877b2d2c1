//! Tokens as strangers show them. A line for the header, one for the claims, and the rest is the signature; and the whole as it is.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use vestibule::identity::Role;
use vestibule::token::{
    CallerCertificate, RequiredIdentity, TokenDenialReason, TokenQuestion, TokenVerdict, VerifiedForm, Verifier,
};
use vestibule::trust::{Text, TrustAnchors};

static CAS: &[u8] = include_bytes!("../../tests/fixtures/diego/pki/instance-identity-ca.crt");

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let cas = [Text { path: "ca.crt".into(), bytes: CAS.into(), named: true }];
    Verifier {
        anchors: TrustAnchors::parse(&cas, &[], Role::Client).unwrap().0,
        identity: RequiredIdentity::Any,
        skew: Duration::from_secs(60),
        max_ttl: Duration::from_secs(3600),
        issuer: None,
        require_bound: false,
        roles: None,
    }
});

pub fn fuzz(text: &str) {
    let mut lines = text.splitn(3, '\n');
    let mut part = || Base64UrlUnpadded::encode_string(lines.next().unwrap_or_default().as_bytes());
    let token = [part(), part(), part()].join(".");
    let audiences = ["me".to_owned()];
    for token in [text, &token] {
        for form in [VerifiedForm::Standard, VerifiedForm::Comcast] {
            let caller = CallerCertificate::Unknown;
            let question = TokenQuestion { token, audiences: &audiences, form, caller, role: None, once: None };
            // Within the dates of the fixtures.
            let judged = VERIFIER.verify(&question, UNIX_EPOCH + Duration::from_secs(1_795_348_800));
            // Nobody here has a key under these CAs, so no signature is right.
            let denial = judged.expect_err("a forged token is believed");
            assert!(denial.reason <= TokenDenialReason::Signature && denial.jti.is_none());
            assert!(denial.client.is_none() || denial.reason.check() > 1);
            assert!(denial.to_string().len() < 400 && TokenVerdict::from(&denial).verdict == "denial");
        }
    }
}
