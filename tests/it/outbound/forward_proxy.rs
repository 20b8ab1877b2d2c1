//! The forward proxy: requests name their servers, and those that are listed are reached by mutual TLS.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::http::{AppClient, assert_told_to_write_http, before};
use super::{Caller, app_guid};
use crate::clients::Backend;
use crate::support::app;
use crate::support::client::{Ending, read_to_end};
use crate::support::credentials::Credentials;
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};
use crate::support::sidecar::{Setup, Sidecar};

/// A sidecar with a forward proxy for `to`, which may dial the servers of tests.
pub(super) fn setup(caller: &Caller, to: &[&str]) -> Setup {
    let setup = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--forward-proxy=0")
        .arg("--forward-proxy-allow-address=127.0.0.0/8");
    to.iter().fold(setup, |setup, to| setup.arg("--forward-proxy-to").arg(to))
}

/// Where it listens.
pub(super) fn proxy(sidecar: &Sidecar) -> SocketAddr {
    sidecar.wait_for("forward proxy listening")["forward_proxy"].as_str().unwrap().parse().unwrap()
}

/// A forward proxy with `more` options for `app`, which is behind another sidecar.
fn through(app: &HttpApp, more: &[&str]) -> (Caller, Backend, Sidecar, Sidecar) {
    let caller = Caller::new();
    let (backend, serving) = before(app);
    let to = format!("{}={}", serving.addr(), app_guid(&backend));
    let sidecar = more.iter().fold(setup(&caller, &[&to]), |setup, more| setup.arg(more)).ready();
    (caller, backend, serving, sidecar)
}

/// The only entry of a request, once it is there.
pub(super) fn entry(sidecar: &Sidecar) -> Value {
    eventually("an entry", || sidecar.lines_of("request completed").into_iter().next())
}

pub(super) fn get_from(addr: SocketAddr) -> String {
    format!("GET http://{addr}/x?y=1 HTTP/1.1\r\nHost: {addr}\r\n\r\n")
}

pub(super) fn get_from_name(name: &str, port: u16) -> String {
    format!("GET http://{name}:{port}/ HTTP/1.1\r\nHost: {name}\r\n\r\n")
}

#[test]
fn a_request_that_names_a_listed_server_is_sent_there_with_our_identity() {
    let app = HttpApp::saying("hello");
    let (caller, backend, serving, sidecar) = through(&app, &["--outbound-idle-timeout=100ms"]);
    let text = format!(
        "GET http://{}/x?y=1 HTTP/1.1\r\nHost: elsewhere\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
         X-Forwarded-Client-Cert: forged\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
        serving.addr()
    );
    let (head, body) = AppClient::at(proxy(&sidecar)).ask(&text);
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "hello", "{head}{body}");
    let asked = app.asked()[0].head.to_ascii_lowercase();
    assert_eq!(asked, format!("get /x?y=1 http/1.1\r\nhost: {}\r\n\r\n", serving.addr()), "the URL says who is meant");
    assert_eq!(serving.access_log_entry("completed")["client_app"], caller.guid());
    let entry = entry(&sidecar);
    assert_eq!((&entry["mode"], &entry["method"], &entry["status"]), (&"absolute".into(), &"GET".into(), &200.into()));
    assert_eq!(entry["to"], serving.addr().to_string());
    assert_eq!((&entry["host"], &entry["rule"]), (&entry["to"], &app_guid(&backend).into()));
    assert!(!entry.to_string().contains("y=1"), "a query is in the log: {entry}");
}

#[test]
fn a_websocket_may_be_asked_for_by_its_own_scheme() {
    let app = HttpApp::start(|_| {
        Reply::HandOver(|mut stream| {
            let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi";
            stream.write_all(switched).unwrap();
        })
    });
    let (_caller, _backend, serving, sidecar) = through(&app, &[]);
    let mut app_client = AppClient::at(proxy(&sidecar));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket";
    let request = format!("GET ws://{0}/chat HTTP/1.1\r\nHost: {0}\r\n{upgrade}\r\n\r\n", serving.addr());
    app_client.0.write_all(request.as_bytes()).unwrap();
    let head = app_client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(read_to_end(&app_client.0).0, b"hi");
    assert!(app.asked()[0].head.starts_with("GET /chat HTTP/1.1\r\n"), "{:?}", app.asked());
    assert_told_to_write_http(proxy(&sidecar));
}

#[test]
fn requests_of_one_connection_may_name_different_servers_and_connections_to_them_are_kept() {
    let (one, other) = (HttpApp::saying("one"), HttpApp::saying("other"));
    let ((_backend, first), (_other, second)) = (before(&one), before(&other));
    let caller = Caller::new();
    let to = [first.addr(), second.addr()].map(|addr| format!("{addr}=cf:any"));
    let sidecar = setup(&caller, &[&to[0], &to[1]]).ready();
    let mut app_client = AppClient::at(proxy(&sidecar));
    for _ in 0..2 {
        assert_eq!(app_client.ask(&get_from(first.addr())).1, "one");
        assert_eq!(app_client.ask(&get_from(second.addr())).1, "other");
    }
    for app in [&one, &other] {
        assert_eq!(app.asked().iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 0]);
    }
}

#[test]
fn plaintext_behind_connect_is_sent_on_with_our_identity() {
    let app = HttpApp::saying("hello");
    let (caller, _backend, serving, sidecar) = through(&app, &[]);
    for connect in [
        format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nProxy-Connection: close\r\n\r\n", serving.addr()),
        format!("CONNECT {} HTTP/1.0\r\n\r\n", serving.addr()),
    ] {
        let mut app_client = AppClient::at(proxy(&sidecar));
        app_client.0.write_all(connect.as_bytes()).unwrap();
        assert!(app_client.head().contains(" 200 "));
        let (_, body) = app_client.ask("GET /x HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n");
        assert_eq!(body, "hello");
        drop(app_client);
    }
    assert!(app.asked()[0].head.starts_with("GET /x HTTP/1.1\r\nHost: backend\r\n"), "it is not touched");
    let entries = eventually("two entries", || {
        let entries = sidecar.lines_of("request completed");
        (entries.len() == 2).then_some(entries)
    });
    for entry in entries {
        assert_eq!((&entry["mode"], &entry["method"]), (&"tunnel_wrapped".into(), &"CONNECT".into()), "{entry}");
        assert_eq!((&entry["status"], &entry["close_reason"]), (&200.into(), &"completed".into()));
    }
    assert_eq!(serving.access_log_entry("completed")["client_app"], caller.guid());
}

#[test]
fn bytes_that_are_sent_with_connect_are_not_lost() {
    let app = HttpApp::saying("hello");
    let (_caller, _backend, serving, sidecar) = through(&app, &[]);
    let mut app_client = AppClient::at(proxy(&sidecar));
    let text = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n", serving.addr());
    app_client.0.write_all(text.as_bytes()).unwrap();
    assert!(app_client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(app_client.answer().1, "hello");
}

/// A record with the beginning of a ClientHello.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x05hello";

#[test]
fn tls_of_the_apps_own_is_passed_on_as_it_is_and_said_once_or_refused() {
    let app = app::echo();
    let caller = Caller::new();
    let to = format!("{app}=cf:any");
    let sidecar = setup(&caller, &[&to]).ready();
    for _ in 0..2 {
        let mut app_client = AppClient::at(proxy(&sidecar));
        app_client.0.write_all(format!("CONNECT {app} HTTP/1.1\r\nHost: {app}\r\n\r\n").as_bytes()).unwrap();
        assert!(app_client.head().starts_with("HTTP/1.1 200 "));
        app_client.0.write_all(CLIENT_HELLO).unwrap();
        app_client.0.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&app_client.0), (CLIENT_HELLO.to_vec(), Ending::Fin));
    }
    let entry = entry(&sidecar);
    assert_eq!((&entry["mode"], &entry["bytes_up"]), (&"tunnel_tls".into(), &CLIENT_HELLO.len().into()));
    assert!(entry["server_name"].is_null() && entry["tls_version"].is_null(), "{entry}");
    let warned =
        || sidecar.lines().iter().filter(|line| line["message"].to_string().contains("speaks TLS by itself")).count();
    assert_eq!(warned(), 1);

    let refusing = setup(&caller, &[&to]).arg("--forward-proxy-tls-tunnel=refuse").ready();
    let mut app_client = AppClient::at(proxy(&refusing));
    app_client.0.write_all(format!("CONNECT {app} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    app_client.head();
    app_client.0.write_all(CLIENT_HELLO).unwrap();
    assert_eq!(read_to_end(&app_client.0), (Vec::new(), Ending::Reset));
}

#[test]
fn what_is_no_request_for_a_listed_server_is_refused_and_nobody_is_dialled() {
    let app = HttpApp::saying("never");
    let (_caller, _backend, serving, sidecar) = through(&app, &[]);
    let (at, port) = (serving.addr(), serving.addr().port());
    for (text, status, reason) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "not_absolute"),
        (format!("GET https://{at}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "unsupported_scheme"),
        (format!("GET ftp://{at}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "unsupported_scheme"),
        (format!("GET http://u:hidden@{at}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "user_in_target"),
        (format!("GET http://127.1:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_target"),
        (format!("GET http://0177.0.0.1:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_target"),
        (format!("GET http://2130706433:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_target"),
        ("GET http://127.0.0.1:0/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "bad_target"),
        ("GET http://127.0.0.1:99999/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "bad_target"),
        (format!("GET http://127.0.0.1:+{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_target"),
        (format!("GET http://{at}/\u{ff} HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_target"),
        ("CONNECT 127.0.0.1: HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "bad_target"),
        (format!("TRACE http://{at}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 405, "method_not_allowed"),
        (format!("trace http://{at}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 501, "unknown_method"),
        (format!("connect http://{at}/ HTTP/1.1\r\nHost: a\r\n\r\n"), 501, "unknown_method"),
        (format!("connect {at} HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_target"),
        (format!("GET http://{at}/ HTTP/1.1\r\n\r\n"), 400, "bad_host"),
        (format!("GET http://{at}/ HTTP/1.1\r\nHost:\r\n\r\n"), 400, "bad_host"),
        (format!("CONNECT {at} HTTP/1.1\r\nHost:\r\n\r\n"), 400, "bad_host"),
        (format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\nHost: {at}\r\n\r\n"), 400, "two_hosts"),
        (format!("GET http://{at}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400, "two_hosts"),
        (format!("GET http://{at}/ HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"), 400, "bad_field"),
        (format!("GET http://{at}/ HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"), 400, "bare_lf"),
        (
            format!("POST http://{at}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400,
            "length_and_coding",
        ),
        (format!("CONNECT {at}/x HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "bad_target"),
        (format!("CONNECT u@{at} HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "user_in_target"),
        ("CONNECT 127.0.0.1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "bad_target"),
        ("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 403, "not_listed"),
        (format!("CONNECT elsewhere.example:{port} HTTP/1.1\r\nHost: a\r\n\r\n"), 403, "not_listed"),
    ] {
        let (head, body) = AppClient::at(proxy(&sidecar)).ask(&text);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{text}{head}");
        assert!(head.contains(&format!("x-vestibule-reason: {reason}\r\n")), "{text}{head}");
        assert!(head.contains("connection: close\r\n") && body.starts_with("vestibule: "), "{text}{head}{body}");
        assert!(!body.contains("hidden"), "{body}");
    }
    assert!(app.asked().is_empty() && serving.reasons().is_empty(), "{:?}", serving.reasons());
    assert!(!format!("{:?}", sidecar.lines()).contains("hidden"));
    for word in ["bad_target", "bad_host", "unknown_method", "two_hosts"] {
        sidecar.wait_until(word, |line| {
            line["message"] == "request completed"
                && line["detail"].as_str().is_some_and(|detail| detail.starts_with(&format!("{word}: ")))
        });
    }
}

#[test]
fn odd_ports_other_methods_and_old_clients_are_sent_on_as_http_has_them() {
    let app = HttpApp::saying("ok");
    let (_caller, _backend, serving, sidecar) = through(&app, &[]);
    let (at, port) = (serving.addr(), serving.addr().port());
    for text in [
        format!("GET http://127.0.0.1:0{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("get http://{at}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET http://{at}/ HTTP/1.0\r\n\r\n"),
    ] {
        let (head, body) = AppClient::at(proxy(&sidecar)).ask(&text);
        assert!(head.contains(" 200 ") && body == "ok", "{text}{head}{body}");
    }
    let asked = app.asked();
    assert!(asked[1].head.starts_with("get / "), "a method that is not known is another one: {:?}", asked[1].head);
    for asked in asked {
        let head = asked.head.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nhost: {at}\r\n")), "{head}");
    }
}

#[test]
fn an_address_of_this_machine_or_its_link_is_not_dialled_though_it_is_listed() {
    let app = HttpApp::saying("never");
    let (backend, serving) = before(&app);
    let caller = Caller::new();
    let port = serving.addr().port();
    let all = format!("0.0.0.0/0:{port}={}", app_guid(&backend));
    let sidecar = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--forward-proxy=0")
        .arg("--forward-proxy-to")
        .arg(&all)
        .ready();
    for host in ["127.0.0.1", "127.9.9.9", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        for text in [
            format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: a\r\n\r\n"),
        ] {
            let (head, _) = AppClient::at(proxy(&sidecar)).ask(&text);
            assert!(head.starts_with("HTTP/1.1 403 "), "{text}{head}");
            assert!(head.contains("x-vestibule-reason: address_not_allowed\r\n"), "{text}{head}");
        }
    }
    assert!(serving.reasons().is_empty(), "{:?}", serving.reasons());
}

#[test]
fn our_own_listeners_are_not_dialled_even_where_their_network_is_allowed() {
    let caller = Caller::new();
    let sidecar =
        setup(&caller, &[]).arg("--forward-proxy-unlisted=tunnel").env("VESTIBULE_ADMIN", "127.0.0.1:0").ready();
    let admin: SocketAddr = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    for at in [proxy(&sidecar), admin, sidecar.addr()] {
        for text in [get_from(at), format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n")] {
            let (head, body) = AppClient::at(proxy(&sidecar)).ask(&text);
            assert!(
                head.starts_with("HTTP/1.1 403 ") && body.contains("we listen there ourselves"),
                "{text}{head}{body}"
            );
        }
    }
}

#[test]
fn whoever_answers_and_is_not_expected_gets_no_byte_of_a_request_nor_of_a_tunnel() {
    let app = HttpApp::saying("never");
    let (backend, serving) = before(&app);
    let caller = Caller::new();
    let to = format!("{}=cf:app:{}", serving.addr(), Credentials::new().spec.app);
    let sidecar = setup(&caller, &[&to]).ready();
    let (head, body) = AppClient::at(proxy(&sidecar)).ask(&get_from(serving.addr()));
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: unexpected_identity\r\n"),
        "{head}"
    );
    let remedy = format!("or expect this app by --forward-proxy-to {}=RULE\n", serving.addr());
    assert!(body.contains(&app_guid(&backend)) && body.ends_with(&remedy), "{body}");
    assert!(!body.contains("--outbound-expect"), "it would change nothing: {body}");

    let connect = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", serving.addr());
    let mut app_client = AppClient::at(proxy(&sidecar));
    app_client.0.write_all(connect.as_bytes()).unwrap();
    assert!(app_client.head().starts_with("HTTP/1.1 200 "));
    // Whoever speaks HTTP is told in HTTP, and others by a reset.
    let (head, _) = app_client.ask("POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecret");
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: unexpected_identity\r\n"),
        "{head}"
    );
    assert_eq!(read_to_end(&app_client.0), (Vec::new(), Ending::Fin));
    let mut app_client = AppClient::at(proxy(&sidecar));
    app_client.0.write_all(connect.as_bytes()).unwrap();
    app_client.head();
    app_client.0.write_all(b"\x00\x01secret").unwrap();
    assert_eq!(read_to_end(&app_client.0), (Vec::new(), Ending::Reset));
    assert!(app.asked().is_empty());
}

#[test]
fn servers_that_are_not_listed_are_reached_without_our_identity_where_that_is_wanted() {
    let app = HttpApp::saying("plain");
    let caller = Caller::new();
    let sidecar = setup(&caller, &[]).arg("--forward-proxy-unlisted=tunnel").ready();
    let mut app_client = AppClient::at(proxy(&sidecar));
    assert_eq!(app_client.ask(&get_from(app.addr())).1, "plain");
    let connect = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", app.addr());
    app_client.0.write_all(connect.as_bytes()).unwrap();
    assert!(app_client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(app_client.ask("GET /in HTTP/1.1\r\nHost: x\r\n\r\n").1, "plain");
    let heads: Vec<_> = app.asked().into_iter().map(|asked| asked.head).collect();
    assert!(heads[0].starts_with("GET /x?y=1 ") && heads[1].starts_with("GET /in "), "{heads:?}");
    drop(app_client);
    let entries = eventually("both entries", || {
        let entries = sidecar.lines_of("request completed");
        (entries.len() == 2).then_some(entries)
    });
    for entry in entries {
        assert_eq!((&entry["mode"], &entry["tls_version"]), (&"tunnel_raw".into(), &Value::Null), "{entry}");
    }
}

#[test]
fn a_server_may_be_named_by_another_port_than_it_has() {
    let app = HttpApp::saying("mapped");
    let (backend, serving) = before(&app);
    let caller = Caller::new();
    let to = format!("{}={}", serving.addr(), app_guid(&backend));
    let map = format!("--forward-proxy-map=127.0.0.1:80=:{}", serving.addr().port());
    let sidecar = setup(&caller, &[&to]).arg(&map).ready();
    let (_, body) = AppClient::at(proxy(&sidecar)).ask("GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(body, "mapped");
    assert!(app.asked()[0].head.to_ascii_lowercase().contains("\r\nhost: 127.0.0.1\r\n"), "{}", app.asked()[0].head);
}

#[test]
fn a_switch_to_another_protocol_and_a_question_before_a_body_pass() {
    let app = HttpApp::start(|asked| match asked.head.to_ascii_lowercase().contains("upgrade: websocket") {
        true => Reply::HandOver(|mut stream| {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                .unwrap();
            std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        }),
        false => Reply::ok(std::str::from_utf8(&asked.body).unwrap()),
    });
    let (_caller, _backend, serving, sidecar) = through(&app, &[]);
    let mut app_client = AppClient::at(proxy(&sidecar));
    let (_, body) = app_client
        .ask(&format!("POST http://{}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", serving.addr()));
    assert_eq!(body, "body");
    let upgrade = format!(
        "GET http://{}/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        serving.addr()
    );
    app_client.0.write_all(upgrade.as_bytes()).unwrap();
    assert!(app_client.head().starts_with("HTTP/1.1 101 "));
    app_client.0.write_all(b"ping").unwrap();
    app_client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&app_client.0), (b"ping".to_vec(), Ending::Fin));
}

#[test]
fn a_client_that_says_nothing_behind_connect_is_told_to_use_an_outbound_listener() {
    let caller = Caller::new();
    let app = app::echo();
    let sidecar = setup(&caller, &[&format!("{app}=cf:any")]).ready();
    let mut app_client = AppClient::at(proxy(&sidecar));
    app_client.0.write_all(format!("CONNECT {app} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    assert!(app_client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(read_to_end(&app_client.0), (Vec::new(), Ending::Reset));
    let entry = entry(&sidecar);
    assert_eq!((&entry["close_reason"], &entry["mode"]), (&"idle_timeout".into(), &"tunnel".into()));
    assert!(entry["detail"].as_str().unwrap().contains("--outbound"), "{entry}");
}

#[test]
fn an_answer_that_is_awaited_or_under_way_behind_connect_or_an_upgrade_outlives_a_rotation() {
    static GO: AtomicBool = AtomicBool::new(false);
    let app = HttpApp::handing_over(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\npart one")
            .unwrap();
        eventually("the word", || GO.load(Ordering::SeqCst).then_some(()));
        stream.write_all(b", part two").unwrap();
    });
    let streaming = HttpApp::handing_over(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart one").unwrap();
        eventually("the word", || GO.load(Ordering::SeqCst).then_some(()));
        stream.write_all(b", part two").unwrap();
    });
    let mut caller = Caller::new();
    let ((_b1, upgrading), (_b2, answering)) = (before(&app), before(&streaming));
    let to = [upgrading.addr(), answering.addr()].map(|addr| format!("{addr}=cf:any"));
    let sidecar = setup(&caller, &[&to[0], &to[1]]).ready();
    let mut upgraded = AppClient::at(proxy(&sidecar));
    let text =
        format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", upgrading.addr());
    upgraded.0.write_all(text.as_bytes()).unwrap();
    assert!(upgraded.head().starts_with("HTTP/1.1 101 "));
    let mut tunnel = AppClient::at(proxy(&sidecar));
    tunnel.0.write_all(format!("CONNECT {} HTTP/1.1\r\n\r\n", answering.addr()).as_bytes()).unwrap();
    tunnel.head();
    tunnel.0.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(tunnel.head().starts_with("HTTP/1.1 200 "));
    caller.credentials.rotate();
    sidecar.wait_for("certificate rotated");
    // Several times the silence in which a connection is let go.
    std::thread::sleep(Duration::from_millis(300));
    GO.store(true, Ordering::SeqCst);
    for app_client in [&upgraded, &tunnel] {
        let (answer, ending) = read_to_end(&app_client.0);
        assert_eq!((String::from_utf8(answer).unwrap().as_str(), ending), ("part one, part two", Ending::Fin));
    }
}
