//! What becomes of us where the machine gives less than we ask for.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

use crate::support::client::connector;
use crate::support::credentials::{Credentials, leaf};
use crate::support::sidecar::{Setup, VESTIBULE};
use crate::support::{app, eventually};

/// A user of nobody's: the kernel counts the threads of a user, and none of root's.
const STRANGER: &str = "54321";

/// A `vestibule` for which the kernel starts no thread beside its first.
fn without_threads(credentials: &Credentials, args: &[&str]) -> (TempDir, Setup) {
    let (dir, binary) = readable_by_all(credentials);
    let mut words = vec!["prlimit", "--nproc=1", binary.as_str()];
    words.extend(args);
    let setup = if rustix::process::geteuid().is_root() {
        let user = format!("--reuid={STRANGER}");
        let mut all = vec![user.as_str(), "--clear-groups"];
        all.extend(words);
        Setup::program("setpriv", &all)
    } else {
        Setup::program(words[0], &words[1..])
    };
    (dir, setup.credentials(credentials))
}

/// The program and the pair where any user may read them.
fn readable_by_all(credentials: &Credentials) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let binary = dir.path().join("vestibule");
    fs::copy(VESTIBULE, &binary).unwrap();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    [dir.path(), &binary, credentials.dir(), &credentials.cert(), &credentials.key()].into_iter().for_each(open);
    (dir, binary.to_str().unwrap().to_owned())
}

#[test]
fn a_rotation_takes_place_though_the_kernel_starts_no_thread_for_it() {
    let mut credentials = Credentials::new();
    let app = app::echo().to_string();
    let args = ["proxy", "--listen", "127.0.0.1:0", "--app", &app, "--threads", "1"];
    let (_dir, setup) = without_threads(&credentials, &args);
    let sidecar = setup.ready();
    // There is none for file events either.
    sidecar.wait_until("a word about polling", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("inotify unavailable"))
    });
    let connector = connector(credentials.instance());
    let first = connector.connect(sidecar.addr()).unwrap().leaf();
    let next = credentials.issue();
    fs::write(credentials.key(), &next.key_pem).unwrap();
    fs::write(credentials.cert(), &next.cert_pem).unwrap();
    let second = leaf(next.cert_pem.as_bytes());
    assert_ne!(first, second);
    eventually("the new pair", || {
        let mut client = connector.connect(sidecar.addr()).ok().filter(|client| client.leaf() == second)?;
        client.send(b"hello").ok()?;
        (client.receive(5).ok()? == b"hello").then_some(())
    });
}

#[test]
fn a_fault_of_ours_ends_with_70_and_says_so_before_the_app_is_started() {
    let credentials = Credentials::new();
    let started = TempDir::new().unwrap();
    let mark = started.path().join("started").display().to_string();
    let args = ["run", "--listen", "127.0.0.1:0", "--threads", "2", "--", "touch", &mark];
    let (_dir, setup) = without_threads(&credentials, &args);
    let mut sidecar = setup.start();
    assert_eq!(sidecar.exited().code(), Some(70), "{:#?}", sidecar.lines());
    let said = sidecar.wait_until("the reason", |line| line["code"] == 70);
    assert_eq!(said["level"], "error");
    assert!(!Path::new(&mark).exists());
}

#[test]
fn our_memory_is_kept_from_core_dumps_and_debuggers_and_the_apps_is_not() {
    let credentials = Credentials::new();
    let (_dir, binary) = readable_by_all(&credentials);
    let args = ["run", "--listen", "127.0.0.1:0", "--", "sleep", "60"];
    let setup = if rustix::process::geteuid().is_root() {
        let user = format!("--reuid={STRANGER}");
        Setup::program("setpriv", &[&[user.as_str(), "--clear-groups", &binary], &args[..]].concat())
    } else {
        Setup::program(&binary, &args)
    };
    let sidecar = setup.credentials(&credentials).ready();
    let app = sidecar.wait_for("app started")["pid"].as_u64().unwrap();
    // The kernel gives what is known of a process that may not be looked into to root (proc(5)).
    let owner = |pid: u64| fs::metadata(format!("/proc/{pid}/status")).unwrap().uid();
    assert_eq!(owner(sidecar.pid().into()), 0);
    eventually("the app, which sleep is now", || (owner(app) != 0).then_some(()));
}

#[test]
fn signals_that_were_blocked_before_us_are_heard() {
    let credentials = Credentials::new();
    let app = app::nobody().to_string();
    let block = "import os, signal, sys\n\
                 signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD])\n\
                 os.execv(sys.argv[1], sys.argv[1:])";
    let args = ["-c", block, VESTIBULE, "proxy", "--listen", "127.0.0.1:0", "--app", &app];
    let mut sidecar = Setup::program("python3", &args).credentials(&credentials).ready();
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    assert_eq!(sidecar.lines_of("draining").len(), 1);
    assert!(!sidecar.lines().iter().any(|line| line["level"] == "warn"), "{:#?}", sidecar.lines());
}

#[test]
fn an_accept_that_fails_for_ever_is_tried_now_and_then_and_the_stop_is_heard() {
    let (credentials, trace) = (Credentials::new(), tempfile::NamedTempFile::new().unwrap());
    let (app, trace_path) = (app::echo().to_string(), trace.path().to_str().unwrap());
    // The tracer in the background, so that the child is the program; what fails is a client that waits in the queue.
    let tracer =
        ["-D", "-f", "-qq", "-e", "trace=accept4", "-e", "inject=accept4:error=ECONNABORTED", "-o", trace_path];
    let program = [VESTIBULE, "proxy", "--listen", "127.0.0.1:0", "--app", &app, "--threads", "1"];
    let mut sidecar = Setup::program("strace", &[&tracer[..], &program].concat()).credentials(&credentials).ready();
    let _waiting = std::net::TcpStream::connect(sidecar.addr()).unwrap();
    let tries = || fs::read_to_string(trace.path()).unwrap().matches("accept4(").count();
    let said = sidecar.wait_until("the trouble", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("cannot accept connections for now"))
    });
    assert_eq!(said["level"], "warn");
    // Those of a client cost no pause, and from then on each try does: none is without one.
    eventually("two tries more", || (tries() > 18).then_some(()));
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    let tries = tries();
    assert!(tries < 100, "{tries} tries");
    assert_eq!(sidecar.lines().iter().filter(|line| line["level"] == "warn").count(), 1, "{:#?}", sidecar.lines());
}

#[test]
fn a_limit_of_the_process_is_a_memory_limit_though_no_control_group_has_one() {
    let credentials = Credentials::new();
    let app = app::echo().to_string();
    let args = ["proxy", "--listen", "127.0.0.1:0", "--app", &app];
    for option in ["--as", "--data"] {
        let limit = format!("{option}={}", 8_u64 << 30);
        let words = [&[limit.as_str(), VESTIBULE], &args[..]].concat();
        let sidecar = Setup::program("prlimit", &words).credentials(&credentials).ready();
        // The machine's own may be less.
        let memory = sidecar.wait_for("connection limits")["memory"].as_u64().unwrap();
        assert!(memory <= 8 << 30, "{option}: {memory}");
    }
}

#[test]
fn without_a_descriptor_for_the_files_the_last_pair_serves_and_the_new_one_comes_once_there_is_one() {
    let mut credentials = Credentials::new();
    let args = ["--nofile=40", VESTIBULE, "proxy", "--listen", "127.0.0.1:0", "--max-connections", "1000"];
    let app = app::echo().to_string();
    let words = [&args[..], &["--app", &app]].concat();
    let sidecar = Setup::program("prlimit", &words).credentials(&credentials).ready();
    let connector = connector(credentials.instance());
    let mut client = connector.connect(sidecar.addr()).unwrap();
    let mut crowd: Vec<_> = (0..100).map(|_| std::net::TcpStream::connect(sidecar.addr()).unwrap()).collect();
    sidecar.wait_until("a word about it", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("cannot accept connections for now"))
    });
    let new = credentials.rotate();
    let failed = sidecar.wait_for("credential reload failed; keeping the last good generation");
    assert!(failed["error"].as_str().unwrap().contains("(os error 24)"), "{failed}");
    client.send(b"hello").unwrap();
    assert_eq!(client.receive(5).unwrap(), b"hello", "who is connected goes on");
    crowd.clear();
    eventually("the new pair", || {
        let mut client = connector.connect(sidecar.addr()).ok().filter(|client| client.leaf() == new)?;
        client.send(b"hello").ok()?;
        (client.receive(5).ok()? == b"hello").then_some(())
    });
    sidecar.wait_for("credential reload recovered");
}
