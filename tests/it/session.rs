//! What a client may say behind its Finished, and when everything has been said.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use serde_json::Value;

use crate::support::app::App;
use crate::support::client::{Client, Connector, Ending, connector, read_to_end};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{TEST_TIMEOUT, app, eventually};

fn sidecar(args: &[&str]) -> (Sidecar, App, Credentials) {
    let credentials = Credentials::new();
    let app = App::start();
    let setup = args.iter().fold(Setup::proxy(&credentials, app.addr()), |setup, arg| setup.arg(arg));
    (setup.ready(), app, credentials)
}

/// A client whose part of the handshake is done and whose last flight has not been sent.
fn with_its_last_flight_unsent(connector: &Connector, sidecar: &Sidecar) -> Client {
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let name = ServerName::try_from(connector.name.clone()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(connector.config.clone()), name).unwrap();
    while tls.is_handshaking() {
        while tls.wants_write() {
            tls.write_tls(&mut tcp).unwrap();
        }
        tls.read_tls(&mut tcp).unwrap();
        tls.process_new_packets().unwrap();
    }
    assert!(tls.wants_write());
    Client { tls, tcp }
}

/// What the client has to send, in one piece.
fn unsent(client: &mut Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.tls.wants_write() {
        client.tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn a_key_update_in_one_packet_with_finished_is_answered_and_the_session_goes_on() {
    let (sidecar, app, credentials) = sidecar(&[]);
    for updates in 1..4 {
        let mut client = with_its_last_flight_unsent(&connector(credentials.instance()), &sidecar);
        for _ in 0..updates {
            client.tls.refresh_traffic_keys().unwrap();
        }
        client.tls.writer().write_all(b"question").unwrap();
        let flight = unsent(&mut client);
        client.tcp.write_all(&flight).unwrap();
        let mut app = app.accept();
        let mut question = [0; 8];
        app.read_exact(&mut question).unwrap();
        assert_eq!(&question, b"question");
        app.write_all(b"answer").unwrap();
        assert_eq!(client.receive(6).unwrap(), b"answer");
        client.send(b"more").unwrap();
        app.read_exact(&mut question[..4]).unwrap();
        drop(app);
        assert_eq!(client.receive_all(), (Vec::new(), Ending::CloseNotify));
    }
}

#[test]
fn a_damaged_record_in_one_packet_with_finished_reaches_the_app_as_a_reset() {
    let (sidecar, app, credentials) = sidecar(&[]);
    let mut client = with_its_last_flight_unsent(&connector(credentials.instance()), &sidecar);
    let finished = unsent(&mut client);
    client.tls.writer().write_all(b"an upload").unwrap();
    let mut record = unsent(&mut client);
    *record.last_mut().unwrap() ^= 1;
    client.tcp.write_all(&[finished, record].concat()).unwrap();
    assert_eq!(read_to_end(&app.accept()), (Vec::new(), Ending::Reset));
    let error = client.receive(1).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    sidecar.access_log_entry("client_violation");
}

#[test]
fn a_close_notify_in_one_packet_with_finished_and_a_question_is_an_end_of_file_behind_it() {
    let (sidecar, app, credentials) = sidecar(&[]);
    let mut client = with_its_last_flight_unsent(&connector(credentials.instance()), &sidecar);
    client.tls.writer().write_all(b"question").unwrap();
    client.tls.send_close_notify();
    let flight = unsent(&mut client);
    client.tcp.write_all(&flight).unwrap();
    let mut app = app.accept();
    assert_eq!(read_to_end(&app), (b"question".to_vec(), Ending::Fin));
    app.write_all(b"answer").unwrap();
    drop(app);
    assert_eq!(client.receive_all(), (b"answer".to_vec(), Ending::CloseNotify));
}

#[test]
fn a_key_update_behind_the_apps_end_cuts_no_upload_off() {
    let (sidecar, app, credentials) = sidecar(&[]);
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    let mut app = app.accept();
    app.write_all(b"enough").unwrap();
    app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.receive_all(), (b"enough".to_vec(), Ending::CloseNotify));
    let uploading = thread::spawn(move || {
        for _ in 0..20 {
            client.tls.refresh_traffic_keys().unwrap();
            client.send(&[1; 100_000]).unwrap();
        }
        client.close_notify();
        client
    });
    let (upload, ending) = read_to_end(&app);
    assert_eq!((upload.len(), ending), (2_000_000, Ending::Fin));
    drop(uploading.join().unwrap());
    assert_eq!(sidecar.access_log_entry("completed")["bytes_up"], 2_000_000);
}

/// Whoever says nothing that is data has nothing to say, however often.
#[test]
fn parts_of_a_record_and_key_updates_do_not_keep_an_idle_connection() {
    let (sidecar, _app, credentials) = sidecar(&["--idle-timeout=400ms"]);
    let mut dribbler = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    dribbler.tls.writer().write_all(&[7; 10_000]).unwrap();
    let record = unsent(&mut dribbler);
    let mut updater = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    for byte in record.chunks(100).take(record.len() / 100 - 1) {
        let updated = updater.tls.refresh_traffic_keys().is_ok() && {
            let update = unsent(&mut updater);
            updater.tcp.write_all(&update).is_ok()
        };
        if dribbler.tcp.write_all(byte).is_err() || !updated {
            break;
        }
        thread::sleep(Duration::from_millis(100));
        if sidecar.reasons().len() == 2 {
            break;
        }
    }
    eventually("the ends", || (sidecar.reasons() == ["idle_timeout", "idle_timeout"]).then_some(()));
}

/// Bytes that nobody takes are no more than a silence.
#[test]
fn a_client_that_reads_nothing_is_idle_and_what_it_has_not_got_does_not_look_whole() {
    // Long enough for the app to begin before nothing of it is on its way, which would be a silence without a rest.
    let (sidecar, app, credentials) = sidecar(&["--idle-timeout=2s"]);
    let download = vec![3; 40_000_000];
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    let mut app = app.accept();
    let sending = thread::spawn(move || {
        let sent = app.write_all(&download);
        (sent, read_to_end(&app).1)
    });
    sidecar.access_log_entry("idle_timeout");
    let (sent, ending) = sending.join().unwrap();
    assert!(sent.is_err() || ending == Ending::Reset, "{sent:?} {ending:?}");
    let (got, ending) = client.receive_all();
    assert!(got.len() < 40_000_000);
    assert_ne!(ending, Ending::CloseNotify);
}

const DOWNLOAD: usize = 3_000_000;

/// What of a download a client has not taken when all of it is with the kernels: more than the client's own holds.
const LEFT: usize = 150_000;

/// A client that has ended its sending and has got all but the last bytes of a download; the app has gone.
fn downloading(sidecar: &Sidecar, app: &App, credentials: &Credentials) -> Client {
    let tcp = TcpStream::connect(sidecar.addr()).unwrap();
    socket2::SockRef::from(&tcp).set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = connector(credentials.instance()).handshake(tcp).unwrap();
    client.close_notify();
    let mut app = app.accept();
    let sending = thread::spawn(move || {
        app.read_to_end(&mut Vec::new()).unwrap();
        app.write_all(&vec![3; DOWNLOAD]).unwrap();
    });
    client.receive(DOWNLOAD - LEFT).unwrap();
    sending.join().unwrap();
    client
}

fn bytes_down(entry: &Value) -> u64 {
    entry["bytes_down"].as_u64().unwrap()
}

#[test]
fn a_slow_client_that_still_talks_gets_the_whole_download() {
    let (sidecar, app, credentials) = sidecar(&[]);
    let mut client = downloading(&sidecar, &app, &credentials);
    // For longer than a client without anything to take is waited for. What it says behind its close_notify is nobody's.
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(100));
        client.tcp.write_all(b"and talk").unwrap();
        client.receive(LEFT / 40).unwrap();
    }
    let (rest, ending) = client.receive_all();
    assert_eq!((rest.len(), ending), (LEFT - 30 * (LEFT / 40), Ending::CloseNotify));
    drop(client);
    assert_eq!(bytes_down(&sidecar.access_log_entry("completed")), DOWNLOAD as u64);
}

#[test]
fn what_a_client_has_not_taken_when_the_process_ends_is_not_counted() {
    let (mut sidecar, app, credentials) = sidecar(&["--drain-timeout=1s"]);
    let client = downloading(&sidecar, &app, &credentials);
    sidecar.signal("TERM");
    let down = bytes_down(&sidecar.access_log_entry("drain_timeout"));
    assert!(0 < down && down < DOWNLOAD as u64 - 20_000, "{down}");
    assert_eq!(sidecar.exited().code(), Some(0));
    drop(client);
}

#[test]
fn a_client_that_takes_nothing_more_is_not_waited_for_without_end() {
    let (sidecar, app, credentials) = sidecar(&[]);
    let client = downloading(&sidecar, &app, &credentials);
    let down = bytes_down(&sidecar.access_log_entry("client_stalled"));
    assert!(0 < down && down < DOWNLOAD as u64 - 20_000, "{down}");
    drop(client);
}

#[test]
fn a_first_message_that_is_no_client_hello_is_answered_by_an_alert() {
    let (sidecar, app, _credentials) = sidecar(&[]);
    for message in [&[22, 3, 1, 0, 4, 2, 0, 0, 0][..], &[22, 3, 3, 0, 4, 20, 0, 0, 0], &[22, 3, 3, 0, 4, 0, 0, 0, 0]] {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        tcp.write_all(message).unwrap();
        let (answer, _) = read_to_end(&tcp);
        let [21, 3, _, 0, 2, 2, alert] = answer[..] else { panic!("{answer:?} to {message:?}") };
        assert!([10, 50].contains(&alert), "{alert}");
    }
    eventually("the entries", || (sidecar.reasons() == ["handshake_failed"; 3]).then_some(()));
    assert_eq!(app.unaccepted(), 0);
}

/// OpenSSL's own client, told by letters to take new keys (`k`) and to want ours as well (`K`).
#[test]
fn openssl_takes_new_keys_as_often_as_it_likes() {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).ready();
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_3", "-connect", &sidecar.addr().to_string(), "-servername", credentials.instance()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the openssl program; install it");
    let mut stdin = client.stdin.take().unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut told = BufReader::new(client.stderr.take().unwrap()).lines();
    for round in 0..40 {
        let letter = if round % 3 == 0 { "k" } else { "K" };
        writeln!(stdin, "{letter}").unwrap();
        told.by_ref().map(Result::unwrap).find(|line| line == "KEYUPDATE").unwrap();
        writeln!(stdin, "line {round}").unwrap();
        said.by_ref().map(Result::unwrap).find(|line| *line == format!("line {round}")).unwrap();
    }
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(sidecar.access_log_entry("client_truncated")["tls_version"], "TLSv1_3");
}
