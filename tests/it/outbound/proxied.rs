//! Servers that are reached by way of an HTTP proxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::{Caller, app_guid, entry, outbound, say, server};
use crate::support::client::Ending;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

/// An HTTP proxy that leads to `server` whatever it is asked for, and gives `answer`.
fn proxy(server: SocketAddr, answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            heads.lock().unwrap().push(String::from_utf8(head).unwrap());
            client.write_all(answer.as_bytes()).unwrap();
            if !answer.contains(" 200 ") {
                continue;
            }
            let upstream = TcpStream::connect(server).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), upstream.try_clone().unwrap()), (upstream, client)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (addr, asked)
}

fn by_way_of(caller: &Caller, proxy: &str, to: &str, expect: &str, name: &str, more: &[&str]) -> Sidecar {
    let mut setup = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--outbound")
        .arg(&format!("0={to}"))
        .arg("--outbound-expect")
        .arg(expect)
        .arg("--outbound-server-name")
        .arg(name)
        .env("VESTIBULE_OUTBOUND_PROXY", proxy);
    for arg in more {
        setup = setup.arg(arg);
    }
    setup.ready()
}

#[test]
fn the_proxy_is_asked_for_the_name_with_the_password_and_the_server_is_verified_through_it() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let (addr, asked) = proxy(serving.addr(), "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n");
    let url = format!("http://user:p%40ss@{addr}");
    let name = backend.credentials.instance();
    let sidecar = by_way_of(&caller, &url, "backend.nowhere.invalid:61443", &app_guid(&backend), name, &[]);
    assert_eq!(say(outbound(&sidecar), b"hello"), (b"hello".to_vec(), Ending::Fin));
    let head = asked.lock().unwrap()[0].clone();
    assert_eq!(
        head,
        "CONNECT backend.nowhere.invalid:61443 HTTP/1.1\r\nHost: backend.nowhere.invalid:61443\r\n\
         Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n"
    );
    let entry = entry(&sidecar, "completed");
    assert_eq!((&entry["endpoint_addr"], &entry["server_name"]), (&addr.to_string().into(), &name.into()));
    assert_eq!(serving.access_log_entry("completed")["client_app"], caller.guid());
    let log = format!("{:?}", sidecar.lines());
    assert!(!log.contains("p@ss") && !log.contains("p%40ss") && !log.contains("dXNlcjpwQHNz"), "{log}");
}

#[test]
fn a_proxy_that_says_no_is_named_with_its_answer() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let (addr, _) = proxy(serving.addr(), "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    let name = backend.credentials.instance();
    let sidecar = by_way_of(&caller, &format!("http://{addr}"), "backend:1", &app_guid(&backend), name, &[]);
    assert_eq!(say(outbound(&sidecar), b"x"), (vec![], Ending::Reset));
    let detail = entry(&sidecar, "connect_failed")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("407 Proxy Authentication Required") && detail.contains("--outbound-proxy"), "{detail}");
}

#[test]
fn a_proxy_that_repeats_what_it_was_sent_brings_no_password_into_the_log() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    for repeated in ["Proxy-Authorization: Basic dXNlcjpwQHNzdzByZA==", "user:p@ssw0rd", "p%40ssw0rd"] {
        let answer: &str = format!("HTTP/1.1 502 no {repeated}\r\n\r\n").leak();
        let (addr, _) = proxy(serving.addr(), answer);
        let url = format!("http://user:p%40ssw0rd@{addr}");
        let name = backend.credentials.instance();
        let sidecar = by_way_of(&caller, &url, "b.nowhere.invalid:1", &app_guid(&backend), name, &[]);
        say(outbound(&sidecar), b"x");
        let said = entry(&sidecar, "connect_failed").to_string();
        assert!(said.contains("answers HTTP/1.1 502 (what we sent)"), "{said}");
        let log = format!("{:?}", sidecar.lines());
        for secret in ["p@ssw0rd", "p%40ssw0rd", "dXNlcjpwQHNzdzByZA"] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[test]
fn what_a_proxy_says_of_its_progress_is_no_answer_and_one_without_a_status_is_none() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let name = backend.credentials.instance();
    let through = |answer: &'static str| {
        let (addr, _) = proxy(serving.addr(), answer);
        by_way_of(&caller, &format!("http://{addr}"), "backend:1", &app_guid(&backend), name, &[])
    };
    let sidecar =
        through("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    assert_eq!(entry(&sidecar, "completed")["via_proxy"], true);
    let sidecar = through("HTTP/1.1 2xx 200 \r\n\r\n");
    assert_eq!(say(outbound(&sidecar), b"x"), (vec![], Ending::Reset));
    assert!(entry(&sidecar, "connect_failed")["detail"].as_str().unwrap().contains("2xx"));
}

#[test]
fn a_proxy_that_says_nothing_is_named_and_not_the_server() {
    let caller = Caller::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let more = ["--outbound-handshake-timeout", "300ms", "--outbound-protocol", "http1"];
    let sidecar = by_way_of(&caller, &url, "backend:1", "cf:any", "off", &more);
    let mut app_client = super::http::AppClient::at(outbound(&sidecar));
    let (head, body) = app_client.ask(super::http::GET);
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    let by = format!(
        "backend:1 by way of {}: the proxy on the way has not answered within 300ms",
        silent.local_addr().unwrap()
    );
    assert!(body.contains(&by), "{body}");
    let entry = eventually("the entry", || sidecar.lines_of("request completed").pop());
    assert_eq!(entry["via_proxy"], true);
}

#[test]
fn whom_no_proxy_names_is_dialled_itself() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let (addr, asked) = proxy(serving.addr(), "HTTP/1.1 200 OK\r\n\r\n");
    let name = backend.credentials.instance();
    let to = serving.addr().to_string();
    let more = ["--outbound-no-proxy", "127.0.0.0/8"];
    let sidecar = by_way_of(&caller, &format!("http://{addr}"), &to, &app_guid(&backend), name, &more);
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    assert_eq!(entry(&sidecar, "completed")["endpoint_addr"], to);
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn what_is_ours_behind_a_proxy_is_refused_by_its_own_address() {
    let caller = Caller::new();
    let (addr, asked) = proxy(app::nobody(), "HTTP/1.1 200 OK\r\n\r\n");
    let sidecar = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--forward-proxy=0")
        .arg("--forward-proxy-unlisted=tunnel")
        .env("VESTIBULE_ADMIN", "127.0.0.1:0")
        .env("VESTIBULE_OUTBOUND_PROXY", &format!("http://{addr}"))
        .ready();
    let admin: SocketAddr = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let mut app_client = super::http::AppClient::at(super::forward_proxy::proxy(&sidecar));
    let (head, body) = app_client.ask(&super::forward_proxy::get_from(admin));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(body, format!("vestibule: {admin} is not dialled: we listen there ourselves; name another server\n"));
    assert!(asked.lock().unwrap().is_empty());
}
