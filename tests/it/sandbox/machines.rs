//! Kernels and containers that permit less.

use std::process::Command;

use super::{Scene, fenced, is_permitted, threads};
use crate::support::cell::Cell;
use crate::support::diego::Container;
use crate::support::machine::{can, lacks};
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{app, eventually};

/// `vestibule proxy`, on a kernel that does not know these system calls.
fn on_a_kernel_without(calls: &str, scene: &Scene, mode: &str) -> Option<Sidecar> {
    if !can(&["strace", "-qq", "-f", "-e", "trace=none", "true"]) {
        lacks("strace");
        return None;
    }
    let inject = format!("inject={calls}:error=ENOSYS");
    let app = app::echo().to_string();
    // As a grandchild (-D), so that the signals and the end of what it traces are ours.
    let args = ["-D", "-qq", "-f", "-o", "/dev/null", "-e", &inject, VESTIBULE, "proxy", "--sandbox", mode];
    let args = [&args[..], &["--listen", "127.0.0.1:0", "--app", &app]].concat();
    Some(Setup::program("strace", &args).credentials(&scene.credentials).start())
}

const LANDLOCK: &str = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self";

#[test]
fn without_landlock_a_strict_sandbox_is_no_start_and_the_app_was_not_started() {
    let Some(scene) = Scene::new() else { return };
    let Some(mut sidecar) = on_a_kernel_without(LANDLOCK, &scene, "strict") else { return };
    assert_eq!(sidecar.exited().code(), Some(69));
    let lines = sidecar.lines();
    let error = lines.iter().find(|line| line["level"] == "error").unwrap().to_string();
    assert!(error.contains("--sandbox strict cannot be had here: landlock_files: "), "{error}");
    assert!(error.contains("--sandbox best-effort"), "{error}");
    assert!(lines.iter().all(|line| line["message"] != "listening"), "{lines:?}");
}

#[test]
fn without_landlock_best_effort_has_the_rest_and_names_what_is_missing() {
    let Some(scene) = Scene::new() else { return };
    let Some(sidecar) = on_a_kernel_without(LANDLOCK, &scene, "best-effort") else { return };
    let line = sidecar.wait_for("sandbox entered, but not all of it");
    assert_eq!((&line["mode"], &line["applied"]), (&"best-effort".into(), &"no_new_privs,capabilities,seccomp".into()));
    for protection in ["landlock_files", "landlock_tcp", "landlock_unix"] {
        assert!(line["missing"].as_str().unwrap().contains(&format!("{protection}: ")), "{line}");
    }
    sidecar.wait_for("certificate loaded");
}

#[test]
fn check_says_what_this_machine_permits_and_gives_nothing_up() {
    let Some(scene) = Scene::new() else { return };
    for mode in ["off", "best-effort", "strict"] {
        let report = Command::new(VESTIBULE)
            .args(["check", "--sandbox", mode, "--admin", "off"])
            .env("CF_INSTANCE_CERT", scene.credentials.cert())
            .env("CF_INSTANCE_KEY", scene.credentials.key())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&report.stdout).into_owned();
        let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some("sandbox")).unwrap();
        assert!(line.contains("no_new_privs, capabilities, seccomp, landlock_files"), "{text}");
        assert_eq!(line.contains("off; --sandbox strict"), mode == "off", "{text}");
        // Warnings do not count: nobody listens where the app is.
        assert_eq!(report.status.code(), Some(0), "{text}");
    }
}

#[test]
fn a_proxy_in_the_place_of_envoy_is_fenced_in_by_a_flag_or_a_variable() {
    if !is_permitted() {
        return;
    }
    let cell = Cell::new(Container::default(), &[app::echo()]);
    for setup in [cell.setup().arg("--sandbox").arg("strict"), cell.setup().env("VESTIBULE_SANDBOX", "strict")] {
        let sidecar = setup.start();
        sidecar.wait_for("certificate loaded");
        eventually("all threads", || threads(sidecar.pid()).contains_key("vestibule-log").then_some(()));
        let threads = threads(sidecar.pid());
        assert!(threads.values().flatten().all(|thread| *thread == fenced()), "{threads:?}");
    }
}

#[test]
fn uid_0_of_a_user_namespace_without_any_capability_may_have_a_strict_one() {
    if !is_permitted() {
        return;
    }
    if !can(&["unshare", "--user", "--map-root-user", "true"]) {
        return lacks("user namespaces");
    }
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let script = format!(
        "exec setpriv --bounding-set=-all --inh-caps=-all {VESTIBULE} envoy -c {} --sandbox strict",
        cell.bootstrap().display()
    );
    let sidecar = Setup::program("unshare", &["--user", "--map-root-user", "sh", "-c", &script]).start();
    sidecar.wait_for("certificate loaded");
    assert!(threads(sidecar.pid()).values().flatten().all(|thread| *thread == fenced()));
}
