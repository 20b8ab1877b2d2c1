//! What the watching of the files costs: nothing that is not about them.

use std::collections::HashMap;
use std::fs;

use crate::support::app;
use crate::support::client::asking;
use crate::support::credentials::Credentials;
use crate::support::eventually;
use crate::support::sidecar::Setup;
use crate::support::sidecar::Sidecar;

/// How often each thread has waited for something, by the thread's name; the first thread relays.
fn waits(sidecar: &Sidecar) -> HashMap<String, u64> {
    let mut waits = HashMap::new();
    for task in fs::read_dir(format!("/proc/{}/task", sidecar.pid())).unwrap() {
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
        *waits.entry(value("Name:")).or_default() += value("voluntary_ctxt_switches:").parse::<u64>().unwrap();
    }
    waits
}

/// notify's own name for it, as much of it as the kernel keeps.
const EVENTS: &str = "notify-rs inoti";
const RELAY: &str = "vestibule";

/// Work that is not counted: the slow poll, the watch on the app.
const BACKGROUND: u64 = 60;

#[test]
fn events_about_other_files_do_not_reach_the_thread_that_relays() {
    let mut credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).arg("--threads=1").ready();
    let before = waits(&sidecar);
    for number in 0..1000 {
        let (temporary, name) =
            (credentials.dir().join("other.tmp"), credentials.dir().join(format!("other{}", number % 7)));
        fs::write(&temporary, "x").unwrap();
        fs::rename(&temporary, &name).unwrap();
    }
    eventually("the events", || (waits(&sidecar)[EVENTS] > before[EVENTS]).then_some(()));
    // Those about ours are heard behind them.
    let new = credentials.rotate();
    eventually("the new pair", || {
        (asking(credentials.instance()).connect(sidecar.addr()).ok()?.leaf() == new).then_some(())
    });
    let woken = waits(&sidecar)[RELAY] - before[RELAY];
    // Some for the rotation, and for the clients that have looked for it.
    assert!(woken < 300, "{woken} times for 1,000 files of others");
}

#[test]
fn whoever_reads_the_files_wakes_nobody() {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).arg("--threads=1").ready();
    let before = waits(&sidecar);
    for _ in 0..1000 {
        fs::read(credentials.cert()).unwrap();
        fs::read(credentials.key()).unwrap();
        fs::read_dir(credentials.dir()).unwrap().for_each(drop);
    }
    let after = waits(&sidecar);
    assert_eq!(after[EVENTS], before[EVENTS]);
    assert!(after[RELAY] - before[RELAY] < BACKGROUND, "{before:?} {after:?}");
}
