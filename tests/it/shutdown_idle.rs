//! While the instance goes: which connections are ended, and which are left to the app.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::app::App;
use crate::support::client::{Client, Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// Longer than silence has to last to count.
const PAUSE: Duration = Duration::from_millis(250);

/// A connection over which the client has sent `request` and got `beginning`, in an instance that retires since then.
struct Going {
    client: Client,
    app_end: TcpStream,
    sidecar: Sidecar,
}

impl Going {
    fn after(request: &[u8], beginning: &[u8]) -> Self {
        let mut credentials = Credentials::new();
        let app = App::start();
        let sidecar = Setup::proxy(&credentials, app.addr()).ready();
        let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
        let mut app_end = app.accept();
        client.send(request).unwrap();
        app_end.read_exact(&mut vec![0; request.len()]).unwrap();
        app_end.write_all(beginning).unwrap();
        assert_eq!(client.receive(beginning.len()).unwrap(), beginning);
        credentials.spec = credentials.spec.retired();
        credentials.rotate();
        sidecar.wait_for("retirement certificate received; closing idle connections");
        Self { client, app_end, sidecar }
    }

    /// The app goes on after a pause.
    fn comes(&mut self, part: &[u8]) {
        std::thread::sleep(PAUSE);
        self.app_end.write_all(part).unwrap();
        assert_eq!(self.client.receive(part.len()).unwrap(), part);
    }

    fn ends_gently(mut self) {
        assert_eq!(self.client.receive_all(), (Vec::new(), Ending::CloseNotify));
        assert_eq!(self.app_end.read(&mut [0; 1]).unwrap(), 0, "the app sees an end of file");
        drop(self.client);
        self.sidecar.access_log_entry("closed_idle");
    }

    /// As nothing but the app ends it, the app's end is what is heard of it.
    fn stays_the_apps(mut self) {
        self.comes(b"still here");
        drop(self.app_end);
        assert_eq!(self.client.receive_all(), (Vec::new(), Ending::CloseNotify));
        self.client.close_notify();
        drop(self.client);
        self.sidecar.access_log_entry("completed");
    }
}

#[test]
fn a_connection_between_two_answers_is_ended() {
    Going::after(GET, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ends_gently();
}

#[test]
fn an_answer_that_pauses_arrives_whole_and_only_then_is_the_connection_ended() {
    let mut going = Going::after(GET, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsl");
    going.comes(b"o");
    going.comes(b"wly");
    going.ends_gently();
    let mut going = Going::after(GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nsl\r\n");
    going.comes(b"4\r\nowly\r\n");
    going.comes(b"0\r\n\r\n");
    going.ends_gently();
}

#[test]
fn an_answer_that_comes_before_the_answer_is_not_the_answer() {
    let mut going = Going::after(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n");
    going.comes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    going.ends_gently();
}

#[test]
fn what_http_is_upgraded_to_stays_the_apps() {
    Going::after(GET, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").stays_the_apps();
}

#[test]
fn http2_stays_the_apps() {
    Going::after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"\0\0\0\x04\0\0\0\0\0").stays_the_apps();
}
