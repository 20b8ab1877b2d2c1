//! `/metrics`: what it says, and that others can read it.

mod text;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::support::client::{connector, connector_with};
use crate::support::credentials::Credentials;
use crate::support::machine::lacks;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{TEST_TIMEOUT, app, eventually};

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

pub(crate) struct Measured {
    pub(crate) sidecar: Sidecar,
    admin: SocketAddr,
}

impl Measured {
    pub(crate) fn new(setup: Setup) -> Self {
        let sidecar = setup.arg("--admin").arg("127.0.0.1:0").ready();
        let admin = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
        Self { sidecar, admin }
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Head and body of the answer to whoever accepts `accept`.
    fn ask(&self, accept: &str) -> (String, String) {
        let mut tcp = TcpStream::connect(self.admin).unwrap();
        tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        write!(tcp, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n").unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        (head.to_ascii_lowercase(), body.to_owned())
    }

    /// Every series with its value, as a strict reader of OpenMetrics sees them.
    pub(crate) fn series(&self) -> BTreeMap<String, f64> {
        text::parse(&self.ask(OPEN_METRICS).1, text::Form::OpenMetrics)
    }

    /// Waits until `series` has this value.
    #[track_caller]
    pub(crate) fn wait_for(&self, series: &str, value: f64) {
        eventually(&format!("{series} {value}"), || (self.series().get(series) == Some(&value)).then_some(()));
    }
}

#[test]
fn what_happens_is_counted() {
    let mut credentials = Credentials::new();
    let measured = Measured::new(Setup::proxy(&credentials, app::echo()));
    let before = measured.series();
    assert_eq!(before["vestibule_connections_opened_total"], 0.0);
    assert_eq!(before["vestibule_connections_closed_total{reason=\"completed\"}"], 0.0, "there from the start");
    assert_eq!(
        (before["vestibule_credential_generation"], before["vestibule_rotations_total{result=\"success\"}"]),
        (1.0, 1.0)
    );
    assert_eq!(before["vestibule_ready{check=\"certificate\"}"], 1.0);

    let addr = measured.sidecar.addr();
    let connector = connector(credentials.instance());
    let mut first = connector.connect(addr).unwrap();
    first.send(&[1; 1000]).unwrap();
    first.receive(1000).unwrap();
    let during = measured.series();
    assert_eq!(during["vestibule_connections_active"], 1.0);
    let completed = |version: &str, group: &str, resumed: bool| {
        format!(
            "vestibule_handshakes_total{{result=\"completed\",version=\"{version}\",group=\"{group}\",resumed=\"{resumed}\"}}"
        )
    };
    let full = completed("TLSv1_3", "X25519MLKEM768", false);
    assert_eq!(during[&full], 1.0, "counted while the connection lasts: {during:#?}");
    assert_eq!(during["vestibule_relayed_bytes_total{direction=\"up\"}"], 0.0, "counted at its end");
    first.close_notify();
    first.receive_all();
    drop(first);
    measured.wait_for("vestibule_relayed_bytes_total{direction=\"up\"}", 1000.0);
    measured.wait_for("vestibule_relayed_bytes_total{direction=\"down\"}", 1000.0);

    // With the ticket of the first.
    drop(connector.connect(addr).unwrap());
    measured.wait_for(&completed("TLSv1_3", "X25519MLKEM768", true), 1.0);
    drop(connector_with(credentials.instance(), &[&rustls::version::TLS12]).connect(addr).unwrap());
    drop(TcpStream::connect(addr).unwrap());
    let mut plain = TcpStream::connect(addr).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drop(plain);
    let mut stranger = connector.clone();
    stranger.name = "somebody-else.example".to_owned();
    assert!(stranger.connect(addr).is_err());
    measured.wait_for("vestibule_connections_closed_total{reason=\"probe\"}", 1.0);
    measured.wait_for("vestibule_connections_closed_total{reason=\"not_tls\"}", 1.0);
    measured.wait_for("vestibule_connections_closed_total{reason=\"handshake_failed\"}", 1.0);
    measured.wait_for("vestibule_connections_active", 0.0);

    let not_after = measured.series()["vestibule_certificate_not_after_timestamp_seconds"];
    credentials.spec.validity *= 2;
    credentials.rotate();
    measured.wait_for("vestibule_credential_generation", 2.0);
    std::fs::write(credentials.cert(), "no certificate").unwrap();
    measured.wait_for("vestibule_rotations_total{result=\"failed\"}", 1.0);

    let after = measured.series();
    assert_eq!(after["vestibule_connections_opened_total"], 6.0);
    assert_eq!(
        after["vestibule_handshakes_total{result=\"failed\",version=\"none\",group=\"none\",resumed=\"none\"}"],
        1.0
    );
    let handshakes: f64 =
        after.iter().filter(|(at, _)| at.starts_with("vestibule_handshakes_total")).map(|(_, n)| n).sum();
    assert_eq!(handshakes, 4.0);
    assert_eq!(after["vestibule_handshake_duration_seconds_count"], 3.0);
    assert!(after["vestibule_handshake_duration_seconds_sum"] > 0.0);
    // A dial for each ClientHello.
    assert_eq!(after["vestibule_upstream_connect_duration_seconds_count"], 4.0);
    assert_eq!(after["vestibule_rotations_total{result=\"success\"}"], 2.0);
    assert!(after["vestibule_certificate_not_after_timestamp_seconds"] > not_after);
    assert!(after["vestibule_certificate_not_before_timestamp_seconds"] < not_after);
}

#[test]
fn the_process_is_measured_under_the_names_that_all_programs_use() {
    let credentials = Credentials::new();
    let setup = Setup::proxy(&credentials, app::nobody()).env("VESTIBULE_APP_READY", "tcp");
    let mut measured = Measured::new(setup);
    let series = measured.series();
    assert!(series["process_cpu_seconds_total"] > 0.0);
    let resident = series["process_resident_memory_bytes"];
    assert!((1e6..2e8).contains(&resident), "{resident}");
    let (open, most) = (series["process_open_fds"], series["process_max_fds"]);
    assert!(open >= 8.0 && open < most, "{open} of {most}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - series["process_start_time_seconds"];
    assert!((-2.0..60.0).contains(&age), "{age}");
    assert!(series["vestibule_worker_busy_seconds_total{worker=\"0\"}"] > 0.0);
    let build = format!(
        "vestibule_build_info{{version=\"{}\",tls=\"rustls\",crypto=\"aws-lc-rs\",fips=\"false\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(series[&build], 1.0);

    assert_eq!(
        (series["vestibule_ready{check=\"app\"}"], series["vestibule_ready{check=\"certificate\"}"]),
        (0.0, 1.0)
    );
    assert_eq!((series["vestibule_retiring"], series["vestibule_draining"]), (0.0, 0.0));
    let _busy = TcpStream::connect(measured.sidecar.addr()).unwrap();
    measured.wait_for("vestibule_connections_active", 1.0);
    measured.sidecar.signal("TERM");
    measured.wait_for("vestibule_draining", 1.0);
    measured.wait_for("vestibule_ready{check=\"listeners\"}", 0.0);
    measured.sidecar.signal("TERM");
    measured.sidecar.exited();
}

#[test]
fn both_forms_are_for_those_who_ask_for_them_and_say_the_same() {
    let credentials = Credentials::new();
    let measured = Measured::new(Setup::proxy(&credentials, app::echo()));
    drop(connector(credentials.instance()).connect(measured.sidecar.addr()).unwrap());
    measured.wait_for("vestibule_connections_active", 0.0);

    let (head, open_metrics) = measured.ask(OPEN_METRICS);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    let (head, classic) = measured.ask("*/*");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let steady = |form: text::Form, body: &str| -> BTreeMap<String, f64> {
        let all = text::parse(body, form).into_iter();
        all.filter(|(at, _)| !at.starts_with("process_") && !at.starts_with("vestibule_worker_busy")).collect()
    };
    assert_eq!(steady(text::Form::OpenMetrics, &open_metrics), steady(text::Form::Classic, &classic));

    let python = |module: &str| {
        let code = format!(
            "import sys; from {module} import text_string_to_metric_families as parse\n\
             print(sum(len(family.samples) for family in parse(sys.stdin.read())))"
        );
        reads("python3", &["-c", &code])
    };
    let samples = |body: &str| body.lines().filter(|line| !line.starts_with('#')).count().to_string();
    if python("prometheus_client.parser")("").is_some() {
        assert_eq!(python("prometheus_client.openmetrics.parser")(&open_metrics).unwrap(), samples(&open_metrics));
        assert_eq!(python("prometheus_client.parser")(&classic).unwrap(), samples(&classic));
    } else {
        lacks("prometheus_client");
    }
    let promtool = reads("promtool", &["check", "metrics"]);
    if promtool("").is_some() {
        assert_eq!(promtool(&classic).as_deref(), Some(""), "neither an error nor a piece of advice");
    } else {
        lacks("promtool");
    }
}

/// A program that reads its standard input: gives what it says, or nothing if it is not there or does not like what it reads.
fn reads<'a>(program: &'a str, args: &[&str]) -> impl Fn(&str) -> Option<String> + use<'a> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    move |input| {
        let mut command = Command::new(program);
        command.args(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        if !output.status.success() {
            eprintln!("{program}: {said}");
        }
        output.status.success().then(|| said.trim().to_owned())
    }
}
