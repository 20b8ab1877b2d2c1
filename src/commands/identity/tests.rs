use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{file, report, run};
use crate::exit::Exit;

const DIEGO: &[u8] = include_bytes!(
    "../../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt"
);
const ROUTER: &[u8] = include_bytes!("../../../tests/fixtures/diego/pki/gorouter-client.pem");

fn issued() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_308_931)
}

#[test]
fn the_text_says_everything_in_aligned_lines() {
    let text = report(DIEGO, false, issued() + Duration::from_secs(1800)).unwrap();
    let expected = "\
organization  c9f1d2b3-44e5-4c66-9d77-8e88f9990a33
space         2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22
app           7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11
instance      51f0a007-a1b2-4c3d-5e6f-7a07
subject       CN=51f0a007-a1b2-4c3d-5e6f-7a07,OU=app:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11+\
OU=space:2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22+OU=organization:c9f1d2b3-44e5-4c66-9d77-8e88f9990a33
also named    DNS 51f0a007-a1b2-4c3d-5e6f-7a07
also named    IP 10.255.117.107
valid from    2026-11-22T00:55:31Z
valid until   2026-11-23T00:55:31Z
time left     23h 30m
key           RSA 3072
usage         clientAuth, serverAuth
issuer        CN=instance-identity-ca
serial        4786c23f02040eb27d597a841c96c4
sha-256       1326f435093a1ed0df1b94333636d89d2f38aba8a1e666a2d88ea37f597578a1
chain         1 certificate follows: CN=instance-identity-ca (CA)
";
    assert_eq!(text, expected);
}

#[test]
fn the_object_has_every_key_even_for_what_is_absent() {
    let parse = |contents| {
        let text = report(contents, true, issued()).unwrap();
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).unwrap()
    };
    let (router, diego) = (parse(ROUTER), parse(DIEGO));
    for key in ["organization", "space", "app", "instance", "invalid"] {
        assert!(router[key].is_null(), "{key}");
    }
    assert_eq!(router["dns"], serde_json::json!(["gorouter.service.cf.internal"]));
    assert_eq!(router["retirement"], false);
    assert_eq!(router.keys().collect::<Vec<_>>(), diego.keys().collect::<Vec<_>>());
    assert_eq!(diego["app"], "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11");
    assert_eq!(diego["seconds_left"], 86_400);
    assert_eq!(diego["chain"], serde_json::json!([{"subject": "CN=instance-identity-ca", "is_ca": true}]));
}

#[test]
fn a_certificate_out_of_its_time_says_so() {
    let second = Duration::from_secs(1);
    let at = |now| {
        let object: serde_json::Value = serde_json::from_str(&report(DIEGO, true, now).unwrap()).unwrap();
        (object["state"].as_str().unwrap().to_owned(), report(DIEGO, false, now).unwrap())
    };
    let (state, text) = at(issued() - second);
    assert_eq!(state, "not_yet_valid");
    assert!(text.contains("not yet valid: begins in 1s\n"), "{text}");
    let (state, _) = at(issued());
    assert_eq!(state, "valid");
    let (state, text) = at(issued() + 86_401 * second);
    assert_eq!(state, "expired");
    assert!(text.contains("expired 1s ago\n"), "{text}");
}

#[test]
fn a_file_that_is_no_certificate_is_named_with_the_help() {
    let refused = |contents: &[u8]| report(contents, false, issued()).unwrap_err();
    assert!(refused(b"").contains("no certificate in it; give a PEM file"));
    assert!(
        refused(&DIEGO[..500]).contains("broken PEM: line 1: it ends in the middle of a block; write the file anew")
    );
    let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused(nonsense).contains("its first certificate: not an X.509 certificate; write"));
    assert!(refused(&[DIEGO, nonsense].concat()).contains("a certificate behind the first: not an X.509"));
    let fault = run(Path::new("/nowhere/instance.crt"), false, issued()).unwrap_err();
    assert_eq!(fault.exit, Exit::NoCredential);
    assert!(fault.message().starts_with("/nowhere/instance.crt: cannot be read: "), "{fault}");
    assert!(fault.message().ends_with("name another file, or set CF_INSTANCE_CERT"), "{fault}");
}

#[test]
fn the_file_is_the_named_one_then_the_variables_then_the_platforms() {
    assert_eq!(file(Some("a".into()), Some("b".into())), Path::new("a"));
    assert_eq!(file(None, Some("b".into())), Path::new("b"));
    assert_eq!(file(None, Some("".into())), Path::new("/etc/cf-instance-credentials/instance.crt"));
    assert_eq!(file(None, None), Path::new("/etc/cf-instance-credentials/instance.crt"));
}
