//! The entrypoint: what the app is told, how it is waited for, and how everything ends in time.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::Value;

use crate::support::client::{Connector, Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::machine::lacks;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{TEST_TIMEOUT, app, eventually, within};

/// Listens after the seconds in argument 1, answers `n` connections (argument 2) with a line, and then ends as argument 3
/// says: a code, or a signal with a minus.
const APP: &str = r#"
import os, socket, sys, time
delay, count, end = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
time.sleep(delay)
listener = socket.create_server((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])))
while count:
    connection, _ = listener.accept()
    if connection.recv(6) == b"hello\n":
        connection.sendall(b"answer\n")
        count -= 1
    connection.close()
os._exit(end) if end >= 0 else os.kill(os.getpid(), -end)
time.sleep(60)
"#;

fn run(credentials: &Credentials, options: &[&str], command: &[&str]) -> Setup {
    let mut setup = Setup::command(&["run", "--listen", "127.0.0.1:0"]).credentials(credentials);
    setup = setup.env("VESTIBULE_APP_READY", "tcp").env("PORT", &app::nobody().port().to_string());
    for word in options.iter().chain(&["--"]).chain(command) {
        setup = setup.arg(word);
    }
    setup
}

fn said(sidecar: &Sidecar, what: &str) -> String {
    let line = sidecar.wait_until(what, |line| line.as_str().is_some_and(|text| text.starts_with(what)));
    line.as_str().unwrap()[what.len()..].trim().to_owned()
}

fn answer(connector: &Connector, sidecar: &Sidecar) -> std::io::Result<Vec<u8>> {
    let mut client = connector.connect(sidecar.addr())?;
    client.send(b"hello\n")?;
    Ok(client.receive_all().0)
}

#[test]
fn a_hidden_app_gets_another_port_everywhere_and_is_reached_there() {
    let credentials = Credentials::new();
    let script = "echo ports $CF_INSTANCE_PORTS >&2; echo port $PORT >&2; exec python3 -c \"$APP\" 0 1 4";
    let mut sidecar = run(&credentials, &["--hide-app-port"], &["sh", "-c", script])
        .env("APP", APP)
        .env("PORT", "8080")
        .env("CF_INSTANCE_PORTS", r#"[{"external":61001,"internal":8080}, {"external":8080,"internal":2222}]"#)
        .ready();
    let port = said(&sidecar, "port ");
    assert_ne!(port, "8080");
    let ports = format!(r#"[{{"external":61001,"internal":{port}}}, {{"external":8080,"internal":2222}}]"#);
    assert_eq!(said(&sidecar, "ports "), ports);
    sidecar.wait_for("the app accepts connections");
    assert_eq!(answer(&connector(credentials.instance()), &sidecar).unwrap(), b"answer\n");
    assert_eq!(sidecar.exited().code(), Some(4));
}

#[test]
fn a_hidden_key_is_not_named_to_the_app_and_all_else_is() {
    let credentials = Credentials::new();
    let script = "echo names: $(env | cut -d= -f1 | sort) >&2";
    let mut sidecar = run(&credentials, &["--hide-key"], &["sh", "-c", script]).start();
    let names = said(&sidecar, "names:");
    assert!(!names.contains("CF_INSTANCE_KEY"), "{names}");
    assert!(names.contains("CF_INSTANCE_CERT") && names.contains("PORT"), "{names}");
    assert_eq!(sidecar.exited().code(), Some(0));
    let open = run(&credentials, &[], &["sh", "-c", script]).start();
    assert!(said(&open, "names:").contains("CF_INSTANCE_KEY"));
}

#[test]
fn an_app_that_other_hosts_can_reach_is_named_once() {
    let credentials = Credentials::new();
    let sidecar = run(&credentials, &[], &["python3", "-c", APP, "0", "1", "0"]).env("HOST", "0.0.0.0").ready();
    let warned = sidecar.wait_until("a warning", |line| !line["exposed"].is_null());
    assert_eq!(warned["level"], "warn");
    assert!(warned["exposed"].as_str().unwrap().starts_with("0.0.0.0:"), "{warned}");
    let inside = run(&credentials, &[], &["python3", "-c", APP, "0", "1", "0"]).ready();
    inside.wait_for("the app accepts connections");
    assert!(inside.lines().iter().all(|line| line["exposed"].is_null()));
}

#[test]
fn a_client_that_comes_before_the_app_is_kept_waiting_and_served() {
    let credentials = Credentials::new();
    let app = ["python3", "-c", APP, "0.7", "1", "0"];
    let mut sidecar = run(&credentials, &["--hold-until-ready", "9s"], &app).ready();
    assert_eq!(answer(&connector(credentials.instance()), &sidecar).unwrap(), b"answer\n");
    assert_eq!(sidecar.exited().code(), Some(0));
    assert!(sidecar.reasons().iter().all(|reason| reason != "app_refused"), "{:?}", sidecar.reasons());
}

#[test]
fn a_client_that_waits_in_vain_is_reset_and_a_drain_lets_it_go_at_once() {
    let credentials = Credentials::new();
    let idle = ["sleep", "60"];
    let sidecar = run(&credentials, &["--hold-until-ready", "300ms"], &idle).ready();
    let began = Instant::now();
    let error = connector(credentials.instance()).connect(sidecar.addr()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(began.elapsed() >= Duration::from_millis(300));

    let options = ["--hold-until-ready", "60s", "--handshake-timeout", "90s", "--drain-timeout", "60s"];
    let mut sidecar = run(&credentials, &options, &idle).ready();
    let (connector, addr) = (connector(credentials.instance()), sidecar.addr());
    let waiting = thread::spawn(move || connector.connect(addr).err().unwrap().kind());
    // Its hello has come, and it waits.
    eventually("the client", || (sidecar.lines_of("connection opened").len() + established(addr) > 0).then_some(()));
    let began = Instant::now();
    sidecar.signal("TERM");
    assert_eq!(waiting.join().unwrap(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(sidecar.exited().code(), Some(128 + 15));
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}: it goes on waiting", began.elapsed());
}

/// Connections to `addr` in the kernel's table.
fn established(addr: std::net::SocketAddr) -> usize {
    let port = format!(":{:04X}", addr.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    table.lines().map(fields).filter(|fields| fields[1].ends_with(&port) && fields[3] == "01").count()
}

#[test]
fn signals_go_to_the_app_alone_and_rewritten_as_asked() {
    let credentials = Credentials::new();
    let script = "(trap 'echo below >&2' USR2; echo child >&2; while :; do sleep 0.05; done) & \
        trap 'echo got usr2 >&2' USR2; trap 'echo got quit >&2; kill -9 $!; exit 9' QUIT; trap 'echo got term >&2' TERM; \
        echo ready >&2; while :; do sleep 0.05; done";
    let options = ["--signal-scope", "app", "--signal-map", "15:3,USR1:USR2,HUP:0"];
    let mut sidecar = run(&credentials, &options, &["sh", "-c", script]).ready();
    said(&sidecar, "child");
    said(&sidecar, "ready");
    sidecar.signal("HUP");
    sidecar.signal("USR1");
    said(&sidecar, "got usr2");
    sidecar.signal("TERM");
    said(&sidecar, "got quit");
    assert_eq!(sidecar.exited().code(), Some(9));
    let lines = sidecar.lines();
    assert!(lines.iter().all(|line| line != "below" && line != "got term"), "{lines:#?}");
}

#[test]
fn what_the_app_leaves_in_its_group_is_told_to_stop_and_then_killed() {
    let credentials = Credentials::new();
    // One that listens to TERM, and one that does not.
    let script = "(trap 'echo polite >&2; exit' TERM; while :; do sleep 0.02; done) & echo pid $! >&2; \
        (trap '' TERM; echo stubborn $(sh -c 'echo $PPID') >&2; while :; do sleep 0.05; done) & \
        sleep 0.3; exit 6";
    let began = Instant::now();
    let mut sidecar = run(&credentials, &["--drain-timeout", "60s"], &["sh", "-c", script]).start();
    let pids = [said(&sidecar, "pid "), said(&sidecar, "stubborn ")];
    assert_eq!(sidecar.exited().code(), Some(6));
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}: it waits for the drain timeout", began.elapsed());
    said(&sidecar, "polite");
    for pid in pids {
        eventually("its end", || (!lives(&pid)).then_some(()));
    }
}

fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Deaf to TERM, and in the middle of an answer.
const DEAF: &str = r#"
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
kept = []
while True:
    kept.append(listener.accept()[0])
    if kept[-1].recv(1, socket.MSG_PEEK): print("busy", file=sys.stderr, flush=True)
"#;

#[test]
fn a_drain_never_takes_longer_than_its_timeout_and_a_second() {
    for (delay, signals) in [("0s", 1), ("600ms", 1), ("1500ms", 1), ("1500ms", 2), ("0s", 2)] {
        within(Duration::from_millis(2500), || {
            let credentials = Credentials::new();
            let options = ["--drain-timeout", "1500ms", "--drain-delay", delay];
            let mut sidecar = run(&credentials, &options, &["python3", "-c", DEAF]).ready();
            sidecar.wait_for("the app accepts connections");
            let mut busy = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
            busy.send(b"never answered").unwrap();
            said(&sidecar, "busy");
            let began = Instant::now();
            for _ in 0..signals {
                sidecar.signal("TERM");
                sidecar.wait_for("draining");
            }
            assert_eq!(sidecar.exited().code(), Some(128 + 9), "{delay} {signals}");
            let took = began.elapsed();
            assert!(signals > 1 || took >= Duration::from_millis(1500), "{took:?} with {delay}");
            assert_eq!(busy.receive_all().1, Ending::Fin);
            let order: Vec<_> =
                ["draining", "listeners closed", "stop signal sent to app", "closing remaining connections"]
                    .into_iter()
                    .map(|step| sidecar.lines().iter().position(|line| line["message"] == step).expect(step))
                    .collect();
            assert!(order.is_sorted(), "{order:?}");
            took
        });
    }
}

#[test]
fn while_the_drain_is_delayed_clients_are_still_served() {
    let credentials = Credentials::new();
    let mut sidecar = Setup::proxy(&credentials, app::echo()).arg("--drain-delay").arg("5s").ready();
    sidecar.signal("TERM");
    sidecar.wait_for("draining");
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    client.send(b"x").unwrap();
    assert_eq!(client.receive(1).unwrap(), b"x");
    drop(client);
    sidecar.signal("TERM");
    sidecar.wait_for("listeners closed");
    assert!(TcpStream::connect(sidecar.addr()).is_err());
    assert_eq!(sidecar.exited().code(), Some(0));
}

#[test]
fn an_app_ends_as_it_likes_and_the_record_and_the_status_are_right() {
    let credentials = Credentials::new();
    let connector = connector(credentials.instance());
    let rounds = std::env::var("VESTIBULE_RANDOM_APPS").map_or(6, |rounds| rounds.parse().unwrap());
    // From 0 to 5 seconds in the long run, and a fifth of that here.
    let scale = if rounds > 6 { 1.0 } else { 0.2 };
    let mut random = u64::from(std::process::id());
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..rounds {
        let delay = format!("{:.2}", next(500) as f64 / 100.0 * scale);
        let count = 1 + next(3) as usize;
        let (end, code) = [("0", 0), ("3", 3), ("-9", 137), ("-6", 134), ("-15", 143)][next(5) as usize];
        let app = ["python3", "-c", APP, &delay, &count.to_string(), end];
        let mut sidecar = run(&credentials, &[], &app).ready();
        let mut refused = 0;
        for _ in 0..count {
            let got = eventually("an answer", || match answer(&connector, &sidecar) {
                Ok(got) => Some(got),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                    refused += 1;
                    None
                }
            });
            assert_eq!(got, b"answer\n");
        }
        assert_eq!(sidecar.exited().code(), Some(code), "{delay} {count} {end}");
        let reasons = sidecar.reasons();
        let of = |wanted: &str| reasons.iter().filter(|reason| *reason == wanted).count();
        assert_eq!(of("app_refused"), refused, "{reasons:?}");
        assert_eq!(of("completed") + of("client_truncated") + of("client_reset"), count, "{reasons:?}");
        assert_eq!(sidecar.lines_of("exited")[0]["code"], Value::from(code));
    }
}

#[test]
fn starts_and_stops_leave_no_process_and_no_descriptor_behind() {
    let starts = std::env::var("VESTIBULE_STARTS").map_or(20, |starts| starts.parse().unwrap());
    let credentials = Credentials::new();
    let connector = connector(credentials.instance());
    // The app, something beside it, and an orphan.
    let script = "sleep 1000 & (sleep 1000 &) ; exec python3 -c \"$APP\" 0 1000 0";
    let mark = format!("vestibule-test-{}", std::process::id());
    for start in 0..starts {
        let mut sidecar = run(&credentials, &[], &["sh", "-c", script]).env("APP", APP).env("MARK", &mark).ready();
        sidecar.wait_for("the app accepts connections");
        // To others than root the kernel does not tell.
        let descriptors = || fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).map_or(0, Iterator::count);
        assert_eq!(answer(&connector, &sidecar).unwrap(), b"answer\n");
        eventually("the entry", || (!sidecar.reasons().is_empty()).then_some(()));
        if start == 0 {
            let before = descriptors();
            for _ in 0..30 {
                answer(&connector, &sidecar).unwrap();
            }
            eventually("no descriptor of a connection", || (descriptors() <= before).then_some(()));
        }
        sidecar.signal("TERM");
        assert_eq!(sidecar.exited().code(), Some(128 + 15));
        eventually("nothing to be left", || marked(&mark).is_empty().then_some(()));
    }
}

/// The processes that have `mark` in their environment.
fn marked(mark: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    all.filter(|id| {
        fs::read(format!("/proc/{id}/environ"))
            .is_ok_and(|text| text.windows(mark.len()).any(|part| part == mark.as_bytes()))
    })
    .collect()
}

#[test]
fn a_port_that_the_app_could_take_is_none_of_ours() {
    let credentials = Credentials::new();
    let sidecar = run(&credentials, &["--hide-app-port"], &["sh", "-c", "echo port $PORT >&2; sleep 60"]).ready();
    let port: u16 = said(&sidecar, "port ").parse().unwrap();
    // Dialled again and again, it is still free for the app.
    for _ in 0..20 {
        assert!(connector(credentials.instance()).connect(sidecar.addr()).is_err());
    }
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}

/// Without `strace` this is left out: nobody but the process itself can ask for its mark.
#[test]
fn our_memory_is_marked_as_our_own_before_anything_is_read_and_before_the_app_is_there() {
    let credentials = Credentials::new();
    let trace = tempfile::NamedTempFile::new().unwrap();
    for sandbox in ["off", "best-effort"] {
        let traced = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=prctl,openat,open,execve", "-o"])
            .arg(trace.path())
            .args([VESTIBULE, "run", "--listen", "127.0.0.1:0", "--sandbox", sandbox, "--", "true"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("CF_INSTANCE_CERT", credentials.cert())
            .env("CF_INSTANCE_KEY", credentials.key())
            .output();
        let calls = fs::read_to_string(trace.path()).unwrap();
        if traced.is_err() || calls.is_empty() {
            return lacks("strace");
        }
        let at = |what: &str| calls.find(what).unwrap_or_else(|| panic!("{sandbox}: no {what} in {calls}"));
        let marked = at("PR_SET_DUMPABLE, SUID_DUMP_DISABLE");
        assert!(marked < at("/proc/self/cgroup"), "the first thing that it reads: {sandbox}: {calls}");
        assert!(marked < at("/true\", [\"true\"]"), "{sandbox}: {calls}");
    }
}
