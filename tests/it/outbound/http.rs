//! `protocol = "http1"`: requests are balanced one by one, over connections that are kept.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Caller, app_guid, entry, outbound, server};
use crate::clients::Backend;
use crate::support::client::{Ending, connector, read_to_end};
use crate::support::credentials::Credentials;
use crate::support::eventually;
use crate::support::http_app::{Asked, HttpApp, Reply};
use crate::support::sidecar::{Setup, Sidecar};

/// A sidecar of the caller that sends requests to `to`, with `more` lines in its table.
pub(super) fn sending(caller: &Caller, to: &[SocketAddr], expect: &str, more: &str) -> Sidecar {
    sending_by(caller, to, expect, more).ready()
}

/// The same, not started yet.
pub(super) fn sending_by(caller: &Caller, to: &[SocketAddr], expect: &str, more: &str) -> Setup {
    let setup = caller.dialling(to, expect);
    let file = caller.credentials.dir().join("vestibule.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("{text}protocol = \"http1\"\n{more}\n")).unwrap();
    setup
}

/// `app`, behind a server that takes every instance.
pub(super) fn before(app: &HttpApp) -> (Backend, Sidecar) {
    let backend = Backend::new();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    (backend, serving)
}

/// One sidecar in front of another, and what is asked of `app` behind both.
pub(super) fn through(app: &HttpApp, more: &str) -> (Caller, Backend, Sidecar, Sidecar) {
    let caller = Caller::new();
    let (backend, serving) = before(app);
    let sidecar = sending(&caller, &[serving.addr()], &app_guid(&backend), more);
    (caller, backend, serving, sidecar)
}

/// An app's connection to its sidecar.
pub(super) struct AppClient(pub(super) TcpStream);

impl AppClient {
    pub(super) fn at(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    /// Sends `text`, and gives the head and the body of the response, which has a length.
    pub(super) fn ask(&mut self, text: &str) -> (String, String) {
        self.0.write_all(text.as_bytes()).unwrap();
        self.answer()
    }

    pub(super) fn answer(&mut self) -> (String, String) {
        let head = self.head();
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or_else(|| panic!("no length in {head}"))];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    pub(super) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "an end within {}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }
}

pub(super) const GET: &str = "GET /x?y=1 HTTP/1.1\r\nHost: localhost:9000\r\n\r\n";

/// The entries of requests, in their order, once there are `n`.
fn requests(sidecar: &Sidecar, n: usize) -> Vec<Value> {
    eventually("the entries", || {
        let lines = sidecar.lines_of("request completed");
        (lines.len() >= n).then_some(lines)
    })
}

#[test]
fn requests_of_one_connection_are_balanced_one_by_one_over_connections_that_are_kept() {
    let (one, other) = (HttpApp::saying("one"), HttpApp::saying("other"));
    let ((backend, first), (_, second)) = (before(&one), before(&other));
    let caller = Caller::new();
    let sidecar = sending(&caller, &[first.addr(), second.addr()], "cf:any", "balance = \"round-robin\"");
    let mut app_client = AppClient::at(outbound(&sidecar));
    let bodies: Vec<_> = (0..6).map(|_| app_client.ask(GET).1).collect();
    assert_eq!(bodies.iter().filter(|body| *body == "one").count(), 3, "{bodies:?}");
    for app in [&one, &other] {
        assert_eq!(app.asked().iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 0, 0]);
    }
    let entries = requests(&sidecar, 6);
    let reused: Vec<_> = entries.iter().map(|entry| entry["reused"].as_bool().unwrap()).collect();
    assert_eq!(reused, [false, false, true, true, true, true]);
    let entry = entries.iter().find(|entry| entry["endpoint_addr"] == first.addr().to_string()).unwrap();
    assert_eq!(entry["server_app"], backend.credentials.spec.app.to_string());
    assert_eq!((&entry["mode"], &entry["method"], &entry["status"]), (&"http".into(), &"GET".into(), &200.into()));
    assert_eq!((&entry["rule"], &entry["close_reason"]), (&"cf:any".into(), &"completed".into()));
    assert!(entry["bytes_up"].as_u64() > Some(40) && entry["bytes_down"].as_u64() > Some(30), "{entry}");
    assert!(!entry.to_string().contains("y=1"), "a query is in the log: {entry}");
}

#[test]
fn the_server_sees_its_own_host_or_the_apps_where_that_is_kept() {
    let app = HttpApp::saying("");
    let (_caller, _backend, serving, sidecar) = through(&app, "");
    AppClient::at(outbound(&sidecar)).ask(GET);
    let head = app.asked()[0].head.to_ascii_lowercase();
    assert!(head.starts_with("get /x?y=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {}\r\n", serving.addr())), "{head}");
    let (_caller, _backend, _serving, sidecar) = through(&app, "preserve-host = true");
    let mut app_client = AppClient::at(outbound(&sidecar));
    app_client.ask(GET);
    app_client.ask("GET http://other.example:81/z HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let asked = app.asked();
    assert!(asked[1].head.to_ascii_lowercase().contains("\r\nhost: localhost:9000\r\n"), "{}", asked[1].head);
    let last = asked[2].head.to_ascii_lowercase();
    assert!(last.starts_with("get /z ") && last.contains("\r\nhost: other.example:81\r\n"), "{last}");
}

#[test]
fn whoever_answers_and_is_not_expected_is_sent_no_byte_and_the_app_is_told_why() {
    let app = HttpApp::saying("never");
    let (backend, serving) = before(&app);
    let caller = Caller::new();
    let another = Credentials::new().spec.app;
    let sidecar = sending(&caller, &[serving.addr()], &format!("cf:app:{another}"), "");
    let (head, body) = AppClient::at(outbound(&sidecar)).ask(GET);
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: unexpected_identity\r\n"),
        "{head}"
    );
    assert!(body.contains(&app_guid(&backend)) && body.contains(&another.to_string()), "{body}");
    assert!(app.asked().is_empty());
    let entry = entry(&sidecar, "unexpected_identity");
    assert_eq!((&entry["status"], &entry["bytes_up"]), (&502.into(), &0.into()));
}

#[test]
fn nobody_there_a_limit_reached_and_a_name_that_is_nowhere_have_answers_of_their_own() {
    let caller = Caller::new();
    let nobody = crate::support::app::nobody();
    let sidecar = sending(&caller, &[nobody], "cf:any", "");
    let (head, body) = AppClient::at(outbound(&sidecar)).ask(GET);
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: connect_refused\r\n"), "{head}");
    let said = format!("vestibule: {nobody}: the endpoint refused the connection; start what should listen there");
    assert!(body.starts_with(&said), "{body}");

    let app = HttpApp::start(|_| Reply::HandOver(|stream| drop(read_to_end(&stream))));
    let (_caller, _backend, _serving, sidecar) = through(&app, "max-connections = 1");
    let addr = outbound(&sidecar);
    let mut first = AppClient::at(addr);
    first.0.write_all(GET.as_bytes()).unwrap();
    eventually("the first request", || (!app.asked().is_empty()).then_some(()));
    let (head, _) = AppClient::at(addr).ask(GET);
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("x-vestibule-reason: overloaded\r\n"), "{head}");
    assert_eq!(app.asked().len(), 1);
}

#[test]
fn an_app_for_which_there_is_no_room_at_all_is_told_so_and_by_which_limit() {
    let app = HttpApp::saying("ok");
    let caller = Caller::new();
    let (backend, serving) = before(&app);
    let sidecar =
        sending_by(&caller, &[serving.addr()], &app_guid(&backend), "").arg("--max-connections").arg("1").ready();
    let addr = outbound(&sidecar);
    let mut first = AppClient::at(addr);
    assert_eq!(first.ask(GET).1, "ok");
    let (head, body) = AppClient::at(addr).ask(GET);
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("x-vestibule-reason: overloaded\r\n"), "{head}");
    assert!(body.contains("--max-connections"), "{body}");
    let told = entry(&sidecar, "overloaded");
    assert_eq!((&told["status"], app.asked().len()), (&503.into(), 1), "{told}");
    drop(first);
    eventually("the place", || AppClient::at(addr).ask(GET).0.starts_with("HTTP/1.1 200 ").then_some(()));
}

/// An app that answers the first request on each connection, and closes it as soon as the second comes, up to `times`.
fn closing(times: usize) -> HttpApp {
    let left = AtomicUsize::new(times);
    let seen = std::sync::Mutex::new(BTreeSet::new());
    HttpApp::start(move |asked: &Asked| {
        let is_first = seen.lock().unwrap().insert(asked.connection);
        let closes =
            !is_first && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if closes { Reply::SendAndClose(Vec::new()) } else { Reply::ok("ok") }
    })
}

#[test]
fn a_request_that_meets_a_kept_connection_at_its_end_is_sent_again_where_that_changes_nothing() {
    let app = closing(1);
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    for _ in 0..2 {
        assert_eq!(app_client.ask(GET).1, "ok");
    }
    assert_eq!(app.asked().iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(requests(&sidecar, 2)[1]["retried"], true);
    assert_eq!(requests(&sidecar, 2)[0]["retried"], false);
}

#[test]
fn a_post_is_never_sent_twice() {
    let app = closing(usize::MAX);
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let addr = outbound(&sidecar);
    assert_eq!(AppClient::at(addr).ask(GET).1, "ok");
    for body in ["", "abc"] {
        let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (head, _) = AppClient::at(addr).ask(&post);
        assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: no_response\r\n"), "{head}");
        // A connection is kept again, for the next.
        assert_eq!(AppClient::at(addr).ask(GET).1, "ok");
    }
    let posts = app.asked().iter().filter(|asked| asked.head.starts_with("POST")).count();
    assert_eq!(posts, 2);
}

#[test]
fn a_new_pair_is_shown_by_the_next_request_and_the_one_under_way_comes_to_its_end() {
    static GO: AtomicBool = AtomicBool::new(false);
    let app = HttpApp::start(|asked| {
        if asked.head.starts_with("GET /slow") {
            eventually("the word", || GO.load(Ordering::Relaxed).then_some(()));
        }
        Reply::ok("ok")
    });
    let (mut caller, _backend, serving, sidecar) = through(&app, "");
    let addr = outbound(&sidecar);
    let (mut fast, mut slow) = (AppClient::at(addr), AppClient::at(addr));
    assert_eq!(fast.ask(GET).1, "ok");
    slow.0.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("the slow request", || (app.asked().len() == 2).then_some(()));
    caller.credentials.rotate();
    sidecar.wait_for("certificate rotated");
    // The app's own connections go on.
    assert_eq!(fast.ask(GET).1, "ok");
    GO.store(true, Ordering::Relaxed);
    assert_eq!(slow.answer().1, "ok");
    assert_eq!(slow.ask(GET).1, "ok");
    let entries = requests(&sidecar, 4);
    let generations: Vec<_> = entries.iter().map(|entry| entry["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, [1, 2, 1, 2]);
    assert!(entries.iter().all(|entry| entry["close_reason"] == "completed"), "{entries:?}");
    // The connection under the old pair was closed as one that is done.
    serving.wait_until("the end of the old connection", |line| {
        line["close_reason"] == "completed" && line["client_app"] == caller.guid()
    });
}

#[test]
fn an_endpoint_that_answers_with_errors_is_ejected_where_that_counts() {
    let failing = HttpApp::start(|_| Reply::Send(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let well = HttpApp::saying("ok");
    let ((_b1, first), (_b2, second)) = (before(&failing), before(&well));
    let caller = Caller::new();
    let more = "balance = \"round-robin\"\neject-on = \"5xx\"\neject = 2";
    let sidecar = sending(&caller, &[first.addr(), second.addr()], "cf:any", more);
    let mut app_client = AppClient::at(outbound(&sidecar));
    let statuses: Vec<_> = (0..12).map(|_| app_client.ask(GET).0[9..12].to_owned()).collect();
    assert_eq!(statuses.iter().filter(|status| *status == "503").count(), 2, "{statuses:?}");
    assert_eq!(failing.asked().len(), 2);
}

#[test]
fn an_idle_connection_is_closed_in_time_and_the_next_request_makes_another() {
    let app = HttpApp::saying("ok");
    let (_caller, _backend, serving, sidecar) = through(&app, "idle-timeout = \"100ms\"");
    let mut app_client = AppClient::at(outbound(&sidecar));
    app_client.ask(GET);
    serving.access_log_entry("completed");
    app_client.ask(GET);
    assert_eq!(app.asked().iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(requests(&sidecar, 2)[1]["retried"], false);
}

#[test]
fn an_app_that_calls_others_in_its_own_shutdown_is_answered() {
    let app = HttpApp::saying("ok");
    let caller = Caller::new();
    let (backend, serving) = before(&app);
    let mut sidecar = sending(&caller, &[serving.addr()], &app_guid(&backend), "");
    assert_eq!(AppClient::at(outbound(&sidecar)).ask(GET).1, "ok");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
}

/// A ClientHello, which is all that a client of TLS sends before it is answered.
pub(super) fn assert_told_to_write_http(addr: SocketAddr) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(&connector("localhost").hello()).unwrap();
    let (answer, ending) = read_to_end(&stream);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("x-vestibule-reason: not_http\r\n"), "{answer}");
    assert!(answer.contains("write http://"), "{answer}");
    assert_eq!(ending, Ending::Fin);
}

#[test]
fn an_app_that_speaks_tls_by_itself_is_told_at_once_to_write_http() {
    let caller = Caller::new();
    let (_backend, echo) = server("cf:any");
    let sidecar = sending(&caller, &[echo.addr()], "cf:any", "");
    assert_told_to_write_http(outbound(&sidecar));
    assert!(entry(&sidecar, "bad_request")["detail"].as_str().unwrap().starts_with("not_http: "));
}
