use std::time::{Duration, SystemTime};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::*;
use crate::credentials::Pair;
use crate::crypto::provider;
use crate::identity::Certificate;
use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn pair(key: KeyKind, change: impl FnOnce(&mut InstanceSpec)) -> (Pair, SystemTime) {
    let now = SystemTime::now();
    let mut spec = InstanceSpec { key, ..InstanceSpec::generate().unwrap() };
    change(&mut spec);
    let credential = CertificateAuthority::generate(now).unwrap().issue(&spec, now).unwrap();
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
    for taken in ["iss=x", "exp=1", "cnf=x", "Policies=x", "app_guid=x", "my_guid=x", "=x", "x", "a\nb=x"] {
        assert!(taken.parse::<Claim>().is_err(), "{taken}");
    }
    assert_eq!("a=b=c".parse::<Claim>().unwrap().name(), "a");
}

#[test]
fn a_token_that_is_too_long_says_which_part_is_and_what_makes_that_one_shorter() {
    let (pair, now) = pair(KeyKind::P256, |_| {});
    let claim = |length: usize| format!("x={}", "y".repeat(length)).parse::<Claim>().unwrap();
    let many = TokenRequest { claims: vec![claim(16_000)], ..request() };
    let error = issue(&pair, &many, now).unwrap_err();
    let IssueError::TooLong(parts) = &error else { panic!("{error}") };
    assert!(parts.claims > 16_000 && parts.header < 4_000 && parts.certificates == 2, "{parts:?}");
    assert!(parts.all > parts.header + parts.claims && error.is_user_error());
    let says = |error: &IssueError, words: &str| assert!(error.to_string().contains(words), "{error}");
    says(&error, &format!("receivers take 16384: {} are its header with 2 certificates, ", parts.header));
    says(&error, &format!("{} its claims; ask for fewer or shorter audiences", parts.claims));
    let of_header =
        |certificates| IssueError::TooLong(TokenParts { all: 20_000, header: 19_000, certificates, claims: 900 });
    says(&of_header(3), "leave the CAs out by token jwt --chain leaf");
    says(&of_header(1), "with the certificate, 900 its claims; have a certificate issued that says less");
}

#[test]
fn a_token_is_not_printed_by_accident() {
    let (pair, now) = pair(KeyKind::P256, |_| {});
    let token = issue(&pair, &request(), now).unwrap();
    assert!(!format!("{token:?}").contains(token.text().rsplit('.').next().unwrap()));
}
