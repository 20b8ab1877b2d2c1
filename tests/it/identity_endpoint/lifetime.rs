//! Rotation, retirement and drain, as the app sees them here.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Answer, Endpoint, parts, post, verify_by_own_certificate};
use crate::support::credentials::{Credentials, issue_at};
use crate::support::sidecar::Setup;
use crate::support::{app, eventually};

#[test]
fn in_the_middle_of_rotations_every_token_is_signed_by_the_key_of_its_own_certificate() {
    let mut endpoint = Endpoint::with(Credentials::new(), |setup| setup.arg("--identity-rate=1000/s"));
    let over = AtomicBool::new(false);
    let Endpoint { credentials, sidecar } = &mut endpoint;
    let socket = credentials.dir().join("identity.sock");
    let text = post("/token", r#"{"audience":"vault","fresh":true}"#);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut leaves = std::collections::HashSet::new();
            while !over.load(Ordering::Relaxed) {
                let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
                std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
                let answer = Answer::read(stream);
                if answer.status == 429 {
                    continue;
                }
                let token = answer.token();
                verify_by_own_certificate(&token);
                leaves.insert(parts(&token).0["kid"].as_str().unwrap().to_owned());
            }
            leaves
        });
        for nth in 1..=20 {
            credentials.rotate();
            eventually("the rotation", || (sidecar.lines_of("certificate rotated").len() >= nth).then_some(()));
        }
        over.store(true, Ordering::Relaxed);
        let leaves = asking.join().unwrap();
        assert!(leaves.len() > 2, "{}", leaves.len());
    });
}

#[test]
fn a_retiring_instance_has_no_identity_and_no_token() {
    let mut endpoint = Endpoint::new();
    assert!(!endpoint.token(r#"{"audience":"vault"}"#).token().is_empty());
    endpoint.credentials.spec = endpoint.credentials.spec.retired();
    endpoint.credentials.rotate();
    endpoint.sidecar.wait_for("retirement certificate received; closing idle connections");
    for answer in [
        endpoint.token(r#"{"audience":"vault"}"#),
        endpoint.token(r#"{"audience":"vault","fresh":true}"#),
        endpoint.get("/identity"),
    ] {
        assert_eq!(answer.error(), (503, "retired".to_owned()));
        assert!(answer.head.contains("retry-after: "), "{answer:?}");
    }
}

#[test]
fn a_certificate_that_is_over_gives_no_token() {
    let mut credentials = Credentials::new();
    let day = std::time::Duration::from_secs(48 * 3600);
    let old = issue_at(&credentials.spec, std::time::SystemTime::now() - day);
    credentials.folder.write(&old).unwrap();
    let endpoint = Endpoint::with(credentials, |setup| setup);
    for answer in [endpoint.token(r#"{"audience":"vault"}"#), endpoint.get("/identity")] {
        assert_eq!(answer.error(), (503, "expired".to_owned()));
        assert!(answer.head.contains("retry-after: "), "{answer:?}");
    }
    drop(endpoint);
    credentials = Credentials::empty();
    let sidecar = Setup::proxy(&credentials, app::nobody())
        .arg(&format!("--identity-listen=unix:{}", credentials.dir().join("identity.sock").display()))
        .arg("--identity-audience=vault")
        .start();
    sidecar.wait_for("identity endpoint listening");
    let endpoint = Endpoint { credentials, sidecar };
    assert_eq!(endpoint.get("/identity").error(), (503, "no_pair".to_owned()));
    let Endpoint { mut credentials, sidecar } = endpoint;
    credentials.rotate();
    sidecar.wait_for("certificate loaded");
    let endpoint = Endpoint { credentials, sidecar };
    assert_eq!(endpoint.get("/identity").status, 200);
}

#[test]
fn while_the_app_shuts_down_it_still_gets_tokens() {
    let credentials = Credentials::new();
    let socket = credentials.dir().join("identity.sock");
    let nobody = app::nobody().to_string();
    let (told, go) = (credentials.dir().join("told"), credentials.dir().join("go"));
    let script = format!(
        "trap 'touch {}; while ! test -e {}; do sleep 0.05; done; exit 0' TERM; touch {}.ready; while :; do sleep 0.05; done",
        told.display(),
        go.display(),
        told.display()
    );
    let sidecar = Setup::command(&["run", "--listen=127.0.0.1:0", "--app", &nobody, "--drain-timeout=20s"])
        .arg(&format!("--identity-listen=unix:{}", socket.display()))
        .arg("--identity-audience=vault")
        .credentials(&credentials)
        .arg("--")
        .arg("sh")
        .arg("-c")
        .arg(&script)
        .ready();
    eventually("the app", || told.with_extension("ready").exists().then_some(()));
    let mut endpoint = Endpoint { credentials, sidecar };
    endpoint.sidecar.signal("TERM");
    eventually("the app to be told", || told.exists().then_some(()));
    assert!(!endpoint.token(r#"{"audience":"vault","fresh":true}"#).token().is_empty());
    std::fs::write(&go, "").unwrap();
    assert!(endpoint.sidecar.exited().success());
    assert!(!socket.exists());
}
