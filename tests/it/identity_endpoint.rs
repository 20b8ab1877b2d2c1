//! The identity endpoint: who is answered, with what, and what is never said.

mod bounds;
mod lifetime;
mod protections;
mod told;
mod verifying;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use serde_json::Value;

use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{TEST_TIMEOUT, app};

/// What every request has to have.
const ASKED: &str = "X-Identity-Request: true";

/// A proxy whose app asks it by a socket file.
pub(crate) struct Endpoint {
    pub(crate) credentials: Credentials,
    pub(crate) sidecar: Sidecar,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Endpoint {
    /// Gives tokens for `vault` and `billing`.
    pub(crate) fn new() -> Self {
        Self::with(Credentials::new(), |setup| setup)
    }

    /// The same, with more options.
    pub(crate) fn with(credentials: Credentials, more: impl FnOnce(Setup) -> Setup) -> Self {
        let setup = Setup::proxy(&credentials, app::nobody())
            .arg(&format!("--identity-listen=unix:{}", socket(&credentials).display()))
            .arg("--identity-audience=vault,billing");
        let sidecar = more(setup).ready();
        sidecar.wait_for("identity endpoint listening");
        Self { credentials, sidecar }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.credentials)
    }

    /// `text` as it is.
    pub(crate) fn ask(&self, text: &str) -> Answer {
        let mut stream = self.connect();
        // Who is refused may be answered before everything was sent.
        let _ = stream.write_all(text.as_bytes());
        Answer::read(stream)
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream
    }

    /// `POST /token`
    pub(crate) fn token(&self, body: &str) -> Answer {
        self.ask(&post("/token", body))
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{ASKED}\r\n\r\n"))
    }
}

fn socket(credentials: &Credentials) -> PathBuf {
    credentials.dir().join("identity.sock")
}

/// The text of a request with a body of JSON.
pub(crate) fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\n{ASKED}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

impl Answer {
    fn read(mut stream: impl Read) -> Self {
        let mut text = Vec::new();
        // Its end may be a reset where not all was read.
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Over TCP.
    pub(crate) fn at(addr: SocketAddr, text: &str) -> Self {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let _ = stream.write_all(text.as_bytes());
        Self::read(stream)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the word for what is wrong.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert!(self.head.contains("cache-control: no-store"), "{self:?}");
        let problem = self.json();
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        (self.status, problem["error"].as_str().unwrap().to_owned())
    }

    /// The token of a good answer.
    #[track_caller]
    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["token"].as_str().unwrap().to_owned()
    }
}

/// Header and claims of `token`.
pub(crate) fn parts(token: &str) -> (Value, Value) {
    let mut parts =
        token.split('.').map(|part| serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap_or_default()));
    (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap())
}

/// Fails unless the key of `token`'s own first certificate has signed it (ES256, by aws-lc's own code).
#[track_caller]
pub(crate) fn verify_by_own_certificate(token: &str) {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let (header, _) = parts(token);
    assert_eq!(header["alg"], "ES256");
    let leaf = Base64::decode_vec(header["x5c"][0].as_str().unwrap()).unwrap();
    let certificate = vestibule::identity::Certificate::from_der(&leaf).unwrap();
    let (_, key) = certificate.public_key();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message.as_bytes(), &signature).unwrap();
}

/// Whether there is something at `path`.
fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

#[test]
fn the_app_is_told_who_it_is() {
    let endpoint = Endpoint::new();
    let answer = endpoint.get("/identity");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("cache-control: no-store") && answer.head.contains("content-type: application/json"));
    let spec = &endpoint.credentials.spec;
    let identity = answer.json();
    assert_eq!(identity["app_guid"], spec.app.to_string());
    assert_eq!(identity["cf_instance_guid"], endpoint.credentials.instance());
    assert_eq!((&identity["instance_ip"], &identity["generation"]), (&Value::from("127.0.0.1"), &Value::from(1)));
    let mut names: Vec<_> = identity.as_object().unwrap().keys().cloned().collect();
    names.sort();
    let expected = "app_guid cf_instance_guid fingerprint_sha256 generation instance_ip not_after not_before org_guid serial space_guid";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn a_token_says_for_whom_it_is_and_is_signed_by_the_key_of_its_own_certificate() {
    let endpoint = Endpoint::new();
    let answer = endpoint.token(r#"{"audience":"vault","ttl":"60s","bind":true}"#);
    let token = answer.token();
    verify_by_own_certificate(&token);
    let (header, claims) = parts(&token);
    assert_eq!(
        (&claims["aud"], &claims["app_guid"]),
        (&Value::from("vault"), &endpoint.credentials.spec.app.to_string().into())
    );
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert_eq!(claims["cnf"]["x5t#S256"], header["x5t#S256"]);
    let said = answer.json();
    assert_eq!(said["token_type"], "urn:ietf:params:oauth:token-type:jwt");
    let left = said["expires_in"].as_u64().unwrap();
    assert!((50..=60).contains(&left), "{left}");
    assert!(said["expires_at"].as_str().unwrap().ends_with('Z'));
    assert!(answer.head.contains("cache-control: no-store"));

    let plain = endpoint.ask(&format!(
        "GET /token?audience=billing HTTP/1.1\r\nHost: localhost\r\n{ASKED}\r\nAccept: text/plain\r\n\r\n"
    ));
    assert!(plain.head.contains("content-type: text/plain"), "{plain:?}");
    assert_eq!(parts(&plain.body).1["aud"], "billing");
    assert_eq!(parts(&endpoint.get("/token?audience=billing").token()).1["aud"], "billing");
}

#[test]
fn a_request_that_is_not_what_is_asked_for_says_what_is_wrong() {
    let endpoint = Endpoint::new();
    for (body, error) in [
        (r#"{"audience":"other"}"#, (403, "audience_not_allowed")),
        (r#"{"audience":"vault","ttl":"301s"}"#, (400, "ttl_out_of_range")),
        (r#"{"audience":"vault","ttl":"9s"}"#, (400, "ttl_out_of_range")),
        (r#"{"audience":"vault","form":"comcast","policies":["p"]}"#, (400, "form_not_possible")),
        (r#"{"audience":"vault","fresh":true,"fresh":true}"#, (400, "bad_request")),
        (r#"{"audience":"vault","sub":"x"}"#, (400, "bad_request")),
        ("", (400, "bad_request")),
    ] {
        assert_eq!(endpoint.token(body).error(), (error.0, error.1.to_owned()), "{body}");
    }
    assert_eq!(endpoint.get("/token").error(), (400, "bad_request".to_owned()));
    let refused = endpoint.sidecar.lines_eventually("token request refused", 8);
    assert!(refused.iter().all(|line| line["level"] == "warn" && line["peer_uid"].is_u64()), "{refused:#?}");
    assert!(endpoint.sidecar.lines_of("token issued").is_empty());
}

#[test]
fn what_is_kept_is_given_again_until_the_pair_rotates_and_fresh_is_always_new() {
    let mut endpoint = Endpoint::new();
    let jti = |answer: Answer| parts(&answer.token()).1["jti"].as_str().unwrap().to_owned();
    let plain = r#"{"audience":"vault"}"#;
    let first = jti(endpoint.token(plain));
    assert_eq!(jti(endpoint.token(plain)), first);
    assert_eq!(jti(endpoint.get("/token?audience=vault")), first);
    for other in [
        r#"{"audience":"vault","fresh":true}"#,
        r#"{"audience":"vault","fresh":true}"#,
        r#"{"audience":"vault","ttl":"60s"}"#,
        r#"{"audience":"vault","bind":true}"#,
        r#"{"audience":"billing"}"#,
    ] {
        assert_ne!(jti(endpoint.token(other)), first, "{other}");
    }
    let issued = endpoint.sidecar.lines_eventually("token issued", 8);
    let jtis: Vec<_> = issued.iter().map(|line| line["jti"].clone()).collect();
    let unique: std::collections::HashSet<_> = jtis.iter().map(|jti| jti.as_str().unwrap()).collect();
    assert_eq!((jtis.len(), unique.len()), (8, 6), "{jtis:?}");
    assert_eq!(issued.iter().filter(|line| line["level"] == "debug").count(), 2, "{issued:?}");

    endpoint.credentials.rotate();
    endpoint.sidecar.wait_for("certificate rotated");
    let after = endpoint.token(plain).token();
    assert_ne!(parts(&after).1["jti"], first.as_str());
    verify_by_own_certificate(&after);
}
