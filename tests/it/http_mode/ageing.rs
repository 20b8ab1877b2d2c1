//! `--max-age`: a connection that has had its time ends behind what is under way.

use std::io::{Read, Write};

use super::draining::request_at;
use super::http2::frames;
use super::{Front, GET};
use crate::health::{admin, get};
use crate::support::app::App;
use crate::support::client::Ending;
use crate::support::eventually;
use crate::support::http_app::HttpApp;

/// Long enough that two of them one behind the other are longer than what others have for their last answer.
const AGE: &str = "--max-age 600ms";

/// Waits until another connection has come and has had its time, so often.
fn wait_ages(front: &Front, count: usize) {
    for _ in 0..count {
        let before = front.sidecar.reasons().len();
        assert_eq!(front.talk().rest(), (Vec::new(), Ending::CloseNotify));
        eventually("its end", || (front.sidecar.reasons().len() > before).then_some(()));
    }
}

fn ends(front: &Front, count: usize) {
    eventually("its end", || (front.sidecar.reasons().len() == count).then_some(()));
    assert!(front.sidecar.reasons().iter().all(|reason| reason == "max_age"), "{:?}", front.sidecar.reasons());
}

#[test]
fn the_answer_that_is_under_way_arrives_whole_however_long_it_takes_and_is_the_last() {
    let app = App::start();
    let front = Front::open(app.addr(), &format!("{AGE} --admin 127.0.0.1:0"));
    let mut talk = front.talk();
    talk.send(GET);
    let mut connection = request_at(&app);
    wait_ages(&front, 3);
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let answer = talk.answer();
    assert_eq!((answer.text(), answer.says_close()), ("ok", true));
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    assert!(front.requests(1)[0]["reason"].is_null());
    ends(&front, 4);
    let (_, metrics) = get(admin(&front.sidecar), "/metrics");
    let told: Vec<_> = metrics.lines().filter(|line| line.starts_with("vestibule_http_drain_closes_total")).collect();
    assert!(told.iter().all(|line| line.ends_with(" 0")) && !told.is_empty(), "the instance stays: {told:?}");
}

#[test]
fn a_connection_that_is_idle_ends_and_the_app_is_asked_for_nothing_more() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), AGE);
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    ends(&front, 1);
    assert_eq!(app.asked().len(), 1);
}

#[test]
fn over_http2_what_is_under_way_is_answered_however_long_it_takes() {
    let app = App::start();
    let front = Front::open(app.addr(), AGE);
    let mut connection = frames(&front);
    connection.ask(1);
    let mut asked = request_at(&app);
    assert_eq!(connection.goaway().1, 0);
    wait_ages(&front, 2);
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(connection.answer(1), b"ok");
    assert!(front.requests(1)[0]["reason"].is_null());
    ends(&front, 3);
}

/// It does not answer the PING behind GOAWAY.
#[test]
fn over_http2_nothing_more_begins_once_the_client_had_the_time_to_hear_of_the_end() {
    let app = App::start();
    let front = Front::open(app.addr(), AGE);
    let mut connection = frames(&front);
    connection.ask(1);
    let mut asked = request_at(&app);
    assert_eq!(connection.goaway().1, 0);
    // Two seconds.
    wait_ages(&front, 5);
    connection.ask(3);
    let refused = connection.answer(3);
    assert!(String::from_utf8_lossy(&refused).contains("\"reason\":\"draining\""), "{refused:?}");
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(connection.answer(1), b"ok");
    let requests = front.requests(2);
    assert_eq!((requests[0]["status"].as_u64(), requests[1]["status"].as_u64()), (Some(503), Some(200)));
    ends(&front, 6);
}

#[test]
fn a_stop_cuts_off_what_is_under_way_on_a_connection_that_has_had_its_time_too() {
    for http2 in [false, true] {
        let app = App::start();
        let mut front = Front::open(app.addr(), &format!("{AGE} --drain-timeout 300ms"));
        let (mut talk, mut connection) = (front.talk(), frames(&front));
        if http2 {
            connection.ask(1)
        } else {
            talk.send(GET)
        }
        let mut asked = request_at(&app);
        wait_ages(&front, 2);
        front.sidecar.signal("TERM");
        assert_eq!(front.sidecar.exited().code(), Some(0));
        assert_eq!(asked.read(&mut [0]).unwrap_or(0), 0, "the app hears of it");
        let request = &front.requests(1)[0];
        assert_eq!(request["reason"], "drain_timeout", "{request}");
        let cut = front.sidecar.reasons().into_iter().filter(|reason| reason != "max_age");
        assert_eq!(cut.collect::<Vec<_>>(), ["drain_timeout"]);
    }
}
