//! Answers of our own, to clients that take nothing else than what HTTP has: an answer to HEAD is its head.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use hyper::{Method, Request};

use super::http2::client::H2;
use super::{Front, GET};
use crate::support::TEST_TIMEOUT;
use crate::support::client::Ending;
use crate::support::http_app::{HttpApp, Reply};
use crate::support::sidecar::{Setup, Sidecar};

/// Requests that are refused, each with its options: reason, path, and a field of its own.
const REFUSED: [(&str, &str, &str, &str); 9] = [
    ("misdirected", "--sni-host require", "/", "x-none: x"),
    ("expectation", "", "/", "expect: something"),
    ("head_too_large", "--http-max-head 8KiB", "/", "x-long: {long}"),
    ("target_too_long", "", "/{long}{long}", "x-none: x"),
    ("certificate_required", "--deny anonymous", "/", "x-none: x"),
    ("path_not_allowed", "--policy {policy}", "/else", "x-none: x"),
    ("method_not_allowed", "--policy {policy}", "/posted", "x-none: x"),
    ("path_ambiguous", "--policy {policy}", "/a%2fb", "x-none: x"),
    ("path_changed", "--policy {policy}", "/a//b", "x-none: x"),
];

const POLICY: &str = "[[route]]\npath = \"/a\"\nallow = [\"anonymous\"]\n\n\
    [[route]]\npath = \"/posted\"\nmethods = [\"POST\"]\nallow = [\"anonymous\"]\n";

/// What an answer had: status, reason, and what it said of its length.
type Seen = (u16, String, String);

/// The answer over HTTP/1.1 on `stream`, which ends right behind it.
fn over_http1(mut stream: impl Read + Write, method: &Method, path: &str, field: &str) -> (Seen, usize) {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{field}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let field = |name| super::fields(head, name).concat();
    ((head[9..12].parse().unwrap(), field("vestibule-reason"), field("content-length")), body.len())
}

/// The same over HTTP/2, by a client that takes DATA behind HEAD for an error (RFC 9113, 8.1).
fn over_http2(client: &H2, method: &Method, path: &str, field: &str) -> (Seen, usize) {
    let (name, value) = field.split_once(": ").unwrap();
    let asking = Request::builder().method(method).uri(format!("https://a.test{path}")).header(name, value);
    let answer = client.ask(asking.body(()).unwrap(), vec![]).unwrap();
    let field = |name| answer.head[name].to_str().unwrap().to_owned();
    ((answer.status, field("vestibule-reason"), field("content-length")), answer.body.len())
}

#[track_caller]
fn same_but_for_the_body(context: &str, reason: &str, [get, head]: [(Seen, usize); 2]) {
    let ((seen, length), (seen_by_head, length_of_head)) = (get, head);
    assert_eq!((seen.1.as_str(), seen.2.parse()), (reason, Ok(length)), "{context}");
    assert_eq!((&seen_by_head, length_of_head), (&seen, 0), "{context}");
}

fn with_files(text: &str, policy: &std::path::Path) -> String {
    text.replace("{policy}", policy.to_str().unwrap()).replace("{long}", &"x".repeat(9000))
}

#[test]
fn a_refusal_of_head_is_that_of_get_without_the_body_over_every_protocol() {
    let folder = tempfile::TempDir::new().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let app = HttpApp::saying("never");
    for (reason, options, path, field) in REFUSED {
        let [options, path, field] = [options, path, field].map(|text| with_files(text, &policy));
        let rules = if reason == "certificate_required" { "--allow any" } else { "--allow any,anonymous" };
        let rules = if options.contains("--policy") { "" } else { rules };
        let front = (reason != "certificate_required")
            .then(|| Front::before(app.addr(), &format!("--client-auth request {rules} {options}")));
        if let Some(front) = &front {
            let asked = [Method::GET, Method::HEAD].map(|method| {
                let client = front.connector().connect(front.sidecar.addr()).unwrap();
                let stream = rustls::StreamOwned::new(client.tls, client.tcp);
                over_http1(stream, &method, &path, &field)
            });
            same_but_for_the_body(&format!("{reason}, HTTP/1.1"), reason, asked);
            let client = H2::connect(&front.connector().alpn(&["h2"]), front.sidecar.addr());
            let asked = [Method::GET, Method::HEAD].map(|method| over_http2(&client, &method, &path, &field));
            same_but_for_the_body(&format!("{reason}, HTTP/2"), reason, asked);
        }
        if reason != "misdirected" {
            let plain = plain(app.addr(), &format!("{rules} {}", options.replace("--deny anonymous", "")));
            let asked = [Method::GET, Method::HEAD].map(|method| {
                let stream = TcpStream::connect(plain.addr()).unwrap();
                stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                over_http1(stream, &method, &path, &field)
            });
            same_but_for_the_body(&format!("{reason}, HTTP/1.1 without TLS"), reason, asked);
            let client = H2::connect_plain(plain.addr());
            let asked = [Method::GET, Method::HEAD].map(|method| over_http2(&client, &method, &path, &field));
            same_but_for_the_body(&format!("{reason}, HTTP/2 without TLS"), reason, asked);
        }
    }
    assert!(app.asked().is_empty());
}

/// The program without TLS, with these options.
fn plain(app: SocketAddr, options: &str) -> Sidecar {
    let args = ["proxy", "--listen", "127.0.0.1:0", "--tls", "off", "--mode", "http", "--router-xfcc", "sanitize-set"];
    let setup = Setup::command(&args).arg("--app").arg(&app.to_string());
    options.split_whitespace().fold(setup, Setup::arg).start()
}

#[test]
fn an_answer_in_the_name_of_a_bad_app_has_no_body_for_head_either() {
    for (reason, answer) in [("app_closed", ""), ("app_bad_answer", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")] {
        let app = HttpApp::start(move |_| Reply::SendAndClose(answer.as_bytes().to_vec()));
        let front = Front::open(app.addr(), "");
        let client = H2::connect(&front.connector().alpn(&["h2"]), front.sidecar.addr());
        let asked = [Method::GET, Method::HEAD].map(|method| over_http2(&client, &method, "/", "x-none: x"));
        same_but_for_the_body(reason, reason, asked);
    }
}

#[test]
fn a_head_that_was_refused_before_it_was_read_has_no_method_and_no_path_in_the_log() {
    let app = HttpApp::saying("never");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    let head = "HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = talk.ask(head);
    assert_eq!((answer.status(), answer.fields("vestibule-reason")), (400, vec!["bad_framing"]));
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify), "an answer to HEAD has no body");
    let entry = front.refused("bad_framing");
    assert!(entry["method"].is_null() && entry["path"].is_null() && entry["host"].is_null(), "{entry}");
    // One that was read has them, and says what was wrong with it.
    front.talk().ask(&GET.replace("\r\n\r\n", "\r\nExpect: more\r\n\r\n"));
    let entry = front.refused("expectation");
    assert_eq!((&entry["method"], &entry["path"]), (&"GET".into(), &"/".into()));
    assert!(entry["detail"].as_str().unwrap().contains("more"), "{entry}");
}

#[test]
fn the_entry_of_a_refused_call_has_its_grpc_status() {
    let app = HttpApp::saying("never");
    let front = Front::open(app.addr(), "");
    let client = H2::connect(&front.connector().alpn(&["h2"]), front.sidecar.addr());
    let asking = Request::builder().method("TRACE").uri("https://a.test/").header("content-type", "application/grpc");
    let answer = client.ask(asking.body(()).unwrap(), vec![]).unwrap();
    assert_eq!((answer.status, &answer.head["grpc-status"]), (200, &"13".parse().unwrap()));
    assert_eq!(front.refused("trace")["grpc_status"], "13");
}
