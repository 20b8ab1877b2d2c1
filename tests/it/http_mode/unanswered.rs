//! Apps that are gone, silent, or stop in the middle of what they say.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::{Front, GET, asked};
use crate::relay::anonymous_kib;
use crate::support::app::App;
use crate::support::client::Ending;
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};

#[test]
fn an_app_that_is_gone_is_503_and_may_be_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let once = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let front = Front::open(addr, "");
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    once.join().unwrap();
    for _ in 0..2 {
        let answer = talk.ask(GET);
        answer.is_ours(503, "app_unreachable");
        assert_eq!(answer.fields("retry-after"), ["1"]);
    }
    let entry = &front.requests(3)[2];
    assert_eq!((&entry["status"], &entry["reason"]), (&503.into(), &"app_unreachable".into()));
    assert!(entry["detail"].as_str().unwrap().contains("refused"), "{entry}");
}

#[test]
fn an_app_that_does_not_answer_in_time_is_504_and_its_connection_is_not_used_again() {
    let app = HttpApp::handing_over(|mut stream| drop(stream.read(&mut [0])));
    let front = Front::open(app.addr(), "--app-timeout 200ms");
    let mut talk = front.talk();
    for _ in 0..2 {
        talk.ask(GET).is_ours(504, "app_timeout");
    }
    assert_eq!(app.asked().iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn an_app_that_closes_without_an_answer_is_502() {
    let app = HttpApp::start(|_| Reply::SendAndClose(Vec::new()));
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.ask(GET).is_ours(502, "app_closed");
    let answer = talk.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    answer.is_ours(502, "app_closed");
    assert_eq!(app.asked().len(), 2);
}

#[test]
fn an_answer_that_cannot_be_read_is_502() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX Y: 1\r\n\r\n",
    ] {
        let app = HttpApp::start(move |_| Reply::SendAndClose(answer.to_vec()));
        let front = Front::open(app.addr(), "");
        front.talk().ask(GET).is_ours(502, "app_bad_answer");
    }
}

/// What the client sees of an answer that breaks off, behind its head.
fn broken(answer: &'static str) -> (Vec<u8>, Ending) {
    let app = HttpApp::start(move |_| Reply::SendAndClose(answer.as_bytes().to_vec()));
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(GET);
    talk.head();
    let rest = talk.rest();
    let entry = front.refused("app_closed");
    assert_eq!((&entry["status"], &entry["bytes_out"]), (&200.into(), &3.into()), "{entry}");
    rest
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let (body, ending) = broken("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(body, b"abc");
    assert_ne!(ending, Ending::CloseNotify);
    let (body, ending) = broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_eq!(body, b"3\r\nabc\r\n");
    assert_ne!(ending, Ending::CloseNotify);
}

#[test]
fn an_answer_that_breaks_off_right_behind_its_head_shows_its_head_and_does_not_look_whole() {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}");
    for (answer, reason) in [
        (head("Content-Length: 20\r\n\r\n"), "app_closed"),
        (head("Transfer-Encoding: chunked\r\n\r\n"), "app_closed"),
        (head("Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "app_bad_answer"),
    ] {
        let said = answer.clone();
        let app = HttpApp::start(move |_| Reply::SendAndClose(said.clone().into_bytes()));
        let front = Front::open(app.addr(), "");
        for _ in 0..5 {
            let mut talk = front.talk();
            talk.send(GET);
            assert!(talk.head().starts_with("HTTP/1.1 200 "), "{answer:?}");
            let (rest, ending) = talk.rest();
            assert!(rest.is_empty() && ending != Ending::CloseNotify, "{answer:?}: {rest:?}, {ending:?}");
        }
        let entries = front.requests(5);
        assert!(entries.iter().all(|entry| entry["status"] == 200 && entry["reason"] == reason), "{entries:?}");
        assert_eq!(app.asked().len(), 5, "nobody asks again by itself");
    }
}

#[test]
fn a_client_that_goes_is_the_end_of_its_request_at_the_app() {
    let app = App::start();
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(GET);
    let mut connection = app.accept();
    connection.read_exact(&mut [0; 16]).unwrap();
    talk.client.reset();
    let (_, ending) = crate::support::client::read_to_end(&connection);
    assert_eq!(ending, Ending::Reset);
    let entry = front.refused("client_closed");
    assert!(entry["status"].is_null(), "{entry}");
}

#[test]
fn a_body_that_breaks_off_never_looks_whole_to_the_app() {
    for head in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let app = App::start();
        let front = Front::open(app.addr(), "");
        let mut talk = front.talk();
        talk.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
        let connection = app.accept();
        talk.client.close_notify();
        talk.client.fin();
        let (_, ending) = crate::support::client::read_to_end(&connection);
        assert_eq!(ending, Ending::Reset, "{head}");
    }
}

#[test]
fn an_answer_before_the_whole_body_arrives_and_ends_the_connection() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").unwrap();
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nbeginning");
    let answer = talk.answer();
    assert_eq!((answer.status(), answer.text(), answer.says_close()), (413, "no", true));
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    asked(&app, 1);
}

#[test]
fn the_head_of_an_answer_arrives_whose_body_never_begins() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let app = HttpApp::start(move |_| Reply::SendAndClose(answer.as_bytes().to_vec()));
        let front = Front::open(app.addr(), "");
        for _ in 0..5 {
            let mut talk = front.talk();
            talk.send(GET);
            assert!(talk.head().starts_with("HTTP/1.1 200 "), "{answer}");
            let (rest, ending) = talk.rest();
            assert!(rest.is_empty() && ending != Ending::CloseNotify, "{answer}: {ending:?}");
        }
    }
}

#[test]
fn an_answer_of_an_app_that_closes_in_the_middle_of_an_upload_is_never_lost() {
    const TIMES: usize = 20;
    let app = HttpApp::handing_over(|mut stream| {
        stream.read_exact(&mut [0; 64 * 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").unwrap();
    });
    let front = Front::open(app.addr(), "");
    for _ in 0..TIMES {
        let mut talk = front.talk();
        talk.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        talk.send(vec![0; 300_000]);
        let answer = talk.answer();
        assert_eq!((answer.status(), answer.text(), answer.says_close()), (413, "no", true));
    }
    assert_eq!(app.asked().len(), TIMES, "nobody is asked twice");
}

#[test]
fn long_heads_that_the_app_does_not_answer_count_and_those_for_which_there_is_no_memory_are_refused() {
    const CLIENTS: usize = 60;
    let app = HttpApp::handing_over(std::mem::forget);
    let front = Front::open(app.addr(), "--memory-limit 16M");
    let pid = front.sidecar.pid();
    let before = anonymous_kib(pid);
    let field = format!("X-Long: {}\r\n", "v".repeat(7_000));
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", field.repeat(9));
    let mut talks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut talk = front.talk();
            talk.send(&request);
            talk
        })
        .collect();
    eventually("each is refused or with the app", || {
        (app.asked().len() + front.sidecar.lines_of("request completed").len() == CLIENTS).then_some(())
    });
    let taken = app.asked().len();
    assert!((2..20).contains(&taken), "{taken} of {CLIENTS}");
    // Half of what the group has; 250 KiB each would be nearly all of it.
    assert!(anonymous_kib(pid) - before < 8 * 1024, "{} KiB", anonymous_kib(pid) - before);
    for entry in front.requests(CLIENTS - taken) {
        assert_eq!((&entry["status"], &entry["reason"]), (&503.into(), &"overloaded".into()));
    }
    // A small one has its room.
    let mut small = front.talk();
    small.send(GET);
    eventually("a small one is with the app", || (app.asked().len() == taken + 1).then_some(()));
    talks.push(small);
}
