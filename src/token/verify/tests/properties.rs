//! What we issue we believe, and nothing that differs from it in a bit.

use std::time::{Duration, SystemTime};

use base64ct::{Base64UrlUnpadded, Encoding};
use rustls::pki_types::CertificateDer;

use super::Reason;
use crate::credentials::Pair;
use crate::crypto::provider;
use crate::identity::Role;
use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind};
use crate::token::{
    Algorithm, CallerCertificate, IssuedToken, RequiredIdentity, TokenForm, TokenQuestion, TokenRequest, VerifiedForm,
    Verifier, issue,
};
use crate::trust::{Text, TrustAnchors};

/// A pair with a key of this kind, who believes it, and when.
fn instance(key: KeyKind) -> (Pair, Verifier, SystemTime) {
    let now = SystemTime::now();
    let authority = CertificateAuthority::generate(now).unwrap();
    let spec = InstanceSpec { key, ..InstanceSpec::generate().unwrap() };
    let credential = authority.issue(&spec, now).unwrap();
    let pair = Pair::from_pem(credential.cert_pem.as_bytes(), credential.key_pem.as_bytes(), &provider()).unwrap();
    let cas = [Text { path: "ca.pem".into(), bytes: authority.roots_pem().into(), named: true }];
    let verifier = Verifier {
        anchors: TrustAnchors::parse(&cas, &[], Role::Client).unwrap().0,
        identity: RequiredIdentity::CloudFoundry,
        skew: Duration::ZERO,
        max_ttl: Duration::from_secs(300),
        issuer: None,
        require_bound: false,
        roles: None,
    };
    (pair, verifier, now + Duration::from_secs(31))
}

fn request() -> TokenRequest {
    TokenRequest::new("me", Duration::from_secs(300))
}

fn judge(verifier: &Verifier, token: &str, leaf: &CertificateDer<'_>, now: SystemTime) -> Option<Reason> {
    let audiences = ["me".to_owned()];
    let question = TokenQuestion {
        token,
        audiences: &audiences,
        form: VerifiedForm::Standard,
        caller: CallerCertificate::of(leaf),
        role: None,
        once: None,
    };
    verifier.verify(&question, now).err().map(|denial| denial.reason)
}

#[test]
fn what_is_issued_with_any_kind_of_key_is_believed_and_with_one_bit_flipped_anywhere_it_is_not() {
    let kinds = [
        (KeyKind::Rsa2048, Some(Algorithm::Ps256)),
        (KeyKind::Rsa2048, None),
        (KeyKind::Rsa3072, None),
        (KeyKind::Rsa4096, None),
        (KeyKind::P256, None),
        (KeyKind::P384, None),
        (KeyKind::Ed25519, None),
    ];
    for (kind, algorithm) in kinds {
        let (pair, verifier, now) = instance(kind);
        let token = issue(&pair, &TokenRequest { algorithm, bind: true, ..request() }, now).unwrap();
        let judge = |token: &str| judge(&verifier, token, pair.leaf(), now);
        assert_eq!(judge(token.text()), None, "{kind:?}");
        // Its own text, of which a bit may make another letter or none.
        let flip = |at: usize| {
            let mut bytes = token.text().as_bytes().to_vec();
            bytes[at / 7] ^= 1 << (at % 7);
            String::from_utf8(bytes).unwrap()
        };
        for _ in 0..150 {
            let at = fastrand::usize(..7 * token.text().len());
            assert!(judge(&flip(at)).is_some(), "{kind:?}: bit {at}");
        }
        // What it says, written as it has to be.
        let parts: Vec<_> = token.text().split('.').map(|part| Base64UrlUnpadded::decode_vec(part).unwrap()).collect();
        for _ in 0..150 {
            let mut parts = parts.clone();
            let part = fastrand::choice(&mut parts).unwrap();
            let at = fastrand::usize(..8 * part.len());
            part[at / 8] ^= 1 << (at % 8);
            let parts: Vec<_> = parts.iter().map(|part| Base64UrlUnpadded::encode_string(part)).collect();
            assert!(judge(&parts.join(".")).is_some(), "{kind:?}: bit {at} of a part");
        }
    }
}

#[test]
fn what_is_issued_in_comcasts_form_is_believed_in_that_form_alone() {
    let (pair, verifier, now) = instance(KeyKind::Rsa2048);
    let form = TokenForm::Comcast { policies: vec!["read".to_owned()] };
    let token: IssuedToken = issue(&pair, &TokenRequest { form, ..request() }, now).unwrap();
    assert_eq!(judge(&verifier, token.text(), pair.leaf(), now), Some(Reason::X5c));
    let audiences = ["me".to_owned()];
    let question = TokenQuestion {
        token: token.text(),
        audiences: &audiences,
        form: VerifiedForm::Comcast,
        caller: CallerCertificate::Unknown,
        role: None,
        once: None,
    };
    assert!(verifier.verify(&question, now).is_ok());
}

#[test]
fn a_token_counts_from_its_first_second_to_its_last() {
    let (pair, verifier, now) = instance(KeyKind::P256);
    let token = issue(&pair, &request(), now).unwrap();
    let judge = |seconds: i64| {
        let time = match u64::try_from(seconds) {
            Ok(after) => now + Duration::from_secs(after),
            Err(_) => now - Duration::from_secs(seconds.unsigned_abs()),
        };
        judge(&verifier, token.text(), pair.leaf(), time)
    };
    assert_eq!((judge(0), judge(299), judge(300)), (None, None, Some(Reason::Expired)));
    // It says that it was issued now; nbf lies before.
    assert_eq!(judge(-2), Some(Reason::IssuedInFuture));
}
