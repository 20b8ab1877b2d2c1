//! What follows a rotation: the app is signalled or a program is run, one at a time, and never more than once for a generation.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Scene, written};
use crate::metrics::Measured;
use crate::support::client::connector;
use crate::support::credentials::leaf;
use crate::support::eventually;
use crate::support::sidecar::{Setup, Sidecar};

impl Scene {
    /// A script that can be run, called `name`.
    fn script(&self, name: &str, body: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// `vestibule run` with `app`, a shell's script.
    fn run(&self, options: &[&str], app: &str) -> Setup {
        let mut args = vec!["run", "--listen", "127.0.0.1:0", "--app", "127.0.0.1:1"];
        args.extend(options);
        args.extend(["--", "sh", "-c", app]);
        Setup::command(&args).credentials(&self.credentials)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Waits until the hook for `generation` has ended.
#[track_caller]
fn ended(sidecar: &Sidecar, generation: u64) -> Value {
    sidecar.wait_until(&format!("the end of the hook for {generation}"), |line| {
        line["message"] == "rotation hook ended" && line["generation"] == generation
    })
}

/// Whether a process of this number lives, and is no zombie.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The states of the children of the process `pid`.
fn children(pid: u32) -> Vec<char> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stat = |path: &Path| fs::read_to_string(path.join("stat")).ok();
    let child = |stat: String| {
        let rest = stat.rsplit_once(") ")?.1.to_owned();
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        (fields.next()? == pid.to_string()).then_some(state)
    };
    entries.filter_map(|entry| stat(&entry.path())).filter_map(child).collect()
}

#[test]
fn the_app_gets_the_signal_itself_after_each_rotation_but_not_after_the_first_pair() {
    let mut scene = Scene::new();
    let out = scene.path("out");
    let file = scene.file("chain", "chain");
    // What is below the app gets it too, as it is in the app's group.
    let below = format!("trap 'echo below >>{0}' HUP; echo ready >>{0}; while :; do sleep 0.02; done", out.display());
    let app = format!("trap 'echo app >>{}' HUP; sh -c \"$BELOW\" & while :; do sleep 0.02; done", out.display());
    let options = ["--credential-file", &file, "--on-rotation", "signal:HUP", "--signal-map", "HUP:0"];
    let sidecar = scene.run(&options, &app).env("BELOW", &below).ready();
    written(&sidecar, 1);
    eventually("the app to listen", || (scene.lines("out") == ["ready"]).then_some(()));
    scene.credentials.rotate();
    assert_eq!(ended(&sidecar, 2)["result"], "success");
    let got = eventually("both to be signalled", || Some(scene.lines("out")).filter(|lines| lines.len() == 3));
    assert!(got.contains(&"app".to_owned()) && got.contains(&"below".to_owned()), "{got:?}");
    // HUP for us is another matter, and is mapped.
    sidecar.signal("HUP");
    scene.credentials.rotate();
    ended(&sidecar, 3);
    eventually("two more", || (scene.lines("out").len() == 5).then_some(()));
    assert_eq!(sidecar.lines_of("rotation hook ended").len(), 2);
}

#[test]
fn with_the_scope_app_nobody_below_the_app_is_signalled() {
    let mut scene = Scene::new();
    let out = scene.path("out");
    let app = format!(
        "trap 'echo app >>{0}' USR1; sh -c 'trap \"echo below >>{0}\" USR1; while kill -0 $PPID 2>/dev/null; do sleep 0.02; done' & echo ready >>{0}; while :; do sleep 0.02; done",
        out.display()
    );
    let options = ["--on-rotation", "signal:USR1", "--signal-scope", "app"];
    let sidecar = scene.run(&options, &app).ready();
    eventually("the app to listen", || (scene.lines("out") == ["ready"]).then_some(()));
    for generation in 2..5 {
        scene.credentials.rotate();
        ended(&sidecar, generation);
        eventually("the app", || (scene.lines("out").len() as u64 == generation).then_some(()));
    }
    assert!(!scene.lines("out").contains(&"below".to_owned()));
}

#[test]
fn a_program_is_told_the_generation_and_its_end_and_finds_all_files_in_place() {
    let mut scene = Scene::new();
    let script = scene.script(
        "hook",
        "cd \"$(dirname \"$0\")\"; echo \"$INSTANCE_GENERATION $INSTANCE_NOT_AFTER $# $*\" >>out\n\
         openssl x509 -in chain -noout -serial >>out; [ \"$(ps -o pgid= -p $$ | tr -d ' ')\" = $$ ] && echo leader >>out\n\
         cat >>out; true",
    );
    let files = [scene.file("pkcs8", "key"), scene.file("chain", "chain")].join(",");
    let setup = scene.proxy().arg("--credential-file").arg(&files);
    let sidecar = setup.arg("--on-rotation").arg(&format!("exec:{script} one  two")).ready();
    written(&sidecar, 1);
    let new = scene.credentials.rotate();
    let line = ended(&sidecar, 2);
    assert_eq!((&line["level"], &line["result"]), (&"info".into(), &"success".into()));
    let rotated = sidecar.wait_for("certificate rotated");
    let end = rotated["not_after"].as_str().unwrap();
    let said = scene.lines("out");
    assert_eq!(said[0], format!("2 {end} 2 one two"));
    assert_eq!(leaf(&fs::read(scene.path("chain")).unwrap()), new);
    let serial = super::openssl(&["x509", "-in", scene.credentials.cert().to_str().unwrap(), "-noout", "-serial"]);
    assert_eq!(said[1], serial.trim());
    assert_eq!(said[2..], ["leader"], "and nothing comes from its stdin");
}

#[test]
fn in_a_storm_of_rotations_one_hook_runs_at_a_time_and_the_newest_wins() {
    let mut scene = Scene::new();
    let script = scene.script(
        "hook",
        "cd \"$(dirname \"$0\")\"; mkdir running || echo overlap >>out; echo $INSTANCE_GENERATION >>out; sleep 0.1; rmdir running",
    );
    for way in ["proxy", "run"] {
        let _ = fs::remove_file(scene.path("out"));
        let hook = format!("exec:{script}");
        let file = scene.file("pem", "pem");
        let sidecar = match way {
            "proxy" => scene.proxy().arg("--credential-file").arg(&file).arg("--on-rotation").arg(&hook).ready(),
            _ => scene.run(&["--credential-file", &file, "--on-rotation", &hook], "exec sleep 60").ready(),
        };
        written(&sidecar, 1);
        scene.credentials.rotate();
        for nth in 0..40 {
            let before = sidecar.lines_of("app files written").len();
            scene.credentials.rotate();
            if nth % 4 == 0 {
                eventually("a generation", || (sidecar.lines_of("app files written").len() > before).then_some(()));
            }
        }
        // The last pair is another instance's, by which its line is known.
        scene.credentials.spec = scene.credentials.spec.sibling().unwrap();
        let last = scene.credentials.rotate();
        let line = sidecar.wait_until("the last pair", |line| {
            line["message"] == "certificate rotated" && line["instance"] == scene.credentials.instance()
        });
        let newest = line["generation"].as_u64().unwrap();
        ended(&sidecar, newest);
        assert_eq!(leaf(&fs::read(scene.path("pem")).unwrap()), last, "{way}");
        let ran: Vec<u64> =
            scene.lines("out").iter().map(|line| line.parse().unwrap_or_else(|_| panic!("{way}: {line}"))).collect();
        assert!(ran.is_sorted_by(|one, next| one < next), "{way}: each generation once, in order: {ran:?}");
        assert_eq!((ran.contains(&1), ran.last()), (false, Some(&newest)), "{way}");
        let generations = sidecar.lines_of("app files written").len();
        assert!(ran.len() < generations, "{way}: {} of {generations} were run for", ran.len());
    }
}

#[test]
fn a_program_that_is_not_there_or_fails_is_a_warning_and_nothing_more() {
    let mut scene = Scene::new();
    let hook = scene.path("hook");
    let hook = format!("exec:{}", hook.display());
    let measured = Measured::new(scene.proxy().arg("--on-rotation").arg(&hook));
    let mut expect = |generation: u64, result: &str, detail: &str| {
        scene.credentials.rotate();
        let line = ended(&measured.sidecar, generation);
        assert_eq!((&line["level"], &line["result"]), (&"warn".into(), &result.into()), "{line}");
        assert!(line["detail"].as_str().unwrap().contains(detail), "{line}");
    };
    expect(2, "not_started", "No such file or directory");
    fs::write(hook.strip_prefix("exec:").unwrap(), "#!/bin/sh\n").unwrap();
    expect(3, "not_started", "Permission denied");
    fs::remove_file(hook.strip_prefix("exec:").unwrap()).unwrap();
    let script = hook.strip_prefix("exec:").unwrap();
    let write = |body: &str| {
        fs::write(format!("{script}.new"), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(format!("{script}.new"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(format!("{script}.new"), script).unwrap();
    };
    write("exit 7");
    expect(4, "failed", "exited with 7");
    write("kill -9 $$");
    expect(5, "failed", "ended by signal 9");
    let series = measured.series();
    let count = |result: &str| series[&format!("vestibule_rotation_hooks_total{{result=\"{result}\"}}")];
    assert_eq!([count("success"), count("failed"), count("timeout"), count("not_started")], [0.0, 2.0, 0.0, 2.0]);
    connector(scene.credentials.instance()).connect(measured.sidecar.addr()).unwrap();
}

#[test]
fn what_a_program_leaves_behind_goes_on_and_nobody_stays_a_zombie() {
    let mut scene = Scene::new();
    // Ends while its children live, which end later; one of them in a session of its own.
    let body = "(sleep 0.2; echo late >>\"$(dirname \"$0\")/out\") & (: &) ; setsid sh -c ': &' ; exit 0";
    let hook = format!("exec:{}", scene.script("hook", body));
    for (way, own) in [("proxy", 0), ("run", 1)] {
        let _ = fs::remove_file(scene.path("out"));
        let sidecar = match way {
            "proxy" => scene.proxy().arg("--on-rotation").arg(&hook).ready(),
            _ => scene.run(&["--on-rotation", &hook], "exec sleep 60").ready(),
        };
        for generation in 2..6 {
            scene.credentials.rotate();
            assert_eq!(ended(&sidecar, generation)["result"], "success");
        }
        eventually("what was left behind", || (scene.lines("out").len() == 4).then_some(()));
        eventually("only the app to be left", || (children(sidecar.pid()).len() == own).then_some(()));
    }
}

#[test]
fn a_program_that_hangs_is_killed_with_its_group_and_the_next_rotation_has_its_turn() {
    let mut scene = Scene::new();
    let body = "cd \"$(dirname \"$0\")\"; [ -e hung ] && exit 0; trap '' TERM; sleep 300 & echo $$ $! >hung.new; mv hung.new hung; wait; sleep 300";
    let hook = format!("exec:{}", scene.script("hook", body));
    let sidecar = scene.proxy().arg("--on-rotation").arg(&hook).ready();
    let begun = Instant::now();
    scene.credentials.rotate();
    let pids = eventually("the program", || scene.lines("hung").pop());
    let pids: Vec<_> = pids.split(' ').collect();
    assert!(pids.iter().all(|pid| lives(pid)));
    // Waits for its turn.
    scene.credentials.rotate();
    eventually("the next pair", || (sidecar.lines_of("certificate rotated").len() == 2).then_some(()));
    // Longer than facts have elsewhere: it may run for 30 seconds.
    let deadline = Instant::now() + Duration::from_secs(60);
    while sidecar.lines_of("rotation hook ended").is_empty() {
        assert!(Instant::now() < deadline, "{:#?}", sidecar.lines());
        // The line may come a moment later.
        assert!(lives(pids[0]) || begun.elapsed() > Duration::from_secs(29), "nobody else ends it");
        std::thread::sleep(Duration::from_millis(20));
    }
    let line = ended(&sidecar, 2);
    assert_eq!((&line["level"], &line["result"]), (&"warn".into(), &"timeout".into()), "{line}");
    assert_eq!(ended(&sidecar, 3)["result"], "success");
    eventually("all of its group to be gone", || pids.iter().all(|pid| !lives(pid)).then_some(()));
    assert_eq!(children(sidecar.pid()).len(), 0);
}

#[test]
fn nothing_follows_the_retirement_pair() {
    let mut scene = Scene::new();
    let hook = format!("exec:{}", scene.script("hook", "echo $INSTANCE_GENERATION >>\"$(dirname \"$0\")/out\""));
    let setup = scene.proxy().arg("--credential-file").arg(&scene.file("pem", "pem"));
    let setup = setup.arg("--identity-file").arg(&scene.file("a", "token"));
    let sidecar = setup.arg("--on-rotation").arg(&hook).ready();
    written(&sidecar, 1);
    let before = ["pem", "token"].map(|name| fs::read(scene.path(name)).unwrap());
    let instance = scene.credentials.spec.instance.take();
    scene.credentials.rotate();
    sidecar.wait_for("retirement certificate received; closing idle connections");
    // Should the platform change its mind, that is the next one; by then the one before would have been seen.
    assert_eq!(["pem", "token"].map(|name| fs::read(scene.path(name)).unwrap()), before);
    scene.credentials.spec.instance = instance;
    scene.credentials.rotate();
    ended(&sidecar, 3);
    assert_eq!(scene.lines("out"), ["3"]);
    let generations: Vec<_> =
        sidecar.lines_of("app files written").iter().map(|line| line["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, [1, 3]);
}

#[test]
fn in_a_drain_files_are_kept_fresh_and_no_hook_begins() {
    let mut scene = Scene::new();
    let hook = format!("exec:{}", scene.script("hook", "echo $INSTANCE_GENERATION >>\"$(dirname \"$0\")/out\""));
    let app = format!("trap '' TERM; until [ -e {} ]; do sleep 0.02; done; exit 3", scene.path("end").display());
    let options =
        ["--credential-file", &scene.file("chain", "chain"), "--on-rotation", &hook, "--drain-timeout", "60s"];
    let mut sidecar = scene.run(&options, &app).ready();
    written(&sidecar, 1);
    scene.credentials.rotate();
    ended(&sidecar, 2);
    sidecar.signal("TERM");
    sidecar.wait_for("stop signal sent to app");
    let new = scene.credentials.rotate();
    written(&sidecar, 3);
    assert_eq!(leaf(&fs::read(scene.path("chain")).unwrap()), new);
    fs::write(scene.path("end"), "").unwrap();
    assert_eq!(sidecar.exited().code(), Some(3));
    assert_eq!(sidecar.lines_of("rotation hook ended").len(), 1);
    assert_eq!(scene.lines("out"), ["2"]);
}

#[test]
fn a_program_that_runs_when_we_end_ends_with_us() {
    let mut scene = Scene::new();
    let body =
        "cd \"$(dirname \"$0\")\"; trap '' TERM; sleep 300 & echo $$ $! >pids.new; mv pids.new pids; wait; sleep 300";
    let hook = format!("exec:{}", scene.script("hook", body));
    let mut sidecar = scene.proxy().arg("--on-rotation").arg(&hook).ready();
    scene.credentials.rotate();
    let pids = eventually("the program", || scene.lines("pids").pop());
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    eventually("it to end", || pids.split(' ').all(|pid| !lives(pid)).then_some(()));
}
