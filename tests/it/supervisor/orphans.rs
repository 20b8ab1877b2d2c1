//! Orphans fall to us, and none stays a zombie.

use vestibule::signal::Signal;

use crate::supervisor::process::{
    VESTIBULE, children, eventually, lives, pid_namespaces, run_sh, signal_process, start,
};

/// 10,000 processes whose parents have ended before them.
const ORPHANS: &str = "i=0; while [ $i -lt 10000 ]; do (: &); i=$((i+1)); done";

#[test]
fn orphans_of_the_app_fall_to_us_and_are_reaped() {
    // The orphan waits until its parent is the app's parent: us.
    let orphan =
        "until read -r _ _ _ parent _ </proc/self/stat; [ \"$parent\" = \"$US\" ]; do sleep 0.01; done; echo adopted";
    let app = run_sh(&format!("export US=$PPID; ( sh -c '{orphan}' & ); sleep 60"));
    assert_eq!(app.line(), "adopted");
    eventually("only the app to be left", || (children(app.id()).len() == 1).then_some(()));
}

#[test]
fn ten_thousand_orphans_leave_no_zombie_and_the_apps_status_is_not_stolen() {
    let mut app = run_sh(&format!("{ORPHANS}; echo done; sleep 60; exit 12"));
    app.until("done");
    eventually("the last zombie to be reaped", || (!children(app.id()).contains(&'Z')).then_some(()));
    assert!(lives(app.id()));
    app.signal("HUP".parse().unwrap());
    assert_eq!(app.code(), 129);

    let mut app = run_sh(&format!("{ORPHANS}; exit 12"));
    assert_eq!(app.code(), 12);
}

#[test]
fn ten_thousand_orphans_leave_no_zombie_when_we_are_the_first_process() {
    if !pid_namespaces() {
        return;
    }
    let none = "while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done";
    let script = format!("[ $PPID = 1 ] || exit 1; {ORPHANS}; {none}; echo none; exit 13");
    let mut app = start([
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        VESTIBULE,
        "run",
        "--",
        "sh",
        "-c",
        &script,
    ]);
    assert_eq!(app.line(), "none");
    assert_eq!(app.code(), 13);
}

#[test]
fn the_first_process_of_a_namespace_forwards_signals_and_ends_with_the_apps_status() {
    if !pid_namespaces() {
        return;
    }
    // Sent from inside: the kernel shields a first process from signals that it does not handle.
    for (signal, code) in [("TERM", 9), ("HUP", 129), ("USR1", 138), ("RTMIN", 162)] {
        let number = signal.parse::<Signal>().unwrap().number();
        let script =
            format!("[ $PPID = 1 ] || exit 1; trap 'exit 9' TERM; kill -{number} 1; while :; do sleep 0.05; done");
        let line = ["unshare", "--pid", "--fork", "--mount-proc", VESTIBULE, "run", "--", "sh", "-c", &script];
        assert_eq!(start(line).code(), code, "{signal}");
    }
}

#[test]
fn a_process_that_left_by_forking_twice_does_not_keep_us() {
    // The app ends once its daemon has left its group: what is still in it would be told to stop.
    let mut app = run_sh(
        "f=$(mktemp); (setsid sh -c \"echo \\$\\$ | tee $f; exec sleep 60\" &); while [ ! -s $f ]; do :; done; rm $f; exit 14",
    );
    assert_eq!(app.code(), 14);
    let daemon: u32 = app.line().parse().unwrap();
    signal_process(daemon, Signal::KILL);
}

#[test]
fn a_flood_of_short_lived_grandchildren_does_not_delay_a_signal() {
    let mut app = run_sh("trap 'exit 15' USR1; echo ready; while :; do (: & : & : &); done");
    app.until("ready");
    app.signal("USR1".parse().unwrap());
    assert_eq!(app.code(), 15);
}
