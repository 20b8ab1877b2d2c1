//! While secrets are resolved: who is answered, what ends it, and what the app is started with then.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

use super::Instance;
use crate::support::client::connector;
use crate::support::credhub::{CredHub, Said};
use crate::support::eventually;
use crate::support::sidecar::{Setup, Sidecar};

const DOCUMENT: &str = r#"{"a":[{"name":"db","credentials":{"credhub-ref":"((/c/db))"}}]}"#;
const ANSWER: &str = r#"{"a":[{"credentials":{"password":"S3cret-of-the-app"}}]}"#;

/// A CredHub that answers once it is let.
struct Waiting {
    credhub: CredHub,
    may: Arc<(Mutex<bool>, Condvar)>,
}

impl Waiting {
    fn new() -> Self {
        let may = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&may);
        let credhub = CredHub::start(move |_| {
            let (may, told) = &*gate;
            drop(told.wait_while(may.lock().unwrap(), |may| !*may).unwrap());
            Said::Json(200, ANSWER.to_owned())
        });
        Self { credhub, may }
    }

    fn answer(&self) {
        *self.may.0.lock().unwrap() = true;
        self.may.1.notify_all();
    }

    /// Waits until it was asked.
    fn asked(&self) {
        eventually("a question", || (!self.credhub.asked().is_empty()).then_some(()));
    }
}

/// Its admin listener is where `folder` says.
fn with_credhub(instance: &Instance, credhub: &CredHub, app: &[&str]) -> Setup {
    let (ca, admin) = (credhub.ca(), format!("unix:{}", instance.path("admin").display()));
    let url = credhub.url();
    let options = ["--credhub-url", &url, "--credhub-ca", ca.to_str().unwrap(), "--admin", &admin];
    instance
        .running("credhub", &options, app)
        .env("VCAP_SERVICES", DOCUMENT)
        .env("VESTIBULE_APP", &crate::support::app::nobody().to_string())
}

/// The environment of a process, as others of its user can read it.
fn environ(pid: u32) -> String {
    String::from_utf8(fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap()
}

#[test]
fn meanwhile_the_admin_listener_answers_and_no_app_is_there() {
    for threads in ["1", "2"] {
        let (instance, waiting) = (Instance::new(), Waiting::new());
        let out = instance.out();
        let script = format!("cat /proc/self/environ > {}; exec sleep 60", out.display());
        let setup = with_credhub(&instance, &waiting.credhub, &["sh", "-c", &script]).env("VESTIBULE_THREADS", threads);
        let sidecar = setup.start();
        waiting.asked();
        let ready = instance.admin("/readyz?verbose");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("[-]secrets: not resolved yet"), "{ready}");
        assert!(instance.admin("/livez").starts_with("HTTP/1.1 200"));
        // Whoever connects is accepted, and told that there is no app: a router tries elsewhere then.
        assert!(connector(instance.credentials.instance()).connect(sidecar.addr()).is_err());
        assert_eq!(sidecar.lines_of("app started").len(), 0);
        waiting.answer();
        let pid = u32::try_from(sidecar.wait_for("app started")["pid"].as_u64().unwrap()).unwrap();
        let environment = eventually("the app's environment", || {
            fs::read_to_string(&out).ok().filter(|text| text.contains("VCAP_SERVICES="))
        });
        assert!(environment.contains("S3cret-of-the-app"));
        let ready = instance.admin("/readyz?verbose");
        assert!(ready.contains("[+]secrets: resolved"), "{ready}");
        // Nobody but the app knows it.
        assert!(!environ(sidecar.pid()).contains("S3cret"));
        eventually("the app's own", || environ(pid).contains("S3cret-of-the-app").then_some(()));
        for path in ["/", "/status.json", "/metrics", "/readyz?verbose"] {
            let answer = instance.admin(path);
            assert!(!answer.contains("S3cret") && !answer.contains(&base64("S3cret-of-the-app")), "{path}: {answer}");
        }
        assert!(
            instance
                .admin("/metrics")
                .contains("vestibule_secrets_resolved_total{source=\"credhub\",result=\"success\"} 1")
        );
        assert!(
            instance.admin("/status.json").contains("\"source\":\"credhub\",\"resolved\":1,\"missing\":0,\"failed\":0")
        );
        sidecar.signal("TERM");
        let outcome = instance.ended(sidecar);
        assert_eq!(outcome.status.code(), Some(143), "{}", outcome.log);
        assert!(!outcome.log.contains("S3cret") && !outcome.log.contains(&base64("S3cret-of-the-app")));
    }
}

fn base64(text: &str) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(text.as_bytes())
}

#[test]
fn a_stop_ends_it_at_once_and_no_app_is_started() {
    for (signal, threads) in [("TERM", "1"), ("INT", "2")] {
        let (instance, waiting) = (Instance::new(), Waiting::new());
        let out = instance.out();
        let app = ["cp", "/proc/self/environ", out.to_str().unwrap()];
        let setup = with_credhub(&instance, &waiting.credhub, &app).env("VESTIBULE_THREADS", threads);
        // Nobody is served yet who would be waited for.
        let sidecar = setup.env("VESTIBULE_DRAIN_DELAY", "5m").env("VESTIBULE_DRAIN_TIMEOUT", "10m").start();
        waiting.asked();
        sidecar.signal(signal);
        let outcome = instance.ended(sidecar);
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.log);
        assert!(outcome.environment.is_none() && !outcome.log.contains("app started"), "{}", outcome.log);
    }
}

#[test]
fn what_would_stop_the_app_stops_the_start_and_what_would_not_does_nothing() {
    for (map, signal) in [("TERM:QUIT", "QUIT"), ("USR2:TERM", "USR2"), ("HUP:INT", "HUP")] {
        let (instance, waiting) = (Instance::new(), Waiting::new());
        let out = instance.out();
        let app = ["cp", "/proc/self/environ", out.to_str().unwrap()];
        let sidecar = with_credhub(&instance, &waiting.credhub, &app).env("VESTIBULE_SIGNAL_MAP", map).start();
        waiting.asked();
        for other in ["USR1", "WINCH", "CONT"] {
            sidecar.signal(other);
        }
        assert!(instance.admin("/livez").starts_with("HTTP/1.1 200"));
        sidecar.signal(signal);
        let outcome = instance.ended(sidecar);
        assert_eq!(outcome.status.code(), Some(0), "{map}: {}", outcome.log);
        assert!(outcome.environment.is_none() && !outcome.log.contains("app started"), "{map}: {}", outcome.log);
    }
}

#[test]
fn connections_reach_the_app_afterwards_whatever_the_number_of_threads() {
    for threads in ["1", "2"] {
        let instance = Instance::new();
        let credhub = CredHub::knowing(&[("/c/db", json!({ "password": "S3cret" }))]);
        let app = crate::support::app::echo();
        let setup = with_credhub(&instance, &credhub, &["sleep", "60"]).env("VESTIBULE_APP", &app.to_string());
        let sidecar = setup.env("VESTIBULE_THREADS", threads).ready();
        sidecar.wait_for("app started");
        served(&instance, &sidecar);
        sidecar.signal("TERM");
        let outcome = instance.ended(sidecar);
        assert_eq!(outcome.status.code(), Some(143), "{}", outcome.log);
    }
}

/// A client is served.
fn served(instance: &Instance, sidecar: &Sidecar) {
    for _ in 0..3 {
        let mut client =
            eventually("a connection", || connector(instance.credentials.instance()).connect(sidecar.addr()).ok());
        client.send(b"hello").unwrap();
        assert_eq!(client.receive(5).unwrap(), b"hello");
    }
}

#[test]
fn the_app_finds_the_limits_that_the_container_was_given_and_we_have_ours() {
    let instance = Instance::new();
    let file = instance.path("file");
    fs::write(&file, "S3cret").unwrap();
    let (secrets, out, binary) = (instance.path("secrets"), instance.out(), crate::support::sidecar::VESTIBULE);
    fs::create_dir_all(&secrets).unwrap();
    let run = format!(
        "ulimit -Sn 300; exec {binary} run --listen 127.0.0.1:0 --resolve file --secrets-dir {} -- sh -c 'ulimit -Sn > {}; exec sleep 60'",
        secrets.display(),
        out.display()
    );
    let setup = Setup::program("sh", &["-c", &run]).credentials(&instance.credentials);
    let sidecar = setup.env("X", &format!("file:{}", file.display())).start();
    let limit = eventually("the app's limit", || fs::read_to_string(&out).ok().filter(|text| text.ends_with('\n')));
    assert_eq!(limit, "300\n");
    let ours = || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", sidecar.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        let numbers: Vec<_> = line.split_whitespace().skip(3).take(2).map(str::to_owned).collect();
        (numbers[0] == numbers[1]).then_some(())
    };
    eventually("our own limit, raised", ours);
}
