#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use proptest::prelude::*;

use super::*;
use crate::secrets::SecretPart;

fn fields(body: &str) -> Vec<(String, String)> {
    match secret(body.as_bytes(), None) {
        Ok(SecretReading::Found(answer)) => {
            let text = |part| match part {
                SecretPart::Value(value) => value.text().unwrap().to_owned(),
                SecretPart::Null => "(null)".to_owned(),
                SecretPart::NotText => "(no text)".to_owned(),
            };
            answer.fields.into_iter().map(|(name, part)| (name, text(part))).collect()
        }
        Ok(SecretReading::Missing(why)) => panic!("missing: {why}"),
        Err(what) => panic!("{what}"),
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn a_secret_of_kv_1_is_its_data_and_one_of_kv_2_the_data_within() {
    let one = r#"{"lease_id":"","lease_duration":2764800,"data":{"user":"u","n":1.50,"o":{"a":[1]},"none":null,"half":"\ud800","n":2}}"#;
    assert_eq!(
        fields(one),
        pairs(&[("half", "(no text)"), ("n", "2"), ("none", "(null)"), ("o", r#"{"a":[1]}"#), ("user", "u")])
    );
    let two = r#"{"data":{"data":{"user":"a\"b"},"metadata":{"version":3,"deletion_time":"","destroyed":false,"custom_metadata":null}}}"#;
    assert_eq!(fields(two), pairs(&[("user", "a\"b")]));
    // A secret of KV 1 that looks alike at first.
    let alike = r#"{"data":{"data":{"user":"u"},"metadata":"x"}}"#;
    assert_eq!(fields(alike), pairs(&[("data", r#"{"user":"u"}"#), ("metadata", "x")]));
}

#[test]
fn only_what_has_the_name_of_a_lease_is_leased() {
    let lease = |body: &str| match secret(body.as_bytes(), None).unwrap_or_else(|what| panic!("{what}")) {
        SecretReading::Found(answer) => answer.lease.map(|lease| (lease.id, lease.duration.as_secs(), lease.renewable)),
        SecretReading::Missing(why) => panic!("{why}"),
    };
    assert_eq!(lease(r#"{"lease_id":"","lease_duration":2764800,"data":{"a":"b"}}"#), None);
    let leased =
        r#"{"lease_id":"database/creds/app/x","lease_duration":3600,"renewable":true,"data":{"username":"v"}}"#;
    assert_eq!(lease(leased), Some(("database/creds/app/x".to_owned(), 3600, true)));
}

#[test]
fn a_version_that_is_gone_is_missing_and_another_than_was_asked_for_is_refused() {
    let deleted =
        br#"{"data":{"data":null,"metadata":{"version":2,"deletion_time":"2026-01-01T00:00:00Z","destroyed":false}}}"#;
    assert_eq!(missing(deleted).as_deref(), Some("version 2 was deleted"));
    let destroyed = br#"{"data":{"data":null,"metadata":{"version":2,"deletion_time":"","destroyed":true}}}"#;
    assert_eq!(missing(destroyed).as_deref(), Some("version 2 was destroyed"));
    assert!(matches!(secret(destroyed, None), Ok(SecretReading::Missing(why)) if why.contains("destroyed")));
    assert_eq!(missing(br#"{"errors":[]}"#), None);
    let other = br#"{"data":{"data":{"a":"b"},"metadata":{"version":3}}}"#;
    assert!(secret(other, Some(2)).is_err_and(|what| what.contains("another version")));
    assert!(secret(other, Some(3)).is_ok());
    assert!(secret(br#"{"data":{"a":"b"}}"#, Some(1)).is_err_and(|what| what.contains("no versions")));
}

#[test]
fn what_says_yes_and_has_no_secret_is_no_answer_of_vaults() {
    for body in [
        "",
        " ",
        "{}",
        "[]",
        "null",
        "\"x\"",
        r#"{"data":null}"#,
        r#"{"data":[]}"#,
        r#"{"data":"x"}"#,
        "[{\"a\":\"b\"}]",
        "<html>",
    ] {
        assert!(secret(body.as_bytes(), None).is_err(), "{body}");
    }
    // An array in the place of the object of KV 2.
    let array = r#"{"data":[{"a":"b"},{"version":1}]}"#;
    assert!(secret(array.as_bytes(), None).is_err());
}

#[test]
fn a_login_gives_a_token_or_what_it_is_wrapped_in() {
    let auth = br#"{"lease_duration":0,"auth":{"client_token":"hvs.x","accessor":"a","lease_duration":3600,"renewable":true,"num_uses":0}}"#;
    let Ok(LoginResponse::Auth(auth)) = login(auth) else { panic!("no token") };
    assert_eq!((auth.token.text(), auth.lease.as_secs(), auth.renewable, auth.uses), ("hvs.x", 3600, true, None));
    let wrapped = br#"{"auth":null,"wrap_info":{"token":"hvs.w","ttl":60,"creation_path":"auth/cf/login"}}"#;
    let Ok(LoginResponse::Wrapped(wrapped)) = login(wrapped) else { panic!("not wrapped") };
    assert_eq!(wrapped.token.text(), "hvs.w");
    assert_eq!(wrapped.creation_path, "auth/cf/login");
    let endless = br#"{"auth":{"client_token":"t","lease_duration":18446744073709551615}}"#;
    let Ok(LoginResponse::Auth(auth)) = login(endless) else { panic!("no token") };
    assert_eq!(auth.lease, LONGEST);
    for bad in [
        &b"{}"[..],
        b"null",
        b"[]",
        b"<html>",
        br#"{"auth":null}"#,
        br#"{"auth":{"client_token":""}}"#,
        br#"{"auth":{"client_token":"a\r\nb"}}"#,
        br#"{"auth":{"client_token":7}}"#,
        br#"{"wrap_info":{"token":""}}"#,
    ] {
        assert!(login(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn a_renewal_without_its_answer_is_none() {
    let renewed = br#"{"auth":{"client_token":"t","lease_duration":20,"renewable":true}}"#;
    assert_eq!(token_renewal(renewed), Some(Renewal { lease: Duration::from_secs(20), renewable: true }));
    // Comcast's plugin answers 204.
    assert_eq!(token_renewal(b""), None);
    assert_eq!(token_renewal(br#"{"auth":null,"data":{}}"#), None);
    let lease = br#"{"lease_id":"x","lease_duration":30,"renewable":false}"#;
    assert_eq!(lease_renewal(lease), Some(Renewal { lease: Duration::from_secs(30), renewable: false }));
    assert_eq!(lease_renewal(b"{}"), None);
}

#[test]
fn what_was_sealed_is_any_bytes() {
    assert_eq!(plaintext(br#"{"data":{"plaintext":"AP8="}}"#).unwrap().bytes(), [0, 255]);
    assert_eq!(plaintext(br#"{"data":{"plaintext":""}}"#).unwrap().bytes(), b"");
    for bad in [&b"{}"[..], br#"{"data":{}}"#, br#"{"data":{"plaintext":"?"}}"#, br#"{"data":{"plaintext":1}}"#] {
        assert!(plaintext(bad).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(body in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9 ]{0,60}") {
        for body in [&body[..], text.as_bytes()] {
            let _ = (login(body), token_renewal(body), lease_renewal(body), missing(body), plaintext(body));
            let _ = (secret(body, None), secret(body, Some(1)));
        }
    }
}
