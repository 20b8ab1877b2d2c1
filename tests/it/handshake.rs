//! What a client meets before the relay: TLS as we speak it, the app that must be there first, and those who come with
//! something else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::support::app::App;
use crate::support::client::{Ending, connector, connector_with, read_to_end};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

fn echoing(args: &[&str]) -> (Credentials, Sidecar) {
    let credentials = Credentials::new();
    let setup = Setup::proxy(&credentials, app::echo());
    let sidecar = args.iter().fold(setup, |setup, arg| setup.arg(arg)).ready();
    (credentials, sidecar)
}

#[test]
fn both_versions_are_spoken_with_the_instances_name_and_the_hybrid_group_is_preferred() {
    let (credentials, sidecar) = echoing(&[]);
    for (version, name) in [(&rustls::version::TLS13, "TLSv1_3"), (&rustls::version::TLS12, "TLSv1_2")] {
        let mut client = connector_with(credentials.instance(), &[version]).connect(sidecar.addr()).unwrap();
        client.send(b"hi").unwrap();
        assert_eq!(client.receive(2).unwrap(), b"hi");
        client.close_notify();
        assert_eq!(client.receive_all().1, Ending::CloseNotify);
        let entry = sidecar.wait_until(name, |line| line["tls_version"] == name);
        let group = if name == "TLSv1_3" { "X25519MLKEM768" } else { "X25519" };
        assert_eq!(entry["group"], group, "{entry}");
    }
}

#[test]
fn a_client_that_expects_another_instance_ends_the_handshake() {
    let (_credentials, sidecar) = echoing(&[]);
    let error = connector("51f0a007-a1b2-4c3d-5e6f-7a07").connect(sidecar.addr()).err().unwrap();
    assert!(error.to_string().contains("certificate not valid for name"), "{error}");
    let entry = sidecar.access_log_entry("handshake_failed");
    assert!(entry["detail"].as_str().unwrap().contains("the client sent the alert"), "{entry}");
}

#[test]
fn the_oldest_version_can_be_raised() {
    let (credentials, sidecar) = echoing(&["--tls-min", "1.3"]);
    assert!(connector_with(credentials.instance(), &[&rustls::version::TLS12]).connect(sidecar.addr()).is_err());
    sidecar.access_log_entry("handshake_failed");
    connector_with(credentials.instance(), &[&rustls::version::TLS13]).connect(sidecar.addr()).unwrap();
}

#[test]
fn any_server_name_or_none_is_served_with_the_same_pair() {
    let (credentials, sidecar) = echoing(&[]);
    let mut connector = connector(credentials.instance());
    connector.config.enable_sni = false;
    connector.connect(sidecar.addr()).unwrap();
    drop(connector);
    sidecar.wait_until("a record without a name", |line| {
        line["message"] == "connection closed" && line["server_name"].is_null() && line["tls_version"] == "TLSv1_3"
    });
}

#[test]
fn alpn_is_agreed_on_where_it_overlaps_and_left_out_where_it_does_not() {
    let (credentials, sidecar) = echoing(&["--alpn", "h2,http/1.1"]);
    for (offered, agreed) in [
        (vec!["http/1.1", "h2"], Some(&b"h2"[..])),
        (vec!["http/1.1"], Some(&b"http/1.1"[..])),
        (vec!["spdy/3"], None),
        (vec![], None),
    ] {
        let connector = connector(credentials.instance()).alpn(&offered);
        let client = connector.connect(sidecar.addr()).unwrap();
        assert_eq!(client.tls.alpn_protocol(), agreed, "{offered:?}");
    }
}

#[test]
fn a_listener_without_alpn_answers_clients_that_offer_it_without() {
    let (credentials, sidecar) = echoing(&[]);
    let client = connector(credentials.instance()).alpn(&["h2", "http/1.1"]).connect(sidecar.addr()).unwrap();
    assert_eq!(client.tls.alpn_protocol(), None);
}

#[test]
fn a_hello_that_comes_byte_by_byte_is_served() {
    let (credentials, sidecar) = echoing(&[]);
    let connector = connector(credentials.instance());
    let name = rustls::pki_types::ServerName::try_from(connector.name.clone()).unwrap();
    let mut tls = rustls::ClientConnection::new(std::sync::Arc::new(connector.config.clone()), name).unwrap();
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    assert!(hello.len() > 1460, "with the hybrid share it does not fit one segment");
    for byte in &hello {
        tcp.write_all(std::slice::from_ref(byte)).unwrap();
    }
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
}

#[test]
fn an_app_that_does_not_listen_is_a_reset_in_answer_to_the_hello_and_nothing_of_ours_is_sent() {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::nobody()).ready();
    for _ in 0..20 {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        tcp.write_all(&connector(credentials.instance()).hello()).unwrap();
        assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Reset));
    }
    let entry = sidecar.access_log_entry("app_refused");
    assert!(entry["handshake_ms"].is_null(), "{entry}");
}

#[test]
fn an_app_that_does_not_accept_in_time_is_a_reset_with_a_reason_of_its_own() {
    let credentials = Credentials::new();
    // A queue that is full: the kernel drops further attempts without a word.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let app = listener.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(app).unwrap();
    let sidecar = Setup::proxy(&credentials, app).arg("--connect-timeout").arg("200ms").ready();

    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.write_all(&connector(credentials.instance()).hello()).unwrap();
    assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Reset));
    sidecar.access_log_entry("app_timeout");
}

#[test]
fn a_probe_reaches_no_app_and_leaves_no_line_at_info_but_is_counted() {
    let credentials = Credentials::new();
    let app = App::start();
    let mut sidecar = Setup::proxy(&credentials, app.addr()).env("VESTIBULE_LOG_LEVEL", "info").ready();
    let lines = sidecar.lines().len();
    for _ in 0..300 {
        drop(TcpStream::connect(sidecar.addr()).unwrap());
    }
    // A real connection behind them has been served, so they have been seen.
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    client.close_notify();
    drop(app.accept());
    assert_eq!(client.receive_all().1, Ending::CloseNotify);
    drop(client);
    sidecar.access_log_entry("completed");

    assert_eq!(sidecar.lines().len(), lines + 1, "one entry and nothing else: {:#?}", sidecar.lines());
    assert_eq!(app.unaccepted(), 0);
    sidecar.signal("TERM");
    assert!(sidecar.exited().success());
    assert_eq!(sidecar.wait_for("exited")["probes"], 300);
}

#[test]
fn plain_http_is_answered_in_plain_http_and_reaches_no_app() {
    let credentials = Credentials::new();
    let app = App::start();
    // Not even a quiet log leaves it out, when all connections are asked for.
    let sidecar = Setup::proxy(&credentials, app.addr()).env("VESTIBULE_LOG_LEVEL", "info").ready();
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /x HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        // However the bytes come.
        for byte in request.as_bytes() {
            tcp.write_all(std::slice::from_ref(byte)).unwrap();
        }
        let (answer, ending) = read_to_end(&tcp);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 400 ") && answer.contains("https://"), "{answer}");
        assert_eq!(ending, Ending::Fin);
    }
    let entry = sidecar.access_log_entry("not_tls");
    assert!(entry["detail"].as_str().unwrap().contains("plain HTTP"), "{entry}");
    assert_eq!(app.unaccepted(), 0);
}

#[test]
fn the_first_of_those_who_speak_no_tls_is_in_the_log_by_default() {
    let credentials = Credentials::new();
    let mut sidecar = Setup::proxy(&credentials, app::echo()).arg("--access-log").arg("denied").ready();
    for garbage in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        tcp.write_all(garbage).unwrap();
        read_to_end(&tcp);
    }
    sidecar.signal("TERM");
    assert!(sidecar.exited().success());
    assert_eq!(sidecar.wait_for("exited")["connections"], 2);
    assert_eq!(sidecar.reasons(), ["not_tls"]);
}

#[test]
fn half_a_hello_and_then_nothing_more_ends_with_its_own_reason() {
    let (credentials, sidecar) = echoing(&[]);
    let hello = connector(credentials.instance()).hello();
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.write_all(&hello[..hello.len() / 2]).unwrap();
    drop(tcp);
    sidecar.access_log_entry("hello_incomplete");
}

#[test]
fn a_client_that_never_speaks_is_let_go_after_the_handshake_timeout() {
    let (credentials, sidecar) = echoing(&["--handshake-timeout", "300ms"]);
    let began = Instant::now();
    let silent = TcpStream::connect(sidecar.addr()).unwrap();
    let mut stuck = TcpStream::connect(sidecar.addr()).unwrap();
    stuck.write_all(&connector(credentials.instance()).hello()[..100]).unwrap();
    assert_eq!(read_to_end(&silent).1, Ending::Fin);
    assert_eq!(read_to_end(&stuck).1, Ending::Fin);
    assert!(began.elapsed().as_millis() >= 300);
    drop((silent, stuck));
    eventually("two timeouts", || {
        (sidecar.reasons().iter().filter(|reason| *reason == "handshake_timeout").count() == 2).then_some(())
    });
}

#[test]
fn a_session_resumes_until_the_pair_is_replaced() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let (mut credentials, sidecar) = echoing(&[]);
        let connector = connector_with(credentials.instance(), &[version]);
        let visit = |resumed: bool| {
            let mut client = connector.connect(sidecar.addr()).unwrap();
            client.send(b"x").unwrap();
            client.receive(1).unwrap();
            let kind = client.tls.handshake_kind().unwrap();
            assert_eq!(kind == rustls::HandshakeKind::Resumed, resumed, "{kind:?}");
            client.leaf()
        };
        visit(false);
        visit(true);
        let new = credentials.rotate();
        sidecar.wait_for("certificate rotated");
        assert_eq!(visit(false), new, "an old ticket must not hide the new pair");
        visit(true);
    }
}

#[test]
fn a_client_that_does_not_ask_for_tickets_gets_none() {
    let (credentials, sidecar) = echoing(&[]);
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-tls1_2", "-no_ticket", "-servername", credentials.instance()])
        .args(["-connect", &sidecar.addr().to_string()])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the openssl program; install it");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Cipher is ECDHE-"), "{text}");
    assert!(!text.contains("TLS session ticket:"), "{text}");
}

#[test]
fn a_limit_on_connections_is_a_reset_at_the_hello_and_is_lifted_when_one_leaves() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--max-connections").arg("2").ready();
    let connector = connector(credentials.instance());
    let one = connector.connect(sidecar.addr()).unwrap();
    let _two = connector.connect(sidecar.addr()).unwrap();

    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.write_all(&connector.hello()).unwrap();
    assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Reset));
    let entry = sidecar.access_log_entry("overloaded");
    assert!(entry["detail"].as_str().unwrap().contains("--max-connections"), "{entry}");
    assert_eq!(app.unaccepted(), 2);

    one.reset();
    eventually("a free place", || connector.connect(sidecar.addr()).ok());
}

#[test]
fn the_first_answer_does_not_wait_for_a_delayed_acknowledgement() {
    let (credentials, sidecar) = echoing(&[]);
    let mut connector = connector(credentials.instance());
    // No ticket is sent to a client that cannot resume, so nothing of ours acknowledges its Finished.
    connector.config.resumption = rustls::client::Resumption::disabled();
    let mut slow = 0;
    for _ in 0..20 {
        let tcp = TcpStream::connect(sidecar.addr()).unwrap();
        tcp.set_nodelay(false).unwrap();
        let mut client = connector.handshake(tcp).unwrap();
        let began = Instant::now();
        client.send(b"first").unwrap();
        client.receive(5).unwrap();
        slow += usize::from(began.elapsed().as_millis() >= 38);
    }
    // A busy machine may hold one up; a delayed acknowledgement holds up every one.
    assert!(slow < 10, "{slow} of 20 first answers waited for 40 ms");
}

#[test]
fn a_ticket_reaches_a_client_whose_answer_takes_long() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).ready();
    // The request comes in one packet with Finished.
    let mut client = connector(credentials.instance())
        .handshake_and_ask(TcpStream::connect(sidecar.addr()).unwrap(), b"ask")
        .unwrap();
    let mut asked = app.accept();
    let mut request = [0; 3];
    asked.read_exact(&mut request).unwrap();
    while client.tls.tls13_tickets_received() == 0 {
        client.tls.read_tls(&mut client.tcp).unwrap();
        client.tls.process_new_packets().unwrap();
    }
    asked.write_all(b"answer").unwrap();
    assert_eq!((&request, &*client.receive(6).unwrap()), (b"ask", &b"answer"[..]));
}

#[test]
fn a_flood_of_garbage_does_not_hurt_those_who_speak_tls() {
    let (credentials, sidecar) = echoing(&[]);
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    for i in 0..200_u8 {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        let garbage: Vec<u8> = (0..100).map(|j| i.wrapping_mul(31).wrapping_add(j)).collect();
        tcp.write_all(&garbage).unwrap();
        let mut tcp = tcp;
        tcp.set_read_timeout(Some(crate::support::TEST_TIMEOUT)).unwrap();
        // Whatever the first bytes were taken for, the connection ends or is waiting for more.
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = tcp.read_to_end(&mut Vec::new());
    }
    client.send(b"still here").unwrap();
    assert_eq!(client.receive(10).unwrap(), b"still here");
}

#[test]
fn an_app_that_dies_before_our_finished_becomes_a_reset() {
    let credentials = Credentials::new();
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = Setup::proxy(&credentials, app.local_addr().unwrap()).ready();
    let connector = connector_with(credentials.instance(), &[&rustls::version::TLS12]);
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    let name = ServerName::try_from(connector.name.clone()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(connector.config), name).unwrap();
    tls.write_tls(&mut tcp).unwrap();
    // In TLS 1.2 our Finished answers the client's second flight.
    while !tls.wants_write() {
        tls.read_tls(&mut tcp).unwrap();
        tls.process_new_packets().unwrap();
    }
    // The connection stands in its queue: the kernel resets it.
    drop(app);
    tls.write_tls(&mut tcp).unwrap();
    assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Reset));
    assert_eq!(sidecar.access_log_entry("app_reset")["bytes_up"], 0);
}

#[test]
fn a_client_that_speaks_no_tls_from_1_2_on_is_told_so_and_the_log_says_which_version() {
    let (_, sidecar) = echoing(&[]);
    // The smallest ClientHello of TLS 1.1 (RFC 4346, 7.4.1.2): version, random, no session, one suite, no compression.
    let mut body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
    message.append(&mut body);
    let mut wire = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    wire.append(&mut message);
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.write_all(&wire).unwrap();
    let (alert, ending) = read_to_end(&tcp);
    assert_eq!((alert.as_slice(), ending), (&[21, 3, 3, 0, 2, 2, 70][..], Ending::Fin), "protocol_version");
    let entry = sidecar.access_log_entry("handshake_failed");
    assert!(entry["detail"].as_str().unwrap().contains("no newer TLS than 1.1"), "{entry}");
}

#[test]
fn a_client_hello_that_an_rfc_forbids_is_refused_by_the_alert_that_it_names_and_reaches_no_app() {
    type Case<'a> = ([u8; 2], [u8; 4], Vec<&'a [u8]>, u8, &'a str);
    let app = App::start();
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app.addr()).ready();
    // supported_versions, supported_groups and key_share; signature_algorithms; renegotiation_info of a connection before.
    let versions: &[u8] = &[0, 43, 0, 3, 2, 3, 4];
    let groups: &[u8] = &[0, 10, 0, 4, 0, 2, 0, 29];
    let schemes: &[u8] = &[0, 13, 0, 4, 0, 2, 4, 3];
    let renegotiates: &[u8] = &[0xff, 1, 0, 2, 1, 9];
    let share: &[u8] = &[0, 51, 0, 2, 0, 0];
    let (suites, fallback) = ([0x13, 0x01, 0xc0, 0x2b], [0x56, 0x00, 0xc0, 0x2b]);
    let cases: [Case<'_>; 4] = [
        ([3, 0], suites, vec![versions, groups, share, schemes], 70, "RFC 8446, D.5"),
        ([3, 3], suites, vec![versions, groups, schemes], 109, "RFC 8446, 9.2"),
        ([3, 3], suites, vec![groups, schemes, renegotiates], 40, "RFC 5746, 3.6"),
        ([3, 3], fallback, vec![groups, schemes], 86, "RFC 7507, 3"),
    ];
    let record =
        |payload: &[u8]| [&[22, 3, 1], &u16::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat();
    let mut wires = Vec::new();
    for (version, suites, extensions, alert, rule) in cases {
        let extensions = extensions.concat();
        let mut body = [&version[..], &[7; 32], &[0, 0, 4], &suites, &[1, 0]].concat();
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let message = [&[1, 0, 0, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
        wires.push((record(&message), alert, rule));
    }
    // The header alone of a record that is too long.
    wires.push((vec![22, 3, 1, 0x40, 1], 22, "RFC 8446, 5.1"));
    for (wire, alert, rule) in wires {
        let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
        tcp.write_all(&wire).unwrap();
        let (told, ending) = read_to_end(&tcp);
        assert_eq!((told.as_slice(), ending), (&[21, 3, 3, 0, 2, 2, alert][..], Ending::Fin), "{rule}");
        sidecar.wait_until(rule, |line| line["detail"].as_str().is_some_and(|detail| detail.contains(rule)));
    }
    assert_eq!(app.unaccepted(), 0);
}

#[test]
fn a_client_that_warns_without_end_in_its_handshake_is_told_to_go() {
    let (_, sidecar) = echoing(&[]);
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    // A ClientHello of TLS 1.2 with one suite, one group and two signature schemes, and warnings (user_canceled) behind it.
    let extensions = [&[0, 10, 0, 4, 0, 2, 0, 29][..], &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4]].concat();
    let mut body = [&[3, 3][..], &[7; 32], &[0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]].concat();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut wire = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], body.as_slice()].concat();
    wire.extend([21, 3, 3, 0, 2, 1, 90].repeat(8));
    tcp.write_all(&wire).unwrap();
    let (told, ending) = read_to_end(&tcp);
    assert_eq!((told.ends_with(&[21, 3, 3, 0, 2, 2, 10]), ending), (true, Ending::Fin), "unexpected_message");
    let entry = sidecar.access_log_entry("handshake_failed");
    assert!(entry["detail"].as_str().unwrap().contains("TooManyWarningAlerts"), "{entry}");
}

#[test]
fn a_stop_waits_for_a_handshake_that_goes_on_and_not_for_one_that_stands_still() {
    let (credentials, mut sidecar) = echoing(&["--handshake-timeout", "2m", "--drain-timeout", "2m"]);
    let connector = connector(credentials.instance());
    let silent = TcpStream::connect(sidecar.addr()).unwrap();
    let mut half = TcpStream::connect(sidecar.addr()).unwrap();
    half.write_all(&connector.hello()[..100]).unwrap();
    let unfinished = connector.all_but_the_last_byte(sidecar.addr());
    let late = TcpStream::connect(sidecar.addr()).unwrap();
    sidecar.signal("TERM");
    sidecar.wait_for("listeners closed");
    let mut client = connector.handshake_and_ask(late, b"hi").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"hi");
    drop(client);
    assert_eq!(read_to_end(&half).1, Ending::Fin);
    assert_eq!(read_to_end(&unfinished).1, Ending::Fin);
    assert_eq!(read_to_end(&silent).1, Ending::Fin);
    drop((half, unfinished, silent));
    assert!(sidecar.exited().success());
    assert_eq!(sidecar.reasons().iter().filter(|reason| *reason == "handshake_timeout").count(), 3);
    let entry = sidecar.access_log_entry("handshake_timeout");
    assert_eq!(entry["detail"], "the handshake was not done within 2s", "of the drain");
}
