//! Large bodies and slow readers: nothing is kept whole.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Front, GET};
use crate::relay::anonymous_kib;
use crate::support::http_app::HttpApp;

const LARGE: usize = 100_000_000;

/// What the program may take more than before, in KiB. Its buffers for one connection are far below.
const GROWTH: u64 = 6 * 1024;

fn part() -> Vec<u8> {
    (0..100_000_u32).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_hundred_megabytes_pass_up_and_down_at_once_in_bounded_memory() {
    // It sends back what it gets.
    let app = HttpApp::handing_over(|stream| {
        let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
        write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        std::io::copy(&mut Read::by_ref(&mut from).take(LARGE as u64), &mut to).unwrap();
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    let before = anonymous_kib(front.sidecar.pid());
    talk.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let (part, mut most) = (part(), 0);
    talk.send(&part);
    talk.head();
    for _ in 1..LARGE / part.len() {
        talk.send(&part);
        assert!(talk.take(part.len()) == part);
        most = most.max(anonymous_kib(front.sidecar.pid()));
    }
    assert!(talk.take(part.len()) == part);
    let entry = &front.requests(1)[0];
    assert_eq!((&entry["bytes_in"], &entry["bytes_out"]), (&LARGE.into(), &LARGE.into()));
    assert!(most < before + GROWTH, "{before} KiB before, {most} KiB at most");
}

#[test]
fn chunks_without_a_length_pass_as_they_come() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let part = part();
        for _ in 0..LARGE / 5 / part.len() {
            write!(stream, "{:x}\r\n", part.len()).unwrap();
            stream.write_all(&part).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0]);
    });
    let front = Front::open(app.addr(), "");
    let answer = front.talk().ask(GET);
    assert!(answer.body == part().repeat(LARGE / 5 / part().len()));
}

static WRITTEN: AtomicU64 = AtomicU64::new(0);
static READ: Mutex<u64> = Mutex::new(0);

#[test]
fn a_client_that_does_not_read_holds_the_app_back_and_takes_no_memory() {
    let app = HttpApp::handing_over(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        let part = part();
        for _ in 0..LARGE / part.len() {
            stream.write_all(&part).unwrap();
            WRITTEN.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        let _ = stream.read(&mut [0]);
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    let before = anonymous_kib(front.sidecar.pid());
    talk.send(GET);
    talk.head();
    let held_back = stands_still(|| WRITTEN.load(Ordering::Relaxed));
    let most = anonymous_kib(front.sidecar.pid());
    assert!(held_back < LARGE as u64 / 2, "{held_back} bytes of the answer were taken");
    assert!(most < before + GROWTH, "{before} KiB before, {most} KiB now");
    // And then it reads.
    let part = part();
    for _ in 0..LARGE / part.len() {
        assert!(talk.take(part.len()) == part);
    }
}

#[test]
fn an_app_that_does_not_read_holds_the_client_back_and_takes_no_memory() {
    let app = HttpApp::handing_over(|mut stream| {
        let wait = READ.lock().unwrap();
        let mut rest = stream.try_clone().unwrap().take(LARGE as u64);
        std::io::copy(&mut rest, &mut std::io::sink()).unwrap();
        drop(wait);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    let before = anonymous_kib(front.sidecar.pid());
    let wait = READ.lock().unwrap();
    static SENT: AtomicU64 = AtomicU64::new(0);
    let sending = std::thread::spawn(move || {
        talk.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
        let part = part();
        for _ in 0..LARGE / part.len() {
            talk.send(&part);
            SENT.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        talk.answer().body
    });
    let held_back = stands_still(|| SENT.load(Ordering::Relaxed));
    let most = anonymous_kib(front.sidecar.pid());
    assert!(held_back < LARGE as u64 / 2, "{held_back} bytes of the body were taken");
    assert!(most < before + GROWTH, "{before} KiB before, {most} KiB now");
    drop(wait);
    assert_eq!(sending.join().unwrap(), b"ok");
}

/// The value of what has grown, once it has not for a while.
fn stands_still(value: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (value(), Instant::now());
    loop {
        let now = value();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if last > 0 && since.elapsed() > Duration::from_millis(500) {
            return last;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
