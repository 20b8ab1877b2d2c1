//! Rotation, retirement and the end of a pair, as outbound connections see them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::http::{AppClient, GET, before};
use super::{Caller, app_guid, entry, outbound, say, server};
use crate::support::client::{Ending, read_to_end};
use crate::support::credentials::issue_at;
use crate::support::eventually;
use crate::support::http_app::HttpApp;

/// A life of which a hundredth, which is waited for silence, is soon over.
const SHORT_LIFE: Duration = Duration::from_secs(60);

fn exchange(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text);
}

#[test]
fn new_connections_take_the_new_pair_at_once_and_old_ones_are_let_go_when_they_are_silent() {
    let mut caller = Caller::new();
    caller.credentials.spec.validity = SHORT_LIFE;
    caller.credentials.rotate();
    let (backend, serving) = server("cf:any");
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let addr = outbound(&sidecar);
    let mut old = TcpStream::connect(addr).unwrap();
    exchange(&mut old, b"before");
    caller.credentials.rotate();
    sidecar.wait_for("certificate rotated");
    // Nobody knows whether that was all: an end of file would say so.
    assert_eq!(read_to_end(&old), (vec![], Ending::Reset));
    assert_eq!(entry(&sidecar, "credential_rotated")["generation"], 1);
    assert_eq!(say(addr, b"after"), (b"after".to_vec(), Ending::Fin));
    let after = entry(&sidecar, "completed");
    assert_eq!((&after["generation"], &after["resumed"]), (&2.into(), &false.into()));
    eventually("both serial numbers in the server's log", || {
        let lines = serving.lines();
        let mut serials = lines.iter().filter_map(|line| line["client_serial"].as_str());
        let first = serials.next()?;
        serials.any(|serial| serial != first).then_some(())
    });
}

#[test]
fn sessions_are_resumed_within_a_generation_and_never_across_one() {
    let mut caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let addr = outbound(&sidecar);
    let resumed = || -> Vec<(u64, bool)> {
        let done = sidecar.lines().into_iter().filter(|line| line["direction"] == "outbound");
        done.map(|line| (line["generation"].as_u64().unwrap(), line["resumed"].as_bool().unwrap())).collect()
    };
    for n in 1..=3 {
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
        crate::support::eventually("the entry", || (resumed().len() == n).then_some(()));
    }
    caller.credentials.rotate();
    sidecar.wait_for("certificate rotated");
    for n in 4..=5 {
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
        crate::support::eventually("the entry", || (resumed().len() == n).then_some(()));
    }
    assert_eq!(resumed(), [(1, false), (1, true), (1, true), (2, false), (2, true)]);
}

#[test]
fn a_request_that_waits_for_its_answer_outlasts_a_rotation() {
    let mut caller = Caller::new();
    caller.credentials.spec.validity = SHORT_LIFE;
    caller.credentials.rotate();
    let backend = crate::clients::Backend::new();
    let app = crate::support::app::App::start();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"ask").unwrap();
    let mut behind = app.accept();
    behind.read_exact(&mut [0; 3]).unwrap();
    caller.credentials.rotate();
    sidecar.wait_for("certificate rotated");
    // Longer than the silence in which a connection is let go.
    std::thread::sleep(Duration::from_millis(1300));
    behind.write_all(b"answer").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    assert_eq!(read_to_end(&stream), (vec![], Ending::Reset), "it is let go then");
}

/// Asks over a connection that is kept as long as the answers allow, with pauses of all lengths up to a tenth of a second, until `done`. Adds
/// to what was answered, and to what of that was the last answer of its connection.
fn keep_asking(addr: SocketAddr, nth: u64, done: &AtomicBool, answered: &AtomicUsize, told: &AtomicUsize) {
    let mut kept: Option<AppClient> = None;
    for round in 0_u64.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let (head, body) = kept.get_or_insert_with(|| AppClient::at(addr)).ask(GET);
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok", "{head}{body}");
        answered.fetch_add(1, Ordering::Relaxed);
        if head.contains("connection: close\r\n") {
            told.fetch_add(1, Ordering::Relaxed);
            let AppClient(ended) = kept.take().unwrap();
            assert_eq!(read_to_end(&ended), (vec![], Ending::Fin));
        }
        std::thread::sleep(Duration::from_millis((round * 37 + nth * 11) % 100));
    }
}

/// What an app sends into a connection that is being closed is lost, whoever closes it. So in HTTP/1.1 the answer says that it is the last one.
#[test]
fn no_request_is_lost_to_rotations_over_connections_that_an_app_keeps_as_long_as_it_may() {
    const CLIENTS: usize = 8;
    // `VESTIBULE_TEST_OUTBOUND_ROTATIONS=1000` for the long form.
    let rotations = std::env::var("VESTIBULE_TEST_OUTBOUND_ROTATIONS").map_or(5, |text| text.parse().unwrap());
    let app = HttpApp::saying("ok");
    let (backend, serving) = before(&app);
    let mut caller = Caller::new();
    caller.credentials.spec.validity = SHORT_LIFE;
    caller.credentials.rotate();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).arg("--access-log").arg("all").ready();
    let addr = outbound(&sidecar);
    let (done, answered, told) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let app_client: Vec<_> = (0..CLIENTS as u64)
            .map(|nth| {
                let (done, answered, told) = (&done, &answered, &told);
                scope.spawn(move || keep_asking(addr, nth, done, answered, told))
            })
            .collect();
        let until = |counted: &AtomicUsize, enough: usize| {
            eventually("answers", || {
                assert!(!app_client.iter().any(std::thread::ScopedJoinHandle::is_finished), "a request was lost");
                (counted.load(Ordering::Relaxed) >= enough).then_some(())
            });
        };
        for _ in 0..rotations {
            until(&answered, answered.load(Ordering::Relaxed) + 10 * CLIENTS);
            let told_before = told.load(Ordering::Relaxed);
            caller.credentials.rotate();
            until(&told, told_before + CLIENTS);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(app.asked().len(), answered.load(Ordering::Relaxed), "none was sent twice");
    let rotated = eventually("the entries", || {
        let entries = sidecar.lines().into_iter().filter(|line| line["direction"] == "outbound");
        let reasons: Vec<_> = entries.map(|line| line["close_reason"].as_str().unwrap().to_owned()).collect();
        assert!(reasons.iter().all(|reason| reason == "credential_rotated" || reason == "completed"), "{reasons:?}");
        let rotated = reasons.iter().filter(|reason| *reason == "credential_rotated").count();
        (rotated == told.load(Ordering::Relaxed)).then_some(rotated)
    });
    assert!(rotated >= CLIENTS * rotations, "{rotated}");
}

#[test]
fn a_connection_that_an_app_keeps_and_does_not_use_is_closed_before_its_pair_ends() {
    let app = HttpApp::saying("ok");
    let (backend, serving) = before(&app);
    let mut caller = Caller::new();
    caller.credentials.spec.validity = Duration::from_secs(12);
    caller.credentials.rotate();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let mut kept = AppClient::at(outbound(&sidecar));
    assert_eq!(kept.ask(GET).1, "ok");
    // Whole: nobody waits for anything.
    assert_eq!(read_to_end(&kept.0), (vec![], Ending::Fin));
    entry(&sidecar, "credential_rotated");
}

#[test]
fn no_connection_outlives_the_pair_with_which_it_was_made() {
    let mut caller = Caller::new();
    let (backend, serving) = server("cf:any");
    caller.credentials.spec.validity = Duration::from_secs(4);
    caller.credentials.rotate();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    // It speaks all the time, so there is no silence in which to let it go.
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let until = SystemTime::now() + Duration::from_secs(8);
    let mut ended = false;
    while !ended && SystemTime::now() < until {
        let mut answer = [0; 64];
        let spoke = stream.write_all(b"x");
        let heard = stream.read(&mut answer);
        ended = spoke.is_err() || matches!(&heard, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset);
    }
    assert!(ended, "it goes on");
    entry(&sidecar, "credential_expired");
}

#[test]
fn a_pair_that_has_ended_is_not_shown_to_anybody() {
    let mut caller = Caller::new();
    let (backend, serving) = server("cf:any");
    caller.credentials.spec.validity = Duration::from_secs(1);
    caller.credentials.rotate();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    sidecar.wait_until("its end", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("the served certificate has expired"))
    });
    let addr = outbound(&sidecar);
    let before = serving.reasons().len();
    crate::support::eventually("the refusal", || (say(addr, b"x") == (vec![], Ending::Reset)).then_some(()));
    let refused = entry(&sidecar, "credential_expired");
    assert!(refused["detail"].as_str().unwrap().contains("no successor has come"), "{refused}");
    assert_eq!(serving.reasons().len(), before, "nobody was dialled");
}

#[test]
fn a_request_in_the_last_minutes_of_a_pair_gets_its_answer() {
    let mut caller = Caller::new();
    let backend = crate::clients::Backend::new();
    let app = crate::support::app::App::start();
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    // Issued so long ago that the last tenth of its life has begun.
    caller.credentials.spec.validity = Duration::from_secs(1000);
    let long_ago = SystemTime::now() - Duration::from_secs(940);
    caller.credentials.folder.write(&issue_at(&caller.credentials.spec, long_ago)).unwrap();
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"ask").unwrap();
    let mut behind = app.accept();
    behind.read_exact(&mut [0; 3]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    behind.write_all(b"answer").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
}

#[test]
fn the_pair_that_announces_our_retirement_is_not_shown_to_servers() {
    let mut caller = Caller::new();
    let (backend, serving) = server(&format!("cf:app:{}", caller.guid()));
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    let instance = caller.credentials.instance().to_owned();
    let retired = caller.credentials.spec.retired();
    let credential = vestibule::issuer::Credential::clone(&issue_at(&retired, SystemTime::now()));
    caller.credentials.folder.write(&credential).unwrap();
    sidecar.wait_for("retirement certificate received; closing idle connections");
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    assert_eq!(serving.access_log_entry("completed")["client_instance"], instance);
    caller.credentials.spec.validity = Duration::from_secs(3600);
}

#[test]
fn a_server_that_announces_its_retirement_gets_nothing_new_while_there_is_another() {
    let caller = Caller::new();
    let backend = crate::clients::Backend::new();
    let retiring = crate::clients::Backend::new();
    let expected = app_guid(&backend);
    let mut spec = retiring.credentials.spec.clone();
    spec.app = backend.credentials.spec.app;
    retiring.credentials.folder.write(&issue_at(&spec, SystemTime::now())).unwrap();
    let app = crate::support::app::echo();
    let one = backend.before(app).arg("--allow").arg("cf:any").ready();
    let other = retiring.before(app).arg("--allow").arg("cf:any").ready();
    let sidecar =
        caller.dialling(&[other.addr(), one.addr()], &expected).arg("--outbound-balance").arg("first").ready();
    let addr = outbound(&sidecar);
    assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
    assert_eq!(entry(&sidecar, "completed")["endpoint_addr"], other.addr().to_string());
    retiring.credentials.folder.write(&issue_at(&spec.retired(), SystemTime::now())).unwrap();
    other.wait_for("retirement certificate received; closing idle connections");
    // The connection that finds it out is served all the same.
    for _ in 0..4 {
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
    }
    sidecar.wait_until("the retirement", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("endpoint retiring"))
    });
    crate::support::eventually("the others", || (one.reasons().len() == 3).then_some(()));
}
