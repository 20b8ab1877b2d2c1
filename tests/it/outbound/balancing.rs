//! Several endpoints: which is dialled, and what becomes of those that fail.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Caller, app_guid, entry, outbound, say, server};
use crate::clients::Backend;
use crate::support::client::Ending;
use crate::support::machine::in_namespaces;
use crate::support::sidecar::Setup;
use crate::support::{app, eventually};

/// Servers of one app, and one of another.
fn instances(n: usize) -> (Vec<crate::support::sidecar::Sidecar>, Vec<SocketAddr>, String) {
    let backend = crate::clients::Backend::new();
    let sidecars: Vec<_> = (0..n).map(|_| backend.before(app::echo()).arg("--allow").arg("cf:any").ready()).collect();
    let addrs = sidecars.iter().map(|sidecar| sidecar.addr()).collect();
    (sidecars, addrs, app_guid(&backend))
}

fn served(sidecars: &[crate::support::sidecar::Sidecar]) -> Vec<usize> {
    sidecars.iter().map(|sidecar| sidecar.reasons().iter().filter(|reason| *reason == "completed").count()).collect()
}

#[test]
fn a_wrong_one_among_three_costs_no_request_and_is_ejected() {
    let caller = Caller::new();
    let (sidecars, mut addrs, expected) = instances(2);
    let (stranger, another) = server("cf:any");
    addrs.insert(0, another.addr());
    let sidecar = caller.dialling(&addrs, &expected).arg("--outbound-balance").arg("round-robin").ready();
    let addr = outbound(&sidecar);
    for _ in 0..30 {
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
    }
    let ejected = sidecar.wait_until("the ejection", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("endpoint ejected"))
    });
    assert_eq!(ejected["endpoint_addr"], another.addr().to_string());
    assert_eq!(ejected["reason"], "unexpected_identity");
    assert!(
        ejected["error"].as_str().unwrap().contains(&format!("{} has answered, and {expected}", app_guid(&stranger)))
    );
    assert!(ejected["seconds"].as_f64().is_some_and(|seconds| (4.0..=6.0).contains(&seconds)), "{ejected}");
    eventually("all requests", || (served(&sidecars).iter().sum::<usize>() == 30).then_some(()));
    assert!(served(&sidecars).iter().all(|n| *n >= 10), "{:?}", served(&sidecars));
    // After three failures in a row it is left alone, but for a probe every few seconds.
    assert!((3..=6).contains(&another.reasons().len()), "{:?}", another.reasons());
    assert!(sidecar.reasons().iter().all(|reason| reason == "completed"), "{:?}", sidecar.reasons());
}

#[test]
fn somebody_else_at_one_of_several_endpoints_is_told_once_and_stands_in_the_status_though_no_request_fails() {
    let caller = Caller::new();
    let (_sidecars, mut addrs, expected) = instances(1);
    let (stranger, another) = server("cf:any");
    addrs.insert(0, another.addr());
    let setup = caller.dialling(&addrs, &expected).arg("--outbound-balance").arg("round-robin");
    let sidecar = setup.arg("--outbound-eject").arg("off").env("VESTIBULE_ADMIN", "127.0.0.1:0").ready();
    for _ in 0..10 {
        assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    }
    let is_warning = |line: &Value| line["level"] == "warn" && line["endpoint_addr"].is_string();
    sidecar.wait_until("a warning of the endpoint", is_warning);
    let told: Vec<_> = sidecar.lines().into_iter().filter(is_warning).collect();
    let [denied] = &told[..] else { panic!("{told:?}") };
    assert!(denied["message"].as_str().unwrap().starts_with("endpoint denied"), "{denied}");
    assert!(denied["message"].as_str().unwrap().ends_with("; other endpoints are tried"), "{denied}");
    assert_eq!(
        (&denied["endpoint_addr"], &denied["reason"]),
        (&another.addr().to_string().into(), &"unexpected_identity".into())
    );
    let who = app_guid(&stranger);
    assert!(denied["error"].as_str().unwrap().contains(&who), "{denied}");

    let admin = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let status: serde_json::Value = serde_json::from_str(&crate::health::get(admin, "/status.json").1).unwrap();
    let endpoints = &status["outbounds"][0]["endpoints"];
    assert_eq!(endpoints[0]["addr"], another.addr().to_string());
    assert_eq!((&endpoints[0]["state"], &endpoints[0]["ejected_seconds"]), (&"ready".into(), &serde_json::Value::Null));
    let last = &endpoints[0]["last_failure"];
    assert_eq!(last["close_reason"], "unexpected_identity");
    assert!(last["error"].as_str().unwrap().contains(&who) && last["at"].is_string(), "{last}");
    assert!(endpoints[1]["last_failure"].is_null(), "{endpoints}");
    assert!(crate::health::get(admin, "/").1.contains(&who), "the page says who");
}

/// A server that lets in everybody, and one of the same app that lets in nobody; in TLS 1.3 it says so behind a handshake that was a success.
fn willing_and_unwilling() -> (crate::clients::Backend, [crate::support::sidecar::Sidecar; 2]) {
    let backend = crate::clients::Backend::new();
    let serving = ["cf:any", "cf:app:00000000-0000-4000-8000-000000000000"]
        .map(|rule| backend.before(app::echo()).arg("--allow").arg(rule).ready());
    (backend, serving)
}

#[test]
fn one_that_does_not_accept_our_certificate_is_ejected_though_its_handshakes_are_a_success() {
    let caller = Caller::new();
    let (backend, serving) = willing_and_unwilling();
    let addrs = serving.each_ref().map(|sidecar| sidecar.addr());
    let sidecar = caller.dialling(&addrs, &app_guid(&backend)).arg("--outbound-balance").arg("round-robin").ready();
    let addr = outbound(&sidecar);
    let ejected = || {
        let lines = sidecar.lines();
        let of = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|said| said.starts_with("endpoint ejected"))
        };
        lines.into_iter().find(of)
    };
    // One request after the other: what is well between does not count for the one that is not.
    let ejected = eventually("the ejection", || {
        say(addr, b"x");
        ejected()
    });
    assert_eq!(ejected["endpoint_addr"], addrs[1].to_string());
    for _ in 0..6 {
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
    }
}

/// An app that accepts each connection and resets it, and so a server that ends each behind its handshake, without a word.
fn resetting() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
    });
    addr
}

fn ejection(sidecar: &crate::support::sidecar::Sidecar) -> Option<serde_json::Value> {
    let is_one = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|message| message.starts_with("endpoint ejected"))
    };
    sidecar.lines().into_iter().find(is_one)
}

#[test]
fn one_that_ends_each_connection_behind_its_handshake_without_a_word_is_ejected_and_its_probe_is_one_connection() {
    let caller = Caller::new();
    let backend = crate::clients::Backend::new();
    let broken = backend.before(resetting()).arg("--allow").arg("cf:any").ready();
    let well = backend.before(app::echo()).arg("--allow").arg("cf:any").ready();
    let addrs = [broken.addr(), well.addr()];
    let sidecar = caller.dialling(&addrs, &app_guid(&backend)).arg("--outbound-balance").arg("round-robin").ready();
    let addr = outbound(&sidecar);
    let ejected = eventually("the ejection", || {
        say(addr, b"x");
        ejection(&sidecar)
    });
    assert_eq!(ejected["endpoint_addr"], broken.addr().to_string());
    for _ in 0..6 {
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
    }
}

#[test]
fn an_endpoint_whose_responses_are_of_no_use_is_ejected_though_each_has_a_connection_of_its_own() {
    use crate::support::http_app::{HttpApp, Reply};
    let caller = Caller::new();
    let well = HttpApp::saying("well");
    for (response, more) in [
        ("", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\ncut", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", ""),
        ("HTTP/1.1 503 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "eject-on = \"5xx\""),
    ] {
        let broken = HttpApp::start(move |_| Reply::SendAndClose(response.as_bytes().to_vec()));
        let backend = crate::clients::Backend::new();
        let serving = [broken.addr(), well.addr()].map(|app| backend.before(app).arg("--allow").arg("cf:any").ready());
        let addrs = serving.each_ref().map(|sidecar| sidecar.addr());
        let more = format!("balance = \"round-robin\"\n{more}");
        let sidecar = super::http::sending(&caller, &addrs, &app_guid(&backend), &more);
        let ejected = eventually("the ejection", || {
            let mut app_client = std::net::TcpStream::connect(outbound(&sidecar)).unwrap();
            app_client
                .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            crate::support::client::read_to_end(&app_client);
            ejection(&sidecar)
        });
        assert_eq!(ejected["endpoint_addr"], addrs[0].to_string(), "{response}");
    }
}

#[test]
fn one_that_refuses_costs_no_request_either_and_the_entry_counts_the_attempts() {
    let caller = Caller::new();
    let (_sidecars, mut addrs, expected) = instances(1);
    addrs.insert(0, app::nobody());
    let sidecar = caller.dialling(&addrs, &expected).arg("--outbound-balance").arg("first").ready();
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    let entry = entry(&sidecar, "completed");
    assert_eq!((&entry["attempts"], &entry["endpoint_addr"]), (&2.into(), &addrs[1].to_string().into()));
}

#[test]
fn connections_are_spread_by_how_many_there_are() {
    let caller = Caller::new();
    let (sidecars, addrs, expected) = instances(3);
    let sidecar = caller.dialling(&addrs, &expected).ready();
    let addr = outbound(&sidecar);
    let mut open = Vec::new();
    for _ in 0..30 {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        open.push(stream);
    }
    drop(open);
    eventually("their ends", || (served(&sidecars).iter().sum::<usize>() == 30).then_some(()));
    // Of two that are drawn the one with fewer: nobody is far behind.
    assert!(served(&sidecars).iter().all(|n| (6..=14).contains(n)), "{:?}", served(&sidecars));
}

#[test]
fn round_robin_gives_each_the_same_and_first_gives_all_to_the_first() {
    let caller = Caller::new();
    let (sidecars, addrs, expected) = instances(3);
    let counts = |balance: &str, n: usize| {
        let before = served(&sidecars);
        let sidecar = caller.dialling(&addrs, &expected).arg("--outbound-balance").arg(balance).ready();
        let addr = outbound(&sidecar);
        for _ in 0..n {
            assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
        }
        let now = || served(&sidecars).iter().zip(&before).map(|(now, before)| now - before).collect::<Vec<_>>();
        eventually("all of them", || (now().iter().sum::<usize>() == n).then(now))
    };
    assert_eq!(counts("round-robin", 9), [3, 3, 3]);
    assert_eq!(counts("first", 5), [5, 0, 0]);
}

#[test]
fn one_that_never_answers_is_passed_by_and_ejected() {
    let caller = Caller::new();
    let (_sidecars, mut addrs, expected) = instances(1);
    // A listener whose queue is full: whoever dials it hears nothing.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let silent = full.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&silent, std::time::Duration::from_millis(300)) {
        queued.push(stream);
    }
    addrs.insert(0, silent);
    let setup = caller.dialling(&addrs, &expected).arg("--outbound-balance").arg("first");
    let sidecar = setup.arg("--outbound-connect-timeout").arg("400ms").ready();
    let addr = outbound(&sidecar);
    let ejected = eventually("the ejection", || {
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
        let lines = sidecar.lines();
        let found =
            lines.iter().find(|line| line["message"].as_str().is_some_and(|m| m.starts_with("endpoint ejected")));
        found.cloned()
    });
    assert_eq!(ejected["endpoint_addr"], silent.to_string());
    assert!(sidecar.reasons().iter().all(|reason| reason == "completed"), "{:?}", sidecar.reasons());
}

#[test]
fn where_all_fail_the_last_failure_is_told_and_no_endpoint_is_ejected_for_good() {
    let caller = Caller::new();
    let addrs = [app::nobody(), app::nobody(), app::nobody(), app::nobody()];
    let sidecar = caller.dialling(&addrs, "cf:any").ready();
    let addr = outbound(&sidecar);
    for _ in 0..12 {
        assert_eq!(say(addr, b"x"), (vec![], Ending::Reset));
    }
    let entries = || -> Vec<_> { sidecar.lines().into_iter().filter(|line| line["direction"] == "outbound").collect() };
    let mut reasons = BTreeMap::new();
    for line in eventually("all entries", || Some(entries()).filter(|entries| entries.len() == 12)) {
        *reasons.entry(line["close_reason"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        assert_eq!(line["attempts"], 3);
    }
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), [("connect_refused".to_owned(), 12)]);
    // At most half of them are left alone.
    assert!(
        sidecar
            .lines()
            .iter()
            .filter(|line| line["message"].as_str().unwrap_or_default().starts_with("endpoint ejected"))
            .count()
            <= 2
    );
}

#[test]
fn a_name_in_the_hosts_file_is_looked_up_and_one_that_is_nowhere_has_no_endpoint() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let start = |host: &str, name: &str| {
        Setup::proxy(&caller.credentials, app::nobody())
            .arg("--outbound")
            .arg(&format!("0={host}:{}", serving.addr().port()))
            .arg("--outbound-server-name")
            .arg(name)
            .arg("--outbound-expect")
            .arg(&app_guid(&backend))
            .ready()
    };
    let sidecar = start("localhost", backend.credentials.instance());
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    let entry = entry(&sidecar, "completed");
    assert_eq!(entry["endpoint_addr"], serving.addr().to_string());
    assert_eq!(entry["server_name"], backend.credentials.instance());
}

#[test]
fn an_endpoint_is_not_blamed_for_ports_that_this_machine_lacks() {
    let here = "outbound::balancing::an_endpoint_is_not_blamed_for_ports_that_this_machine_lacks";
    let prepare = "ip link set lo up";
    if !in_namespaces(here, &["--net"], prepare, Path::new("/")) {
        return;
    }
    let caller = Caller::new();
    let backends = [Backend::new(), Backend::new()];
    // Each has an app of its own: the ports from which one app can be dialled are as many as those from which one server can.
    let serving = backends.each_ref().map(|one| one.before(app::echo()).arg("--allow").arg("cf:any").ready());
    let path = caller.credentials.dir().join("out.sock");
    let rules = backends.each_ref().map(|one| format!("\"{}\"", app_guid(one))).join(", ");
    let to = serving.each_ref().map(|one| format!("\"{}\"", one.addr())).join(", ");
    let file = caller.credentials.dir().join("vestibule.toml");
    let listen = path.display();
    let text = format!("[[outbound]]\nlisten = \"unix:{listen}\"\nto = [{to}]\nexpect = [{rules}]\neject = 1\n");
    std::fs::write(&file, text).unwrap();
    let sidecar = Setup::proxy(&caller.credentials, app::nobody()).arg("--config").arg(file.to_str().unwrap()).ready();
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40001 40020").unwrap();
    let answered = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"x").is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
    };
    let mut open: Vec<_> = (0..60).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let served = open.iter_mut().map(answered).filter(|answered| *answered).count();
    assert!((20..=40).contains(&served), "{served}");
    let lacking = entry(&sidecar, "overloaded");
    assert!(lacking["detail"].as_str().unwrap().contains("no local port is free"), "{lacking}");
    drop(open);
    let ejected = |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with("endpoint ejected"));
    assert!(!sidecar.lines().iter().any(ejected));
}
