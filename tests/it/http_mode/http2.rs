//! Clients of HTTP/2, and apps that speak it without TLS.

pub(super) mod client;
pub(super) mod frames;
mod h2c;
mod memory;
mod turned_away;
mod unread;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::Request;
use hyper::body::{Bytes, Frame};
use hyper::header::HeaderMap;

use super::draining::with_app;
use super::{Front, fields};
use crate::clients::{Backend, someone};
use crate::relay::anonymous_kib;
use crate::support::app::App;
use crate::support::client::connector;
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};
use client::{H2, post, request};
use frames::Frames;

/// A client that writes its frames itself.
pub(super) fn frames(front: &Front) -> Frames {
    Frames::begin(front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap())
}

fn h2(front: &Front) -> H2 {
    H2::connect(&front.connector().alpn(&["h2"]), front.sidecar.addr())
}

#[test]
fn an_app_of_http1_is_asked_in_http1() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let client = h2(&front);
    let pending = Request::get("https://app.test/x?y=1").header("cookie", "a=1").header("cookie", "b=2");
    let answer = client.ask(pending.header("te", "trailers").body(()).unwrap(), vec![]).unwrap();
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    assert!(!answer.head.contains_key("connection") && !answer.head.contains_key("transfer-encoding"));
    let answer = client.ask(post("/upload"), vec![Frame::data(Bytes::from("some")), Frame::data(Bytes::from("thing"))]);
    assert_eq!(answer.unwrap().text(), "ok");
    let asked = app.asked();
    assert!(asked[0].head.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{}", asked[0].head);
    assert_eq!(fields(&asked[0].head, "host"), ["app.test"]);
    assert_eq!(fields(&asked[0].head, "cookie"), ["a=1; b=2"]);
    assert_eq!(fields(&asked[0].head, "te"), ["trailers"]);
    assert!(asked[1].body.starts_with(b"4\r\nsome\r\n5\r\nthing\r\n0\r\n"), "{:?}", asked[1].body);
    let entry = &front.requests(2)[0];
    assert_eq!((&entry["http_version"], &entry["app_protocol"]), (&"2".into(), &"http1".into()));
    assert_eq!((&entry["path"], &entry["host"]), (&"/x".into(), &"app.test".into()));
}

#[test]
fn streams_are_served_at_once_each_on_a_connection_of_its_own() {
    let app = App::start();
    let front = Front::open(app.addr(), "");
    let client = h2(&front);
    let pending: Vec<_> = (0..8).map(|n| client.begin(request(&format!("/{n}")), vec![])).collect();
    let mut connections: Vec<_> = (0..8).map(|_| app.accept()).collect();
    // In the opposite order.
    for connection in connections.iter_mut().rev() {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).unwrap();
    }
    for (n, pending) in pending.into_iter().enumerate() {
        assert_eq!(client.end(pending).unwrap().text(), format!("/{n}"));
    }
}

#[test]
fn who_calls_is_told_as_over_http1_and_forgeries_are_not() {
    use base64ct::{Base64, Encoding};
    let (_, pair) = someone();
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let client = H2::connect(&front.connector_as(&pair).alpn(&["h2"]), front.sidecar.addr());
    let forged = Request::get("https://a/").header("x-forwarded-client-cert", "one").header("client-cert", "two");
    client.ask(forged.header("x_forwarded_client_cert", "three").body(()).unwrap(), vec![]).unwrap();
    let head = &app.asked()[0].head;
    let der = crate::support::credentials::leaf(pair.cert_pem.as_bytes());
    assert_eq!(fields(head, "x-forwarded-client-cert"), [Base64::encode_string(&der)]);
    assert!(fields(head, "client-cert").is_empty() && !head.contains("three"), "{head}");
}

#[test]
fn an_answer_that_breaks_off_resets_its_stream_and_no_other() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let app = HttpApp::start(move |asked| match asked.head.starts_with("GET /broken") {
            true => Reply::SendAndClose(answer.as_bytes().to_vec()),
            false => Reply::ok("ok"),
        });
        let front = Front::open(app.addr(), "");
        let client = h2(&front);
        let error = client.ask(request("/broken"), vec![]).unwrap_err();
        assert!(error.contains("stream error received"), "{error}");
        assert_eq!(client.ask(request("/"), vec![]).unwrap().text(), "ok");
        front.refused("app_closed");
    }
}

#[test]
fn an_answer_that_breaks_off_right_behind_its_head_shows_its_head_over_http2() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
    {
        let app = HttpApp::start(move |_| Reply::SendAndClose(answer.as_bytes().to_vec()));
        let front = Front::open(app.addr(), "");
        let client = h2(&front);
        for _ in 0..5 {
            let streaming = client.head(client.begin(request("/"), vec![])).unwrap();
            let error = client.rest(streaming).unwrap_err();
            assert!(error.contains("stream error received"), "{error}");
        }
    }
}

#[test]
fn refusals_have_the_answers_of_http1_and_the_connection_goes_on() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--http-body-timeout 200ms");
    let client = h2(&front);
    let mut trace = request("/");
    *trace.method_mut() = hyper::Method::TRACE;
    let answer = client.ask(trace, vec![]).unwrap();
    assert_eq!((answer.status, answer.head["vestibule-reason"].to_str().unwrap()), (405, "trace"));
    // A body that is begun and not gone on with.
    let (sender, pending) = client.begin_streaming(post("/"));
    sender.blocking_send(Frame::data(Bytes::from("abc"))).unwrap();
    let answer = client.end(pending).unwrap();
    assert_eq!((answer.status, answer.head["vestibule-reason"].to_str().unwrap()), (408, "timeout"));
    assert_eq!(client.ask(request("/"), vec![]).unwrap().text(), "ok");
}

#[test]
fn an_answer_that_comes_before_the_word_that_nothing_follows_resets_nothing() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut frames = frames::Frames::begin(front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap());
    for stream in [1, 3] {
        frames.post_hello(stream);
        assert_eq!(frames.answer(stream), b"ok");
        // Nothing else has come meanwhile, and it may still be said.
        frames.ping(1);
        frames.pinged();
        frames.end(stream);
    }
    frames.ask(5);
    assert_eq!(frames.answer(5), b"ok");
    let asked = app.asked();
    assert!(asked.iter().all(|asked| asked.connection == 0), "{asked:?}");
    assert_eq!(asked[1].body, b"hello");
}

#[test]
fn a_client_that_asks_for_nothing_but_answers_to_pings_is_told_to_calm_down() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut frames = frames::Frames::begin(front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap());
    frames.ask(1);
    assert_eq!(frames.answer(1), b"ok");
    frames.ping(5_000);
    assert_eq!(frames.goaway().1, 11);
    let detail = front.sidecar.access_log_entry("client_violation")["detail"].to_string();
    assert!(detail.contains("PING"), "{detail}");
}

#[test]
fn what_a_client_sends_without_sense_fills_no_log() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--log-level info");
    let mut frames = frames::Frames::begin(front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap());
    (0..20).for_each(|_| frames.answer_no_ping());
    frames.ask(1);
    assert_eq!(frames.answer(1), b"ok");
    front.sidecar.wait_for("request completed");
    let lines = front.sidecar.lines();
    assert!(lines.iter().all(|line| line["level"] == "info"), "{lines:#?}");
}

#[test]
fn a_client_that_tells_of_each_four_kilobytes_that_it_has_read_gets_a_large_answer() {
    const LARGE: usize = 24 << 20;
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        (0..LARGE >> 16).for_each(|_| stream.write_all(&[7; 1 << 16]).unwrap());
        let _ = stream.read(&mut [0]);
    });
    let front = Front::open(app.addr(), "");
    // As gorouter announces it: frames as long as may be, and four megabytes at a time.
    let connector = front.connector().alpn(&["h2"]);
    let mut frames = frames::Frames::begin_with(connector.connect(front.sidecar.addr()).unwrap(), 4 << 20, 1 << 20);
    frames.ask(1);
    assert_eq!(frames.take_and_tell(1, 4 << 10), LARGE);
    frames.ask(3);
    assert_eq!(frames.take_and_tell(3, 4 << 10), LARGE, "and the connection goes on");
}

#[test]
fn the_entry_of_a_refused_request_says_whom_it_was_for() {
    let app = HttpApp::saying("ok");
    let front = Front::before(app.addr(), "--client-auth request --allow anonymous");
    let client = h2(&front);
    let answer = client.ask(Request::builder().method("TRACE").uri("https://app.test/x").body(()).unwrap(), vec![]);
    assert_eq!(answer.unwrap().status, 405);
    assert_eq!(front.refused("trace")["host"], "app.test");
}

fn grpc(path: &str) -> Request<()> {
    let pending = Request::post(format!("https://app.test{path}")).header("content-type", "application/grpc");
    pending.header("te", "trailers").body(()).unwrap()
}

#[test]
fn trailers_pass_both_ways_to_an_app_that_speaks_http2() {
    let app = h2c::echo();
    let front = Front::open(app, "--app-protocol h2c");
    let client = h2(&front);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    trailers.insert("x-forwarded-client-cert", "forged".parse().unwrap());
    let frames = vec![Frame::data(Bytes::from("message")), Frame::trailers(trailers)];
    let answer = client.ask(grpc("/echo"), frames).unwrap();
    assert_eq!((answer.status, answer.text()), (200, "message"));
    let trailers = answer.trailers.unwrap();
    assert_eq!((&trailers["grpc-status"], &trailers["x-sum"]), (&"0".parse().unwrap(), &"7".parse().unwrap()));
    assert!(!trailers.contains_key("x-forwarded-client-cert"), "{trailers:?}");
    // An answer of trailers alone.
    let answer = client.ask(grpc("/trailers-only"), vec![]).unwrap();
    assert_eq!((answer.status, &answer.head["grpc-status"]), (200, &"5".parse().unwrap()));
    assert!(answer.body.is_empty() && answer.trailers.is_none());
    let entries = front.requests(2);
    assert_eq!((&entries[0]["grpc_status"], &entries[1]["grpc_status"]), (&"0".into(), &"5".into()));
    assert_eq!((&entries[0]["app_protocol"], &entries[1]["reused"]), (&"h2c".into(), &true.into()));
}

#[test]
fn both_sides_of_a_call_stream_at_once() {
    let app = h2c::echo();
    let front = Front::open(app, "--app-protocol h2c");
    let client = h2(&front);
    let (sender, pending) = client.begin_streaming(grpc("/echo"));
    let mut streaming = client.head(pending).unwrap();
    for n in 0..1000 {
        let message = format!("message {n}");
        sender.blocking_send(Frame::data(Bytes::from(message.clone()))).unwrap();
        assert_eq!(client.next(&mut streaming, message.len()), message.as_bytes());
    }
    drop(sender);
    assert_eq!(client.rest(streaming).unwrap().trailers.unwrap()["grpc-status"], "0");
}

#[test]
fn a_hundred_thousand_small_messages_are_no_abuse() {
    let app = h2c::echo();
    let front = Front::open(app, "--app-protocol h2c --log-level info");
    let client = h2(&front);
    let before = anonymous_kib(front.sidecar.pid());
    let frames = (0..100_000).map(|_| Frame::data(Bytes::from_static(&[7; 25]))).collect();
    let answer = client.ask(grpc("/echo"), frames).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 2_500_000));
    let after = anonymous_kib(front.sidecar.pid());
    assert!(after < before + 8 * 1024, "{before} KiB before, {after} KiB after");
}

#[test]
fn small_messages_that_an_app_does_not_take_yet_are_no_abuse() {
    let (app, may_serve) = h2c::serving_late();
    // h2 tells of each frame at the level of debugging.
    let front = Front::open(app, "--app-protocol h2c --log-level info");
    let client = front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap();
    let mut frames = frames::Frames::begin(client);
    let before = anonymous_kib(front.sidecar.pid());
    let window = frames.fill(1, 8);
    // So much is on its way to the app, whatever its own window is (RFC 9113, 6.9.2); the next waits here.
    frames.wait_for_leave(1, window);
    frames.send_parts(1, 8, window);
    frames.ping(1);
    frames.pinged();
    let after = anonymous_kib(front.sidecar.pid());
    assert!(after < before + 12 * 1024, "{before} KiB before, {after} KiB after");
    may_serve.send(true).unwrap();
    frames.end(1);
    assert_eq!(frames.answer(1), (2 * window).to_string().as_bytes());
}

#[test]
fn a_field_whose_name_is_no_token_reaches_nobody() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let client = front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap();
    let mut frames = frames::Frames::begin(client);
    for (stream, name) in [(1, &b"x\"z"[..]), (3, b"\"x-forwarded-client-cert\"")] {
        frames.ask_with(stream, name, b"v");
        let answer = String::from_utf8(frames.answer(stream)).unwrap();
        assert!(answer.contains("\"reason\":\"bad_request\""), "{answer}");
    }
    frames.ask_with(5, b"x-z", b"v");
    assert_eq!(frames.answer(5), b"ok");
    assert_eq!(app.asked().len(), 1);
}

#[test]
fn an_empty_length_is_no_length() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let client = front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap();
    let mut frames = frames::Frames::begin(client);
    frames.ask_with(1, b"content-length", b"");
    let answer = String::from_utf8(frames.answer(1)).unwrap();
    assert!(answer.contains("\"reason\":\"bad_framing\""), "{answer}");
    frames.ask_with(3, b"content-length", b"0");
    assert_eq!(frames.answer(3), b"ok");
    assert_eq!(app.asked().len(), 1);
}

#[test]
fn an_app_of_http2_has_as_many_fields_in_an_answer_as_one_of_http1() {
    let front = Front::open(h2c::echo(), "--app-protocol h2c");
    let client = h2(&front);
    for (path, status) in [("/fields-400", 200), ("/fields-513", 502)] {
        assert_eq!(client.ask(request(path), vec![]).unwrap().status, status, "{path}");
    }
    assert_eq!(front.refused("app_bad_answer")["detail"], "the response has more than 512 fields");
}

#[test]
fn refusals_of_a_call_are_statuses_of_grpc() {
    let ((green, _), (_, blue_pair)) = (someone(), someone());
    let backend = Backend::new();
    backend.write_policy(&format!(
        "[[route]]\npath = '/open'\nallow = ['anonymous', 'cf:any']\n\
         [[route]]\npath = '/closed'\nallow = ['cf:app:{}']\n",
        green.app
    ));
    let options = format!("--policy {} --app-protocol h2c", backend.policy().display());
    let front = Front::with(backend, crate::support::app::nobody(), &options);
    let connector = front.connector_as(&blue_pair).alpn(&["h2"]);
    let denied = H2::connect(&connector, front.sidecar.addr()).ask(grpc("/closed"), vec![]).unwrap();
    let anonymous = h2(&front).ask(grpc("/closed"), vec![]).unwrap();
    let unreachable = h2(&front).ask(grpc("/open"), vec![]).unwrap();
    for (answer, status, reason) in
        [(denied, "7", "denied"), (anonymous, "16", "certificate_required"), (unreachable, "14", "app_unreachable")]
    {
        assert_eq!((answer.status, &answer.head["grpc-status"]), (200, &status.parse().unwrap()));
        assert_eq!(answer.head["vestibule-reason"], reason);
        assert_eq!(answer.head["content-type"], "application/grpc");
    }
}

#[test]
fn large_bodies_pass_both_ways_and_a_reader_that_is_slow_takes_no_memory() {
    let app = h2c::echo();
    for (options, addr) in [("--app-protocol h2c", app), ("", h1_echo())] {
        let front = Front::open(addr, options);
        let client = h2(&front);
        let before = anonymous_kib(front.sidecar.pid());
        let (sender, pending) = client.begin_streaming(post("/echo"));
        let part = Bytes::from((0..100_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        let mut most = 0;
        sender.blocking_send(Frame::data(part.clone())).unwrap();
        let mut streaming = client.head(pending).unwrap();
        for _ in 0..200 {
            sender.blocking_send(Frame::data(part.clone())).unwrap();
            assert!(client.next(&mut streaming, part.len()) == part);
            most = most.max(anonymous_kib(front.sidecar.pid()));
        }
        drop(sender);
        assert!(client.rest(streaming).unwrap().body == part);
        assert!(most < before + 6 * 1024, "{options}: {before} KiB before, {most} KiB at most");
    }
}

/// An app that sends back the chunks that it gets.
fn h1_echo() -> std::net::SocketAddr {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let mut tail = Vec::new();
        let mut space = vec![0; 64 * 1024];
        while !tail.ends_with(b"\r\n0\r\n\r\n") {
            let n = stream.read(&mut space).unwrap();
            stream.write_all(&space[..n]).unwrap();
            tail.extend_from_slice(&space[..n]);
            tail.drain(..tail.len().saturating_sub(7));
        }
        let _ = stream.read(&mut [0]);
    });
    app.addr()
}

#[test]
fn a_client_is_told_of_the_stop_in_two_steps_and_what_it_asks_for_between_them_is_answered() {
    let app = HttpApp::saying("ok");
    let mut front = Front::open(app.addr(), "");
    let mut frames = frames::Frames::begin(front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap());
    frames.ask(1);
    assert_eq!(frames.answer(1), b"ok");
    front.retire();
    assert_eq!(frames.goaway(), (0x7fff_ffff, 0));
    // It has not heard of it yet.
    frames.ask(3);
    assert_eq!(frames.answer(3), b"ok");
    frames.answer_pings();
    assert_eq!(frames.goaway(), (3, 0));
    assert!(frames.ends_cleanly());
    front.sidecar.access_log_entry("closed_idle");
}

#[test]
fn a_stream_that_is_under_way_ends_whole_while_the_instance_stops() {
    let app = App::start();
    let mut front = Front::open(app.addr(), "");
    let client = h2(&front);
    let pending = client.begin(request("/"), vec![]);
    let mut connection = app.accept();
    connection.read_exact(&mut [0; 16]).unwrap();
    front.sidecar.signal("TERM");
    front.sidecar.wait_for("listeners closed");
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndo").unwrap();
    let mut streaming = client.head(pending).unwrap();
    assert_eq!(client.next(&mut streaming, 2), b"do");
    connection.write_all(b"ne").unwrap();
    assert_eq!(client.rest(streaming).unwrap().body, b"ne");
    assert_eq!(front.sidecar.exited().code(), Some(0));
}

#[test]
fn clients_that_never_pause_lose_nothing_while_the_app_ends_at_term() {
    for _ in 0..3 {
        let (credentials, mut sidecar) = with_app();
        let (connector, addr) = (connector(credentials.instance()).alpn(&["h2"]), sidecar.addr());
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let users: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| -> Result<(), String> {
                        while let Ok(client) = H2::try_connect(&connector, addr) {
                            client.keep_asking(6, &answered)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            eventually("some answers", || (answered.load(Ordering::Relaxed) > 200).then_some(()));
            sidecar.signal("TERM");
            for user in users {
                assert_eq!(user.join().unwrap(), Ok(()));
            }
        });
        assert_eq!(sidecar.exited().code(), Some(0));
    }
}
