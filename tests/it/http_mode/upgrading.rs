//! Connections that become another protocol.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::draining::request_at;
use super::{Front, GET, asked, fields};
use crate::support::app::App;
use crate::support::client::Ending;
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};

const ASKING: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees, says something at once, and sends back what comes until its end.
fn chat(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[SWITCHING, b"welcome"].concat()).unwrap();
    let mut space = vec![0; 64 * 1024];
    while let Ok(n) = stream.read(&mut space) {
        if n == 0 {
            let _ = stream.write_all(b"goodbye");
            return;
        }
        if stream.write_all(&space[..n]).is_err() {
            return;
        }
    }
}

#[test]
fn both_sides_agree_and_what_stands_right_behind_both_heads_arrives() {
    let app = HttpApp::handing_over(chat);
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(format!("{ASKING}early"));
    let head = talk.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(fields(&head, "upgrade"), ["websocket"]);
    assert_eq!(fields(&head, "connection").len(), 1);
    assert_eq!(fields(&head, "sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    assert_eq!(talk.take(12), b"welcomeearly");
    let head = &app.asked()[0].head;
    assert_eq!((fields(head, "upgrade"), fields(head, "connection").len()), (vec!["websocket"], 1));
    assert_eq!(fields(head, "sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);

    // What is left of it is a connection like any other: each side ends its own half.
    talk.client.close_notify();
    assert_eq!(talk.rest(), (b"goodbye".to_vec(), Ending::CloseNotify));
    drop(talk);
    let entry = &front.requests(1)[0];
    assert_eq!((&entry["upgraded"], &entry["status"]), (&"websocket".into(), &101.into()));
    assert!(entry["reason"].is_null(), "{entry}");
    let closed = front.sidecar.access_log_entry("completed");
    assert_eq!(closed["conn"], entry["conn"]);
}

#[test]
fn ten_thousand_small_messages_arrive_one_by_one_and_in_order() {
    let app = HttpApp::handing_over(chat);
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(ASKING);
    talk.head();
    talk.take(7);
    for batch in 0..100 {
        let messages: Vec<_> = (0..100).map(|n| format!("{:05}", batch * 100 + n)).collect();
        for message in &messages {
            talk.send(message);
        }
        assert_eq!(talk.take(500), messages.concat().as_bytes());
    }
    // And one that is large.
    let large: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    for part in large.chunks(10_000) {
        talk.send(part);
        assert!(talk.take(part.len()) == part);
    }
}

#[test]
fn an_app_that_ends_its_half_may_still_be_spoken_to() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(SWITCHING).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"to the end");
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(ASKING);
    talk.head();
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    talk.send("to the end");
    talk.client.close_notify();
    front.sidecar.access_log_entry("completed");
}

#[test]
fn an_app_that_switches_unasked_or_to_something_else_has_not_answered() {
    let app = HttpApp::start(|_| Reply::SendAndClose([SWITCHING, b"unasked"].concat()));
    let front = Front::open(app.addr(), "--upgrade any");
    front.talk().ask(GET).is_ours(502, "app_bad_answer");
    front.talk().ask(&ASKING.replace("websocket", "other")).is_ours(502, "app_bad_answer");
}

#[test]
fn an_app_that_does_not_switch_answers_and_the_connection_goes_on() {
    let app = HttpApp::saying("no");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    assert_eq!(talk.ask(ASKING).text(), "no");
    assert_eq!(talk.ask(GET).text(), "no");
    assert_eq!(fields(&app.asked()[0].head, "upgrade"), ["websocket"]);
    assert!(front.requests(2).iter().all(|entry| entry["upgraded"].is_null()));
}

#[test]
fn what_may_not_be_switched_to_is_a_plain_request() {
    let with_body = ASKING.replace("GET", "POST").replace("Upgrade\r\n", "Upgrade\r\nContent-Length: 4\r\n") + "body";
    let unnamed = ASKING.replace("Connection: Upgrade\r\n", "");
    for (options, request) in [
        ("--upgrade off", ASKING.to_owned()),
        ("--upgrade other", ASKING.to_owned()),
        ("", with_body),
        ("", unnamed),
        ("--upgrade any", ASKING.replace("websocket", "h2c")),
    ] {
        let app = HttpApp::saying("plain");
        let front = Front::open(app.addr(), options);
        assert_eq!(front.talk().ask(&request).text(), "plain");
        let head = &app.asked()[0].head;
        assert!(fields(head, "upgrade").is_empty() && fields(head, "connection").is_empty(), "{head}");
    }
}

#[test]
fn it_stays_while_the_instance_goes() {
    let app = HttpApp::handing_over(chat);
    let mut front = Front::open(app.addr(), "");
    let (mut talk, mut idle) = (front.talk(), front.talk());
    talk.send(ASKING);
    talk.head();
    talk.take(7);
    // One that waits for a request is closed for going: that is when the other one would have been.
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.head();
    front.retire();
    let mut last = front.talk();
    assert_eq!(last.rest(), (Vec::new(), Ending::CloseNotify));
    talk.send("still here");
    assert_eq!(talk.take(10), b"still here");

    front.sidecar.signal("TERM");
    front.sidecar.wait_for("listeners closed");
    talk.send("still here");
    assert_eq!(talk.take(10), b"still here");
    talk.client.close_notify();
    assert_eq!(talk.rest(), (b"goodbye".to_vec(), Ending::CloseNotify));
    drop((talk, idle, last));
    assert_eq!(front.sidecar.exited().code(), Some(0));
}

#[test]
fn one_that_lasts_is_cut_off_at_the_end_of_the_drain_and_its_entry_says_so() {
    let app = HttpApp::handing_over(chat);
    let mut front = Front::open(app.addr(), "--drain-timeout 300ms");
    let mut talk = front.talk();
    talk.send(ASKING);
    talk.head();
    talk.take(7);
    front.sidecar.signal("TERM");
    assert_ne!(talk.rest().1, Ending::CloseNotify);
    assert_eq!(front.sidecar.exited().code(), Some(0));
    assert_eq!(front.requests(1)[0]["reason"], "drain_timeout");
}

#[test]
fn upgrades_are_counted_while_they_last() {
    let app = HttpApp::handing_over(chat);
    let front = Front::open(app.addr(), "--admin 127.0.0.1:0");
    let mut talk = front.talk();
    talk.send(ASKING);
    talk.head();
    let admin = front.sidecar.wait_for("admin listening")["admin"].as_str().unwrap().to_owned();
    let active = || {
        let mut stream = TcpStream::connect(&admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().find(|line| line.starts_with("vestibule_http_upgrades_active")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    eventually("one upgrade", || (active() == "1").then_some(()));
    drop(talk);
    eventually("none", || (active() == "0").then_some(()));
    asked(&app, 1);
}

/// Close as a server says it, and as a client does: 1001, going away.
const CLOSE: &[u8] = b"\x88\x02\x03\xe9";
const CLIENTS_CLOSE: &[u8] = b"\x88\x82\x00\x00\x00\x00\x03\xe9";

#[test]
fn a_web_socket_is_told_that_the_instance_goes_behind_the_frame_that_is_under_way() {
    let app = App::start();
    let mut front = Front::open(app.addr(), "--upgrade-drain close");
    let mut talk = front.talk();
    talk.send(ASKING);
    let mut connection = request_at(&app);
    connection.write_all(&[SWITCHING, b"\x81\x02hi\x82\x05he"].concat()).unwrap();
    talk.head();
    assert_eq!(talk.take(8), b"\x81\x02hi\x82\x05he");
    front.retire();
    connection.write_all(b"llo").unwrap();
    assert_eq!(talk.take(7), [b"llo", CLOSE].concat());
    // Nothing follows a Close. What the client answers ends the app's side.
    connection.write_all(b"\x81\x04more").unwrap();
    talk.send(CLIENTS_CLOSE);
    let mut heard = [0; CLIENTS_CLOSE.len()];
    connection.read_exact(&mut heard).unwrap();
    assert_eq!(heard, CLIENTS_CLOSE);
    connection.write_all(CLOSE).unwrap();
    drop(connection);
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    talk.client.close_notify();
    drop(talk);
    let entry = &front.requests(1)[0];
    assert!(entry["reason"].is_null() && entry["upgraded"] == "websocket", "{entry}");
}

#[test]
fn a_web_socket_that_is_silent_is_told_at_once_and_another_protocol_is_left_alone() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(SWITCHING).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, CLIENTS_CLOSE);
    });
    let mut front = Front::open(app.addr(), "--upgrade-drain close");
    let mut talk = front.talk();
    talk.send(ASKING);
    talk.head();
    front.sidecar.signal("TERM");
    assert_eq!(talk.take(4), CLOSE);
    talk.send(CLIENTS_CLOSE);
    talk.client.close_notify();
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    drop(talk);
    assert_eq!(front.sidecar.exited().code(), Some(0));

    let switching = String::from_utf8(SWITCHING.to_vec()).unwrap().replace("websocket", "other");
    let app = HttpApp::start(move |_| Reply::Send(switching.clone().into_bytes()));
    let mut front = Front::open(app.addr(), "--upgrade any --upgrade-drain close --drain-timeout 300ms");
    let mut talk = front.talk();
    talk.send(ASKING.replace("websocket", "other"));
    talk.head();
    front.sidecar.signal("TERM");
    let (said, ending) = talk.rest();
    assert!(said.is_empty() && ending != Ending::CloseNotify, "{said:?} {ending:?}");
    assert_eq!(front.sidecar.exited().code(), Some(0));
}
