//! An app that has gone while it waits: that is noticed, whatever it has sent behind its request, and its place is free.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::http::{AppClient, GET, before, sending_by, through};
use super::{Caller, app_guid, outbound};
use crate::support::eventually;
use crate::support::http_app::HttpApp;
use crate::support::sidecar::Sidecar;

/// How it goes.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// It is torn down.
    Reset,
    /// It ends its sending, and stays to read.
    HalfClose,
    /// It ends.
    Close,
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// What it has sent, and how many bytes behind that: as many as are taken.
fn conversations() -> [(String, usize); 4] {
    [
        // More than is kept of what lies behind a request.
        (GET.to_owned(), 64 * 1024),
        // The first byte of the protocol that it wants.
        (UPGRADE.to_owned(), 1),
        (UPGRADE.to_owned(), 64 * 1024),
        // A body that nobody reads.
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n".to_owned(), 100_000_000),
    ]
}

/// A server that does not read on behind a head, and says nothing.
fn silent() -> HttpApp {
    HttpApp::handing_over(|stream| {
        let _stream = stream;
        loop {
            std::thread::park();
        }
    })
}

/// Sends `head`, and then as much of `behind` bytes as is taken before nothing moves any more.
fn send(mut stream: impl Write, head: &str, mut behind: usize) {
    stream.write_all(head.as_bytes()).unwrap();
    let block = [b'x'; 64 * 1024];
    while behind > 0 {
        match stream.write(&block[..behind.min(block.len())]) {
            Ok(written) => behind -= written,
            Err(_) => return,
        }
    }
}

fn gone(sidecar: &Sidecar) -> usize {
    sidecar.lines_of("request completed").iter().filter(|line| line["close_reason"] == "app_reset").count()
}

#[test]
fn an_app_that_has_gone_is_noticed_whatever_it_has_sent_behind_its_request() {
    let app = silent();
    let (_caller, _backend, _serving, sidecar) = through(&app, "max-connections = 1");
    let mut before = 0;
    for (head, behind) in conversations() {
        // The kernel sends no FIN before what was written, and how much its buffers take differs: behind a body nobody reads it may not come.
        let leavings = match behind > 1024 * 1024 {
            true => &[Leaving::Reset][..],
            false => &[Leaving::Reset, Leaving::HalfClose, Leaving::Close],
        };
        for leaving in leavings.iter().copied() {
            let app_client = AppClient::at(outbound(&sidecar));
            app_client.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            eventually("the place of the one before", || (gone(&sidecar) == before).then_some(()));
            send(&app_client.0, &head, behind);
            eventually("the request", || (app.asked().len() == before + 1).then_some(()));
            let _stays = leave(app_client.0, leaving);
            before += 1;
            eventually(&format!("the end of {head:?} and {behind} bytes by {leaving:?}"), || {
                (gone(&sidecar) == before).then_some(())
            });
        }
    }
    assert!(sidecar.lines_of("request completed").iter().all(|line| line["close_reason"] == "app_reset"));
}

fn leave(stream: TcpStream, leaving: Leaving) -> Option<TcpStream> {
    match leaving {
        Leaving::HalfClose => {
            stream.shutdown(Shutdown::Write).unwrap();
            Some(stream)
        }
        Leaving::Close => None,
        Leaving::Reset => {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            None
        }
    }
}

#[test]
fn an_app_behind_a_socket_file_that_has_gone_is_noticed_as_well() {
    let app = silent();
    let (backend, serving) = before(&app);
    let caller = Caller::new();
    let setup = sending_by(&caller, &[serving.addr()], &app_guid(&backend), "max-connections = 1");
    let file = caller.credentials.dir().join("vestibule.toml");
    let path = caller.credentials.dir().join("outbound.sock");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("listen = 0", &format!("listen = \"unix:{}\"", path.display()))).unwrap();
    let sidecar = setup.ready();
    sidecar.wait_for("outbound listening");
    for (nth, (head, behind)) in conversations().into_iter().enumerate() {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        send(&stream, &head, behind);
        eventually("the request", || (app.asked().len() == nth + 1).then_some(()));
        drop(stream);
        eventually("the end", || (gone(&sidecar) == nth + 1).then_some(()));
    }
}

#[test]
fn one_that_goes_on_waiting_is_answered_though_it_has_sent_more_than_is_kept() {
    let app = HttpApp::handing_over(|mut stream| {
        // Longer than an app that has gone is noticed.
        std::thread::sleep(Duration::from_millis(2500));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    app_client.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    send(&app_client.0, GET, 64 * 1024);
    assert_eq!(app_client.answer().1, "ok");
    assert_eq!(gone(&sidecar), 0);
}
