//! Stops: no request is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::http2::frames::Frames;
use super::talk::Talk;
use super::{Front, GET};
use crate::support::app::App;
use crate::support::client::{Client, Connector, Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::http_app::HttpApp;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{TEST_TIMEOUT, eventually};

/// An app that has a request and waits for the test's word.
pub(super) fn request_at(app: &App) -> TcpStream {
    let mut connection = app.accept();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    connection
}

#[test]
fn the_answer_that_is_under_way_arrives_whole_says_close_and_is_the_last() {
    let app = App::start();
    let mut front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(GET);
    let mut connection = request_at(&app);
    front.retire();
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").unwrap();
    let head = talk.head();
    assert!(super::fields(&head, "connection") == ["close"], "{head}");
    connection.write_all(b"done").unwrap();
    assert_eq!(talk.rest(), (b"done".to_vec(), Ending::CloseNotify));
    front.sidecar.access_log_entry("closed_idle");
    assert!(front.requests(1)[0]["reason"].is_null());
}

#[test]
fn an_answer_whose_head_has_gone_out_already_ends_and_the_next_one_says_close() {
    let app = App::start();
    let mut front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(GET);
    let mut connection = request_at(&app);
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nd").unwrap();
    let head = talk.head();
    assert!(super::fields(&head, "connection").is_empty(), "{head}");
    front.retire();
    // The next request is there before the end of this answer.
    talk.send(GET);
    connection.write_all(b"one").unwrap();
    assert_eq!(talk.take(4), b"done");
    connection.read_exact(&mut [0; 16]).unwrap();
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let answer = talk.answer();
    assert_eq!((answer.text(), answer.says_close()), ("ok", true));
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
}

#[test]
fn a_connection_that_waits_is_closed_after_a_moment_of_silence_and_a_new_one_has_longer() {
    let app = HttpApp::saying("ok");
    let mut front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    let mut silent = front.talk();
    front.retire();
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    // Whoever has connected is about to ask for something.
    let answer = silent.ask(GET);
    assert_eq!((answer.text(), answer.says_close()), ("ok", true));
    assert_eq!(silent.rest().1, Ending::CloseNotify);
    let mut late = front.talk();
    let answer = late.ask(GET);
    assert_eq!((answer.text(), answer.says_close()), ("ok", true));
    let mut never = front.talk();
    assert_eq!(never.rest().1, Ending::CloseNotify);
    eventually("their ends", || (front.sidecar.lines_of("connection closed").len() >= 4).then_some(()));
    assert!(front.sidecar.reasons().iter().all(|reason| reason == "closed_idle"), "{:?}", front.sidecar.reasons());
}

#[test]
fn a_stop_waits_for_the_answer_that_is_under_way() {
    let app = App::start();
    let mut front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(GET);
    let mut connection = request_at(&app);
    front.sidecar.signal("TERM");
    front.sidecar.wait_for("listeners closed");
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let answer = talk.answer();
    assert_eq!((answer.text(), answer.says_close()), ("ok", true));
    assert_eq!(talk.rest().1, Ending::CloseNotify);
    assert_eq!(front.sidecar.exited().code(), Some(0));
}

#[test]
fn an_answer_that_never_ends_is_cut_off_with_the_drain() {
    let app = App::start();
    let mut front = Front::open(app.addr(), "--drain-timeout 300ms");
    let mut talk = front.talk();
    talk.send(GET);
    let mut connection = request_at(&app);
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc").unwrap();
    talk.head();
    front.sidecar.signal("TERM");
    assert_ne!(talk.rest().1, Ending::CloseNotify);
    assert_eq!(front.sidecar.exited().code(), Some(0));
    assert_eq!(front.requests(1)[0]["reason"], "drain_timeout");
}

/// An HTTP/1.1 app that on TERM finishes what it is at, and ends.
const APP: &str = r#"
import os, signal, socket, threading, time
busy, lock = [0], threading.Lock()
def term(*_):
    def end():
        while busy[0]: time.sleep(0.005)
        os._exit(0)
    threading.Thread(target=end).start()
signal.signal(signal.SIGTERM, term)
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = connection.makefile("rb")
    while True:
        line = reader.readline()
        if not line: return connection.close()
        with lock: busy[0] += 1
        length = 0
        while (header := reader.readline().strip()):
            if header.lower().startswith(b"content-length:"): length = int(header.split(b":")[1])
        body = reader.read(length)
        time.sleep(0.002)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        with lock: busy[0] -= 1
def main():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=main, daemon=True).start()
while True: time.sleep(60)
"#;

/// The program with an app below it that ends at TERM.
pub(super) fn with_app() -> (Credentials, Sidecar) {
    with_app_of(APP)
}

/// The program with an app below it, which is this in Python.
fn with_app_of(app: &str) -> (Credentials, Sidecar) {
    let credentials = Credentials::new();
    let args = ["run", "--mode", "http", "--hide-app-port", "--hold-until-ready", "8s", "--listen", "127.0.0.1:0"];
    let sidecar = Setup::command(&args)
        .arg("--")
        .arg("python3")
        .arg("-c")
        .arg(app)
        .credentials(&credentials)
        .env("VESTIBULE_APP_READY", "tcp")
        .env("VESTIBULE_LOG_LEVEL", "info")
        // Far longer than a stop may take.
        .env("VESTIBULE_DRAIN_TIMEOUT", "60s")
        .ready();
    (credentials, sidecar)
}

/// What a client that never pauses has seen until nobody let it in any more.
fn ask_on_and_on(connector: &Connector, addr: std::net::SocketAddr, answered: &AtomicUsize) -> Result<(), String> {
    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let mut turn = 0;
    loop {
        // A connection on which nothing was asked for loses nothing.
        let Ok(mut client) = connector.connect(addr) else { return Ok(()) };
        loop {
            turn += 1;
            let request = if turn % 2 == 0 { POST } else { GET.as_bytes() };
            client.send(request).map_err(|error| format!("request {turn}: writing: {error}"))?;
            let head = head(&mut client).map_err(|error| format!("request {turn}: reading: {error}"))?;
            if !head.starts_with("HTTP/1.1 200 ") {
                return Err(format!("request {turn}: {head}"));
            }
            let body = client.receive(4).map_err(|error| format!("request {turn}: the body: {error}"))?;
            assert_eq!(body, b"done");
            answered.fetch_add(1, Ordering::Relaxed);
            if super::fields(&head, "connection") == ["close"] {
                break;
            }
        }
    }
}

fn head(client: &mut Client) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.receive(1)?);
    }
    Ok(String::from_utf8(head).unwrap())
}

#[test]
fn clients_that_never_pause_lose_nothing_while_the_app_ends_at_term() {
    for _ in 0..3 {
        let (credentials, mut sidecar) = with_app();
        let connector = connector(credentials.instance()).alpn(&["http/1.1"]);
        let (addr, answered) = (sidecar.addr(), Arc::new(AtomicUsize::new(0)));
        let users: Vec<_> = (0..6)
            .map(|_| {
                let (connector, answered) = (connector.clone(), Arc::clone(&answered));
                std::thread::spawn(move || ask_on_and_on(&connector, addr, &answered))
            })
            .collect();
        eventually("some answers", || (answered.load(Ordering::Relaxed) > 200).then_some(()));
        let began = Instant::now();
        sidecar.signal("TERM");
        for user in users {
            assert_eq!(user.join().unwrap(), Ok(()));
        }
        assert_eq!(sidecar.exited().code(), Some(0));
        assert!(began.elapsed() < TEST_TIMEOUT, "{:?}: it waits for the drain timeout", began.elapsed());
        let unanswered = sidecar.lines_of("request completed").into_iter().filter(|entry| entry["status"] != 200);
        assert_eq!(unanswered.collect::<Vec<_>>(), [] as [serde_json::Value; 0]);
    }
}

/// Ends when the kernel has taken over its first answer, of `LENGTH` bytes.
const APP_THAT_ENDS: &str = r#"
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
while True:
    connection = listener.accept()[0]
    if connection.recv(1): break
while not connection.recv(65536).endswith(b"\r\n\r\n"): pass
connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: LENGTH\r\n\r\n" + bytes(LENGTH))
os._exit(0)
"#;

#[test]
fn what_the_app_has_said_before_it_ended_arrives_however_slowly_its_client_takes_it() {
    // More than the kernel keeps for a client that reads slowly, and what its window lets through.
    for (protocol, length) in [("http/1.1", 12 << 20), ("h2", 200 << 10)] {
        let (credentials, mut sidecar) = with_app_of(&APP_THAT_ENDS.replace("LENGTH", &length.to_string()));
        let client = connector(credentials.instance()).alpn(&[protocol]).connect(sidecar.addr()).unwrap();
        // Longer than a client has who may not come in any more.
        let pause = || std::thread::sleep(Duration::from_millis(1200));
        if protocol == "h2" {
            let mut frames = Frames::begin(client);
            frames.ask(1);
            sidecar.wait_for("app exited");
            pause();
            frames.give_room(0, 1 << 20);
            frames.give_room(1, 1 << 20);
            assert_eq!(frames.answer(1).len(), length);
        } else {
            let mut talk = Talk::of(client);
            talk.send(GET);
            talk.head();
            let mut taken = 0;
            while sidecar.lines_of("app exited").is_empty() {
                taken += talk.take(32 << 10).len();
            }
            pause();
            talk.take(length - taken);
            assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
        }
        let request = &sidecar.lines_eventually("request completed", 1)[0];
        assert_eq!((&request["status"], &request["reason"]), (&200.into(), &serde_json::Value::Null), "{request}");
        assert_eq!(sidecar.exited().code(), Some(0));
    }
}

#[test]
fn a_stop_does_not_wait_for_an_idle_client_that_never_says_that_it_has_heard_of_the_end() {
    let app = HttpApp::saying("ok");
    let mut front = Front::open(app.addr(), "--drain-timeout 2m");
    let mut connection = super::http2::frames(&front);
    connection.ask(1);
    assert_eq!(connection.answer(1), b"ok");
    front.sidecar.signal("TERM");
    assert_eq!(connection.goaway().1, 0);
    assert_eq!(front.sidecar.exited().code(), Some(0));
    assert_eq!(front.sidecar.reasons(), ["closed_idle"]);
}

#[test]
fn a_stop_waits_for_a_head_that_goes_on_and_not_for_one_that_stands_still() {
    let app = HttpApp::saying("ok");
    let mut front = Front::open(app.addr(), "--drain-timeout 2m --http-head-timeout 2m");
    let mut unfinished = super::http2::frames(&front);
    unfinished.ask(1);
    assert_eq!(unfinished.answer(1), b"ok");
    unfinished.begin_head(3);
    let [mut still, mut later, mut going] = [front.talk(), front.talk(), front.talk()];
    let (begin, rest) = GET.split_at(10);
    [&mut still, &mut going].into_iter().for_each(|talk| talk.send(begin));
    assert_eq!(later.ask(GET).text(), "ok");
    later.send(begin);
    front.sidecar.signal("TERM");
    front.sidecar.wait_for("listeners closed");
    going.send(rest);
    let answer = going.answer();
    assert_eq!((answer.text(), answer.says_close()), ("ok", true));
    for mut talk in [still, later] {
        assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    }
    assert_eq!(front.sidecar.exited().code(), Some(0));
    assert_eq!(app.asked().len(), 3, "nothing is made of half a head");
    assert!(front.sidecar.reasons().iter().all(|reason| reason == "closed_idle"), "{:?}", front.sidecar.reasons());
}
