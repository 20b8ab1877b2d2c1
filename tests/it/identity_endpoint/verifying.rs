//! `POST /verify`: tokens of others, judged by CAs and roles that may change.

use serde_json::{Value, json};

use super::{Answer, Endpoint, parts, post};
use crate::support::credentials::{Credentials, roots_pem};
use crate::support::eventually;

/// One that judges, by the tests' CA and with these roles.
fn judging(roles: &str) -> Endpoint {
    let credentials = Credentials::new();
    std::fs::write(credentials.dir().join("ca.pem"), roots_pem()).unwrap();
    std::fs::write(credentials.dir().join("roles.toml"), roles).unwrap();
    let [ca, file] = ["ca.pem", "roles.toml"].map(|name| credentials.dir().join(name).display().to_string());
    let endpoint = Endpoint::with(credentials, |setup| {
        setup.arg(&format!("--token-ca={ca}")).arg(&format!("--token-roles={file}"))
    });
    endpoint.sidecar.wait_for("token CAs loaded");
    endpoint
}

fn role(name: &str, policy: &str) -> String {
    format!("[[role]]\nname = '{name}'\nallow = ['cf:any']\npolicies = ['{policy}']\n")
}

impl Endpoint {
    fn verify(&self, body: &Value) -> Answer {
        self.ask(&post("/verify", &body.to_string()))
    }
}

/// The status, and the reason or the verdict.
fn verdict(answer: &Answer) -> (u16, String) {
    let said = answer.json();
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    (answer.status, said["reason"].as_str().unwrap_or_else(|| said["verdict"].as_str().unwrap()).to_owned())
}

#[test]
fn a_token_is_believed_for_its_audience_and_says_whose_it_is_and_what_it_grants() {
    let endpoint = judging(&role("reader", "read"));
    assert_eq!(endpoint.get("/identity").json()["generation"], 1, "all that is loaded at the start is one generation");
    let token = endpoint.token(r#"{"audience":"vault"}"#).token();
    let plain = endpoint.verify(&json!({"token": token, "audience": "vault", "role": "reader"}));
    assert_eq!(verdict(&plain), (200, "permit".to_owned()));
    let said = plain.json();
    assert_eq!(said["identity"]["app_guid"], endpoint.credentials.spec.app.to_string());
    assert_eq!((&said["policies"], &said["role"]), (&json!(["read"]), &json!("reader")));
    assert_eq!((&said["audience"], &said["jti"]), (&json!("vault"), &parts(&token).1["jti"]));
    for (body, expected) in [
        (json!({"token": token, "audience": "billing"}), (403, "audience")),
        (json!({"token": token, "audience": "vault", "role": "writer"}), (403, "no_role")),
        (json!({"token": format!("{token}x"), "audience": "vault"}), (403, "malformed")),
        (json!({"token": "", "audience": "vault"}), (403, "malformed")),
    ] {
        assert_eq!(verdict(&endpoint.verify(&body)), (expected.0, expected.1.to_owned()), "{body}");
    }
    for body in [
        json!({"token": token}),
        json!({"token": token, "audience": ""}),
        json!({"token": token, "audience": "vault", "form": "uaa"}),
        json!({"token": token, "audience": "vault", "peer": "x"}),
        json!({"token": token, "audience": "vault", "replay": true}),
        json!({"token": [token], "audience": "vault"}),
    ] {
        assert_eq!(endpoint.verify(&body).error(), (400, "bad_request".to_owned()), "{body}");
    }
    let large = json!({"token": "x".repeat(32 * 1024), "audience": "vault"});
    assert_eq!(endpoint.verify(&large).error(), (413, "body_too_large".to_owned()));
    assert_eq!(endpoint.get("/verify").error(), (405, "method_not_allowed".to_owned()));
    let denied = endpoint.sidecar.lines_eventually("token denied", 4);
    assert!(denied.iter().all(|line| line["level"] == "info"));
    let of_audience = denied.iter().find(|line| line["reason"] == "audience").unwrap();
    assert_eq!((&of_audience["check"], &of_audience["jti"]), (&json!(6), &parts(&token).1["jti"]));
    let log = format!("{:?}", endpoint.sidecar.lines());
    assert!(!log.contains(token.rsplit('.').next().unwrap()), "{log}");
}

#[test]
fn a_token_that_counts_once_is_refused_the_second_time_and_one_that_is_bound_needs_its_certificate() {
    let endpoint = judging("");
    let token = endpoint.token(r#"{"audience":"vault"}"#).token();
    let once = json!({"token": token, "audience": "vault", "once": true});
    assert_eq!(verdict(&endpoint.verify(&once)), (200, "permit".to_owned()));
    assert_eq!(verdict(&endpoint.verify(&once)), (403, "replayed".to_owned()));
    assert_eq!(verdict(&endpoint.verify(&json!({"token": token, "audience": "vault"}))), (200, "permit".to_owned()));

    let bound = endpoint.token(r#"{"audience":"vault","bind":true}"#).token();
    let ask = |peer: Option<&str>| {
        let mut body = json!({"token": bound, "audience": "vault"});
        if let Some(peer) = peer {
            body["peer"] = peer.into();
        }
        verdict(&endpoint.verify(&body))
    };
    let own = endpoint.get("/identity").json()["fingerprint_sha256"].as_str().unwrap().to_owned();
    let pem = std::fs::read_to_string(endpoint.credentials.cert()).unwrap();
    assert_eq!(ask(None), (403, "not_bound".to_owned()));
    assert_eq!(ask(Some(&"0".repeat(64))), (403, "not_bound".to_owned()));
    assert_eq!(ask(Some(&own)), (200, "permit".to_owned()));
    assert_eq!(ask(Some(&pem)), (200, "permit".to_owned()));
}

#[test]
fn roles_are_read_anew_and_a_broken_file_keeps_the_last_good_one() {
    let endpoint = judging(&role("reader", "read"));
    let file = endpoint.credentials.dir().join("roles.toml");
    let token = endpoint.token(r#"{"audience":"vault"}"#).token();
    let policies = |role: &str| {
        endpoint.verify(&json!({"token": token, "audience": "vault", "role": role})).json()["policies"].clone()
    };
    assert_eq!(policies("reader"), json!(["read"]));
    std::fs::write(&file, role("reader", "more")).unwrap();
    endpoint.sidecar.wait_for("token roles reloaded");
    assert_eq!(policies("reader"), json!(["more"]));
    std::fs::write(&file, "[[role]]\nnam = 'reader'\n").unwrap();
    let failed = endpoint.sidecar.wait_for("token roles reload failed; keeping the last good ones");
    assert!(failed["error"].as_str().unwrap().contains("roles.toml"), "{failed}");
    assert_eq!(policies("reader"), json!(["more"]));
}

#[test]
fn others_are_judged_while_the_instance_itself_retires() {
    let mut endpoint = judging("");
    let token = endpoint.token(r#"{"audience":"vault"}"#).token();
    endpoint.credentials.spec = endpoint.credentials.spec.retired();
    endpoint.credentials.rotate();
    endpoint.sidecar.wait_for("retirement certificate received; closing idle connections");
    assert_eq!(endpoint.token(r#"{"audience":"vault"}"#).error(), (503, "retired".to_owned()));
    let body = json!({"token": token, "audience": "vault"});
    assert_eq!(verdict(&endpoint.verify(&body)), (200, "permit".to_owned()));
}

#[test]
fn without_its_ca_a_token_is_denied_and_the_cas_are_read_anew() {
    let endpoint = judging("");
    let ca = endpoint.credentials.dir().join("ca.pem");
    let token = endpoint.token(r#"{"audience":"vault"}"#).token();
    let body = json!({"token": token, "audience": "vault"});
    assert_eq!(verdict(&endpoint.verify(&body)), (200, "permit".to_owned()));
    let other = vestibule::issuer::CertificateAuthority::generate(std::time::SystemTime::now()).unwrap().roots_pem();
    std::fs::write(ca.with_extension("new"), other).unwrap();
    std::fs::rename(ca.with_extension("new"), &ca).unwrap();
    let refused = eventually("the other CA", || Some(endpoint.verify(&body)).filter(|answer| answer.status == 403));
    assert_eq!(verdict(&refused), (403, "untrusted".to_owned()));
    assert!(refused.json()["identity"].is_null(), "nobody has vouched for it");
}

#[test]
fn a_file_of_roles_that_cannot_be_used_ends_the_start() {
    let credentials = Credentials::new();
    let [ca, roles] = ["ca.pem", "roles.toml"].map(|name| credentials.dir().join(name).display().to_string());
    std::fs::write(&ca, roots_pem()).unwrap();
    std::fs::write(&roles, "[[role]]\n").unwrap();
    let mut sidecar = crate::support::sidecar::Setup::proxy(&credentials, crate::support::app::nobody())
        .arg(&format!("--identity-listen=unix:{}", credentials.dir().join("identity.sock").display()))
        .arg("--identity-audience=vault")
        .arg(&format!("--token-ca={ca}"))
        .arg(&format!("--token-roles={roles}"))
        .start();
    assert_eq!(sidecar.exited().code(), Some(78));
    assert!(!credentials.dir().join("identity.sock").exists());
}
