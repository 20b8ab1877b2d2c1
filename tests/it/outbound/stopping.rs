//! Stops: outbound listeners stay until the app is gone.

use std::io::{Read, Write};

use super::http::{AppClient, before, sending_by};
use super::{Caller, app_guid, entry, outbound, server};
use crate::support::client::{Ending, read_to_end};
use crate::support::eventually;
use crate::support::http_app::HttpApp;
use crate::support::sidecar::Setup;

#[test]
fn an_app_that_calls_others_in_its_own_shutdown_succeeds() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    // A port that the app knows before it starts.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let call =
        format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo last >&3; read line <&3; exec 3>&-; [ \"$line\" = last ]");
    let script = format!(
        "trap 'for n in 1 2 3 4 5 6 7 8 9 10; do ({call}) || exit 9; done; exit 7' TERM; echo waiting >&2; while :; do sleep 0.05; done"
    );
    let mut sidecar = Setup::command(&["run", "--listen", "127.0.0.1:0", "--app", "127.0.0.1:1"])
        .credentials(&caller.credentials)
        .arg("--outbound")
        .arg(&format!("{port}={}", serving.addr()))
        .arg("--outbound-expect")
        .arg(&app_guid(&backend))
        .arg("--")
        .arg("bash")
        .arg("-c")
        .arg(&script)
        .ready();
    assert_eq!(outbound(&sidecar).port(), port);
    sidecar.wait_until("the app", |line| line == "waiting");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(7));
    let served = serving.reasons().iter().filter(|reason| *reason == "completed").count();
    assert_eq!(served, 10);
    let end = sidecar.wait_for("exited");
    assert_eq!((&end["outbound_connections"], &end["outbound_requests"]), (&10.into(), &0.into()), "{end}");
    assert_eq!((&end["outbound_bytes_up"], &end["outbound_bytes_down"]), (&50.into(), &50.into()), "{end}");
    assert_eq!((&end["connections"], &end["bytes_up"]), (&0.into(), &0.into()), "nobody has called the app: {end}");
    assert!(serving.lines_of("exited").is_empty());
}

#[test]
fn a_connection_that_is_open_does_not_delay_the_exit() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let dialling = caller.dialling(&[serving.addr()], &app_guid(&backend));
    let mut sidecar = dialling.arg("--drain-timeout").arg("60s").ready();
    let stream = std::net::TcpStream::connect(outbound(&sidecar)).unwrap();
    let began = std::time::Instant::now();
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    assert!(began.elapsed() < crate::support::TEST_TIMEOUT, "it waits for the whole drain timeout");
    entry(&sidecar, "completed");
    drop(stream);
}

#[test]
fn a_request_that_the_end_of_the_drain_cuts_off_is_logged_as_that_and_not_as_the_apps_doing() {
    // One that says nothing, and one whose answer never ends.
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").unwrap();
        let _ = stream.read(&mut [0]);
    });
    let silent = HttpApp::handing_over(|mut stream| drop(stream.read(&mut [0])));
    let ((_b1, streaming), (_b2, hanging)) = (before(&app), before(&silent));
    let caller = Caller::new();
    let to = [streaming.addr(), hanging.addr()];
    let mut sidecar =
        sending_by(&caller, &to, "cf:any", "balance = \"round-robin\"").arg("--drain-timeout").arg("300ms").ready();
    let mut app_client: Vec<_> = to.iter().map(|_| AppClient::at(outbound(&sidecar))).collect();
    for app_client in &mut app_client {
        app_client.0.write_all(super::http::GET.as_bytes()).unwrap();
    }
    eventually("both requests", || (app.asked().len() == 1 && silent.asked().len() == 1).then_some(()));
    sidecar.signal("TERM");
    for app_client in &app_client {
        assert_eq!(read_to_end(&app_client.0).1, Ending::Reset);
    }
    assert_eq!(sidecar.exited().code(), Some(0));
    let entries = sidecar.lines_of("request completed");
    assert_eq!(entries.len(), 2, "{entries:?}");
    for entry in entries {
        assert_eq!(entry["close_reason"], "drain_timeout", "{entry}");
        assert!(entry["bytes_up"].as_u64() > Some(20), "{entry}");
    }
}
