//! How long a client may take for what it says.

use std::time::{Duration, Instant};

use super::{Front, GET, asked};
use crate::support::app::App;
use crate::support::client::{Ending, read_to_end};
use crate::support::http_app::HttpApp;

#[test]
fn a_head_that_does_not_come_to_its_end_is_408() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--http-head-timeout 200ms");
    let mut talk = front.talk();
    // The time begins with the first byte: a connection that waits has all the time that it wants.
    assert_eq!(talk.ask(GET).text(), "ok");
    let began = Instant::now();
    talk.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let answer = talk.answer();
    answer.is_ours(408, "timeout");
    assert!(answer.says_close() && began.elapsed() > Duration::from_millis(190), "{}", answer.head);
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    assert_eq!(app.asked().len(), 1);
    front.refused("timeout");
}

#[test]
fn a_head_whose_bytes_trickle_has_no_more_time_than_another() {
    let app = HttpApp::saying("never");
    let front = Front::open(app.addr(), "--http-head-timeout 300ms");
    let mut talk = front.talk();
    talk.client.tcp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let began = Instant::now();
    let mut got = Vec::new();
    talk.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    while !got.starts_with(b"HTTP/1.1 408") {
        assert!(began.elapsed() < Duration::from_secs(10), "{got:?}");
        // It may be gone by then.
        let _ = talk.client.send(b"x");
        got.extend(talk.client.receive(1).unwrap_or_default());
    }
}

#[test]
fn a_body_that_is_silent_for_too_long_is_408_and_never_looks_whole_to_the_app() {
    let app = App::start();
    let front = Front::open(app.addr(), "--http-body-timeout 200ms");
    let mut talk = front.talk();
    talk.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let connection = app.accept();
    let answer = talk.answer();
    answer.is_ours(408, "timeout");
    assert!(answer.says_close());
    assert_eq!(talk.rest().1, Ending::CloseNotify);
    let (bytes, ending) = read_to_end(&connection);
    assert!(bytes.ends_with(b"abc") && ending == Ending::Reset, "{ending:?}");
    assert_eq!(front.refused("timeout")["bytes_in"], 3);
}

#[test]
fn a_body_that_pauses_and_goes_on_has_all_the_time_that_it_takes() {
    const LIMIT: Duration = Duration::from_secs(4);
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--http-body-timeout 4s");
    // On a machine that stood still for half of the limit nothing is known: then it is tried again.
    let body = (0..20).find_map(|_| {
        let mut talk = front.talk();
        talk.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (began, mut last, mut longest, mut body) =
            (Instant::now(), Instant::now(), Duration::ZERO, Vec::<u8>::new());
        // All pauses together are longer than the limit.
        while began.elapsed() <= LIMIT {
            std::thread::sleep(LIMIT / 8);
            // It may have been ended, should this have been too late.
            let _ = talk.client.send(b"1\r\nx\r\n");
            longest = longest.max(last.elapsed());
            last = Instant::now();
            body.extend(b"1\r\nx\r\n");
        }
        (longest < LIMIT / 2).then(|| {
            talk.send("0\r\n\r\n");
            assert_eq!(talk.answer().text(), "ok");
            body.extend(b"0\r\n\r\n");
            body
        })
    });
    assert_eq!(asked(&app, 1).last().unwrap().body, body.expect("a machine that does not stand still"));
}

#[test]
fn a_connection_on_which_nothing_is_asked_for_is_closed_where_that_is_limited() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--idle-timeout 300ms");
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    front.sidecar.access_log_entry("idle_timeout");
}

#[test]
fn a_head_that_is_too_long_is_431_and_a_target_414() {
    let app = HttpApp::saying("never");
    let front = Front::open(app.addr(), "--http-max-head 16K");
    let long = "x".repeat(17 * 1024);
    let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n");
    front.talk().ask(&field).is_ours(431, "head_too_large");
    let many: String = (0..129).map(|n| format!("X-{n}: 1\r\n")).collect();
    front.talk().ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).is_ours(431, "head_too_large");
    let front = Front::open(app.addr(), "");
    front.talk().ask(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")).is_ours(414, "target_too_long");
    assert!(app.asked().is_empty());
}

#[test]
fn a_body_that_is_longer_than_it_may_be_is_413_and_never_looks_whole_to_the_app() {
    let app = App::start();
    let front = Front::open(app.addr(), "--http-max-body 10");
    // Its length says so: the app is not asked, and the body is not waited for.
    let answer = front.talk().ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
    answer.is_ours(413, "body_too_large");
    assert!(answer.says_close());
    // Nothing says so before it has come.
    let mut talk = front.talk();
    talk.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\n");
    let connection = app.accept();
    talk.send("3\r\nijk\r\n");
    let answer = talk.answer();
    answer.is_ours(413, "body_too_large");
    assert!(answer.says_close());
    assert_eq!(talk.rest().1, Ending::CloseNotify);
    let (_, ending) = read_to_end(&connection);
    assert_eq!(ending, Ending::Reset);
    assert_eq!(front.requests(2).iter().filter(|entry| entry["status"] == 413).count(), 2);
}

#[test]
fn a_body_of_just_the_length_that_it_may_have_passes() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--http-max-body 10");
    let mut talk = front.talk();
    assert_eq!(talk.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789").text(), "ok");
    let chunked =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n";
    assert_eq!(talk.ask(chunked).text(), "ok");
    assert_eq!(asked(&app, 2).len(), 2);
}
