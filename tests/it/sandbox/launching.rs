//! Programs that are started once the proxy is within: they are outside, and nothing else can be started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Scene, fenced, fences, unfenced};
use crate::support::eventually;
use crate::support::machine::in_namespaces;
use crate::support::sidecar::VESTIBULE;

impl Scene {
    /// A script that can be run, with our folder in it as `$D`.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\nD={}\n{body}\n", self.folder.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// The processes whose parent is `pid`, with their command lines.
fn children(pid: u32) -> Vec<(u32, String)> {
    let processes =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let child = |other: u32| {
        let stat = fs::read_to_string(format!("/proc/{other}/stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()?;
        let line = fs::read_to_string(format!("/proc/{other}/cmdline")).ok()?.replace('\0', " ");
        (parent == pid).then_some((other, line))
    };
    processes.filter_map(child).collect()
}

#[test]
fn the_program_that_follows_a_rotation_is_as_free_as_without_a_sandbox() {
    let Some(mut scene) = Scene::new() else { return };
    let body = "cat /proc/self/status >$D/hook.$INSTANCE_GENERATION; echo \"$1 $INSTANCE_NOT_AFTER\" >>$D/hook.$INSTANCE_GENERATION; \
                echo end >>$D/hook.$INSTANCE_GENERATION";
    let script = scene.script("hook", body);
    let hook = format!("exec:{} with", script.display());
    let sidecar = scene.run(&["--on-rotation", &hook], "exec sleep 600").ready();
    for generation in [2, 3] {
        scene.credentials.rotate();
        let told = scene.told(&format!("hook.{generation}"));
        assert_eq!(fences(&told), unfenced());
        let last = told.lines().last().unwrap();
        assert!(last.starts_with("with 20") && last.ends_with('Z'), "{last}");
        let ended = sidecar.wait_until("the end of the hook", |line| {
            line["message"] == "rotation hook ended" && line["generation"] == generation
        });
        assert_eq!(ended["result"], "success");
    }
}

#[test]
fn what_starts_the_program_ends_with_the_proxy_and_takes_the_program_with_it() {
    let Some(mut scene) = Scene::new() else { return };
    let script = scene.script("hook", "echo $$ >$D/pid; echo end >>$D/pid; exec sleep 600");
    let hook = format!("exec:{}", script.display());
    let sidecar = scene.run(&["--on-rotation", &hook, "--drain-timeout", "1s"], "exec sleep 600 2>/dev/null").ready();
    let launcher = children(sidecar.pid()).into_iter().find(|(_, line)| line.contains("__launch hook")).unwrap().0;
    let status = fs::read_to_string(format!("/proc/{launcher}/status")).unwrap();
    assert_eq!(fences(&status), unfenced());
    scene.credentials.rotate();
    let program: u32 = scene.told("pid").trim().parse().unwrap();
    sidecar.signal("KILL");
    for pid in [launcher, program] {
        eventually("its end", || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(()));
    }
    // The app outlives a proxy that was killed, as it does without a sandbox.
    let app = sidecar.wait_for("app started")["pid"].to_string();
    assert!(Command::new("kill").arg(app).status().unwrap().success());
}

#[test]
fn a_program_that_is_not_there_or_fails_is_told_of_as_without_a_sandbox() {
    let Some(mut scene) = Scene::new() else { return };
    let failing = scene.script("failing", "exit 3");
    for (program, result, detail) in
        [("/nowhere/at/all", "not_started", "executable"), (failing.to_str().unwrap(), "failed", "exited with 3")]
    {
        let sidecar = scene.run(&["--on-rotation", &format!("exec:{program}")], "exec sleep 600").ready();
        scene.credentials.rotate();
        let ended = sidecar.wait_for("rotation hook ended");
        assert_eq!(ended["result"], result);
        assert!(ended["detail"].as_str().unwrap().contains(detail), "{ended}");
    }
}

/// It is started within the sandbox, by a process that is not.
#[test]
fn an_app_that_gets_secrets_is_as_free_as_any_and_a_child_of_ours() {
    let Some(scene) = Scene::new() else { return };
    fs::write(scene.path("secret"), "s3cret=\n").unwrap();
    let app = "cat /proc/self/status >$0/status; echo \"$TOKEN|$PORT|$VESTIBULE_LISTEN\" >>$0/status; cat >>$0/status; \
               echo end >>$0/status; trap 'exit 9' TERM; while :; do sleep 0.02; done";
    let token = format!("file:{}", scene.path("secret").display());
    let options = ["--resolve", "file", "--threads", "2"];
    let mut sidecar = scene.run(&options, app).env("TOKEN", &token).env("PORT", "77").ready();
    let told = scene.told("status");
    assert_eq!(fences(&told), unfenced());
    assert!(told.contains("s3cret=|77|\n") || told.contains("s3cret=\n|77|\n"), "{told}");
    assert_eq!(fences(&fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap()), fenced());
    let children = children(sidecar.pid());
    assert!(children.len() == 1 && children[0].1.starts_with("sh -c"), "{children:?}");
    assert_eq!(sidecar.wait_for("app started")["pid"], children[0].0);
    assert!(!sidecar.lines().iter().any(|line| line.to_string().contains("s3cret")));
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(9));
}

#[test]
fn an_app_with_secrets_that_cannot_be_started_has_a_shells_status() {
    let Some(scene) = Scene::new() else { return };
    fs::write(scene.path("secret"), "x").unwrap();
    let token = format!("file:{}", scene.path("secret").display());
    let ended = Command::new(VESTIBULE)
        .args(["run", "--sandbox", "strict", "--resolve", "file", "--listen", "127.0.0.1:0", "--", "/nowhere/at/all"])
        .env("TOKEN", token)
        .env("CF_INSTANCE_CERT", scene.credentials.cert())
        .env("CF_INSTANCE_KEY", scene.credentials.key())
        .env("VESTIBULE_ADMIN", "off")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(127), "{log}");
    assert!(log.contains("cannot start the app") && log.contains("check the path"), "{log}");
}

#[test]
fn who_types_the_command_that_starts_programs_is_told_that_it_is_not_for_him() {
    for job in ["app", "hook"] {
        let ended = Command::new(VESTIBULE).args(["__launch", job, "true"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains("for processes of ours alone"), "{said}");
    }
}

#[test]
fn without_proc_an_app_with_secrets_and_a_program_that_follows_rotations_are_started_all_the_same() {
    let test = "sandbox::launching::without_proc_an_app_with_secrets_and_a_program_that_follows_rotations_are_started_all_the_same";
    if !in_namespaces(test, &["--mount"], "mount -t tmpfs none /proc", Path::new("/")) {
        return;
    }
    assert!(!fs::exists("/proc/self").unwrap());
    let Some(mut scene) = Scene::new() else { return };
    fs::write(scene.path("secret"), "s3cret").unwrap();
    let token = format!("file:{}", scene.path("secret").display());
    let script = scene.script("follows", "echo end >>$D/hook");
    let hook = format!("exec:{}", script.display());
    let app = "echo \"$TOKEN\" >$0/app; echo end >>$0/app; exec sleep 600";
    for options in [&["--resolve", "file", "--on-rotation", &hook][..], &["--on-rotation", &hook]] {
        let sidecar = scene.run(options, app).env("TOKEN", &token).ready();
        assert_eq!(scene.told("app").trim(), if options.len() == 4 { "s3cret" } else { &token });
        scene.credentials.rotate();
        assert_eq!(scene.told("hook"), "");
        drop(sidecar);
        for name in ["app", "hook"] {
            fs::remove_file(scene.path(name)).unwrap();
        }
    }
}
