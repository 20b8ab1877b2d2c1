//! `Expect: 100-continue`: a body is not asked for before the app wants it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::Front;
use super::talk::Talk;
use crate::support::client::Ending;
use crate::support::http_app::HttpApp;
use crate::support::within;

const EXPECTING: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn takes_body(mut stream: &TcpStream) {
    let mut body = [0; 4];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"body");
    stream.write_all(OK).unwrap();
}

fn body_follows(talk: &mut Talk) {
    assert_eq!(talk.head(), CONTINUE);
    talk.send("body");
    let answer = talk.answer();
    assert_eq!((answer.text(), answer.says_close()), ("ok", false));
}

#[test]
fn the_apps_word_lets_the_body_through() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(CONTINUE.as_bytes()).unwrap();
        takes_body(&stream);
        let _ = stream.read(&mut [0]);
    });
    let front = Front::open(app.addr(), "");
    // Without the app's word it is a second.
    within(Duration::from_secs(1), || {
        let mut talk = front.talk();
        let began = Instant::now();
        talk.send(EXPECTING);
        body_follows(&mut talk);
        began.elapsed()
    });
    assert!(super::fields(&app.asked()[0].head, "expect") == ["100-continue"]);
    assert_eq!(front.requests(1)[0]["bytes_in"], 4);
}

#[test]
fn an_app_that_says_nothing_gets_the_body_after_a_second() {
    let app = HttpApp::handing_over(|stream| takes_body(&stream));
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(EXPECTING);
    let began = Instant::now();
    body_follows(&mut talk);
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn a_final_answer_comes_first_and_ends_the_connection_without_the_body() {
    for answer in [&b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"[..], OK] {
        static ANSWER: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());
        *ANSWER.lock().unwrap() = answer.to_vec();
        let app = HttpApp::handing_over(|mut stream| {
            stream.write_all(&ANSWER.lock().unwrap()).unwrap();
            let _ = stream.read(&mut [0]);
        });
        let front = Front::open(app.addr(), "");
        let mut talk = front.talk();
        let got = talk.ask(EXPECTING);
        assert_eq!(got.body, answer[answer.len() - 2..]);
        assert!(got.says_close(), "{}", got.head);
        assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
        assert_eq!(front.requests(1)[0]["bytes_in"], 0);
    }
}

#[test]
fn a_client_that_does_not_wait_is_answered_all_the_same() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(CONTINUE.as_bytes()).unwrap();
        takes_body(&stream);
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send(format!("{EXPECTING}body"));
    let mut answer = talk.answer();
    if answer.status() == 100 {
        answer = talk.answer();
    }
    assert_eq!(answer.text(), "ok");
}

#[test]
fn other_expectations_are_refused() {
    let app = HttpApp::saying("never");
    let front = Front::open(app.addr(), "");
    front.talk().ask("GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n").is_ours(417, "expectation");
    assert!(app.asked().is_empty());
}
