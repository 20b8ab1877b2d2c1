//! Verdicts on requests.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::resolve::resolve;
use crate::config::sources::Sources;
use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind, SubjectKey};

/// An instance and its CA, as files, and a listener that reads requests.
struct PolicyFixture {
    dir: TempDir,
    app: String,
    config: Config,
}

impl PolicyFixture {
    /// With these `routes`, in which `APP` stands for the instance's app.
    fn new(routes: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
        let spec = InstanceSpec::generate().unwrap();
        let key = SubjectKey::generate(KeyKind::P256).unwrap();
        fs::write(at("ca.crt"), authority.roots_pem()).unwrap();
        fs::write(at("client.crt"), authority.issue_with_key(&spec, &key, SystemTime::now()).unwrap().cert_pem)
            .unwrap();
        let app = spec.app.to_string();
        fs::write(at("policy.toml"), routes.replace("APP", &app)).unwrap();
        let flag = |name: &'static str, file: &str| (name, at(file).into_os_string());
        let flags = [flag("client-ca", "ca.crt"), flag("policy", "policy.toml"), ("mode", "http".into())];
        let config = resolve(&Sources {
            flags: &flags,
            environment: &Default::default(),
            read_file: &|_| unreachable!("no file is named"),
            starts_app: true,
            cpus: 1,
        })
        .unwrap();
        Self { dir, app, config }
    }

    fn peer(&self) -> PathBuf {
        self.dir.path().join("client.crt")
    }

    fn test(&self, peer: Option<&Path>, method: &str, path: &str, json: bool) -> (String, Exit) {
        let request = TestedRequest { method: method.to_owned(), path: path.to_owned(), xfcc: None };
        test(&self.config, peer, Some(&request), json, SystemTime::now()).unwrap()
    }
}

const ROUTES: &str = "[[route]]\npath = '/api'\nmethods = ['GET']\nallow = ['cf:app:APP']\n\
    [[route]]\npath = '/health'\nexact = true\nallow = ['anonymous']\n";

#[test]
fn a_request_is_judged_with_its_folded_path_and_its_route() {
    let bench = PolicyFixture::new(ROUTES);
    let peer = bench.peer();
    let (text, exit) = bench.test(Some(&peer), "GET", "/api/x?y=/../z", false);
    let app = &bench.app;
    let expected = format!(
        "listener      [::]:8443\nmethod        GET\npath          /api/x?y=/../z\nfolded        /api/x\nroute         GET /api\n\
         verdict       permit\nrule          cf:app:{app}\norganization  "
    );
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(exit, Exit::Success);
    let (text, exit) = bench.test(None, "GET", "/api", false);
    let expected = "listener      [::]:8443\nmethod        GET\npath          /api\nfolded        /api\nroute         GET /api\n\
         verdict       denial\nrule          none\nreason        certificate_required: the request needs a client certificate\n\
         status        401\ncaller        anonymous, without a certificate\nsee           docs/http-routes.md#denied-requests-status-and-reason\n";
    assert_eq!((text.as_str(), exit), (expected, Exit::Findings));
}

#[test]
fn every_refusal_has_its_reason_and_its_status() {
    let bench = PolicyFixture::new(ROUTES);
    let peer = bench.peer();
    for (peer, method, path, folded, route, reason, status) in [
        (Some(&peer), "POST", "/api", json!("/api"), Value::Null, "method_not_allowed", 403),
        (Some(&peer), "GET", "/x", json!("/x"), Value::Null, "path_not_allowed", 403),
        (Some(&peer), "GET", "/health", json!("/health"), json!("exact /health"), "denied", 403),
        (None, "GET", "/api", json!("/api"), json!("GET /api"), "certificate_required", 401),
        (None, "GET", "/health%2fx", Value::Null, Value::Null, "path_ambiguous", 400),
        (None, "GET", "/x/../health", json!("/health"), Value::Null, "path_changed", 400),
    ] {
        let (text, exit) = bench.test(peer.map(PathBuf::as_path), method, path, true);
        let said: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((said["folded"].clone(), said["route"].clone()), (folded, route), "{method} {path}");
        let judged = json!([said["verdict"], said["denial_reason"], said["status"]]);
        assert_eq!((judged, exit), (json!(["denial", reason, status]), Exit::Findings), "{method} {path}");
    }
    let (text, exit) = bench.test(None, "GET", "/health", true);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (said["verdict"].clone(), said["rule"].clone(), exit),
        (json!("permit"), json!("anonymous"), Exit::Success)
    );
}

#[test]
fn a_client_that_may_not_come_in_is_refused_whatever_it_asks_for() {
    let bench = PolicyFixture::new("deny = ['cf:app:APP']\n[[route]]\npath = '/'\nallow = ['any']\n");
    let (text, exit) = bench.test(Some(&bench.peer()), "GET", "/", true);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (said["denial_reason"].clone(), said.get("status"), exit),
        (json!("denied_by_rule"), None, Exit::Findings)
    );
}

#[test]
fn audit_mode_lets_the_request_pass_and_says_what_would_have_been() {
    let bench = PolicyFixture::new(&format!("mode = 'audit'\n{ROUTES}"));
    let (text, exit) = bench.test(Some(&bench.peer()), "GET", "/x", false);
    assert!(text.contains("verdict       permit\nrule          none\nreason        path_not_allowed: "), "{text}");
    assert!(text.contains("audit         let in all the same; mode enforce would refuse\n"), "{text}");
    assert_eq!(exit, Exit::Success);
}

#[test]
fn without_routes_the_handshake_decides_and_the_path_says_nothing() {
    let bench = PolicyFixture::new("allow = ['cf:app:APP']\n");
    let (text, exit) = bench.test(Some(&bench.peer()), "GET", "/a/../b", false);
    assert!(text.contains("folded        /b\nroute         none\nverdict       permit\n"), "{text}");
    assert_eq!(exit, Exit::Success);
}
