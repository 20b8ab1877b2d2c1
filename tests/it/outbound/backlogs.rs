//! Bytes that nobody takes, in either direction: held to the memory limit, as those of clients are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::http::{before, sending_by};
use super::{Caller, app_guid, outbound};
use crate::clients::Backend;
use crate::memory::torrent;
use crate::metrics::Measured;
use crate::support::client::connector;
use crate::support::http_app::HttpApp;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

const KIB: usize = 1024;

/// Connections of the app that are stuck: they hold more than the budget in all.
const STUCK: usize = 24;

/// With an eighth of this for what is not taken: half a MiB.
fn measured(setup: Setup) -> Measured {
    Measured::new(setup.arg("--memory-limit").arg("4M").arg("--max-connections").arg("200"))
}

fn held(measured: &Measured) -> f64 {
    measured.series()["vestibule_held_memory_bytes{budget=\"backlogs\"}"]
}

fn limit(measured: &Measured) -> f64 {
    measured.series()["vestibule_held_memory_limit_bytes{budget=\"backlogs\"}"]
}

/// Waits until memory is short, then until some had to go, and then until there is room again; `goes_on` all the while.
fn assert_room_is_made(measured: &Measured, mut goes_on: impl FnMut()) {
    let limit = limit(measured);
    eventually("a budget that is spent", || (held(measured) > limit / 2.0).then_some(()));
    let had_to_go = |line: &Value| {
        line["close_reason"] == "overloaded"
            && line["direction"] == "outbound"
            && line["detail"].as_str().is_some_and(|detail| detail.contains("memory for backlogs is short"))
    };
    eventually("one that had to go", || {
        goes_on();
        measured.sidecar.lines().into_iter().find(had_to_go)
    });
    eventually("room again", || {
        goes_on();
        (held(measured) <= limit / 2.0).then_some(())
    });
    // A small read and what is in hyper's hands for each, beyond the budget.
    assert!(held(measured) <= limit + (STUCK * 16 * KIB) as f64);
}

/// A connection of the app that has sent `text` and reads nothing.
fn app_client(addr: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn read_some(stream: &mut TcpStream) {
    stream.read_exact(&mut vec![0; 10_000]).unwrap();
}

#[test]
fn downloads_that_the_app_does_not_read_make_room_when_memory_is_short_and_those_that_are_read_go_on() {
    let (caller, backend) = (Caller::new(), Backend::new());
    let serving = backend.before(torrent()).arg("--allow").arg("cf:any").ready();
    let measured = measured(caller.dialling(&[serving.addr()], &app_guid(&backend)));
    let addr = outbound(&measured.sidecar);
    let mut reading = app_client(addr, "x");
    read_some(&mut reading);
    let unread: Vec<_> = (0..STUCK).map(|_| app_client(addr, "x")).collect();
    assert_room_is_made(&measured, || read_some(&mut reading));
    drop(unread);
}

#[test]
fn uploads_that_the_server_does_not_take_make_room_when_memory_is_short() {
    let (caller, backend) = (Caller::new(), Backend::new());
    // Nobody accepts behind the server's own queue.
    let deaf = app::App::start();
    let serving = backend.before(deaf.addr()).arg("--allow").arg("cf:any").ready();
    let measured = measured(caller.dialling(&[serving.addr()], &app_guid(&backend)));
    let addr = outbound(&measured.sidecar);
    let stuck: Vec<_> = (0..STUCK).map(|_| pouring(addr, "")).collect();
    assert_room_is_made(&measured, || {});
    drop(stuck);
}

/// A connection of the app that sends `head`, and then without end.
fn pouring(addr: SocketAddr, head: &str) -> TcpStream {
    let stream = app_client(addr, head);
    let mut writer = stream.try_clone().unwrap();
    std::thread::spawn(move || while writer.write_all(&[7; 64 * KIB]).is_ok() {});
    stream
}

#[test]
fn bodies_of_responses_that_the_app_does_not_read_make_room_when_memory_is_short_and_others_go_on() {
    let caller = Caller::new();
    let app = HttpApp::handing_over(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
        while stream.write_all(&[0; 64 * KIB]).is_ok() {}
    });
    let (backend, serving) = before(&app);
    let measured = measured(sending_by(&caller, &[serving.addr()], &app_guid(&backend), ""));
    let addr = outbound(&measured.sidecar);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut reading = app_client(addr, request);
    read_some(&mut reading);
    let unread: Vec<_> = (0..STUCK).map(|_| app_client(addr, request)).collect();
    assert_room_is_made(&measured, || read_some(&mut reading));
    drop(unread);
}

#[test]
fn bodies_of_requests_that_the_server_does_not_read_make_room_when_memory_is_short_and_the_app_is_told() {
    let caller = Caller::new();
    // It reads the head, and keeps the connection.
    let app = HttpApp::handing_over(|stream| {
        std::thread::park();
        drop(stream);
    });
    let (backend, serving) = before(&app);
    let measured = measured(sending_by(&caller, &[serving.addr()], &app_guid(&backend), ""));
    let addr = outbound(&measured.sidecar);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n";
    let stuck: Vec<_> = (0..STUCK).map(|_| pouring(addr, request)).collect();
    assert_room_is_made(&measured, || {});
    let told = |line: &Value| {
        let detail = line["detail"].as_str().unwrap_or_default();
        line["status"] == 503 && detail.contains("memory for backlogs is short")
    };
    eventually("an answer", || measured.sidecar.lines().into_iter().find(told));
    drop(stuck);
}

#[test]
fn heads_of_responses_that_do_not_end_are_held_to_the_memory_limit() {
    let caller = Caller::new();
    let app = HttpApp::handing_over(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        let _ = stream.write_all(&[b'a'; 20 * KIB]);
        std::thread::park();
    });
    let (backend, serving) = before(&app);
    let measured = measured(sending_by(&caller, &[serving.addr()], &app_guid(&backend), ""));
    let addr = outbound(&measured.sidecar);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let waiting: Vec<_> = (0..STUCK).map(|_| app_client(addr, request)).collect();
    assert_room_is_made(&measured, || {});
    // Others have waited for their turn.
    let told = |line: &Value| {
        let detail = line["detail"].as_str().unwrap_or_default();
        line["close_reason"] == "overloaded" && line["status"] == 503 && detail.contains("memory for backlogs")
    };
    eventually("an answer", || measured.sidecar.lines().into_iter().find(told));
    drop(waiting);
}

/// Asks on so many connections, of which none reads, and waits until one is refused for want of memory: what the process has come to hold
/// meanwhile is within five eighths of its limit, 16 MiB. Clients are served beside it.
fn assert_no_more_is_held_than_may_be(measured: &Measured, caller: &Caller, mut ask: impl FnMut() -> TcpStream) {
    const APPS: usize = 200;
    const MAY_HOLD_KIB: u64 = 16 * 1024 / 8 * 5;
    let held_kib = || crate::relay::anonymous_kib(measured.sidecar.pid());
    let before = held_kib();
    let mut most = before;
    let mut stuck = Vec::new();
    for _ in 0..APPS {
        stuck.push(ask());
        most = most.max(held_kib());
    }
    let mut client = connector(caller.credentials.instance()).connect(measured.sidecar.addr()).unwrap();
    client.send(b"still here").unwrap();
    assert_eq!(client.receive(10).unwrap(), b"still here");
    let refused = |line: &Value| {
        let detail = line["detail"].as_str().unwrap_or_default();
        line["close_reason"] == "overloaded" && detail.contains("requests for which there is memory at a time")
    };
    let entry = eventually("one that is refused", || {
        most = most.max(held_kib());
        measured.sidecar.lines().into_iter().find(refused)
    });
    assert_eq!((&entry["status"], &entry["bytes_up"]), (&503.into(), &0.into()), "{entry}");
    assert!(entry["detail"].as_str().unwrap().contains("raise the container's memory limit"), "{entry}");
    assert!(most - before < MAY_HOLD_KIB, "{} KiB", most - before);
    // Some have a thread that writes to them, and holds them open until then.
    stuck.iter().for_each(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
    drop(stuck);
}

fn assert_nothing_is_held(measured: &Measured) {
    measured.wait_for("vestibule_held_memory_bytes{budget=\"backlogs\"}", 0.0);
}

/// A sidecar that sends requests to `serving`, whose memory is short, in front of an app that sends back what it gets.
fn with_little_memory(caller: &Caller, serving: &Sidecar, backend: &Backend) -> Measured {
    sending_by(caller, &[serving.addr()], &app_guid(backend), "");
    let file = caller.credentials.dir().join("vestibule.toml");
    let setup = Setup::proxy(&caller.credentials, app::echo()).arg("--config").arg(file.to_str().unwrap());
    Measured::new(setup.arg("--memory-limit").arg("16M"))
}

/// A connection as [`app_client`], for which the kernel keeps little.
fn small_client(addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 * KIB).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket.into()
}

#[test]
fn apps_that_do_not_read_have_the_process_hold_no_more_than_it_may_however_many_they_are() {
    let caller = Caller::new();
    let app = HttpApp::handing_over(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
        while stream.write_all(&[0; 64 * KIB]).is_ok() {}
    });
    let (backend, serving) = before(&app);
    let measured = with_little_memory(&caller, &serving, &backend);
    let addr = outbound(&measured.sidecar);
    assert_no_more_is_held_than_may_be(&measured, &caller, || {
        let mut stream = small_client(addr);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    });
    assert_nothing_is_held(&measured);
    let mut reading = app_client(addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_some(&mut reading);
}

#[test]
fn a_server_that_does_not_read_has_the_process_hold_no_more_than_it_may_however_many_ask_it() {
    let caller = Caller::new();
    let app = HttpApp::handing_over(|stream| {
        std::thread::park();
        drop(stream);
    });
    let (backend, serving) = before(&app);
    let measured = with_little_memory(&caller, &serving, &backend);
    let addr = outbound(&measured.sidecar);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n";
    assert_no_more_is_held_than_may_be(&measured, &caller, || pouring(addr, request));
    // What the apps have sent before they went might still be read.
    drop(serving);
    assert_nothing_is_held(&measured);
}

#[test]
fn a_servers_chain_that_is_longer_than_most_counts_as_long_as_its_connection_lasts() {
    let (caller, backend) = (Caller::new(), Backend::new());
    let names = (0..400).map(|number| format!("{number}.example.com")).collect::<Vec<_>>();
    let junk = rcgen::generate_simple_self_signed(names).unwrap().cert.pem();
    let chain = std::fs::read_to_string(backend.credentials.cert()).unwrap() + &junk.repeat(4);
    std::fs::write(backend.credentials.cert(), &chain).unwrap();
    let serving = backend.before(app::echo()).arg("--allow").arg("cf:any").ready();
    let setup = caller.dialling(&[serving.addr()], &app_guid(&backend));
    let measured = Measured::new(setup.arg("--memory-limit").arg("64M"));
    let mut stream = app_client(outbound(&measured.sidecar), "hello");
    stream.read_exact(&mut [0; 5]).unwrap();
    // Base64 makes four bytes of three.
    let least = chain.len() / 4 * 3 - chain.len() / 16;
    eventually("a chain that counts", || (held(&measured) as usize >= least).then_some(()));
    assert!(held(&measured) as usize <= chain.len());
    drop(stream);
    assert_nothing_is_held(&measured);
}

#[test]
fn a_handshake_that_waits_for_memory_is_no_fault_of_the_servers() {
    let (caller, backend) = (Caller::new(), Backend::new());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let server_addr = server.local_addr().unwrap();
    // It begins a record (RFC 8446, 5.1) each time, and does not end it.
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(&[&[22, 3, 3, 0x40, 0][..], &[0; 15 * KIB]].concat());
            silent.push(stream);
        }
    });
    let setup = caller.dialling(&[server_addr], &app_guid(&backend));
    let measured = measured(setup.arg("--outbound-handshake-timeout").arg("1s"));
    let addr = outbound(&measured.sidecar);
    let waiting: Vec<_> = (0..12).map(|_| app_client(addr, "")).collect();
    let entries = || measured.sidecar.lines().into_iter().filter(|line| line["direction"] == "outbound");
    let with = |reason: &str| entries().filter(|line| line["close_reason"] == reason).collect::<Vec<_>>();
    eventually("an end of all", || (entries().count() == waiting.len()).then_some(()));
    let (of_memory, of_the_server) = (with("overloaded"), with("handshake_timeout"));
    assert_eq!(of_memory.len() + of_the_server.len(), waiting.len());
    assert!(!of_memory.is_empty() && !of_the_server.is_empty(), "{of_memory:?} {of_the_server:?}");
    for entry in of_memory {
        let detail = entry["detail"].as_str().unwrap();
        assert!(detail.contains("says much in the handshake") && detail.contains("memory limit"), "{entry}");
    }
}
