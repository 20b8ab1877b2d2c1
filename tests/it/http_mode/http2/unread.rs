//! What is not read: bodies of requests that are answered before, and frames that have no meaning.

use std::io::{Read, Write};

use super::super::talk::Talk;
use super::super::{Front, asked};
use super::frames;
use crate::support::client::Ending;
use crate::support::http_app::HttpApp;

#[test]
fn an_answer_that_comes_in_the_middle_of_a_body_is_whole_before_its_stream_is_let_go() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
            .unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    for (stream, method, said) in [(1, "POST", "large"), (3, "TRACE", "\"reason\":\"trace\""), (5, "PUT", "large")] {
        frames.begin_ten(stream, method);
        let (body, error) = frames.answer_and_reset(stream);
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(said), "{method}: {body:?}");
        assert_eq!(error, 0, "{method}: clients take nothing else for an answer that is whole (RFC 9113, 8.1)");
    }
}

#[test]
fn a_client_in_the_middle_of_a_body_has_a_moment_to_see_the_apps_answer() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
            .unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    frames.begin_ten(1, "POST");
    assert_eq!(frames.answer(1), b"large");
    // Nothing was reset in the same moment.
    frames.ping(1);
    frames.pinged();
    assert_eq!(frames.reset(1), 0);
}

#[test]
fn a_client_that_ends_its_body_behind_a_refusal_is_not_told_to_stop() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    frames.begin_ten(1, "TRACE");
    // Neither here nor later is a stream reset: some clients would not see the answer.
    assert!(String::from_utf8_lossy(&frames.answer(1)).contains("\"reason\":\"trace\""));
    frames.end_ten(1);
    frames.ask(3);
    assert_eq!(frames.answer(3), b"ok");
}

#[test]
fn a_client_that_ends_its_body_behind_an_early_answer_of_the_app_is_not_told_to_stop() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
            .unwrap();
    });
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    for stream in (1..20).step_by(2) {
        frames.begin_ten(stream, "POST");
        assert_eq!(frames.answer(stream), b"large");
        frames.end_ten(stream);
        // A reset would have come before the answer to this.
        frames.ping(1);
        frames.pinged();
    }
}

#[test]
fn a_client_may_send_all_of_its_body_behind_an_early_answer_that_is_no_refusal() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
    });
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    frames.begin_post(1);
    assert_eq!(frames.answer(1), b"ok");
    // Some clients have not done before they have sent all, whatever they are told. A reset would be no leave to go on.
    frames.upload(1, 1 << 20);
    frames.end(1);
    frames.ping(1);
    frames.pinged();
}

#[test]
fn a_body_behind_an_early_answer_is_taken_no_further_than_any_other() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
    });
    let front = Front::open(app.addr(), "--http-max-body 20K");
    let mut frames = frames(&front);
    frames.begin_post(1);
    assert_eq!(frames.answer(1), b"ok");
    frames.upload(1, 32 * 1024);
    assert_eq!(frames.reset(1), 0);
}

#[test]
fn a_preface_or_a_head_that_does_not_come_to_its_end_ends_the_connection_and_no_other() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--http-head-timeout 200ms");
    let connector = front.connector().alpn(&["h2"]);
    let mut idle = frames(&front);
    let mut talk = Talk::by(&connector, front.sidecar.addr());
    talk.send("PRI * HTTP/2.0\r\n");
    assert_eq!(talk.rest().1, Ending::CloseNotify);
    let mut cut = frames(&front);
    cut.begin_head(1);
    assert!(cut.ends_cleanly());
    let entries = front.sidecar.lines_eventually("connection closed", 2);
    for entry in entries {
        assert_eq!(entry["close_reason"], "client_violation", "{entry}");
        assert!(entry["detail"].to_string().contains("200ms after its first byte"), "{entry}");
    }
    // The time begins with the first byte: a connection that waits has all the time that it wants.
    idle.ask(1);
    assert_eq!(idle.answer(1), b"ok");
    assert_eq!(app.asked().len(), 1);
}

#[test]
fn what_belongs_in_heads_alone_reaches_nobody_in_trailers() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    frames.begin_post(1);
    frames.end_with_path(1);
    assert_eq!(frames.answer(1), b"ok");
    let asked = asked(&app, 1).remove(0);
    let seen = format!("{}{}", asked.head, String::from_utf8_lossy(&asked.body));
    assert!(seen.starts_with("POST / HTTP/1.1") && !seen.contains(":path") && !seen.contains("/b"), "{seen}");
}

#[test]
fn a_refusal_in_the_name_of_a_silent_app_reaches_a_client_in_the_middle_of_a_body() {
    let app = HttpApp::handing_over(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let front = Front::open(app.addr(), "--app-timeout 200ms");
    let mut frames = frames(&front);
    frames.begin_ten(1, "POST");
    let (body, error) = frames.answer_and_reset(1);
    assert!(String::from_utf8_lossy(&body).contains("app_timeout"), "{body:?}");
    assert_eq!(error, 0);
}

#[test]
fn a_client_that_does_not_speak_http2_as_it_is_is_told_so_and_the_log_says_it() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    // Streams of clients have odd numbers.
    frames.ask(2);
    assert_eq!(frames.goaway().1, 1);
    let entry = front.sidecar.access_log_entry("client_violation");
    assert!(entry["detail"].to_string().contains("protocol"), "{entry}");
}

#[test]
fn a_client_that_says_goodbye_in_the_middle_of_an_answer_has_not_broken_the_protocol() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 10_000]).is_ok() {}
    });
    let front = Front::open(app.addr(), "");
    for _ in 0..10 {
        let mut frames = frames(&front);
        frames.ask(1);
        assert!(!frames.part(1).is_empty());
        frames.close_connection();
    }
    let entries = front.sidecar.lines_eventually("connection closed", 10);
    assert!(entries.iter().all(|entry| entry["close_reason"] != "client_violation"), "{entries:?}");
    assert!(entries.iter().all(|entry| entry.get("detail").is_none()), "{entries:?}");
}

#[test]
fn a_connection_that_is_cut_in_the_middle_of_an_answer_has_its_bytes_in_the_log() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{}", "x".repeat(1000)).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let front = Front::open(app.addr(), "");
    let mut frames = frames(&front);
    frames.ask(1);
    assert!(!frames.part(1).is_empty());
    frames.ping(5_000);
    assert_eq!(frames.goaway().1, 11);
    let entry = front.sidecar.access_log_entry("client_violation");
    assert!(entry["bytes_down"].as_u64() > Some(1000), "{entry}");
}
