//! The sandbox: the proxy's own process is fenced in, and nothing else is.

mod launching;
mod machines;
mod reaching;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::metrics::Measured;
use crate::support::credentials::Credentials;
use crate::support::machine::lacks;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{app, eventually};

/// An instance, and a folder that is none of the proxy's business.
struct Scene {
    credentials: Credentials,
    folder: TempDir,
}

impl Scene {
    /// `None` where the machine permits no strict sandbox.
    fn new() -> Option<Self> {
        is_permitted().then(|| Self { credentials: Credentials::new(), folder: TempDir::new().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `vestibule run` in a strict sandbox, with `app`, a shell's script whose `$0` is our folder.
    fn run(&self, options: &[&str], app: &str) -> Setup {
        let mut args = vec!["run", "--sandbox", "strict", "--listen", "127.0.0.1:0", "--app", "127.0.0.1:1"];
        args.extend(options);
        args.extend(["--", "sh", "-c", app, self.folder.path().to_str().unwrap()]);
        Setup::command(&args).credentials(&self.credentials)
    }

    /// What somebody has written into a file there, once it is whole: it ends with a line `end`.
    fn told(&self, name: &str) -> String {
        eventually(&format!("a whole {name}"), || {
            let text = fs::read_to_string(self.path(name)).ok()?;
            Some(text.strip_suffix("end\n")?.to_owned())
        })
    }
}

/// Whether the kernel, and the container that the tests run in, permit a strict one.
fn is_permitted() -> bool {
    let mut check = Command::new(VESTIBULE);
    let report =
        check.args(["check", "--sandbox", "strict", "--json"]).env_remove("VESTIBULE_SANDBOX").output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let mut findings = report["findings"].as_array().unwrap().iter();
    let is_permitted = findings.any(|finding| finding["subject"] == "sandbox" && finding["severity"] != "problem");
    if !is_permitted {
        lacks("Landlock or seccomp");
    }
    is_permitted
}

/// A line of `/proc/PID/status`, or of a thread's.
fn value(status: &str, key: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("{key} in {status}")).trim().to_owned()
}

/// What fences in the process that wrote this of itself: no_new_privs, and the mode of seccomp.
fn fences(status: &str) -> (String, String) {
    (value(status, "NoNewPrivs:"), value(status, "Seccomp:"))
}

fn fenced() -> (String, String) {
    ("1".to_owned(), "2".to_owned())
}

/// As the test itself is, which may be within a container's own.
fn unfenced() -> (String, String) {
    fences(&fs::read_to_string("/proc/self/status").unwrap())
}

/// The threads of a process, with what fences each in.
fn threads(pid: u32) -> BTreeMap<String, Vec<(String, String)>> {
    let mut threads = BTreeMap::<_, Vec<_>>::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        // Threads for files come and go.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        threads.entry(value(&status, "Name:")).or_default().push(fences(&status));
    }
    threads
}

/// How many filters there are in front of `pid`'s system calls.
fn filters(pid: impl std::fmt::Display) -> u32 {
    value(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "Seccomp_filters:").parse().unwrap()
}

#[test]
fn every_thread_of_the_proxy_is_fenced_in() {
    let Some(scene) = Scene::new() else { return };
    let sidecar = Setup::proxy(&scene.credentials, app::echo()).arg("--sandbox=strict").arg("--threads=2").ready();
    let threads = eventually("all threads", || {
        let threads = threads(sidecar.pid());
        let expected = ["vestibule", "vestibule-log", "notify-rs inoti", "jemalloc_bg_thd"];
        expected.iter().all(|name| threads.contains_key(*name)).then_some(threads)
    });
    assert!(threads["vestibule"].len() >= 3, "{threads:?}");
    assert!(threads.values().flatten().all(|thread| *thread == fenced()), "{threads:?}");
    assert_eq!(filters(sidecar.pid()), filters("self") + 3);
}

#[test]
fn the_app_is_as_free_as_without_a_sandbox() {
    let Some(scene) = Scene::new() else { return };
    let app = "cat /proc/self/status >$0/status; sh -c 'cat /etc/passwd' >$0/passwd; mkdir $0/made; \
               echo end >>$0/status; exec sleep 600";
    let sidecar = scene.run(&[], app).ready();
    assert_eq!(fences(&scene.told("status")), unfenced());
    assert_eq!(fs::read(scene.path("passwd")).unwrap(), fs::read("/etc/passwd").unwrap());
    assert!(scene.path("made").is_dir());
    assert_eq!(fences(&fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap()), fenced());
}

#[test]
fn without_the_option_nothing_is_fenced_in_and_nothing_is_said_of_it() {
    let Some(scene) = Scene::new() else { return };
    let sidecar = Setup::proxy(&scene.credentials, app::echo()).arg("--sandbox=off").ready();
    assert!(threads(sidecar.pid()).values().flatten().all(|thread| *thread == unfenced()));
    assert_eq!(filters(sidecar.pid()), filters("self"));
    assert!(sidecar.lines().iter().all(|line| !line["message"].as_str().unwrap_or_default().contains("sandbox")));
}

#[test]
fn what_was_applied_is_in_the_log_the_status_and_the_metrics() {
    let Some(scene) = Scene::new() else { return };
    let all = ["no_new_privs", "capabilities", "seccomp", "landlock_files", "landlock_tcp", "landlock_unix"];
    let measured = Measured::new(Setup::proxy(&scene.credentials, app::echo()).arg("--sandbox=strict"));
    let line = measured.sidecar.wait_until("a word about the sandbox", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("sandbox entered"))
    });
    assert_eq!(line["mode"], "strict");
    let series = measured.series();
    let status = crate::status::json(measured.admin());
    assert_eq!(status["sandbox"]["mode"], "strict");
    for (at, protection) in all.into_iter().enumerate() {
        let entry = &status["sandbox"]["protections"][at];
        let applied = line["applied"].as_str().unwrap().split(',').any(|applied| applied == protection);
        // What a kernel does not know yet is named, and why.
        assert!(applied || line["missing"].as_str().unwrap().contains(protection), "{line}");
        assert_eq!((&entry["protection"], &entry["applied"]), (&protection.into(), &applied.into()));
        assert_eq!(entry["detail"].is_null(), applied, "{entry}");
        let name = format!("vestibule_sandbox_protection{{mode=\"strict\",protection=\"{protection}\"}}");
        assert_eq!(series[&name], f64::from(u8::from(applied)), "{name}");
    }
}

/// Stops, reloads and drains as it does without.
#[test]
fn the_proxy_drains_and_the_app_is_told_to_stop() {
    let Some(scene) = Scene::new() else { return };
    let app = "trap '' HUP; trap 'echo term >$0/signal; echo end >>$0/signal; exit 7' TERM; echo ready >$0/up; \
               while :; do sleep 0.02; done";
    let mut sidecar: Sidecar = scene.run(&["--drain-timeout", "5s"], app).ready();
    eventually("the app", || scene.path("up").exists().then_some(()));
    sidecar.signal("HUP");
    sidecar.signal("TERM");
    assert_eq!(scene.told("signal"), "term\n");
    assert_eq!(sidecar.exited().code(), Some(7));
}
