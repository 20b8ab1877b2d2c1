//! Outbound listeners: the app speaks plaintext to loopback, and the instance's certificate speaks for it.

mod backlogs;
mod balancing;
mod checking;
mod ending;
mod forward_proxy;
mod forward_proxy_names;
mod forward_proxy_told;
mod http;
mod http_faults;
mod http_framing;
mod http_gone;
mod http_repeated;
mod identities;
mod names;
mod pending;
mod proxied;
mod proxy_clients;
mod rotating;
mod stopping;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::clients::Backend;
use crate::support::app;
use crate::support::app::App;
use crate::support::client::{Ending, read_to_end};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};

/// An instance whose app dials others.
pub(crate) struct Caller {
    pub(crate) credentials: Credentials,
}

impl Caller {
    pub(crate) fn new() -> Self {
        Self { credentials: Credentials::new() }
    }

    pub(crate) fn guid(&self) -> String {
        self.credentials.spec.app.to_string()
    }

    /// A sidecar that dials `to` for whoever connects to [`outbound`].
    pub(crate) fn dialling(&self, to: &[SocketAddr], expect: &str) -> Setup {
        let to: Vec<_> = to.iter().map(|addr| format!("\"{addr}\"")).collect();
        let text = format!("[[outbound]]\nlisten = 0\nto = [{}]\nexpect = \"{expect}\"\n", to.join(", "));
        let file = self.credentials.dir().join("vestibule.toml");
        std::fs::write(&file, text).unwrap();
        Setup::proxy(&self.credentials, app::nobody()).arg("--config").arg(file.to_str().unwrap())
    }

    /// The same by flags: one that listens at `listen`.
    pub(crate) fn dialling_by_flags(&self, listen: &str, to: &str, expect: &str) -> Setup {
        let pair = format!("{listen}={to}");
        let setup = Setup::proxy(&self.credentials, app::nobody()).arg("--outbound").arg(&pair);
        setup.arg("--outbound-expect").arg(expect)
    }
}

/// Where the app dials its sidecar.
pub(crate) fn outbound(sidecar: &Sidecar) -> SocketAddr {
    sidecar.wait_for("outbound listening")["outbound"].as_str().unwrap().parse().unwrap()
}

/// A server that takes the callers that `allow` names, in front of an app that sends back what it gets.
pub(crate) fn server(allow: &str) -> (Backend, Sidecar) {
    let backend = Backend::new();
    let sidecar = backend.before(app::echo()).arg("--allow").arg(allow).ready();
    (backend, sidecar)
}

pub(crate) fn app_guid(backend: &Backend) -> String {
    format!("cf:app:{}", backend.credentials.spec.app)
}

/// Sends `text` and gives what comes back, and how that ended.
pub(crate) fn say(addr: SocketAddr, text: &[u8]) -> (Vec<u8>, Ending) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let spoke = stream.write_all(text).and_then(|()| stream.shutdown(Shutdown::Write));
    let (answer, ending) = read_to_end(&stream);
    // The connection may be reset before we come to speak; an error is told once.
    (answer, if spoke.is_err() { Ending::Reset } else { ending })
}

/// The access log entry of an outbound connection that ended for `reason`.
pub(crate) fn entry(sidecar: &Sidecar, reason: &str) -> Value {
    sidecar.wait_until(&format!("an outbound entry {reason:?}"), |line| {
        line["direction"] == "outbound" && line["close_reason"] == reason
    })
}

#[test]
fn an_app_that_speaks_plaintext_reaches_a_server_that_asks_for_its_identity_and_both_logs_name_the_other() {
    let caller = Caller::new();
    let (backend, serving) = server(&format!("cf:app:{}", caller.guid()));
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    assert_eq!(say(outbound(&sidecar), b"hello"), (b"hello".to_vec(), Ending::Fin));

    let seen = serving.access_log_entry("completed");
    assert_eq!(seen["client_app"], caller.guid());
    let entry = entry(&sidecar, "completed");
    assert_eq!(entry["server_app"], backend.credentials.spec.app.to_string());
    assert_eq!(entry["rule"], app_guid(&backend));
    assert_eq!(entry["endpoint_addr"], serving.addr().to_string());
    assert_eq!((&entry["attempts"], &entry["generation"]), (&1.into(), &1.into()));
    assert_eq!((&entry["bytes_up"], &entry["bytes_down"]), (&5.into(), &5.into()));
    assert_eq!(entry["tls_version"], "TLSv1_3");
    assert_eq!((&entry["resumed"], entry["handshake_ms"].is_number()), (&false.into(), true));
}

#[test]
fn large_answers_and_questions_arrive_whole() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let text: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    let writer = std::thread::spawn({
        let (mut stream, text) = (stream.try_clone().unwrap(), text.clone());
        move || {
            stream.write_all(&text).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
    });
    let (received, ending) = read_to_end(&stream);
    writer.join().unwrap();
    assert!(received == text && ending == Ending::Fin, "{} bytes, {ending:?}", received.len());
    assert_eq!(entry(&sidecar, "completed")["bytes_down"], text.len());
}

#[test]
fn an_endpoint_that_refuses_resets_or_is_no_tls_is_a_reset_for_the_app_with_its_own_reason() {
    let caller = Caller::new();
    let refused = caller.dialling(&[app::nobody()], "cf:any").ready();
    assert_eq!(say(outbound(&refused), b"x"), (vec![], Ending::Reset));
    let said = entry(&refused, "connect_refused");
    assert!(said["detail"].as_str().unwrap().contains("; start what should listen there"), "{said}");
    assert_eq!((&said["attempts"], &said["bytes_up"]), (&1.into(), &0.into()));

    let plain = caller.dialling(&[app::echo()], "cf:any").ready();
    assert_eq!(say(outbound(&plain), b"x"), (vec![], Ending::Reset));
    assert!(entry(&plain, "handshake_failed")["detail"].is_string());

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs =
        caller.dialling(&[silent.local_addr().unwrap()], "cf:any").arg("--outbound-handshake-timeout").arg("100ms");
    let hangs = hangs.ready();
    assert_eq!(say(outbound(&hangs), b"x"), (vec![], Ending::Reset));
    assert!(entry(&hangs, "handshake_timeout")["detail"].as_str().unwrap().contains("; see whether TLS is spoken"));
}

#[test]
fn a_stream_that_the_endpoint_cuts_off_never_looks_whole() {
    let caller = Caller::new();
    let backend = Backend::new();
    let app = App::start();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"ask").unwrap();
    let mut behind = app.accept();
    let mut asked = [0; 3];
    behind.read_exact(&mut asked).unwrap();
    behind.write_all(b"half an ans").unwrap();
    let mut half = [0; 11];
    stream.read_exact(&mut half).unwrap();
    // The server's own app resets: the server ends its TCP without close_notify.
    socket2::SockRef::from(&behind).set_linger(Some(Duration::ZERO)).unwrap();
    drop(behind);
    assert_eq!(read_to_end(&stream).1, Ending::Reset);
    assert_eq!(entry(&sidecar, "endpoint_truncated")["bytes_down"], 11);
}

#[test]
fn half_a_close_is_passed_on_either_way() {
    let caller = Caller::new();
    let backend = Backend::new();
    let app = App::start();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut behind = app.accept();
    let mut asked = Vec::new();
    behind.read_to_end(&mut asked).unwrap();
    assert_eq!(asked, b"question");
    behind.write_all(b"answer").unwrap();
    drop(behind);
    assert_eq!(read_to_end(&stream), (b"answer".to_vec(), Ending::Fin));

    // And the other way about: the server is done first.
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"x").unwrap();
    let mut behind = app.accept();
    behind.read_exact(&mut [0; 1]).unwrap();
    behind.shutdown(Shutdown::Write).unwrap();
    let mut none = [0; 1];
    assert_eq!(stream.read(&mut none).unwrap(), 0);
    stream.write_all(b"more").unwrap();
    let mut more = [0; 4];
    behind.read_exact(&mut more).unwrap();
    assert_eq!(&more, b"more");
}

#[test]
fn a_socket_file_is_for_our_own_user_alone_and_goes_with_the_process() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let path = caller.credentials.dir().join("out.sock");
    let listen = format!("unix:{}", path.display());
    let mut sidecar = caller.dialling_by_flags(&listen, &serving.addr().to_string(), &app_guid(&backend)).ready();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"hello");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn what_is_over_a_limit_is_reset_before_anybody_is_dialled() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let setup = caller.dialling(&[serving.addr()], &app_guid(&backend)).arg("--outbound-max-connections").arg("1");
    let sidecar = setup.ready();
    let addr = outbound(&sidecar);
    let mut first = TcpStream::connect(addr).unwrap();
    first.write_all(b"x").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(say(addr, b"y"), (vec![], Ending::Reset));
    let refused = entry(&sidecar, "overloaded");
    assert!(refused["detail"].as_str().unwrap().contains("--outbound-max-connections"), "{refused}");
    assert!(refused["endpoint_addr"].is_null());
    drop(first);
    entry(&sidecar, "completed");
    assert_eq!(say(addr, b"y"), (b"y".to_vec(), Ending::Fin));
}

#[test]
fn a_name_that_leads_back_to_the_listener_itself_is_not_dialled() {
    let caller = Caller::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sidecar = caller.dialling_by_flags(&port.to_string(), &format!("self.localhost:{port}"), "cf:any").ready();
    assert_eq!(say(outbound(&sidecar), b"x"), (vec![], Ending::Reset));
    entry(&sidecar, "address_not_allowed");
    assert_eq!(sidecar.lines().iter().filter(|line| line["direction"] == "outbound").count(), 1, "and it ends there");
}

#[test]
fn an_app_that_waits_for_its_answer_sees_a_reset_and_no_end_of_file_when_it_has_waited_for_too_long() {
    let caller = Caller::new();
    let backend = Backend::new();
    let app = App::start();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let setup = caller.dialling(&[serving.addr()], &app_guid(&backend)).arg("--outbound-idle-timeout").arg("200ms");
    let sidecar = setup.ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"ask").unwrap();
    let behind = app.accept();
    assert_eq!(read_to_end(&stream), (vec![], Ending::Reset));
    entry(&sidecar, "idle_timeout");
    drop(behind);
}

#[test]
fn an_app_that_goes_away_in_the_middle_of_a_blocked_upload_is_noticed() {
    let caller = Caller::new();
    let backend = Backend::new();
    let app = App::start();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Nobody reads behind the server, until nothing more is taken.
    let block = vec![7; 1 << 20];
    while stream.write_all(&block).is_ok() {}
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    entry(&sidecar, "app_reset");
    drop(app);
}

#[test]
fn two_outbounds_to_one_server_have_series_of_their_own() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let pair = format!("0={0},127.0.0.1:0={0}", serving.addr());
    let sidecar = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--outbound")
        .arg(&pair)
        .arg("--outbound-expect")
        .arg(&app_guid(&backend))
        .env("VESTIBULE_ADMIN", "127.0.0.1:0")
        .ready();
    let admin = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let metrics = crate::health::get(admin, "/metrics").1;
    let opened = |line: &&str| line.starts_with("vestibule_outbound_connections_opened_total{");
    let mut series: Vec<_> = metrics.lines().filter(opened).collect();
    assert_eq!(series.len(), 2);
    series.dedup();
    assert_eq!(series.len(), 2, "{series:?}");
}

#[test]
fn where_nobody_is_expected_the_start_says_so_and_never_is_anybody_believed_unverified() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let ca = backend.ca();
    let sidecar = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--outbound")
        .arg(&format!("0={}", serving.addr()))
        .arg("--outbound-server-name")
        .arg(backend.credentials.instance())
        .arg("--outbound-ca")
        .arg(ca.to_str().unwrap())
        .ready();
    sidecar.wait_until("the warning", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("outbound server not authorized by a rule"))
    });
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    assert!(entry(&sidecar, "completed")["rule"].is_null());
    // Under the system's CAs the same server is a stranger.
    let sidecar = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--outbound")
        .arg(&format!("0={}", serving.addr()))
        .arg("--outbound-server-name")
        .arg(backend.credentials.instance())
        .ready();
    assert_eq!(say(outbound(&sidecar), b"x"), (vec![], Ending::Reset));
    entry(&sidecar, "untrusted");
}

#[test]
fn a_server_may_be_dialled_without_our_certificate() {
    let caller = Caller::new();
    let backend = Backend::new();
    let asks =
        backend.before(app::echo()).arg("--client-auth").arg("request").arg("--allow").arg("any,anonymous").ready();
    let setup = caller.dialling(&[asks.addr()], &app_guid(&backend)).arg("--outbound-identity").arg("never");
    let sidecar = setup.ready();
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    assert!(asks.access_log_entry("completed")["client_app"].is_null());
}
