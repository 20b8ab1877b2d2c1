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
struct DrainedConnection {
    client: Client,
    app_end: TcpStream,
    sidecar: Sidecar,
}

impl DrainedConnection {
    fn after(request: &[u8], beginning: &[u8]) -> Self {
        Self::of(request, beginning, &[])
    }

    /// A client that has said nothing before the instance began to go, and has a second to do so.
    fn silent() -> Self {
        Self::of(b"", b"", &[])
    }

    /// With these options.
    fn of(request: &[u8], beginning: &[u8], options: &[&str]) -> Self {
        let mut credentials = Credentials::new();
        let app = App::start();
        let setup = options.iter().fold(Setup::proxy(&credentials, app.addr()), |setup, option| setup.arg(option));
        let sidecar = setup.ready();
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
    DrainedConnection::after(GET, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ends_gently();
}

#[test]
fn an_answer_that_pauses_arrives_whole_and_only_then_is_the_connection_ended() {
    let mut drained = DrainedConnection::after(GET, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsl");
    drained.comes(b"o");
    drained.comes(b"wly");
    drained.ends_gently();
    let mut drained =
        DrainedConnection::after(GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nsl\r\n");
    drained.comes(b"4\r\nowly\r\n");
    drained.comes(b"0\r\n\r\n");
    drained.ends_gently();
}

#[test]
fn an_answer_that_comes_before_the_answer_is_not_the_answer() {
    let mut drained =
        DrainedConnection::after(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n");
    drained.comes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    drained.ends_gently();
}

#[test]
fn what_http_is_upgraded_to_stays_the_apps() {
    DrainedConnection::after(GET, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").stays_the_apps();
}

#[test]
fn http2_stays_the_apps() {
    DrainedConnection::after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"\0\0\0\x04\0\0\0\0\0")
        .stays_the_apps();
}

/// The app's answer to `request`, as it reaches the client.
fn answered(drained: &mut DrainedConnection, request: &[u8], answer: &[u8], expected: &[u8]) {
    drained.client.send(request).unwrap();
    drained.app_end.read_exact(&mut vec![0; request.len()]).unwrap();
    drained.app_end.write_all(answer).unwrap();
    assert_eq!(text(&drained.client.receive(expected.len()).unwrap()), text(expected));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST_OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok";

#[test]
fn a_client_that_never_pauses_is_told_to_let_go_at_its_next_answer_and_the_connection_ends_behind_it() {
    let mut drained = DrainedConnection::silent();
    answered(&mut drained, GET, OK, LAST_OK);
    drained.ends_gently();
    // An app that says keep-alive does not mean an instance that goes.
    let mut drained = DrainedConnection::silent();
    let answer = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    answered(&mut drained, GET, answer, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    drained.ends_gently();
    let mut drained = DrainedConnection::silent();
    answered(&mut drained, b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc", OK, LAST_OK);
    drained.ends_gently();
}

#[test]
fn a_request_that_was_under_way_is_answered_as_it_is_and_the_next_one_gets_the_last_answer() {
    let next = (0..20).any(|_| {
        let mut drained = DrainedConnection::of(GET, b"", &[]);
        drained.app_end.write_all(OK).unwrap();
        assert_eq!(text(&drained.client.receive(OK.len()).unwrap()), text(OK));
        // The connection may be taken for an idle one before that: then once more.
        let is_asked = drained.client.send(GET).is_ok() && drained.app_end.read_exact(&mut [0; GET.len()]).is_ok();
        if is_asked {
            drained.app_end.write_all(OK).unwrap();
            assert_eq!(text(&drained.client.receive(LAST_OK.len()).unwrap()), text(LAST_OK));
            drained.ends_gently();
        }
        is_asked
    });
    assert!(next, "no connection lasted for as long as it takes to ask");
}

#[test]
fn an_answer_whose_end_cannot_be_told_is_told_of_too_and_the_client_ends_it() {
    let mut drained = DrainedConnection::silent();
    let trailers = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n";
    let expected = [&trailers[..43], b"\r\nconnection: close", &trailers[43..]].concat();
    answered(&mut drained, GET, trailers, &expected);
    drained.client.close_notify();
    assert_eq!(drained.app_end.read(&mut [0; 1]).unwrap(), 0);
    drop(drained.app_end);
    drop(drained.client);
    drained.sidecar.access_log_entry("completed");
}

#[test]
fn an_answer_in_pieces_is_changed_once_its_head_is_whole() {
    let mut drained = DrainedConnection::silent();
    drained.client.send(b"GET / HTTP/1.1\r\nHo").unwrap();
    drained.app_end.read_exact(&mut [0; 18]).unwrap();
    answered(
        &mut drained,
        b"st: app\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
    );
    drained.app_end.write_all(b"1 200 OK\r\nContent-Length: 2\r\n\r\no").unwrap();
    let head = &LAST_OK[..LAST_OK.len() - 1];
    assert_eq!(text(&drained.client.receive(head.len()).unwrap()), text(head));
    drained.comes(b"k");
    drained.ends_gently();
}

#[test]
fn what_is_not_certainly_an_answer_to_one_whole_request_reaches_the_client_as_it_is() {
    // Two requests at once, an answer before the end of the request, a protocol that is not HTTP, an answer that says more of the connection.
    let mut drained = DrainedConnection::silent();
    answered(&mut drained, &[GET, GET].concat(), &[OK, OK].concat(), &[OK, OK].concat());
    drained.ends_gently();
    let mut drained = DrainedConnection::silent();
    answered(&mut drained, b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\na", OK, OK);
    drop(drained);
    let mut drained = DrainedConnection::silent();
    answered(&mut drained, b"HELO\r\n", b"250 ok\r\n", b"250 ok\r\n");
    drop(drained);
    let mut drained = DrainedConnection::silent();
    let answer = b"HTTP/1.1 200 OK\r\nConnection: keep-alive, x\r\nContent-Length: 2\r\n\r\nok";
    answered(&mut drained, GET, answer, answer);
    drained.ends_gently();
}

#[test]
fn a_head_that_the_app_does_not_finish_arrives_as_far_as_it_came() {
    let mut drained = DrainedConnection::silent();
    answered(&mut drained, GET, b"HTTP/1.1 200 OK\r\nA: ", b"");
    drop(drained.app_end);
    let (rest, ending) = drained.client.receive_all();
    assert_eq!((text(&rest).as_str(), ending), ("HTTP/1.1 200 OK\r\nA: ", Ending::CloseNotify));
}

#[test]
fn with_drain_http_off_every_answer_is_the_apps() {
    let mut drained = DrainedConnection::of(b"", b"", &["--drain-http", "off"]);
    answered(&mut drained, GET, OK, OK);
    drained.ends_gently();
}
