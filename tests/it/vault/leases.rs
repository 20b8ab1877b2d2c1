//! Secrets that come to an end while the app runs.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{options, path, paths, refused, said, url, vault};
use crate::app_secrets::Instance;
use crate::support::http_app::HttpApp;

/// How long something is waited for, at most.
const PATIENCE: Duration = Duration::from_secs(30);

fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let began = Instant::now();
    while !fact() {
        assert!(began.elapsed() < PATIENCE, "{what} has not come to be");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A Vault whose database engine gives a new user each time, for `seconds`.
fn database(seconds: u64, renewable: bool, renewal: impl Fn() -> super::Reply + Send + Sync + 'static) -> HttpApp {
    let users = AtomicUsize::new(0);
    vault(move |asked| match path(asked) {
        "/v1/database/creds/app" => {
            let user = format!("user-{}", users.fetch_add(1, Ordering::Relaxed));
            let lease = format!("database/creds/app/{user}");
            Some(said(
                200,
                &json!({ "lease_id": lease, "lease_duration": seconds, "renewable": renewable, "data": { "username": user } }),
            ))
        }
        "/v1/sys/leases/renew" => Some(renewal()),
        _ => None,
    })
}

const REFERENCE: &str = "vault:database/creds/app#username";

/// An app that writes what its file says each time that it is told to, and where it does.
fn following(instance: &Instance) -> [String; 3] {
    let out = instance.path("seen");
    let script = format!(
        "trap 'cat \"$A\" >> {0}; echo >> {0}' USR1; cat \"$A\" > {0}; echo >> {0}; while :; do sleep 0.1; done",
        out.display()
    );
    ["sh".to_owned(), "-c".to_owned(), script]
}

#[test]
fn a_file_gets_a_new_secret_before_the_old_one_ends_and_the_app_a_signal() {
    let (instance, vault) = (Instance::new(), database(3, false, || refused(400, &["lease is not renewable"])));
    let address = url(&vault);
    let app = following(&instance);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let options = [&options(&address)[..], &["--secret-signal", "USR1"]].concat();
    let mut sidecar = instance.running("vault", &options, &app).env("A", &format!("{REFERENCE}?file")).start();
    wait_until("the app's second secret", || {
        fs::read_to_string(instance.path("seen")).is_ok_and(|seen| seen.starts_with("user-0\nuser-1\n"))
    });
    sidecar.wait_for("secret files replaced; signal sent to app");
    assert!(!paths(&vault).contains(&"auth/token/revoke-self".to_owned()), "the token has leases, and is kept");
    sidecar.signal("TERM");
    sidecar.exited();
    assert_eq!(paths(&vault).last().map(String::as_str), Some("auth/token/revoke-self"));
    let lines: String = sidecar.lines().iter().map(ToString::to_string).collect();
    assert!(!lines.contains("user-"), "{lines}");
}

#[test]
fn a_lease_that_can_be_renewed_is_and_the_file_stays() {
    let renewal = || said(200, &json!({ "lease_id": "x", "lease_duration": 3, "renewable": true }));
    let (instance, vault) = (Instance::new(), database(3, true, renewal));
    let address = url(&vault);
    let app = following(&instance);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let mut sidecar =
        instance.running("vault", &options(&address), &app).env("A", &format!("{REFERENCE}?file")).start();
    let renewals = || paths(&vault).iter().filter(|path| *path == "sys/leases/renew").count();
    wait_until("a second renewal", || renewals() >= 2);
    sidecar.signal("TERM");
    sidecar.exited();
    assert_eq!(paths(&vault).iter().filter(|path| *path == "database/creds/app").count(), 1);
    assert_eq!(fs::read_to_string(instance.path("seen")).unwrap(), "user-0\n");
}

#[test]
fn a_lease_that_is_gone_is_replaced() {
    let (instance, vault) = (Instance::new(), database(3, true, || refused(400, &["lease not found"])));
    let address = url(&vault);
    let app = following(&instance);
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    let options = [&options(&address)[..], &["--secret-signal", "USR1"]].concat();
    let mut sidecar = instance.running("vault", &options, &app).env("A", &format!("{REFERENCE}?file")).start();
    wait_until("the app's second secret", || {
        fs::read_to_string(instance.path("seen")).is_ok_and(|seen| seen.contains("user-1"))
    });
    sidecar.signal("TERM");
    sidecar.exited();
}

#[test]
fn a_variable_cannot_be_changed_and_its_end_is_a_warning_or_the_end() {
    for stops in [false, true] {
        let (instance, vault) = (Instance::new(), database(3, false, || refused(400, &["lease is not renewable"])));
        let address = url(&vault);
        let more: &[&str] = if stops { &["--secret-on-expiry", "stop"] } else { &[] };
        let options = [&options(&address)[..], more].concat();
        let app = ["sh", "-c", "while :; do sleep 0.1; done"];
        let mut sidecar = instance.running("vault", &options, &app).env("A", REFERENCE).start();
        let warning = sidecar.wait_until("a warning", |line| {
            line["level"] == "warn"
                && line["message"].as_str().is_some_and(|said| said.contains("ends and cannot be renewed"))
        });
        assert_eq!(warning["variables"], "A");
        if !stops {
            sidecar.signal("TERM");
        }
        let status = sidecar.exited();
        assert_eq!(status.code(), Some(if stops { 69 } else { 143 }), "{:?}", sidecar.lines());
    }
}
