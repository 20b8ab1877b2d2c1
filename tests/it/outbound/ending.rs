//! How connections end that are let go, or whose server ends them without close_notify.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use vestibule::crypto::provider;

use super::http::{AppClient, GET, before, sending};
use super::{Caller, app_guid, entry, outbound, say, server};
use crate::clients::Backend;
use crate::support::app::App;
use crate::support::client::{Ending, read_to_end};
use crate::support::eventually;
use crate::support::http_app::HttpApp;

/// A server with the certificate of `backend` that reads until its peer is done, or to the end of an HTTP request where it has `answer`s, and
/// closes its TCP without close_notify once its peer has said goodbye.
fn without_goodbye(backend: &Backend, answer: &'static [u8]) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(backend.credentials.cert()).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(backend.credentials.key()).unwrap();
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
                let (mut said, mut part, mut left) = (Vec::new(), [0; 256], answer);
                while let Ok(read @ 1..) = stream.read(&mut part) {
                    said.extend_from_slice(&part[..read]);
                    if said.ends_with(b"\r\n\r\n") && stream.write_all(std::mem::take(&mut left)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

/// A sink is well, however little it says: most servers do not answer a close_notify.
#[test]
fn an_app_that_only_sends_and_then_ends_is_done_and_its_endpoints_are_not_ejected() {
    let (caller, backend) = (Caller::new(), Backend::new());
    let to: Vec<_> = (0..3).map(|_| without_goodbye(&backend, b"")).collect();
    let setup = caller.dialling(&to, &app_guid(&backend)).arg("--outbound-balance").arg("round-robin");
    let sidecar = setup.arg("--access-log").arg("all").ready();
    for _ in 0..12 {
        say(outbound(&sidecar), b"a line\n");
    }
    let entries = eventually("the entries", || {
        let lines: Vec<_> = sidecar.lines().into_iter().filter(|line| line["direction"] == "outbound").collect();
        (lines.len() == 12).then_some(lines)
    });
    assert!(entries.iter().all(|entry| entry["close_reason"] == "completed"), "{entries:?}");
    for addr in to {
        assert_eq!(entries.iter().filter(|entry| entry["endpoint_addr"] == addr.to_string()).count(), 4);
    }
}

#[test]
fn a_whole_answer_is_completed_where_the_app_is_done_before_a_server_that_does_not_say_goodbye() {
    let (caller, backend) = (Caller::new(), Backend::new());
    let to = without_goodbye(&backend, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let sidecar = caller.dialling(&[to], &app_guid(&backend)).arg("--access-log").arg("all").ready();
    let mut app_client = AppClient::at(outbound(&sidecar));
    assert_eq!(app_client.ask(GET).1, "ok");
    app_client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&app_client.0), (vec![], Ending::Fin), "nothing is missing");
    entry(&sidecar, "completed");

    // What is cut off is not whole, whoever has ended first.
    let to = without_goodbye(&backend, b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf");
    let sidecar = caller.dialling(&[to], &app_guid(&backend)).ready();
    let (said, ending) = say(outbound(&sidecar), GET.as_bytes());
    assert!(said.ends_with(b"half") && ending == Ending::Reset, "{ending:?}");
    let truncated = entry(&sidecar, "endpoint_truncated");
    assert!(truncated["detail"].as_str().unwrap().contains("without close_notify"), "{truncated}");
}

#[test]
fn an_answer_of_an_old_connection_says_that_it_is_the_last_one() {
    let app = HttpApp::saying("ok");
    let ((backend, serving), caller) = (before(&app), Caller::new());
    let sidecar =
        caller.dialling(&[serving.addr()], &app_guid(&backend)).arg("--outbound-max-age").arg("300ms").ready();
    let mut app_client = AppClient::at(outbound(&sidecar));
    let last = eventually("the last answer", || {
        let (head, body) = app_client.ask(GET);
        assert_eq!(body, "ok");
        head.contains("connection: close\r\n").then_some(head)
    });
    assert!(last.starts_with("HTTP/1.1 200 "));
    assert_eq!(read_to_end(&app_client.0), (vec![], Ending::Fin));
    entry(&sidecar, "max_age");
}

#[test]
fn a_stream_that_is_not_http_never_ends_by_an_end_of_file_in_a_pause_of_ours() {
    let (caller, backend, app) = (Caller::new(), Backend::new(), App::start());
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let sidecar =
        caller.dialling(&[serving.addr()], &app_guid(&backend)).arg("--outbound-max-age").arg("500ms").ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"dump\n").unwrap();
    let mut behind = app.accept();
    behind.read_exact(&mut [0; 5]).unwrap();
    behind.write_all(b"first part").unwrap();
    // It pauses before the second one.
    assert_eq!(read_to_end(&stream), (b"first part".to_vec(), Ending::Reset));
    entry(&sidecar, "max_age");
    // The server is told as it should be.
    assert_eq!(behind.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_app_that_waits_for_its_answer_is_not_let_go_before_it_has_to_be() {
    let (caller, backend, app) = (Caller::new(), Backend::new(), App::start());
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let sidecar =
        caller.dialling(&[serving.addr()], &app_guid(&backend)).arg("--outbound-max-age").arg("100ms").ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"query").unwrap();
    let mut behind = app.accept();
    behind.read_exact(&mut [0; 5]).unwrap();
    // Much longer than the pause in which others are let go.
    std::thread::sleep(Duration::from_millis(600));
    behind.write_all(b"row").unwrap();
    let mut row = [0; 3];
    stream.read_exact(&mut row).unwrap();
    assert_eq!(&row, b"row");
    assert_eq!(read_to_end(&stream), (vec![], Ending::Reset));
}

#[test]
fn what_an_app_has_not_read_yet_is_not_lost_where_its_connection_is_let_go() {
    const ALL: usize = 12 << 20;
    let (caller, backend, app) = (Caller::new(), Backend::new(), App::start());
    let serving = backend.before(app.addr()).arg("--allow").arg("cf:any").ready();
    let sidecar =
        caller.dialling(&[serving.addr()], &app_guid(&backend)).arg("--outbound-max-age").arg("100ms").ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"x").unwrap();
    let mut behind = app.accept();
    behind.read_exact(&mut [0; 1]).unwrap();
    let writer = std::thread::spawn(move || behind.write_all(&vec![7; ALL]).map(|()| behind));
    // The server has said everything, and the kernel has it, long before the app reads.
    std::thread::sleep(Duration::from_millis(500));
    let mut received = vec![0; ALL];
    stream.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|byte| *byte == 7));
    drop(writer.join().unwrap().unwrap());
}

#[test]
fn a_kept_connection_of_http_mode_carries_no_request_beyond_its_age() {
    let app = HttpApp::saying("ok");
    let ((backend, serving), caller) = (before(&app), Caller::new());
    let more = "max-age = \"200ms\"\nidle-timeout = \"60s\"";
    let sidecar = sending(&caller, &[serving.addr()], &app_guid(&backend), more);
    let mut app_client = AppClient::at(outbound(&sidecar));
    assert_eq!(app_client.ask(GET).1, "ok");
    // It is closed by itself, and the next request has one of its own.
    eventually("its end", || (serving.reasons().len() == 1).then_some(()));
    assert_eq!(app_client.ask(GET).1, "ok");
    let entries = eventually("both", || Some(sidecar.lines_of("request completed")).filter(|all| all.len() == 2));
    assert!(entries.iter().all(|entry| entry["reused"] == false), "{entries:?}");
}

#[test]
fn an_app_that_is_being_connected_at_the_end_of_the_process_sees_a_reset() {
    let (caller, silent) = (Caller::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let dialling = caller.dialling(&[silent.local_addr().unwrap()], "cf:any").arg("--drain-timeout").arg("200ms");
    let mut sidecar =
        dialling.arg("--outbound-timeout").arg("60s").arg("--outbound-handshake-timeout").arg("60s").ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"ask").unwrap();
    let _hangs = silent.accept().unwrap();
    sidecar.signal("TERM");
    assert_eq!(read_to_end(&stream), (vec![], Ending::Reset));
    assert_eq!(sidecar.exited().code(), Some(0));
    entry(&sidecar, "drain_timeout");
}

#[test]
fn a_certificate_that_has_expired_and_one_of_another_ca_are_named() {
    use std::time::SystemTime;
    use vestibule::issuer::{CertificateAuthority, Folder};
    let caller = Caller::new();
    let (mut backend, serving) = server("cf:any");
    let sidecar = caller.dialling(&[serving.addr()], &app_guid(&backend)).ready();
    backend.credentials.spec.validity = Duration::from_secs(3600);
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    backend
        .credentials
        .folder
        .write(&crate::support::credentials::issue_at(&backend.credentials.spec, long_ago))
        .unwrap();
    serving.wait_for("certificate rotated");
    assert_eq!(say(outbound(&sidecar), b"x"), (vec![], Ending::Reset));
    let detail = entry(&sidecar, "certificate_expired")["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("its certificate has expired on 20") && detail.contains("clocks"), "{detail}");

    let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
    let credential = authority.issue(&backend.credentials.spec, SystemTime::now()).unwrap();
    Folder::instance(backend.credentials.dir()).write(&credential).unwrap();
    eventually("the other certificate", || {
        say(outbound(&sidecar), b"x");
        sidecar.lines().into_iter().find(|line| line["close_reason"] == "untrusted")
    });
    let detail = entry(&sidecar, "untrusted")["detail"].as_str().unwrap().to_owned();
    for part in
        ["none of the CAs of --outbound-ca (own-issuer: ", "issued by ", "called like one of them", "add the CA"]
    {
        assert!(detail.contains(part), "{detail}");
    }
}

/// Passes bytes on between a client and `to`, and changes one of those that come back once it is told to.
fn meddling(to: SocketAddr, meddle: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, meddle) = (listener.local_addr().unwrap(), Arc::clone(meddle));
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        let (mut up_from, mut up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut up_from, &mut up_to));
        let mut part = [0; 4096];
        while let Ok(read @ 1..) = server.read(&mut part) {
            if meddle.load(Ordering::SeqCst) {
                part[read - 1] ^= 1;
            }
            if client.write_all(&part[..read]).is_err() {
                return;
            }
        }
    });
    addr
}

#[test]
fn how_an_endpoint_has_broken_tls_is_said_in_words_and_by_the_alert_that_it_was_sent() {
    let (caller, meddle) = (Caller::new(), Arc::new(AtomicBool::new(false)));
    let (backend, serving) = server("cf:any");
    let sidecar = caller.dialling(&[meddling(serving.addr(), &meddle)], &app_guid(&backend)).ready();
    let mut stream = TcpStream::connect(outbound(&sidecar)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    meddle.store(true, Ordering::SeqCst);
    stream.write_all(b"y").unwrap();
    assert_eq!(read_to_end(&stream), (vec![], Ending::Reset));
    let detail = entry(&sidecar, "endpoint_violation")["detail"].to_string();
    assert!(detail.contains("a record cannot be decrypted") && detail.contains("BadRecordMac"), "{detail}");
    // Whoever has changed it, the other end hears the same.
    let detail = serving.access_log_entry("client_violation")["detail"].to_string();
    assert!(detail.contains("the peer ended the TLS session by the alert BadRecordMac"), "{detail}");
}
