//! The end of a WebSocket connection without TLS while the instance goes.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{connect, plain};
use crate::support::http_app::{HttpApp, Reply};

#[test]
fn a_web_socket_is_told_that_the_instance_goes_and_its_app_by_its_client() {
    fn web_socket(mut stream: TcpStream) {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(&[&head[..], b"\x81\x05hello"].concat()).unwrap();
        // The client's Close; ours follows it, and goes nowhere.
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"\x88\x02\x03\xe9").unwrap();
    }
    let app = HttpApp::start(|_| Reply::HandOver(web_socket));
    let mut sidecar = plain(app.addr()).arg("--allow").arg("anonymous").arg("--upgrade-drain").arg("close").start();
    let mut stream = connect(sidecar.addr());
    let head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    sidecar.signal("TERM");
    let mut close = [0; 4];
    stream.read_exact(&mut close).unwrap();
    assert_eq!(&close, b"\x88\x02\x03\xe9");
    stream.write_all(b"\x88\x82\x00\x00\x00\x00\x03\xe9").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "nothing follows a Close");
    drop(stream);
    assert_eq!(sidecar.exited().code(), Some(0));
    let entry = sidecar.wait_for("request completed");
    assert!(entry["upgraded"] == "websocket" && entry["reason"].is_null(), "{entry}");
}
