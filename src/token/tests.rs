use std::time::{Duration, SystemTime};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::*;
use crate::credentials::Pair;
use crate::crypto::provider;
use crate::identity::Certificate;
use crate::issuer::{Authority, InstanceSpec, KeyKind};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn pair(key: KeyKind, change: impl FnOnce(&mut InstanceSpec)) -> (Pair, SystemTime) {
    let now = SystemTime::now();
    let mut spec = InstanceSpec { key, ..InstanceSpec::generate().unwrap() };
    change(&mut spec);
    let credential = Authority::generate(now).unwrap().issue(&spec, now).unwrap();
    let pair = Pair::from_pem(credential.cert_pem.as_bytes(), credential.key_pem.as_bytes(), &provider()).unwrap();
    (pair, now + Duration::from_secs(5))
}

/// Header and claims of `token`.
fn read(token: &IssuedToken) -> (Value, Value) {
    let mut parts = token.text().split('.').map(|part| Base64UrlUnpadded::decode_vec(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

fn request() -> TokenRequest {
    TokenRequest::new("vault", Duration::from_secs(300))
}

#[test]
fn a_token_never_outlives_the_certificate_and_is_not_made_for_a_few_seconds() {
    let (pair, now) = pair(KeyKind::P256, |_| {});
    let end = Certificate::from_der(pair.leaf()).unwrap().not_after();
    let token = issue(&pair, &request(), now).unwrap();
    assert_eq!(token.expires_at - token.issued_at, 300);
    let token = issue(&pair, &request(), end - Duration::from_secs(60)).unwrap();
    assert_eq!(token.expires_at - token.issued_at, 60);
    let late = issue(&pair, &request(), end - Duration::from_secs(9)).unwrap_err();
    assert!(matches!(late, IssueError::EndsTooSoon(_)), "{late}");
    assert!(matches!(issue(&pair, &request(), end + Duration::from_secs(1)), Err(IssueError::Expired(_))));
    assert!(matches!(issue(&pair, &request(), now - DAY), Err(IssueError::NotYetValid(_))));
}

#[test]
fn each_kind_of_key_signs_with_its_own_algorithm_and_with_no_other_kinds() {
    let kinds = [
        (KeyKind::Rsa2048, Algorithm::Rs256),
        (KeyKind::P256, Algorithm::Es256),
        (KeyKind::P384, Algorithm::Es384),
        (KeyKind::Ed25519, Algorithm::EdDsa),
    ];
    for (key, own) in kinds {
        let (pair, now) = pair(key, |_| {});
        for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let made = issue(&pair, &TokenRequest { algorithm: Some(algorithm), ..request() }, now);
            let fits = algorithm == own || (own, algorithm) == (Algorithm::Rs256, Algorithm::Ps256);
            assert_eq!(made.is_ok(), fits, "{key:?} {algorithm}");
        }
        let (header, _) = read(&issue(&pair, &request(), now).unwrap());
        assert_eq!(header["alg"], own.as_str());
    }
}

#[test]
fn numbers_of_an_ecdsa_signature_keep_their_leading_zeros() {
    let (pair, now) = pair(KeyKind::P256, |_| {});
    // One signature of 256 has such a zero, on average.
    for _ in 0..600 {
        let token = issue(&pair, &request(), now).unwrap();
        let signature = token.text().rsplit('.').next().unwrap();
        assert_eq!(Base64UrlUnpadded::decode_vec(signature).unwrap().len(), 64);
    }
}

#[test]
fn a_retiring_instance_makes_no_token_and_no_login() {
    let (pair, now) = pair(KeyKind::Rsa2048, |spec| spec.instance = None);
    assert_eq!(issue(&pair, &request(), now).unwrap_err(), IssueError::Retired);
    assert_eq!(vault_cf_login(&pair, "r", now).unwrap_err(), VaultCfError::NoInstance);
}

#[test]
fn a_header_has_nothing_of_the_private_key() {
    let (pair, now) = pair(KeyKind::Rsa2048, |_| {});
    let forms = [TokenForm::Standard, TokenForm::Comcast { policies: vec!["p".to_owned()] }];
    for form in forms {
        let (header, _) = read(&issue(&pair, &TokenRequest { form, ..request() }, now).unwrap());
        let header = header.to_string();
        for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(!header.contains(&format!("\"{member}\":")), "{header}");
        }
    }
}

#[test]
fn names_that_say_who_made_a_token_are_not_the_callers() {
    for taken in ["iss=x", "exp=1", "cnf=x", "Policies=x", "app_guid=x", "my_guid=x", "=x", "x"] {
        assert!(taken.parse::<Claim>().is_err(), "{taken}");
    }
    assert_eq!("a=b=c".parse::<Claim>().unwrap().name(), "a");
}

#[test]
fn a_token_is_not_printed_by_accident() {
    let (pair, now) = pair(KeyKind::P256, |_| {});
    let token = issue(&pair, &request(), now).unwrap();
    assert!(!format!("{token:?}").contains(token.text().rsplit('.').next().unwrap()));
}
