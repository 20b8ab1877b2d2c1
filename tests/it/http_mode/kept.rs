//! Connections to the app that are kept for the next request.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Front, GET};
use crate::support::app::App;
use crate::support::client::{Ending, read_to_end};
use crate::support::http_app::{Asked, HttpApp, Reply};
use crate::support::machine::in_namespaces;

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

fn connections(app: &HttpApp) -> Vec<usize> {
    app.asked().iter().map(|asked| asked.connection).collect()
}

#[test]
fn requests_of_one_client_follow_each_other_on_one_connection_and_those_of_another_have_their_own() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let (mut one, mut other) = (front.talk(), front.talk());
    for talk in [&mut one, &mut other] {
        for request in [GET, POST, GET] {
            assert_eq!(talk.ask(request).text(), "ok");
        }
    }
    let seen = connections(&app);
    assert!(seen[..3].iter().all(|connection| *connection == seen[0]), "{seen:?}");
    assert!(seen[3..].iter().all(|connection| *connection == seen[3] && *connection != seen[0]), "{seen:?}");
    let reused: Vec<_> = front.requests(6).iter().map(|entry| entry["reused"] == true).collect();
    assert_eq!(reused, [false, true, true, false, true, true]);
}

#[test]
fn a_connection_on_which_nothing_is_asked_for_is_closed_in_time_and_the_client_stays() {
    let app = App::start();
    let front = Front::open(app.addr(), "--app-idle-timeout 200ms");
    let mut talk = front.talk();
    for _ in 0..2 {
        talk.send(GET);
        let mut connection = app.accept();
        let mut head = vec![0; 16];
        std::io::Read::read_exact(&mut connection, &mut head).unwrap();
        std::io::Write::write_all(&mut connection, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(talk.answer().text(), "ok");
        assert_eq!(read_to_end(&connection).1, Ending::Fin);
    }
    let reused: Vec<_> = front.requests(2).iter().map(|entry| entry["reused"] == true).collect();
    assert_eq!(reused, [false, false]);
}

/// An app that answers the first request on each connection, and closes it as soon as the second comes, up to `times`.
fn closing(times: usize) -> HttpApp {
    let (left, seen) = (AtomicUsize::new(times), Mutex::new(BTreeSet::new()));
    HttpApp::start(move |asked: &Asked| {
        let is_first = seen.lock().unwrap().insert(asked.connection);
        let less = |left: usize| left.checked_sub(1);
        let closes = !is_first && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if closes { Reply::SendAndClose(Vec::new()) } else { Reply::ok("ok") }
    })
}

#[test]
fn a_request_that_meets_a_kept_connection_at_its_end_is_sent_again_where_that_changes_nothing() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let app = closing(1);
        let front = Front::open(app.addr(), "");
        let mut talk = front.talk();
        assert_eq!(talk.ask(GET).text(), "ok");
        let again = GET.replace("GET", method);
        talk.send(&again);
        let answer = if method == "HEAD" { talk.answer_to_head() } else { talk.answer() };
        assert_eq!(answer.status(), 200, "{method}");
        assert_eq!(connections(&app), [0, 0, 1], "{method}");
        let entries = front.requests(2);
        assert_eq!((entries[0]["retried"] == true, entries[1]["retried"] == true), (false, true), "{method}");
        assert_ne!(entries[1]["reused"], true);
    }
}

#[test]
fn a_request_is_sent_again_once_and_no_more() {
    // Each connection closes in answer to all but the first request.
    let answered = AtomicUsize::new(0);
    let app = HttpApp::start(move |_| match answered.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::ok("ok"),
        _ => Reply::SendAndClose(Vec::new()),
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    talk.ask(GET).is_ours(502, "app_closed");
    assert_eq!(connections(&app), [0, 0, 1]);
}

#[test]
fn a_post_or_a_body_is_never_sent_twice() {
    let app = closing(usize::MAX);
    let front = Front::open(app.addr(), "");
    for request in
        [POST.to_owned(), POST.replace("POST", "PUT"), GET.replace("GET", "POST"), GET.replace("GET", "PATCH")]
    {
        let mut talk = front.talk();
        assert_eq!(talk.ask(GET).text(), "ok");
        let before = app.asked().len();
        talk.ask(&request).is_ours(502, "app_closed");
        assert_eq!(app.asked().len(), before + 1, "{request}");
        // The client's connection goes on.
        assert_eq!(talk.ask(GET).text(), "ok");
    }
}

#[test]
fn nothing_is_sent_again_where_the_answer_has_begun() {
    let seen = Mutex::new(BTreeSet::new());
    let app = HttpApp::start(move |asked: &Asked| match seen.lock().unwrap().insert(asked.connection) {
        true => Reply::ok("ok"),
        false => Reply::SendAndClose(b"HTTP/1.1 200".to_vec()),
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    assert_eq!(talk.ask(GET).status(), 502);
    assert_eq!(connections(&app), [0, 0]);
}

#[test]
fn an_app_that_closes_after_its_answer_costs_no_request() {
    // It says so, or its answer ends with the connection, or it does it without a word, which only what may be sent again survives.
    for (request, answer) in [
        (POST, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        (POST, "HTTP/1.0 200 OK\r\n\r\nok"),
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ] {
        let app = HttpApp::start(move |_| Reply::SendAndClose(answer.as_bytes().to_vec()));
        let front = Front::open(app.addr(), "");
        let mut talk = front.talk();
        for _ in 0..20 {
            let got = talk.ask(request);
            assert_eq!((got.status(), got.text(), got.says_close()), (200, "ok", false), "{answer}");
        }
        assert!(app.asked().len() >= 20);
    }
}

#[test]
fn what_an_app_says_behind_its_answer_reaches_nobody() {
    let app = HttpApp::start(|_| {
        Reply::Send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_vec(),
        )
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    for _ in 0..5 {
        assert_eq!(talk.ask(GET).text(), "ok");
    }
}

/// Answers a request while nothing of its body is read, then reads all, and answers the next one.
fn answer_first(mut stream: TcpStream) {
    // As much of the body has come as the kernel has room for, and the rest waits with the proxy.
    std::thread::sleep(Duration::from_millis(150));
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (mut space, mut is_open) = (vec![0; 64 * 1024], stream.write_all(answer).is_ok());
    // The next request is on its way by then.
    std::thread::sleep(Duration::from_millis(150));
    while is_open {
        let read = stream.read(&mut space).unwrap_or(0);
        if space[..read].ends_with(b"\r\n\r\n") {
            stream.write_all(answer).unwrap();
        }
        is_open = read > 0;
    }
}

#[test]
fn a_request_behind_one_whose_end_still_waited_to_be_sent_when_it_was_answered_is_answered_too() {
    let test =
        "http_mode::kept::a_request_behind_one_whose_end_still_waited_to_be_sent_when_it_was_answered_is_answered_too";
    // As on most networks, and not as on this machine alone, where the kernel takes megabytes at once.
    let network = "ip link set lo up mtu 1500 && echo 4096 16384 131072 > /proc/sys/net/ipv4/tcp_wmem";
    if !in_namespaces(test, &["--net"], network, Path::new("/")) {
        return;
    }
    let app = HttpApp::handing_over(answer_first);
    let front = Front::open(app.addr(), "");
    // The longest body that is taken before anything is read of it: so the end of one that is a little shorter waits to be sent.
    let (mut taken, mut too_long) = (0, 1 << 20);
    while too_long - taken > 256 {
        let length = (taken + too_long) / 2;
        let mut talk = front.talk();
        talk.client.tcp.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        talk.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        let is_sent = talk.client.send(&vec![0; length]).is_ok();
        let is_taken = is_sent && {
            assert_eq!(talk.answer().text(), "ok");
            // Whoever could not take all of the body closes, and says nothing more.
            let _ = talk.client.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes());
            let (rest, _) = talk.rest();
            assert!(rest.is_empty() || rest.ends_with(b"\r\n\r\nok"), "{}", String::from_utf8_lossy(&rest));
            !rest.is_empty()
        };
        (taken, too_long) = if is_taken { (length, too_long) } else { (taken, length) };
    }
    assert!(taken > 64 * 1024, "{taken}");
}
