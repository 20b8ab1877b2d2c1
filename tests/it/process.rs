//! The life of the process: listen, start the app, serve, drain, exit.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::app::App;
use crate::support::client::{Client, Connector, Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{TEST_TIMEOUT, app, eventually, within};

/// An app for `run --`: answers each connection with its first line, and does what the line says.
const APP: &str = r#"
import os, signal, socket, sys, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
def serve(connection):
    with connection:
        line = connection.makefile("r").readline().split()
        if line[:1] == ["exit"]:
            connection.sendall(b"x" * int(line[2]))
            os._exit(int(line[1]))
        connection.sendall(b"hello\n")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

fn run(credentials: &Credentials, app: &str) -> Setup {
    let port = app::nobody().port().to_string();
    Setup::command(&["run", "--listen", "127.0.0.1:0", "--", "python3", "-c", app])
        .credentials(credentials)
        .env("PORT", &port)
}

/// A client that has sent `text` to the app, as soon as there is one.
fn told(sidecar: &Sidecar, connector: &Connector, text: &str) -> Client {
    eventually("the app", || {
        let mut client = connector.connect(sidecar.addr()).ok()?;
        client.send(text.as_bytes()).ok()?;
        Some(client)
    })
}

#[test]
fn run_needs_no_option_and_serves_the_app_on_its_port() {
    let credentials = Credentials::new();
    let mut sidecar = run(&credentials, APP).ready();
    let connector = connector(credentials.instance());
    let answer = eventually("the app", || {
        let mut client = connector.connect(sidecar.addr()).ok()?;
        client.send(b"hi\n").ok()?;
        Some(client.receive_all())
    });
    assert_eq!(answer, (b"hello\n".to_vec(), Ending::CloseNotify));
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(7), "the app's own status");
}

#[test]
fn an_app_on_the_other_loopback_address_is_named_once_and_found_as_localhost() {
    let credentials = Credentials::new();
    let (app, at, _nobody) = eventually("a port that is free on both", || {
        let app = TcpListener::bind("[::1]:0").unwrap();
        let at = app.local_addr().unwrap();
        // Taken, so that no other test listens there, and refused, as nobody listens.
        let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        nobody.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())).into()).ok()?;
        Some((app, at, nobody))
    });
    let connector = connector(credentials.instance());
    let sidecar = Setup::proxy(&credentials, at.port()).env("VESTIBULE_APP_READY", "tcp").ready();
    let names = |line: &serde_json::Value| line["listening"] == at.to_string().as_str();
    assert!(connector.connect(sidecar.addr()).is_err());
    let line = sidecar.wait_until("the app's own address", names);
    assert_eq!(line["level"], "warn");
    assert!(line["message"].as_str().unwrap().contains("--app"), "{line}");
    // Refused again, and asked again for longer than the table rests: it has been said.
    let began = Instant::now();
    eventually("more than a second of refusals", || {
        assert!(connector.connect(sidecar.addr()).is_err());
        (began.elapsed() > Duration::from_millis(1500)).then_some(())
    });
    assert_eq!(sidecar.lines().into_iter().filter(names).count(), 1);

    let sidecar = Setup::proxy(&credentials, format!("localhost:{}", at.port())).ready();
    let mut client = connector.connect(sidecar.addr()).unwrap();
    client.send(b"?").unwrap();
    let mut byte = [0; 1];
    app.accept().unwrap().0.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"?");
}

#[test]
fn the_listener_is_open_before_the_app_and_turns_clients_away_by_reset() {
    let credentials = Credentials::new();
    let mut sidecar = run(&credentials, "import time; time.sleep(60)").ready();
    let error = connector(credentials.instance()).connect(sidecar.addr()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    sidecar.access_log_entry("app_refused");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(128 + 15));
}

#[test]
fn an_app_that_ends_by_itself_has_all_its_bytes_delivered_and_its_status_passed_on() {
    const SIZE: usize = 3_000_000;
    let credentials = Credentials::new();
    let mut sidecar = run(&credentials, APP).ready();
    let connector = connector(credentials.instance());
    let mut client = told(&sidecar, &connector, &format!("exit 42 {SIZE}\n"));
    let (answer, _) = client.receive_all();
    assert_eq!(answer.len(), SIZE);
    drop(client);
    assert_eq!(sidecar.exited().code(), Some(42));
}

#[test]
fn a_client_that_takes_its_time_gets_all_that_an_app_sent_before_it_ended() {
    const SIZE: usize = 20_000_000;
    let credentials = Credentials::new();
    let mut sidecar = run(&credentials, APP).ready();
    let connector = connector(credentials.instance());
    let mut client = told(&sidecar, &connector, &format!("exit 42 {SIZE}\n"));
    let mut got = 0;
    while got < SIZE {
        got += client.receive(SIZE / 20).unwrap().len();
        std::thread::sleep(Duration::from_millis(150)); // three seconds in all: that is the point
    }
    drop(client);
    assert_eq!(sidecar.exited().code(), Some(42));
}

#[test]
fn a_client_that_stays_does_not_hold_up_the_end_of_an_app_that_is_gone() {
    let credentials = Credentials::new();
    let mut sidecar = run(&credentials, APP).env("VESTIBULE_DRAIN_TIMEOUT", "60s").ready();
    let connector = connector(credentials.instance());
    let client = told(&sidecar, &connector, "unfinished");
    let began = Instant::now();
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(7));
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}: it waits for the drain timeout", began.elapsed());
    drop(client);
}

#[test]
fn a_small_descriptor_limit_serves_few_and_not_nobody() {
    let credentials = Credentials::new();
    let limited = format!(
        "ulimit -n 64; exec {} proxy --listen 127.0.0.1:0 --app {}",
        crate::support::sidecar::VESTIBULE,
        app::echo()
    );
    let sidecar = Setup::program("sh", &["-c", &limited]).credentials(&credentials).ready();
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    client.send(b"x").unwrap();
    assert_eq!(client.receive(1).unwrap(), b"x");
}

#[test]
fn a_task_that_ends_is_not_held_up() {
    let credentials = Credentials::new();
    let began = Instant::now();
    let mut sidecar = Setup::command(&["run", "--drain-timeout", "60s", "--listen", "127.0.0.1:0", "--", "true"])
        .credentials(&credentials)
        .start();
    assert_eq!(sidecar.exited().code(), Some(0));
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}: it waits for the drain timeout", began.elapsed());
}

#[test]
fn term_closes_the_listener_lets_connections_finish_and_ends_with_0() {
    let credentials = Credentials::new();
    let app = App::start();
    let mut sidecar = Setup::proxy(&credentials, app.addr()).ready();
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    let mut app_end = app.accept();
    // A request waits for its answer: the connection is not idle, however long that takes.
    client.send(b"slow request").unwrap();
    app_end.read_exact(&mut [0; 12]).unwrap();

    let addr = sidecar.addr();
    sidecar.signal("TERM");
    sidecar.wait_for("listeners closed");
    assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    std::thread::sleep(Duration::from_millis(300)); // longer than what counts as idle
    app_end.write_all(b"late answer").unwrap();
    drop(app_end);

    assert_eq!(client.receive_all(), (b"late answer".to_vec(), Ending::CloseNotify));
    client.close_notify();
    drop(client);
    assert_eq!(sidecar.exited().code(), Some(0));
    sidecar.access_log_entry("completed");
}

#[test]
fn while_it_drains_an_idle_connection_is_closed_gently() {
    let credentials = Credentials::new();
    let app = App::start();
    let mut sidecar = Setup::proxy(&credentials, app.addr()).ready();
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    let mut app_end = app.accept();
    client.send(b"request").unwrap();
    app_end.read_exact(&mut [0; 7]).unwrap();
    app_end.write_all(b"answer").unwrap();
    assert_eq!(client.receive(6).unwrap(), b"answer");

    sidecar.signal("TERM");
    assert_eq!(client.receive_all(), (Vec::new(), Ending::CloseNotify));
    assert_eq!(app_end.read(&mut [0; 1]).unwrap(), 0, "the app sees an end of file");
    drop(client);
    assert_eq!(sidecar.exited().code(), Some(0));
    sidecar.access_log_entry("closed_idle");
}

#[test]
fn what_is_still_busy_when_the_time_is_over_is_closed() {
    // The drain timeout and a second.
    within(Duration::from_millis(1400), || {
        let credentials = Credentials::new();
        let app = App::start();
        let mut sidecar = Setup::proxy(&credentials, app.addr()).arg("--drain-timeout").arg("400ms").ready();
        let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
        client.send(b"never answered").unwrap();
        app.accept().read_exact(&mut [0; 14]).unwrap();
        let mut busy = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
        busy.send(b"?").unwrap();
        let _app_end = app.accept();

        let began = Instant::now();
        sidecar.signal("TERM");
        assert_eq!(busy.receive_all().1, Ending::Fin, "cut off, so it must not look whole");
        assert_eq!(sidecar.exited().code(), Some(0));
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(400), "{took:?}");
        sidecar.access_log_entry("drain_timeout");
        took
    });
}

#[test]
fn a_second_signal_skips_ahead() {
    let credentials = Credentials::new();
    let app = App::start();
    let mut sidecar = Setup::proxy(&credentials, app.addr()).arg("--drain-timeout").arg("1h").ready();
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    client.send(b"?").unwrap();
    let _app_end = app.accept();
    sidecar.signal("TERM");
    sidecar.wait_for("listeners closed");
    sidecar.signal("INT");
    assert_eq!(sidecar.exited().code(), Some(0));
}

#[test]
fn an_app_that_does_not_listen_to_term_is_killed_when_the_time_is_over() {
    let credentials = Credentials::new();
    let deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)";
    let mut sidecar = run(&credentials, deaf).env("VESTIBULE_DRAIN_TIMEOUT", "500ms").ready();
    // The app has had its time to become deaf once its start shows in its own name for signals.
    let ignored = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        (u64::from_str_radix(mask.trim(), 16).ok()? & (1 << 14) != 0).then_some(())
    };
    let pid = sidecar.wait_for("app started")["pid"].to_string();
    eventually("a deaf app", || ignored(&pid));
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(128 + 9));
}

#[test]
fn the_listener_is_closed_before_the_app_hears_term() {
    let credentials = Credentials::new();
    // On TERM the app itself tries to reach the listener, and ends with what it found.
    let app = r#"
import os, signal, socket, time
def term(*_):
    try:
        socket.create_connection(("127.0.0.1", int(os.environ["FRONT"])), 2)
        os._exit(1)
    except ConnectionRefusedError:
        os._exit(55)
signal.signal(signal.SIGTERM, term)
socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True: time.sleep(1)
"#;
    let front = app::nobody();
    let mut sidecar = Setup::command(&["run", "--listen", &front.to_string(), "--", "python3", "-c", app])
        .credentials(&credentials)
        .env("PORT", &app::nobody().port().to_string())
        .env("FRONT", &front.port().to_string())
        .ready();
    let pid = sidecar.wait_for("app started")["pid"].to_string();
    eventually("a handler for TERM", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        (u64::from_str_radix(mask.trim(), 16).ok()? & (1 << 14) != 0).then_some(())
    });
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(55));
}

#[test]
fn without_descriptors_it_waits_and_recovers_and_neither_dies_nor_spins() {
    let credentials = Credentials::new();
    let limited = format!(
        "ulimit -n 40; exec {} proxy --listen 127.0.0.1:0 --app {} --max-connections 1000",
        crate::support::sidecar::VESTIBULE,
        app::echo()
    );
    let sidecar = Setup::program("sh", &["-c", &limited]).credentials(&credentials).ready();
    let connector = connector(credentials.instance());
    let mut crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(sidecar.addr()).unwrap()).collect();
    sidecar.wait_until("a word about it", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("cannot accept connections for now"))
    });
    let before = cpu_ticks(sidecar.pid());
    std::thread::sleep(Duration::from_secs(1)); // the time over which its work is measured
    let spent = cpu_ticks(sidecar.pid()) - before;
    assert!(spent < 30, "{spent} hundredths of a second of CPU in a second of waiting");

    crowd.clear();
    eventually("service again", || {
        let mut client = connector.connect(sidecar.addr()).ok()?;
        client.send(b"x").ok()?;
        client.receive(1).ok()
    });
}

/// User and system time so far, in clock ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn an_address_in_use_ends_it_with_69_and_every_such_address_is_named() {
    let credentials = Credentials::new();
    let (one, two) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (one, two) =
        (one.local_addr().map(|addr| (addr, one)).unwrap(), two.local_addr().map(|addr| (addr, two)).unwrap());
    let mut sidecar = Setup::command(&["proxy"])
        .credentials(&credentials)
        .arg("--listener")
        .arg(&format!("{}=8080", one.0))
        .arg("--listener")
        .arg(&format!("{}=8081", two.0))
        .start();
    assert_eq!(sidecar.exited().code(), Some(69));
    for addr in [one.0, two.0] {
        let wanted = format!("cannot listen on {addr}: the address is in use");
        sidecar.wait_until(&wanted, |line| line["message"].as_str().is_some_and(|text| text.starts_with(&wanted)));
    }
}

#[test]
fn errors_are_reported_all_at_once_and_nothing_is_opened() {
    let output = std::process::Command::new(crate::support::sidecar::VESTIBULE)
        .args(["proxy", "--handshake-timeout", "10"])
        .env_clear()
        .env("VESTIBULE_TLS_MIN", "1.1")
        .env("VESTIBULE_LISTN", "8443")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    for place in ["--handshake-timeout", "VESTIBULE_TLS_MIN", "VESTIBULE_LISTN", "VESTIBULE_LISTEN"] {
        assert!(text.contains(place), "{place} in:\n{text}");
    }
    let output = std::process::Command::new(crate::support::sidecar::VESTIBULE)
        .arg("proxy")
        .env_clear()
        .env("VESTIBULE_TLS_MIN", "1.1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "no flag is wrong, but the configuration is");
}
