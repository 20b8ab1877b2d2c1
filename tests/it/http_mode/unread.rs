//! Answers that their clients do not take.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::http2::frames::Frames;
use super::talk::Talk;
use super::{Front, GET};
use crate::clients::Backend;
use crate::metrics::Measured;
use crate::relay::anonymous_kib;
use crate::support::client::{Client, connector};
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};

/// An app that answers each request without end.
fn torrent() -> HttpApp {
    HttpApp::handing_over(|mut stream: TcpStream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
        let mut is_taken = stream.write_all(head).is_ok();
        while is_taken {
            is_taken = stream.write_all(&[0; 64 * 1024]).is_ok();
        }
    })
}

/// An app that reads the heads of requests and nothing else.
fn deaf() -> HttpApp {
    // Until the process ends.
    HttpApp::handing_over(std::mem::forget)
}

/// A client that has sent as much of an endless body as anybody has taken.
fn upload(talk: &mut Talk) {
    talk.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n");
    talk.client.tcp.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while talk.client.send(&[0; 64 * 1024]).is_ok() {}
}

/// The most that the program takes beside what it took `before`, in KiB, until it takes no more.
pub(super) fn growth(pid: u32, before: u64) -> u64 {
    let (mut most, mut since) = (before, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        let now = anonymous_kib(pid);
        if now > most {
            (most, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    most - before
}

/// The program with little memory, in front of `app`.
fn short(backend: &Backend, app: &HttpApp) -> Measured {
    let options = "--client-auth request --allow any,anonymous --memory-limit 4M --max-connections 200";
    Measured::new(Front::setup(backend, app.addr(), options))
}

fn held(measured: &Measured) -> f64 {
    measured.series()["vestibule_held_memory_bytes{budget=\"backlogs\"}"]
}

fn limit(measured: &Measured) -> f64 {
    measured.series()["vestibule_held_memory_limit_bytes{budget=\"backlogs\"}"]
}

/// That `reading` goes on while those that do not read make room.
fn make_room(measured: &Measured, reading: &mut Talk) {
    let limit = limit(measured);
    eventually("a budget that is spent", || (held(measured) > limit / 2.0).then_some(()));
    eventually("one that had to go", || {
        assert_eq!(reading.take(10_000), [0; 10_000]);
        let overloaded = |line: &serde_json::Value| {
            line["close_reason"] == "overloaded"
                && line["detail"].as_str().is_some_and(|detail| detail.contains("memory for backlogs"))
        };
        measured.sidecar.lines().into_iter().find(overloaded)
    });
    eventually("room again", || {
        assert_eq!(reading.take(10_000), [0; 10_000]);
        (held(measured) <= limit / 2.0).then_some(())
    });
    let cut = measured.sidecar.wait_until("a request that made room", |line| {
        line["message"] == "request completed" && line["reason"] == "overloaded"
    });
    assert_eq!(cut["status"], 200, "{cut}");
}

#[test]
fn answers_over_http1_that_are_not_read_make_room_when_memory_is_short_and_those_that_are_read_go_on() {
    let (backend, app) = (Backend::new(), torrent());
    let measured = short(&backend, &app);
    let connector = connector(backend.credentials.instance()).alpn(&["http/1.1"]);
    let mut reading = Talk::by(&connector, measured.sidecar.addr());
    reading.send(GET);
    reading.head();
    let _unread: Vec<Client> = (0..60)
        .map(|_| {
            let mut client = connector.connect(measured.sidecar.addr()).unwrap();
            client.send(GET.as_bytes()).unwrap();
            client
        })
        .collect();
    make_room(&measured, &mut reading);
}

/// What a connection may take while one of its sides takes nothing, in KiB, where memory has no limit: what was read last, sealed or not, in a
/// buffer of the same size, what was read behind it, and what hyper has for a request.
const STUCK: u64 = 256;

#[test]
fn answers_over_http1_that_are_not_read_take_no_more_than_a_few_parts_each() {
    const CLIENTS: u64 = 50;
    let app = torrent();
    let front = Front::open(app.addr(), "");
    let pid = front.sidecar.pid();
    front.talk().send(GET);
    let before = anonymous_kib(pid);
    let _unread: Vec<Talk> = (0..CLIENTS)
        .map(|_| {
            let mut talk = front.talk();
            talk.send(GET);
            talk
        })
        .collect();
    let growth = growth(pid, before);
    assert!(growth < CLIENTS * STUCK, "{} KiB a connection", growth / CLIENTS);
}

#[test]
fn uploads_over_http1_that_the_app_does_not_read_take_no_more_than_a_few_parts_each() {
    const CLIENTS: u64 = 20;
    let app = deaf();
    let front = Front::open(app.addr(), "");
    let pid = front.sidecar.pid();
    front.talk().send(GET);
    let before = anonymous_kib(pid);
    let _unread: Vec<Talk> = (0..CLIENTS)
        .map(|_| {
            let mut talk = front.talk();
            upload(&mut talk);
            talk
        })
        .collect();
    let growth = growth(pid, before);
    assert!(growth < CLIENTS * STUCK, "{} KiB a connection", growth / CLIENTS);
}

#[test]
fn uploads_over_http1_that_the_app_does_not_read_make_room_when_memory_is_short() {
    let (backend, app) = (Backend::new(), deaf());
    let measured = short(&backend, &app);
    let connector = connector(backend.credentials.instance()).alpn(&["http/1.1"]);
    let _unread: Vec<Talk> = (0..40)
        .map(|_| {
            let mut talk = Talk::by(&connector, measured.sidecar.addr());
            upload(&mut talk);
            talk
        })
        .collect();
    let cut = measured.sidecar.wait_until("a request that made room", |line| {
        line["message"] == "request completed" && line["reason"] == "overloaded"
    });
    assert_eq!(cut["status"], 503, "{cut}");
    let limit = limit(&measured);
    eventually("room again", || (held(&measured) <= limit / 2.0).then_some(()));
}

#[test]
fn answers_over_http2_that_their_connection_has_no_room_for_are_reset_when_memory_is_short() {
    let (backend, app) = (Backend::new(), torrent());
    let measured = short(&backend, &app);
    let h2 = connector(backend.credentials.instance()).alpn(&["h2"]);
    // Each stream has room for a byte, and the byte takes a whole part of an answer from the app.
    let mut stalled: Vec<_> = (0..3)
        .map(|_| {
            let mut frames = Frames::begin_with_window(h2.connect(measured.sidecar.addr()).unwrap(), 1);
            (0..60).for_each(|n| frames.ask(2 * n + 1));
            frames
        })
        .collect();
    let limit = limit(&measured);
    eventually("a budget that is spent", || (held(&measured) > limit / 2.0).then_some(()));
    measured.sidecar.wait_until("a stream that made room", |line| line["reason"] == "client_stalled");
    eventually("room again", || (held(&measured) <= limit / 2.0).then_some(()));
    // The connections are as they were.
    for frames in &mut stalled {
        frames.ping(1);
        frames.skip_to_pong();
    }
}

/// An app that never answers requests for `/slow`.
fn slow() -> HttpApp {
    HttpApp::start(|asked| match asked.head.contains(" /slow ") {
        true => Reply::HandOver(std::mem::forget),
        false => Reply::ok("ok"),
    })
}

#[test]
fn requests_over_http2_are_paid_for_until_they_are_answered_and_each_client_has_one_however_short_memory_is() {
    let (backend, app) = (Backend::new(), slow());
    let measured = short(&backend, &app);
    let h2 = connector(backend.credentials.instance()).alpn(&["h2"]);
    let connected = || Frames::begin(h2.connect(measured.sidecar.addr()).unwrap());
    let (limit, mut greedy, mut next) = (limit(&measured), [connected(), connected(), connected()], connected());
    for greedy in &mut greedy {
        greedy.ask_for_all("/slow");
    }
    eventually("a budget that is spent", || (held(&measured) > limit / 2.0).then_some(()));
    let last = next.ask_for_all("/slow");
    let refused = String::from_utf8(next.answer(last)).unwrap();
    assert!(refused.contains("\"reason\":\"overloaded\""), "{refused}");
    let spent = held(&measured);
    assert!(spent > limit / 2.0 && spent <= limit, "{spent} of {limit}");
    assert!(app.asked().len() < 30, "what there is no memory for does not get to the app");
    let mut other = Frames::begin(h2.connect(measured.sidecar.addr()).unwrap());
    other.ask(1);
    assert_eq!(other.answer(1), b"ok");
    // With a body, too: of a length that is told, and of one that is not.
    other.post_hello(3);
    other.end(3);
    assert_eq!(other.answer(3), b"ok");
    other.begin_post(5);
    other.end(5);
    assert_eq!(other.answer(5), b"ok");
    greedy.into_iter().chain([next]).for_each(Frames::reset_connection);
    eventually("room again", || (held(&measured) < limit / 8.0).then_some(()));
    (4..8).for_each(|n| other.ask(2 * n + 1));
    (4..8).for_each(|n| assert_eq!(other.answer(2 * n + 1), b"ok"));
}

#[test]
fn a_refusal_that_its_client_leaves_no_room_for_is_let_go_of_at_once_where_memory_is_short() {
    let (backend, app) = (Backend::new(), slow());
    let measured = short(&backend, &app);
    let h2 = connector(backend.credentials.instance()).alpn(&["h2"]);
    let connected = || Frames::begin_with_window(h2.connect(measured.sidecar.addr()).unwrap(), 0);
    let (limit, mut greedy, mut next) = (limit(&measured), [connected(), connected(), connected()], connected());
    for greedy in &mut greedy {
        greedy.ask_for_all("/slow");
    }
    eventually("a budget that is spent", || (held(&measured) > limit / 2.0).then_some(()));
    let last = next.ask_for_all("/slow");
    // CANCEL (RFC 9113, 7).
    assert_eq!(next.reset(last), 8);
    next.ping(1);
    next.skip_to_pong();
}

#[test]
fn an_answer_of_our_own_that_its_client_leaves_no_room_for_is_reset_in_the_end_too() {
    let app = HttpApp::saying("hello");
    let front = Front::open(app.addr(), "--h2-window-timeout 300ms");
    let connector = front.connector().alpn(&["h2"]);
    let mut frames = Frames::begin_with_window(connector.connect(front.sidecar.addr()).unwrap(), 0);
    frames.ask_for(1, "*");
    assert_eq!(frames.reset(1), 8);
    assert_eq!(front.refused("bad_request")["status"], 400);
    assert!(app.asked().is_empty());
}

#[test]
fn a_stream_whose_client_leaves_no_room_is_reset_in_the_end_and_no_other() {
    let app = HttpApp::saying("hello");
    let front = Front::open(app.addr(), "--h2-window-timeout 300ms");
    let connector = front.connector().alpn(&["h2"]);
    let mut frames = Frames::begin_with_window(connector.connect(front.sidecar.addr()).unwrap(), 0);
    frames.ask(1);
    // CANCEL (RFC 9113, 7).
    assert_eq!(frames.reset(1), 8);
    let entry = front.refused("client_stalled");
    assert_eq!(entry["status"], 200);
    frames.ask(3);
    frames.give_room(3, 100);
    assert_eq!(frames.answer(3), b"hello");
    assert!(front.requests(2).iter().any(|entry| entry["reason"].is_null()));
}

#[test]
fn a_client_that_resets_in_the_middle_of_an_answer_has_reset_and_has_neither_broken_the_protocol_nor_completed() {
    const TIMES: usize = 8;
    let app = torrent();
    for protocol in ["http/1.1", "h2"] {
        let front = Front::open(app.addr(), "");
        let connector = front.connector().alpn(&[protocol]);
        // A reset is found by whoever reads or writes first; several clients meet both.
        for _ in 0..TIMES {
            let client = connector.connect(front.sidecar.addr()).unwrap();
            if protocol == "h2" {
                let mut frames = Frames::begin_with(client, 4 << 20, 1 << 14);
                frames.ask(1);
                assert!(!frames.part(1).is_empty());
                frames.reset_connection();
            } else {
                let mut talk = Talk::of(client);
                talk.send(GET);
                talk.head();
                talk.take(100_000);
                talk.client.reset();
            }
        }
        let reasons =
            eventually("all entries", || Some(front.sidecar.reasons()).filter(|reasons| reasons.len() == TIMES));
        assert_eq!(reasons, ["client_reset"; TIMES], "{protocol}");
    }
}
