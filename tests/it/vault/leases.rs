//! Secrets that come to an end while the app runs.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{TOKEN, options, path, paths, refused, said, url, vault};
use crate::app_secrets::Instance;
use crate::support::eventually;
use crate::support::http_app::HttpApp;

/// How long something is waited for, at most.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

fn wait_until(what: &str, fact: impl Fn() -> bool) {
    let began = Instant::now();
    while !fact() {
        assert!(began.elapsed() < TEST_TIMEOUT, "{what} has not come to be");
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

/// The tokens that were revoked, in their order.
fn revoked(vault: &HttpApp) -> Vec<String> {
    let asked = vault.asked();
    let revocations = asked.iter().filter(|asked| path(asked).ends_with("revoke-self"));
    let token = |head: &str| head.lines().find_map(|line| line.strip_prefix("x-vault-token: ")).unwrap().to_owned();
    revocations.map(|asked| token(&asked.head)).collect()
}

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

#[test]
fn the_status_says_when_token_and_leases_are_renewed_and_end_and_nothing_else_of_them() {
    let renewal = || said(200, &json!({ "lease_id": "x", "lease_duration": 3600, "renewable": true }));
    let (instance, vault) = (Instance::new(), database(7200, true, renewal));
    let (address, admin) = (url(&vault), format!("unix:{}", instance.path("admin").display()));
    let options = [&options(&address)[..], &["--admin", &admin]].concat();
    let sidecar = instance.running("vault", &options, &["sleep", "60"]).env("A", REFERENCE).start();
    let secrets = eventually("the next renewal", || {
        let answer = instance.admin("/status.json");
        let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        Some(status["secrets"].clone()).filter(|secrets| secrets["next_renewal"].is_string())
    });
    let seconds = |at: &Value| {
        let at: jiff::Timestamp = at.as_str().unwrap_or_else(|| panic!("{secrets}")).parse().unwrap();
        at.duration_since(jiff::Timestamp::now()).as_secs()
    };
    let token = &secrets["vault_token"];
    for (what, at, due) in [
        ("the lease ends", &secrets["expiry"], 7200),
        ("it is renewed", &secrets["next_renewal"], 4800),
        ("the token ends", &token["expiry"], 3600),
        ("it is renewed", &token["next_renewal"], 2400),
    ] {
        assert!((due - 60..=due + 1).contains(&seconds(at)), "{what}: {secrets}");
    }
    let page = instance.admin("/");
    for said in ["the first ends", "the next is renewed", "Vault token", ", is renewed"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    for answer in [secrets.to_string(), page] {
        for hidden in [TOKEN, "user-0", "database/creds/app/"] {
            assert!(!answer.contains(hidden), "{hidden} in {answer}");
        }
    }
    sidecar.signal("TERM");
    instance.ended(sidecar);

    // Where nothing ends, the token has served its turn and is no more.
    let (instance, vault) = (Instance::new(), super::vault(|_| None));
    let (address, admin) = (url(&vault), format!("unix:{}", instance.path("admin").display()));
    let options = [&super::options(&address)[..], &["--admin", &admin]].concat();
    let sidecar =
        instance.running("vault", &options, &["sleep", "60"]).env("A", "vault:secret/data/app#password").start();
    sidecar.wait_for("Vault token revoked");
    let answer = instance.admin("/status.json");
    let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(status["secrets"]["sources"][0]["resolved"], 1);
    assert!(status["secrets"]["vault_token"].is_null() && status["secrets"]["next_renewal"].is_null(), "{status}");
    sidecar.signal("TERM");
    instance.ended(sidecar);
}

#[test]
fn a_lease_of_no_time_is_replaced_at_longer_and_longer_intervals() {
    for renewable in [true, false] {
        let renewal = || said(200, &json!({ "lease_id": "x", "lease_duration": 0, "renewable": true }));
        let (instance, vault) = (Instance::new(), database(0, renewable, renewal));
        let address = url(&vault);
        let began = Instant::now();
        let sidecar = instance
            .running("vault", &options(&address), &["sleep", "60"])
            .env("A", &format!("{REFERENCE}?file"))
            .start();
        let count = |what: &str| paths(&vault).iter().filter(|path| *path == what).count();
        wait_until("the third successor", || count("database/creds/app") > 3);
        // At once, then after one second, and after two more.
        assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(count("sys/leases/renew"), 0);
        sidecar.wait_for("the new secret has a lease of 0 seconds, and ends at once; see the TTL of its role");
        sidecar.signal("TERM");
        instance.ended(sidecar);
    }
}

#[test]
fn the_end_of_a_variable_is_told_though_it_might_have_been_renewed_by_a_server_that_does_not_answer() {
    for stops in [false, true] {
        let (instance, vault) = (Instance::new(), database(3, true, || refused(503, &["Vault is sealed"])));
        let address = url(&vault);
        let more: &[&str] = if stops { &["--secret-on-expiry", "stop"] } else { &[] };
        let options = [&options(&address)[..], more].concat();
        let mut sidecar = instance.running("vault", &options, &["sleep", "60"]).env("A", REFERENCE).start();
        let warning = sidecar.wait_for(
            "a secret in variables of the app ends and could not be renewed so far; see whether Vault answers",
        );
        assert_eq!(warning["variables"], "A");
        if !stops {
            sidecar.signal("TERM");
        }
        let status = sidecar.exited();
        assert_eq!(status.code(), Some(if stops { 69 } else { 143 }), "{:?}", sidecar.lines());
    }
}

#[test]
fn a_server_that_is_silent_does_not_keep_the_end_of_a_variable_from_being_told_before_it_comes() {
    let silent = || {
        std::thread::sleep(TEST_TIMEOUT);
        refused(503, &["too late"])
    };
    let (instance, vault) = (Instance::new(), database(16, true, silent));
    let address = url(&vault);
    let sidecar = instance.running("vault", &options(&address), &["sleep", "60"]).env("A", REFERENCE).start();
    wait_until("a renewal", || vault.asked().iter().any(|asked| path(asked) == "/v1/sys/leases/renew"));
    let warning = sidecar
        .wait_for("a secret in variables of the app ends and could not be renewed so far; see whether Vault answers");
    // One try may last for ten seconds, and begins after two thirds of the sixteen.
    assert!(warning["seconds_left"].as_u64().unwrap() >= 1, "{warning}");
    sidecar.signal("TERM");
    instance.ended(sidecar);
}

#[test]
fn the_file_of_a_binding_gets_a_new_secret_as_any_other_file() {
    let (instance, vault) = (Instance::new(), database(3, false, || refused(400, &["lease is not renewable"])));
    let (address, root) = (url(&vault), instance.path("bindings"));
    fs::create_dir_all(root.join("db")).unwrap();
    fs::write(root.join("db/username"), REFERENCE).unwrap();
    let script = format!(
        "while :; do cat $SERVICE_BINDING_ROOT/db/username >> {}; sleep 0.1; done",
        instance.path("seen").display()
    );
    let setup = instance.running("vault", &options(&address), &["sh", "-c", &script]);
    let mut sidecar = setup.env("SERVICE_BINDING_ROOT", root.to_str().unwrap()).start();
    wait_until("the next user", || {
        fs::read_to_string(instance.path("seen")).is_ok_and(|seen| seen.contains("user-0") && seen.contains("user-1"))
    });
    sidecar.signal("TERM");
    sidecar.exited();
}

#[test]
fn a_token_of_an_earlier_pair_that_is_not_renewed_is_revoked_with_the_end_of_its_last_lease() {
    let (logins, users) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let vault = vault(move |asked| match path(asked) {
        "/v1/auth/jwt/login" => {
            let token = format!("{TOKEN}{}", logins.fetch_add(1, Ordering::Relaxed));
            Some(said(200, &json!({ "auth": { "client_token": token, "lease_duration": 3600, "renewable": true } })))
        }
        // As a token is answered that belongs to a pair that is not shown any more.
        "/v1/auth/token/renew-self" => Some(refused(403, &["permission denied"])),
        "/v1/database/creds/app" => {
            let user = users.fetch_add(1, Ordering::Relaxed);
            let lease = format!("database/creds/app/{user}");
            let data = json!({ "username": format!("user-{user}") });
            Some(said(200, &json!({ "lease_id": lease, "lease_duration": 3, "renewable": false, "data": data })))
        }
        _ => None,
    });
    let mut instance = Instance::new();
    let address = url(&vault);
    let setup = instance.running("vault", &options(&address), &["sleep", "60"]);
    let mut sidecar = setup.env("A", &format!("{REFERENCE}?file")).start();
    sidecar.wait_for("app started");
    for rotation in 0..2 {
        instance.credentials.rotate();
        // The lease has been replaced by one of the new token, and has ended.
        wait_until("the end of the token before", || revoked(&vault).len() > rotation);
        assert_eq!(revoked(&vault), (0..=rotation).map(|n| format!("{TOKEN}{n}")).collect::<Vec<_>>());
    }
    sidecar.signal("TERM");
    sidecar.exited();
    assert_eq!(revoked(&vault), (0..3).map(|n| format!("{TOKEN}{n}")).collect::<Vec<_>>(), "each of them once");
}
