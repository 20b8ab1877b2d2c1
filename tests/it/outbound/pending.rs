//! Apps that go before their endpoint has answered.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::{Caller, outbound};
use crate::support::eventually;

const APPS: usize = 100;

/// Those that have come to `endpoint`, which says nothing.
fn accept_all(endpoint: &TcpListener, accepted: &mut Vec<TcpStream>) {
    loop {
        match endpoint.accept() {
            Ok((stream, _)) => accepted.push(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn apps_that_leave_before_the_endpoint_answers_give_their_places_back_at_once() {
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    endpoint.set_nonblocking(true).unwrap();
    let caller = Caller::new();
    let sidecar = caller
        .dialling(&[endpoint.local_addr().unwrap()], "cf:any")
        .arg("--outbound-max-pending")
        .arg(&APPS.to_string())
        .arg("--outbound-timeout")
        .arg("5m")
        .arg("--outbound-handshake-timeout")
        .arg("5m")
        .ready();
    let addr = outbound(&sidecar);
    let mut accepted = Vec::new();
    let apps: Vec<_> = (0..APPS).map(|_| TcpStream::connect(addr).unwrap()).collect();
    eventually("all of them at the endpoint", || {
        accept_all(&endpoint, &mut accepted);
        (accepted.len() == APPS).then_some(())
    });
    for (nth, app) in apps.into_iter().enumerate() {
        if nth % 2 == 0 {
            socket2::SockRef::from(&app).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    let reasons = |reason: &str| {
        sidecar.lines().iter().filter(|line| line["direction"] == "outbound" && line["close_reason"] == reason).count()
    };
    eventually("those that were reset", || (reasons("app_reset") == APPS / 2).then_some(()));
    // As many again, all at the same time.
    let mut others = Vec::new();
    eventually("places for as many others", || {
        // Where there is no place yet it is reset, maybe before the call has returned.
        if let Ok(mut app) = TcpStream::connect(addr) {
            let _ = app.write_all(b"waits");
            others.push(app);
        }
        accept_all(&endpoint, &mut accepted);
        (accepted.len() == 2 * APPS).then_some(())
    });
    assert_eq!(reasons("handshake_timeout") + reasons("connect_timeout"), 0);
}
