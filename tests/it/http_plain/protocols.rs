//! What a connection without TLS speaks, and what it becomes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::{connect, plain};
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};

/// A GET for `/` on stream 1: HEADERS with END_HEADERS and END_STREAM, in static HPACK but for the authority.
const GET: &[u8] = b"\x00\x00\x09\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x04a.te";

/// The next frame: its kind and its payload.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).unwrap();
    (head[3], payload)
}

#[test]
fn the_preface_of_http2_is_known_in_pieces_and_answered_in_http2() {
    let app = HttpApp::saying("hello");
    let sidecar = plain(app.addr()).arg("--allow").arg("anonymous").start();
    let mut stream = connect(sidecar.addr());
    stream.set_nodelay(true).unwrap();
    for piece in [&b"PRI * HTTP"[..], b"/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", GET] {
        stream.write_all(piece).unwrap();
    }
    let (mut status, mut body) = (None, Vec::new());
    while body.len() < 5 {
        match frame(&mut stream) {
            (0, data) => body.extend(data),
            // The first field of the answer, as the static table has it.
            (1, fields) => status = fields.first().copied(),
            _ => {}
        }
    }
    assert_eq!((status, body.as_slice()), (Some(0x88), &b"hello"[..]));
    let entry = sidecar.wait_for("request completed");
    assert_eq!((&entry["http_version"], &entry["client"]), (&"2".into(), &"platform_proxy".into()));
}

#[test]
fn requests_follow_each_other_on_one_connection_and_other_bytes_are_refused() {
    let app = HttpApp::saying("hello");
    let sidecar = plain(app.addr()).arg("--allow").arg("anonymous").start();
    let mut stream = connect(sidecar.addr());
    for _ in 0..3 {
        stream.write_all(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let entry = sidecar.access_log_entry("completed");
    assert_eq!(entry["tls_version"], serde_json::Value::Null);

    let mut stream = connect(sidecar.addr());
    stream.write_all(b"\x16\x03\x01\x00\x05hello\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("not_http"), "{answer}");
}

#[test]
fn a_client_that_resets_in_the_middle_of_an_answer_has_reset_and_not_completed() {
    const TIMES: usize = 8;
    let app = HttpApp::handing_over(|mut stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
        let mut is_taken = stream.write_all(head).is_ok();
        while is_taken {
            is_taken = stream.write_all(&[0; 64 * 1024]).is_ok();
        }
    });
    let sidecar = plain(app.addr()).arg("--allow").arg("anonymous").start();
    // A reset is found by whoever reads or writes first; several clients meet both.
    for _ in 0..TIMES {
        let mut stream = connect(sidecar.addr());
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 100_000]).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
    let reasons = eventually("all entries", || Some(sidecar.reasons()).filter(|reasons| reasons.len() == TIMES));
    assert_eq!(reasons, ["client_reset"; TIMES]);
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_until_both_sides_are_done() {
    fn websocket(mut stream: TcpStream) {
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
            .unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.reverse();
        stream.write_all(&all).unwrap();
    }
    let app = HttpApp::start(|_| Reply::HandOver(websocket));
    let sidecar = plain(app.addr()).arg("--allow").arg("anonymous").start();
    let mut stream = connect(sidecar.addr());
    let head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"first") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let mut sending = stream.try_clone().unwrap();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || {
            sending.write_all(&sent).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    got.reverse();
    assert!(got == sent, "{} bytes came back", got.len());
    let entry = sidecar.wait_for("request completed");
    assert_eq!((&entry["upgraded"], &entry["status"]), (&"websocket".into(), &101.into()));
    let carried = sidecar.access_log_entry("completed")["bytes_up"].as_u64().unwrap();
    assert!(carried >= 200_000, "{carried}");
}
