//! What each end sees when bytes flow, and when the other end goes.

mod bulk;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::app;
use crate::support::app::App;
use crate::support::client::{Client, Ending, connector, connector_with, read_to_end};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};

/// A client, the app's end of its connection, and the sidecar between them.
struct RelaySetup {
    client: Client,
    app: TcpStream,
    sidecar: Sidecar,
}

fn relay_setup() -> RelaySetup {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).ready();
    let client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    RelaySetup { client, app: app.accept(), sidecar }
}

#[test]
fn bytes_arrive_both_ways_and_are_counted() {
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();

    client.send(b"ping!").unwrap();
    let mut question = [0; 5];
    app.read_exact(&mut question).unwrap();
    app.write_all(b"pong").unwrap();
    drop(app);

    assert_eq!(&question, b"ping!");
    assert_eq!(client.receive_all(), (b"pong".to_vec(), Ending::CloseNotify));
    client.close_notify();
    drop(client);
    let entry = sidecar.access_log_entry("completed");
    assert_eq!((entry["bytes_up"].as_u64(), entry["bytes_down"].as_u64()), (Some(5), Some(4)));
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let RelaySetup { mut client, mut app, sidecar: _running } = relay_setup();
    app.write_all(b"SSH-2.0-x\r\n").unwrap();
    assert_eq!(client.receive(11).unwrap(), b"SSH-2.0-x\r\n");
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    for fin_too in [false, true] {
        let RelaySetup { mut client, mut app, sidecar } = relay_setup();

        client.send(b"question").unwrap();
        client.close_notify();
        if fin_too {
            client.fin();
        }
        let mut question = Vec::new();
        app.read_to_end(&mut question).unwrap();
        app.write_all(&[7; 100_000]).unwrap();
        drop(app);

        assert_eq!(question, b"question");
        let (answer, ending) = client.receive_all();
        assert_eq!((answer.len(), ending), (100_000, Ending::CloseNotify));
        drop(client);
        sidecar.access_log_entry("completed");
    }
}

#[test]
fn an_app_that_half_closes_still_gets_the_rest_of_the_upload() {
    let RelaySetup { mut client, mut app, sidecar: _running } = relay_setup();

    app.write_all(b"enough").unwrap();
    app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.receive_all(), (b"enough".to_vec(), Ending::CloseNotify));
    client.send(&[1; 300_000]).unwrap();
    client.close_notify();

    let mut upload = Vec::new();
    app.read_to_end(&mut upload).unwrap();
    assert_eq!(upload.len(), 300_000);
}

#[test]
fn a_client_that_leaves_without_close_notify_reaches_the_app_as_a_reset() {
    let RelaySetup { mut client, app, sidecar } = relay_setup();
    client.send(b"half an upload").unwrap();
    client.fin();
    let (_, ending) = read_to_end(&app);
    assert_eq!(ending, Ending::Reset);
    sidecar.access_log_entry("client_truncated");
}

#[test]
fn a_clients_reset_reaches_the_app_as_a_reset() {
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();
    client.send(b"half an upload").unwrap();
    app.read_exact(&mut [0; 14]).unwrap();
    client.reset();
    let (_, ending) = read_to_end(&app);
    assert_eq!(ending, Ending::Reset);
    sidecar.access_log_entry("client_reset");
}

#[test]
fn a_client_that_breaks_tls_gets_an_alert_and_the_app_a_reset() {
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();
    client.send(b"fine so far").unwrap();
    app.read_exact(&mut [0; 11]).unwrap();
    client.tcp.write_all(&[23, 3, 3, 0, 32]).unwrap();
    client.tcp.write_all(&[0xaa; 32]).unwrap();

    let (_, ending) = read_to_end(&app);
    assert_eq!(ending, Ending::Reset);
    let mut stream = rustls::Stream::new(&mut client.tls, &mut client.tcp);
    let error = stream.read(&mut [0; 16]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    let detail = sidecar.access_log_entry("client_violation")["detail"].to_string();
    assert!(detail.contains("a record cannot be decrypted") && detail.contains("BadRecordMac"), "{detail}");
}

#[test]
fn an_app_that_resets_ends_the_answer_without_close_notify_and_without_a_reset() {
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();

    client.send(b"question").unwrap();
    app.read_exact(&mut [0; 8]).unwrap();
    app.write_all(&[9; 50_000]).unwrap();
    assert_eq!(client.receive(50_000).unwrap(), vec![9; 50_000]);
    socket2::SockRef::from(&app).set_linger(Some(Duration::ZERO)).unwrap();
    drop(app);

    assert_eq!(client.receive_all(), (Vec::new(), Ending::Fin));
    drop(client);
    sidecar.access_log_entry("app_reset");
}

#[test]
fn an_app_that_dies_while_the_client_uploads_is_seen_as_cut_off_and_never_as_a_reset() {
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();

    app.write_all(b"partial").unwrap();
    assert_eq!(client.receive(7).unwrap(), b"partial");
    // Unread bytes in its buffer make the kernel of a process that dies send a reset.
    client.send(&[1; 10_000]).unwrap();
    app.peek(&mut [0; 1]).unwrap();
    drop(app);

    for _ in 0..20 {
        // The client does not know yet, and goes on; none of this may turn our FIN into a reset.
        client.send(&[2; 1000]).unwrap();
    }
    assert_eq!(client.receive_all(), (Vec::new(), Ending::Fin));
    drop(client);
    sidecar.access_log_entry("app_reset");
}

#[test]
fn hundreds_of_small_writes_arrive_in_order_and_at_once() {
    let RelaySetup { mut client, mut app, sidecar: _running } = relay_setup();
    for i in 0..400_u16 {
        client.send(&i.to_be_bytes()).unwrap();
        let mut got = [0; 2];
        app.read_exact(&mut got).unwrap();
        assert_eq!(u16::from_be_bytes(got), i);
        app.write_all(&got).unwrap();
        assert_eq!(client.receive(2).unwrap(), got);
    }
}

/// Anonymous memory of a process in KiB.
pub(crate) fn anonymous_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_app_behind_a_unix_socket_is_reached() {
    let credentials = Credentials::new();
    let path = credentials.dir().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let sidecar = Setup::proxy(&credentials, format!("unix:{}", path.display())).ready();
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    let (mut app, _) = listener.accept().unwrap();

    client.send(b"ping").unwrap();
    app.read_exact(&mut [0; 4]).unwrap();
    app.write_all(b"pong").unwrap();
    drop(app);

    assert_eq!(client.receive_all(), (b"pong".to_vec(), Ending::CloseNotify));
}

#[test]
fn an_idle_connection_is_closed_only_where_a_limit_was_set_and_then_properly() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--idle-timeout").arg("200ms").ready();
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    let mut app = app.accept();

    assert_eq!(client.receive_all(), (Vec::new(), Ending::CloseNotify));
    assert_eq!(app.read(&mut [0; 1]).unwrap(), 0, "the app sees an end of file");
    drop(client);
    sidecar.access_log_entry("idle_timeout");
}

#[test]
fn several_listeners_lead_to_several_apps() {
    let credentials = Credentials::new();
    let (one, two) = (App::start(), app::echo());
    let sidecar = Setup::command(&["proxy"])
        .credentials(&credentials)
        .arg("--listener")
        .arg(&format!("127.0.0.1:0={}", one.addr()))
        .arg("--listener")
        .arg(&format!("127.0.0.1:0={two}"))
        .ready();
    let addrs = sidecar.addrs();
    assert_eq!(addrs.len(), 2);

    let mut to_two = connector(credentials.instance()).connect(addrs[1]).unwrap();
    to_two.send(b"echo").unwrap();
    assert_eq!(to_two.receive(4).unwrap(), b"echo");
    assert_eq!(one.unaccepted(), 0);
    let _to_one = connector(credentials.instance()).connect(addrs[0]).unwrap();
    one.accept();
}

#[test]
fn a_slow_reader_is_not_idle_while_the_instance_goes() {
    const SIZE: usize = 12_000_000;
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();
    let writer = std::thread::spawn(move || app.write_all(&vec![3; SIZE]).unwrap());
    // Its receive buffer is full of an answer that it will read in its own time.
    client.receive(1).unwrap();
    sidecar.signal("TERM");
    sidecar.wait_for("listeners closed");
    std::thread::sleep(Duration::from_millis(400)); // much longer than what counts as idle
    let (answer, ending) = client.receive_all();
    writer.join().unwrap();
    assert_eq!((answer.len(), ending), (SIZE - 1, Ending::CloseNotify));
}

#[test]
fn a_client_that_resets_while_the_app_does_not_read_is_noticed() {
    let RelaySetup { mut client, app, sidecar } = relay_setup();
    client.tcp.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while client.send(&[5; 64 * 1024]).is_ok() {}
    client.reset();
    sidecar.access_log_entry("client_reset");
    let (_, ending) = read_to_end(&app);
    assert_eq!(ending, Ending::Reset);
}

#[test]
fn a_client_that_leaves_without_a_word_after_the_whole_answer_has_cut_nothing_off() {
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();
    app.write_all(b"answer").unwrap();
    app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.receive_all(), (b"answer".to_vec(), Ending::CloseNotify));
    drop(client);
    sidecar.access_log_entry("completed");
    // The app might still have waited for more: it must not take this for its end.
    assert_eq!(read_to_end(&app).1, Ending::Reset);
}
