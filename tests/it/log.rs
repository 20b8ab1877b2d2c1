//! The forms of the log, as the real binary writes them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::health::{admin, get, proxy};
use crate::support::client::connector;
use crate::support::credentials::Credentials;
use crate::support::machine::in_namespaces;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{app, eventually};

#[test]
fn every_line_of_lagers_form_has_its_five_members() {
    let credentials = Credentials::new();
    let mut sidecar = Setup::proxy(&credentials, app::echo()).env("VESTIBULE_LOG_FORMAT", "lager").start();
    let line = sidecar.wait_for("vestibule.certificate loaded");
    assert_eq!(line["data"]["generation"], 1);
    let listening = sidecar.wait_for("vestibule.listening");
    let addr = listening["data"]["listener"].as_str().unwrap().parse().unwrap();
    drop(connector(credentials.instance()).connect(addr).unwrap());
    let entry = sidecar.wait_for("vestibule.connection closed");
    assert!(entry["data"]["close_reason"].is_string(), "{entry}");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    for line in sidecar.lines() {
        let members: Vec<_> = line.as_object().unwrap().keys().collect();
        assert_eq!(members, ["data", "level", "message", "source", "timestamp"], "{line}");
        assert_eq!(line["source"], "vestibule");
        assert!(["debug", "info", "error"].contains(&line["level"].as_str().unwrap()), "{line}");
        assert_eq!(line["timestamp"].as_str().unwrap().len(), "2026-01-01T00:00:00.000000000Z".len(), "{line}");
    }
}

#[test]
fn a_fault_after_the_start_is_a_line_of_the_form_that_was_asked_for() {
    let credentials = Credentials::empty();
    let output = |format: &str| {
        let output = Command::new(VESTIBULE)
            .args(["proxy", "--listen=127.0.0.1:0", "--admin=off", "--credential-timeout=0s", "--log-format", format])
            .env_clear()
            .env("CF_INSTANCE_CERT", credentials.cert())
            .env("CF_INSTANCE_KEY", credentials.key())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(66));
        String::from_utf8(output.stderr).unwrap()
    };
    for (format, message) in [("json", "no usable certificate"), ("lager", "vestibule.no usable certificate")] {
        let lines: Vec<Value> = output(format).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let fault = |line: &Value| line["level"] == "error" && line["message"].as_str().unwrap().starts_with(message);
        assert!(lines.iter().any(fault), "{lines:#?}");
    }
    // No terminal, no colour.
    let text = output("text");
    assert!(
        text.lines().any(|line| line.contains(" error no usable certificate")) && !text.contains('\u{1b}'),
        "{text}"
    );
}

/// The lines that `/metrics` says were dropped.
fn dropped(sidecar: &Sidecar) -> u64 {
    let (_, text) = get(admin(sidecar), "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix("vestibule_log_lines_dropped_total "));
    value.unwrap().parse().unwrap()
}

/// Short connections, each of which leaves an entry, until lines are dropped. How many it took.
fn connect_until_lines_are_dropped(sidecar: &Sidecar) -> u64 {
    let addr = sidecar.addr();
    let mut connections = 0;
    eventually("dropped lines", || {
        (0..100).for_each(|_| drop(TcpStream::connect(addr).unwrap()));
        connections += 100;
        (dropped(sidecar) > 0).then_some(connections)
    })
}

#[test]
fn traffic_goes_on_while_nobody_reads_stderr_and_the_next_line_says_how_many_are_missing() {
    let credentials = Credentials::new();
    let mut sidecar = proxy(&credentials, app::echo()).ready();
    assert_eq!(dropped(&sidecar), 0);
    let mut early = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    let unread = sidecar.unread();
    let mut connections = connect_until_lines_are_dropped(&sidecar);
    for round in 0..20 {
        early.send(b"early").unwrap();
        assert_eq!(early.receive(5).unwrap(), b"early", "{round}");
        let mut late = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
        late.send(b"late").unwrap();
        assert_eq!(late.receive(4).unwrap(), b"late", "{round}");
        connections += 1;
    }
    assert_eq!(get(admin(&sidecar), "/livez").0, 200);
    drop(unread);
    let gap = sidecar.wait_until("a line with `dropped`", |line| line["dropped"].is_u64());
    assert_eq!(gap["level"], "warn");
    // Read again, lines arrive again, in their order, and none is missing that is not counted.
    drop(early);
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    let lines = sidecar.lines();
    assert!(lines.iter().all(Value::is_object), "a line in pieces");
    assert_eq!(lines.last().unwrap()["message"], "exited");
    let times: Vec<_> = lines.iter().filter(|line| line["dropped"].is_null()).map(|line| &line["timestamp"]).collect();
    assert!(times.is_sorted_by(|a, b| a.as_str() <= b.as_str()), "{times:?}");
    let entries = sidecar.lines_of("connection closed").len() as u64;
    let missing: u64 = lines.iter().filter_map(|line| line["dropped"].as_u64()).sum();
    let closed = lines.last().unwrap()["connections"].as_u64().unwrap();
    assert_eq!(closed, connections + 1);
    assert!(entries < closed && entries + missing >= closed, "{entries} and {missing} of {closed}");
}

#[test]
fn the_end_is_not_kept_waiting_by_a_stderr_that_nobody_reads() {
    let credentials = Credentials::new();
    let mut sidecar = proxy(&credentials, app::echo()).ready();
    let pid = sidecar.pid().to_string();
    {
        let _unread = sidecar.unread();
        connect_until_lines_are_dropped(&sidecar);
        sidecar.signal("TERM");
        // Gone, or a zombie that this test has not waited for yet.
        eventually("its end", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            (status.is_empty() || status.contains("State:\tZ")).then_some(())
        });
    }
    assert_eq!(sidecar.exited().code(), Some(0));
}

#[test]
fn the_start_is_not_kept_waiting_by_a_stderr_that_nobody_reads_within_a_sandbox_either() {
    let credentials = Credentials::new();
    let (mut reader, stderr) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&stderr, true).unwrap();
    while (&stderr).write(&[b'\n'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&stderr, false).unwrap();
    let mut command = Command::new(VESTIBULE);
    command.args(["run", "--listen=127.0.0.1:0", "--admin=off", "--sandbox=best-effort", "--app=127.0.0.1:1"]);
    command.args([
        "--",
        "sh",
        "-c",
        "exec 2>/dev/null; trap 'exit 3' TERM; echo started; while :; do sleep 0.05; done",
    ]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("VESTIBULE_LOG_FORMAT", "json");
    command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
    let mut running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    drop(command);
    let mut started = [0; 8];
    running.stdout.take().unwrap().read_exact(&mut started).unwrap();
    assert_eq!(&started, b"started\n");
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(3));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.trim().is_empty(), "nobody has made room: {said}");
}

#[test]
fn a_fault_is_told_with_logging_off_and_a_closed_stderr_ends_nothing() {
    let credentials = Credentials::empty();
    let vestibule = |level: &str| {
        let mut command = Command::new(VESTIBULE);
        command.args(["proxy", "--listen=127.0.0.1:0", "--admin=off", "--credential-timeout=0s", "--log-level", level]);
        command.env_clear().env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
        command
    };
    let output = vestibule("off").output().unwrap();
    assert_eq!(output.status.code(), Some(66));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("vestibule: no usable certificate"));
    let mut closed = vestibule("trace").stderr(Stdio::piped()).spawn().unwrap();
    drop(closed.stderr.take());
    assert_eq!(closed.wait().unwrap().code(), Some(66));
}

#[test]
fn a_full_disk_costs_no_connection_and_the_next_line_is_whole_and_says_how_many_are_missing() {
    let test = "log::a_full_disk_costs_no_connection_and_the_next_line_is_whole_and_says_how_many_are_missing";
    if !in_namespaces(test, &["--mount"], "true", Path::new("/")) {
        return;
    }
    let (credentials, folder) = (Credentials::new(), TempDir::new().unwrap());
    let small = ["-t", "tmpfs", "-o", "size=64k", "none", folder.path().to_str().unwrap()];
    assert!(Command::new("mount").args(small).status().unwrap().success());
    let (log, filler) = (folder.path().join("log"), folder.path().join("filler"));
    let script = format!("exec {VESTIBULE} proxy --listen 127.0.0.1:0 --app {} 2>>'{}'", app::echo(), log.display());
    let mut sidecar = Setup::program("sh", &["-c", &script]).credentials(&credentials).start();
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        // The last one may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::String(line.to_owned()))).collect()
    };
    let line =
        |message: &'static str| eventually(message, || lines().into_iter().find(|line| line["message"] == message));
    let addr = line("listening")["listener"].as_str().unwrap().parse().unwrap();
    line("certificate loaded");
    let connector = connector(credentials.instance());
    let served = || {
        let mut client = connector.connect(addr).unwrap();
        client.send(b"hello").unwrap();
        assert_eq!(client.receive(5).unwrap(), b"hello");
    };
    // To the last byte, so that a line is cut.
    let mut filling = std::fs::File::create(&filler).unwrap();
    while filling.write_all(&[b'x'; 4096]).is_ok() {}
    (0..50).for_each(|_| served());
    drop(filling);
    std::fs::remove_file(&filler).unwrap();
    let gap = eventually("a line with `dropped`", || {
        served();
        lines().into_iter().find(|line| line["dropped"].is_u64())
    });
    assert!(gap["dropped"].as_u64().unwrap() > 0);
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    let lines = lines();
    assert_eq!(lines.last().unwrap()["message"], "exited");
    let cut: Vec<_> = lines.iter().filter(|line| !line.is_object()).collect();
    assert!(cut.len() <= 1, "one line alone is cut, and none is written behind it: {cut:?}");
    let entries = lines.iter().filter(|line| line["message"] == "connection closed").count() as u64;
    let missing: u64 = lines.iter().filter_map(|line| line["dropped"].as_u64()).sum();
    let closed = lines.last().unwrap()["connections"].as_u64().unwrap();
    assert!(entries < closed && entries + missing >= closed, "{entries} and {missing} of {closed}");
}
