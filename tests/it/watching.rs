//! What the watching of the files costs, which is nothing that is not about them; and what becomes of it where the kernel gives less.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustls::pki_types::CertificateDer;
use tempfile::NamedTempFile;

use crate::support::client::connector;
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{app, eventually};

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
    write_others(credentials.dir(), 1000);
    eventually("the events", || (waits(&sidecar)[EVENTS] > before[EVENTS]).then_some(()));
    // Those about ours are heard behind them.
    let new = credentials.rotate();
    shows(&sidecar, &credentials, &new);
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
    // The thread may just have been about to wait for the first time.
    assert!(after[EVENTS] - before[EVENTS] < 5, "{before:?} {after:?}");
    assert!(after[RELAY] - before[RELAY] < BACKGROUND, "{before:?} {after:?}");
}

/// Files of others beside ours, each written and renamed into its place.
fn write_others(dir: &Path, count: usize) {
    let temporary = dir.join("other.tmp");
    for number in 0..count {
        fs::write(&temporary, "x").unwrap();
        fs::rename(&temporary, dir.join(format!("other{}", number % 7))).unwrap();
    }
}

#[track_caller]
fn shows(sidecar: &Sidecar, credentials: &Credentials, wanted: &CertificateDer<'_>) {
    eventually("the new pair", || {
        (connector(credentials.instance()).connect(sidecar.addr()).ok()?.leaf() == *wanted).then_some(())
    });
}

/// Two files of somebody else that change places as often as the kernel does it, until this is dropped.
struct Storm {
    goes_on: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Storm {
    fn begin(dir: &Path) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let threads = (0..3).map(|number| {
            let (goes_on, files) = (Arc::clone(&goes_on), ["a", "b"].map(|name| dir.join(format!("{number}{name}"))));
            for file in &files {
                fs::write(file, "").unwrap();
            }
            std::thread::spawn(move || {
                while goes_on.load(Ordering::Relaxed) {
                    renameat_with(CWD, &files[0], CWD, &files[1], RenameFlags::EXCHANGE).unwrap();
                }
            })
        });
        let threads = threads.collect();
        Self { goes_on, threads }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

#[test]
fn whoever_makes_more_events_than_are_read_keeps_no_rotation_from_being_seen() {
    let mut credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).ready();
    let storm = Storm::begin(credentials.dir());
    for _ in 0..3 {
        let new = credentials.rotate();
        shows(&sidecar, &credentials, &new);
    }
    drop(storm);
    let new = credentials.rotate();
    shows(&sidecar, &credentials, &new);
}

/// `vestibule proxy` on one thread, under a strace that is told `args`; it writes what it sees into the file.
fn traced(credentials: &Credentials, args: &[&str]) -> (Setup, NamedTempFile) {
    let trace = NamedTempFile::new().unwrap();
    let app = app::echo().to_string();
    // As a grandchild (-D), so that the signals and the end of what it traces are ours.
    let mut words = vec!["-D", "-f", "-qq", "-s", "4096", "-o", trace.path().to_str().unwrap()];
    words.extend(args);
    words.extend([VESTIBULE, "proxy", "--threads=1", "--listen=127.0.0.1:0", "--app", &app]);
    (Setup::program("strace", &words).credentials(credentials), trace)
}

#[test]
fn events_about_other_files_make_nobody_look_at_ours() {
    let mut credentials = Credentials::new();
    let (setup, trace) = traced(&credentials, &["-e", "trace=%file"]);
    let sidecar = setup.ready();
    let looks = || fs::read_to_string(trace.path()).unwrap().matches("/instance.").count();
    let before = looks();
    assert!(before > 0, "the first look is seen");
    write_others(credentials.dir(), 1000);
    let new = credentials.rotate();
    shows(&sidecar, &credentials, &new);
    // A look makes some twenty calls: some for the two renames, and for the slow poll.
    let made = looks() - before;
    assert!((1..400).contains(&made), "{made} calls about our files for 1,000 of others");
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_watched_again() {
    let mut credentials = Credentials::new();
    let (setup, trace) = traced(&credentials, &["-e", "trace=inotify_add_watch"]);
    let sidecar = setup.ready();
    let folder = format!("\"{}\"", credentials.dir().canonicalize().unwrap().display());
    let watches = || fs::read_to_string(trace.path()).unwrap().matches(&folder).count();
    for round in 1..=3 {
        assert!(watches() >= round, "{round}: {}", fs::read_to_string(trace.path()).unwrap());
        // The new folder has the inode of the old one on many file systems.
        fs::remove_dir_all(credentials.dir()).unwrap();
        fs::create_dir(credentials.dir()).unwrap();
        let new = credentials.rotate();
        eventually("another watch on the folder", || (watches() > round).then_some(()));
        shows(&sidecar, &credentials, &new);
    }
}

#[test]
fn without_file_events_the_files_are_polled_and_it_is_said_once() {
    let faults = [
        // No instance left, and no inotify at all.
        "inotify_init1:error=EMFILE",
        "inotify_init1:error=ENOSYS",
        // No watch left, for the first folder and for one of the later ones. (strace counts by thread, and all are notify's.)
        "inotify_add_watch:error=ENOSPC",
        "inotify_add_watch:error=ENOSPC:when=2+",
        "inotify_add_watch:error=ENOMEM",
        // No thread.
        "clone3:error=EAGAIN",
    ];
    for fault in faults {
        let mut credentials = Credentials::new();
        let call = fault.split(':').next().unwrap();
        let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
        let (setup, _trace) = traced(&credentials, &["-e", &trace, "-e", &inject]);
        let sidecar = setup.ready();
        sidecar.wait_until("a word about polling", |line| {
            line["message"].as_str().is_some_and(|message| message.starts_with("inotify unavailable"))
        });
        let new = credentials.rotate();
        shows(&sidecar, &credentials, &new);
        sidecar.wait_for("certificate rotated");
        let lines = sidecar.lines();
        assert_eq!(lines.iter().filter(|line| line["level"] == "warn").count(), 1, "{fault}: {lines:#?}");
        let panics = lines.iter().any(|line| line.as_str().is_some_and(|line| line.contains("panicked")));
        assert!(!panics, "{fault}: {lines:#?}");
    }
}
