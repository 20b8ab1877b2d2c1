//! Clients that begin more than there is memory for, and those that may begin nothing any more.

use std::io::Write;

use super::super::Front;
use super::frames;
use super::frames::Frames;
use crate::clients::{Backend, someone};
use crate::support::app::App;
use crate::support::eventually;
use crate::support::http_app::HttpApp;

/// REFUSED_STREAM (RFC 9113, 7): it was not looked at, and may be asked for again.
const REFUSED_STREAM: u32 = 7;

#[test]
fn clients_may_begin_so_many_requests_at_once_as_there_is_memory_for_and_six_in_the_end() {
    let app = App::start();
    let front = Front::open(app.addr(), "--memory-limit 8M");
    let mut connections: Vec<_> = (0..25).map(|_| frames(&front)).collect();
    let announced: Vec<_> = connections.iter_mut().map(Frames::announced_streams).collect();
    assert!(announced[0] > 10 && announced[0] <= 100, "{announced:?}");
    assert!(announced.is_sorted_by(|one, next| one >= next), "{announced:?}");
    let last = connections.last_mut().unwrap();
    assert_eq!(announced[24], 6);
    // Whoever does not care is told for each, and the app sees the others alone.
    for stream in [1, 3, 5, 7, 9, 11, 13] {
        last.ask(stream);
    }
    assert_eq!(last.reset(13), REFUSED_STREAM);
    let _asked: Vec<_> = (0..1).map(|_| app.accept()).collect();
    drop(connections);
    eventually("room for as many as at first", || (frames(&front).announced_streams() == announced[0]).then_some(()));
}

#[test]
fn where_there_is_much_memory_everybody_may_begin_a_hundred() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--memory-limit 1T");
    let mut connections: Vec<_> = (0..40).map(|_| frames(&front)).collect();
    assert!(connections.iter_mut().all(|connection| connection.announced_streams() == 100));
}

#[test]
fn a_client_that_may_not_come_in_any_more_begins_nothing_while_its_connection_ends_for_another_reason() {
    let (_, pair) = someone();
    let app = HttpApp::saying("ok");
    let (backend, everybody) = (Backend::new(), "allow = ['cf:any']");
    backend.write_policy(everybody);
    let options = format!("--policy {} --max-age 500ms", backend.policy().display());
    let front = Front::with(backend, app.addr(), &options);
    let reloads = || front.sidecar.lines_of("client CAs and rules reloaded").len();
    // Its age has to come first, and the rules within the half second behind it.
    for attempt in 0..20 {
        let client = front.connector_as(&pair).alpn(&["h2"]).connect(front.sidecar.addr()).unwrap();
        let mut frames = Frames::begin(client);
        std::thread::sleep(std::time::Duration::from_millis(50 * (attempt % 5)));
        let before = reloads();
        front.backend.write_policy("allow = []");
        assert_eq!(frames.goaway().1, 0);
        let is_of_age = reloads() == before;
        front.sidecar.lines_eventually("client CAs and rules reloaded", before + 1);
        let rest = frames.ask_to_the_end(1);
        assert!(app.asked().is_empty(), "the app has been asked");
        if is_of_age && String::from_utf8_lossy(&rest).contains("\"reason\":\"denied\"") {
            return;
        }
        front.backend.write_policy(everybody);
        front.sidecar.lines_eventually("client CAs and rules reloaded", before + 2);
    }
    panic!("the rules never came in time");
}

#[test]
fn what_a_client_asks_for_in_the_moment_in_which_its_idle_connection_ends_is_answered_however_long_that_takes() {
    let app = App::start();
    let front = Front::open(app.addr(), "--idle-timeout 300ms");
    let mut frames = frames(&front);
    assert_eq!(frames.goaway().1, 0);
    // It has been told to go, and this was on its way.
    frames.ask(1);
    let mut asked = app.accept();
    // Longer than the half second that others have.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(frames.answer(1), b"ok");
    front.sidecar.access_log_entry("idle_timeout");
    assert_eq!(front.requests(1)[0]["status"], 200);
}

/// It does not answer the PING by which it is asked whether it has heard of the end.
#[test]
fn a_client_that_may_not_come_in_any_more_begins_nothing_more_on_its_connection() {
    let (_, pair) = someone();
    let app = HttpApp::saying("ok");
    let (backend, everybody) = (Backend::new(), "allow = ['cf:any']");
    backend.write_policy(everybody);
    let options = format!("--policy {}", backend.policy().display());
    let front = Front::with(backend, app.addr(), &options);
    let mut served = 0;
    // On a slow machine the half second is over before it asks.
    for attempt in 1..=10 {
        let client = front.connector_as(&pair).alpn(&["h2"]).connect(front.sidecar.addr()).unwrap();
        let mut frames = Frames::begin(client);
        frames.ask(1);
        assert_eq!(frames.answer(1), b"ok");
        served += 1;
        front.backend.write_policy("allow = []");
        frames.goaway();
        let rest = frames.ask_to_the_end(3);
        assert_eq!(app.asked().len(), served, "the app has been asked once more");
        if String::from_utf8_lossy(&rest).contains("\"reason\":\"denied\"") {
            front.refused("denied");
            return;
        }
        front.backend.write_policy(everybody);
        front.sidecar.lines_eventually("client CAs and rules reloaded", 2 * attempt);
    }
    panic!("it was never fast enough");
}
