//! A rotation while secrets are asked for: who is refused with the pair before asks again with the new one.

use std::sync::{Arc, Mutex};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use vestibule::issuer::{Credential, Folder};

use super::Instance;
use crate::support::credentials::leaf;
use crate::support::credhub::{Asked, CredHub, Said, error};
use crate::support::http_app::{HttpApp, Reply};

const DOCUMENT: &str = r#"{"a":[{"name":"db","credentials":{"credhub-ref":"((/c/db))"}}]}"#;
const ANSWER: &str = r#"{"a":[{"credentials":{"password":"S3cret"}}]}"#;

/// Files that the platform replaces when the old pair is shown first, of which the server has heard before.
struct Rotation {
    old: Vec<u8>,
    next: Mutex<Option<Credential>>,
    folder: Folder,
}

impl Rotation {
    fn of(instance: &mut Instance) -> Arc<Self> {
        let old = leaf(&std::fs::read(instance.credentials.cert()).unwrap()).to_vec();
        let next = Mutex::new(Some(instance.credentials.issue()));
        Arc::new(Self { old, next, folder: instance.credentials.folder.clone() })
    }

    /// Whether this is not the old certificate, which nobody takes any more.
    fn admits(&self, leaf: &[u8]) -> bool {
        if let Some(next) = self.next.lock().unwrap().take() {
            self.folder.write(&next).unwrap();
        }
        leaf != self.old
    }
}

#[test]
fn credhub_is_asked_again_with_the_new_pair_where_it_refuses_the_old_one() {
    let mut instance = Instance::new();
    let rotation = Rotation::of(&mut instance);
    let credhub = CredHub::start(move |asked| match rotation.admits(&asked.leaf) {
        true => Said::Json(200, ANSWER.to_owned()),
        false => error(401, "invalid_token"),
    });
    let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT));
    assert_eq!(outcome.value("VCAP_SERVICES"), Some(r#"{"a":[{"name":"db","credentials":{"password":"S3cret"}}]}"#));
    assert_eq!(credhub.asked().len(), 2);
}

#[test]
fn credhub_is_asked_again_with_the_new_pair_where_the_old_one_is_refused_in_the_handshake() {
    let mut instance = Instance::new();
    let rotation = Rotation::of(&mut instance);
    let credhub = CredHub::admitting(move |leaf| rotation.admits(leaf), |_| Said::Json(200, ANSWER.to_owned()));
    let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT));
    assert!(outcome.value("VCAP_SERVICES").unwrap().contains("S3cret"));
    assert_eq!(credhub.asked().len(), 1);
}

#[test]
fn who_refuses_the_new_pair_as_well_is_asked_once_with_each() {
    let mut instance = Instance::new();
    let rotation = Rotation::of(&mut instance);
    let credhub = CredHub::start(move |asked| {
        rotation.admits(&asked.leaf);
        error(401, "invalid_token")
    });
    let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT));
    let (failure, app) = (outcome.failure(), instance.credentials.spec.app.to_string());
    assert!(failure.contains(&format!("it was shown the certificate of app {app}, instance ")), "{failure}");
    assert!(failure.contains("valid until ") && failure.contains("see CredHub's log"), "{failure}");
    assert!(!failure.contains("OU"), "{failure}");
    let asked = credhub.asked();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].leaf, asked[1].leaf);
}

#[test]
fn a_pair_that_is_refused_in_the_handshake_is_told_and_is_not_tried_again() {
    let instance = Instance::new();
    let credhub = CredHub::admitting(|_| false, |_| Said::Nothing);
    let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT));
    let (failure, app) = (outcome.failure(), instance.credentials.spec.app.to_string());
    assert!(failure.contains("does not accept our certificate") && failure.contains(&app), "{failure}");
    assert!(!failure.contains("tries"), "{failure}");
}

/// The certificate that a login by JWT carries.
fn leaf_of_jwt(body: &[u8]) -> Vec<u8> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let header = body["jwt"].as_str().unwrap().split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&Base64UrlUnpadded::decode_vec(header).unwrap()).unwrap();
    Base64::decode_vec(header["x5c"][0].as_str().unwrap()).unwrap()
}

#[test]
fn a_login_to_vault_that_is_refused_for_the_old_pair_is_tried_again_with_the_new_one() {
    let mut instance = Instance::new();
    let rotation = Rotation::of(&mut instance);
    let vault = HttpApp::start(move |asked| {
        let said = |status: u16, body: Value| {
            let body = body.to_string();
            Reply::Send(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
        };
        match asked.head.split(' ').nth(1).unwrap() {
            "/v1/auth/jwt/login" if !rotation.admits(&leaf_of_jwt(&asked.body)) => {
                said(400, json!({ "errors": ["certificate has expired or is not yet valid"] }))
            }
            "/v1/auth/jwt/login" => said(200, json!({ "auth": { "client_token": "hvs.x", "lease_duration": 60 } })),
            "/v1/secret/data/app" => {
                said(200, json!({ "data": { "data": { "p": "S3cret" }, "metadata": { "version": 1 } } }))
            }
            _ => said(204, json!({})),
        }
    });
    let url = format!("http://{}", vault.addr());
    let options = ["--vault-addr", &url, "--vault-method", "jwt", "--vault-role", "app", "--vault-audience", "vault"];
    let outcome = instance.outcome(instance.resolving("vault", &options).env("A", "vault:secret/data/app#p"));
    assert_eq!(outcome.value("A"), Some("S3cret"));
}

/// A Vault with the cert method behind TLS.
fn vault(asked: &Asked) -> Said {
    match asked.line().split(' ').nth(1).unwrap() {
        "/v1/auth/cert/login" => Said::Json(
            200,
            json!({ "auth": { "client_token": "hvs.x", "lease_duration": 60, "renewable": true } }).to_string(),
        ),
        "/v1/secret/data/app" => {
            Said::Json(200, json!({ "data": { "data": { "p": "S3cret" }, "metadata": { "version": 1 } } }).to_string())
        }
        "/v1/auth/token/revoke-self" => Said::Raw(b"HTTP/1.1 204 X\r\n\r\n".to_vec()),
        _ => error(404, "no handler"),
    }
}

fn by_cert(instance: &Instance, server: &CredHub) -> super::Outcome {
    let (url, ca) = (server.url(), server.ca());
    let options =
        ["--vault-addr", &url, "--vault-ca", ca.to_str().unwrap(), "--vault-method", "cert", "--vault-role", "app"];
    instance.outcome(instance.resolving("vault", &options).env("A", "vault:secret/data/app#p"))
}

/// The last word of each path.
fn lines(server: &CredHub) -> Vec<String> {
    let path = |asked: &Asked| asked.line().split(' ').nth(1).unwrap().to_owned();
    server.asked().iter().map(|asked| path(asked).rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn a_login_by_certificate_is_tried_again_where_the_old_pair_is_refused_in_the_handshake() {
    let mut instance = Instance::new();
    let rotation = Rotation::of(&mut instance);
    let server = CredHub::admitting(move |leaf| rotation.admits(leaf), vault);
    assert_eq!(by_cert(&instance, &server).value("A"), Some("S3cret"));
    assert_eq!(lines(&server), ["login", "app", "revoke-self"]);
}
