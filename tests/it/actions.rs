//! What the admin listener does, if it was told that it may.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use crate::health::{admin, ask, get, proxy, status};
use crate::support::app;
use crate::support::app::App;
use crate::support::client::{Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::sidecar::Setup;

/// Status, head and body of the answer to a POST to `target`, with `headers`, each with its line end.
fn post(admin: SocketAddr, target: &str, headers: &str) -> (u16, String, String) {
    let (head, body) =
        ask(admin, &format!("POST {target} HTTP/1.1\r\nHost: {admin}\r\n{headers}Content-Length: 0\r\n\r\n"));
    (status(&head), head, body)
}

#[test]
fn a_drain_that_is_asked_for_is_the_drain_of_term() {
    let credentials = Credentials::new();
    let app = App::start();
    let mut sidecar =
        proxy(&credentials, app.addr()).env("VESTIBULE_APP_READY", "off").arg("--admin-actions=drain").ready();
    let admin = admin(&sidecar);
    let mut busy = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    busy.send(b"?").unwrap();
    let mut app_end = app.accept();
    app_end.read_exact(&mut [0; 1]).unwrap();

    let (status, _, body) = post(admin, "/drain", "");
    assert_eq!((status, body.as_str()), (202, "accepted\n"));
    sidecar.wait_for("listeners closed");
    assert_eq!(sidecar.wait_for("admin action accepted")["action"], "drain");
    assert_eq!(get(admin, "/readyz").0, 503);
    app_end.write_all(b"answer").unwrap();
    drop(app_end);
    assert_eq!(busy.receive_all(), (b"answer".to_vec(), Ending::CloseNotify));
    drop(busy);
    assert_eq!(sidecar.exited().code(), Some(0));
}

#[test]
fn the_answer_arrives_even_when_nothing_is_left_to_drain() {
    for _ in 0..10 {
        let credentials = Credentials::new();
        let mut sidecar = proxy(&credentials, app::nobody()).arg("--admin-actions=drain").ready();
        assert_eq!(post(admin(&sidecar), "/drain", "").0, 202);
        assert_eq!(sidecar.exited().code(), Some(0));
    }
}

#[test]
fn a_second_drain_means_now() {
    let credentials = Credentials::new();
    let setup = proxy(&credentials, app::echo()).arg("--admin-actions=drain").arg("--drain-timeout=1h");
    let mut sidecar = setup.arg("--drain-delay=1h").ready();
    let admin = admin(&sidecar);
    assert_eq!(post(admin, "/drain", "").0, 202);
    sidecar.wait_for("draining");
    assert!(sidecar.lines_of("listeners closed").is_empty());
    assert_eq!(post(admin, "/drain", "").0, 202);
    sidecar.wait_for("listeners closed");
    assert_eq!(sidecar.exited().code(), Some(0));
}

#[test]
fn a_reload_that_is_asked_for_takes_the_new_pair() {
    let mut credentials = Credentials::new();
    let socket = credentials.dir().join("admin.sock");
    let setup = Setup::proxy(&credentials, app::echo()).arg("--admin-actions").arg("loglevel,reload");
    let sidecar = setup.arg(&format!("--admin=unix:{}", socket.display())).ready();
    credentials.rotate();
    let mut asker = UnixStream::connect(&socket).unwrap();
    asker.write_all(b"POST /reload HTTP/1.1\r\nHost: any\r\n\r\n").unwrap();
    let mut answer = String::new();
    asker.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert_eq!(sidecar.wait_for("admin action accepted")["action"], "reload");
    assert_eq!(sidecar.wait_for("certificate rotated")["generation"], 2);
}

#[test]
fn the_level_changes_while_it_runs() {
    let credentials = Credentials::new();
    let setup = proxy(&credentials, app::echo()).arg("--admin-actions=loglevel").arg("--log-level=info");
    let sidecar = setup.arg("--access-log=off").ready();
    let admin = admin(&sidecar);
    let call = || drop(connector(credentials.instance()).connect(sidecar.addr()).unwrap());
    let set = |level: &str| assert_eq!(post(admin, &format!("/loglevel?level={level}"), "").2, format!("{level}\n"));
    assert_eq!(get(admin, "/loglevel"), (200, "info\n".to_owned()));

    call();
    set("debug");
    call();
    sidecar.wait_for("connection closed");
    assert_eq!(sidecar.lines_of("log level changed by admin action").len(), 1);
    assert_eq!(get(admin, "/loglevel"), (200, "debug\n".to_owned()));
    set("off");
    sidecar.wait_until("the last line for now", |line| {
        line["level"] == "off" && line["message"] == "log level changed by admin action"
    });
    let before = sidecar.lines().len();
    call();
    set("info");
    sidecar.wait_until("the way back", |line| {
        line["level"] == "info" && line["message"] == "log level changed by admin action"
    });
    assert!(sidecar.lines()[before..].iter().all(|line| line["level"] == "info"), "{:#?}", sidecar.lines());
    let (status, _, body) = post(admin, "/loglevel?level=loud", "");
    assert_eq!((status, body.as_str()), (400, "write ?level=LEVEL, one of off, error, warn, info, debug, trace\n"));
    assert_eq!(post(admin, "/loglevel", "").0, 400);
}

#[test]
fn nothing_is_done_that_was_not_enabled_or_is_not_meant() {
    let credentials = Credentials::new();
    let closed = proxy(&credentials, app::echo()).ready();
    let at = admin(&closed);
    for action in ["drain", "reload", "loglevel"] {
        let (status, _, body) = post(at, &format!("/{action}?level=trace"), "");
        assert_eq!((status, body), (403, format!("not enabled; start the proxy with --admin-actions {action}\n")),);
    }

    let open = proxy(&credentials, app::echo()).arg("--admin-actions=drain,reload,loglevel").ready();
    let at = admin(&open);
    let (head, _) = ask(at, "GET /drain HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(status(&head) == 405 && head.contains("\r\nallow: post"), "{head}");
    let (head, _) = ask(at, "DELETE /loglevel HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(status(&head) == 405 && head.contains("\r\nallow: get, head, post"), "{head}");
    assert_eq!(post(at, "/drain", "Origin: http://evil.example\r\n").0, 403);
    assert_eq!(post(at, "/drain", "Sec-Fetch-Site: cross-site\r\n").0, 403);
    let (head, _) = ask(at, "POST /drain HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status(&head), 421);

    for sidecar in [closed, open] {
        connector(credentials.instance()).connect(sidecar.addr()).unwrap();
        assert_eq!(get(admin(&sidecar), "/loglevel"), (200, "debug\n".to_owned()));
        assert!(sidecar.lines_of("draining").is_empty() && sidecar.lines_of("admin action accepted").is_empty());
    }
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let credentials = Credentials::new();
    let precious = credentials.dir().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    let mut sidecar =
        Setup::proxy(&credentials, app::echo()).arg(&format!("--admin=unix:{}", precious.display())).start();
    assert_eq!(sidecar.exited().code(), Some(69));
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
}
