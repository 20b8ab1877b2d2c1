//! Who calls, told in front of the first byte: to the app, and by a load balancer in front of us.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use ppp::v2;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use vestibule::issuer::{InstanceSpec, KeyKind};

use crate::support::app;
use crate::support::app::App;
use crate::support::client::{Connector, Ending, connector, connector_with, read_to_end};
use crate::support::credentials::{Credentials, issue, roots, roots_pem};
use crate::support::sidecar::Setup;

const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// Reads exactly `n` bytes.
fn read(stream: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// The line that an app reads first.
fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.extend(read(stream, 1));
    }
    String::from_utf8(line).unwrap()
}

/// What an app reads first, as an independent reader understands it.
struct Told {
    source: SocketAddr,
    destination: SocketAddr,
    tlvs: Vec<(u8, Vec<u8>)>,
}

impl Told {
    fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = read(stream, 16);
        let length = u16::from_be_bytes([bytes[14], bytes[15]]);
        bytes.extend(read(stream, length.into()));
        let header = v2::Header::try_from(bytes.as_slice()).unwrap();
        assert_eq!(header.command, v2::Command::Proxy);
        let v2::Addresses::IPv4(ends) = header.addresses else { panic!("{:?}", header.addresses) };
        Self {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
            tlvs: header.tlvs().map(|tlv| tlv.unwrap()).map(|tlv| (tlv.kind, tlv.value.to_vec())).collect(),
        }
    }

    fn value(&self, kind: u8) -> Option<String> {
        let tlv = self.tlvs.iter().find(|(found, _)| *found == kind)?;
        Some(String::from_utf8(tlv.1.clone()).unwrap())
    }

    /// Flags and verify.
    fn ssl(&self) -> (u8, u32) {
        let value = &self.tlvs.iter().find(|(kind, _)| *kind == 0x20).unwrap().1;
        (value[0], u32::from_be_bytes(value[1..5].try_into().unwrap()))
    }

    /// What stands within the SSL value.
    fn within(&self, kind: u8) -> Option<String> {
        let mut rest = &self.tlvs.iter().find(|(kind, _)| *kind == 0x20).unwrap().1[5..];
        while let [found, high, low, more @ ..] = rest {
            let (value, after) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            if *found == kind {
                return Some(String::from_utf8(value.to_vec()).unwrap());
            }
            rest = after;
        }
        None
    }
}

/// A client with a certificate of the tests' CA.
fn certified(name: &str, spec: &InstanceSpec, version: &'static SupportedProtocolVersion) -> Connector {
    let credential = issue(spec);
    let mut connector = connector_with(name, &[version]);
    let chain = CertificateDer::pem_slice_iter(credential.cert_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).unwrap();
    connector.config = rustls::ClientConfig::builder_with_provider(connector.config.crypto_provider().clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots())
        .with_client_auth_cert(chain, key)
        .unwrap();
    connector
}

/// A connection from an address of this machine's loopback.
fn from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

/// A header of version 2 from 203.0.113.7:4711 to 198.51.100.1:443, with a TLV.
fn header() -> Vec<u8> {
    let body = [203, 0, 113, 7, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xBB, 0xE5, 0, 2, 1, 2];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11"[..], &body].concat()
}

#[test]
fn version_1_is_the_first_line_that_the_app_reads_also_when_the_server_speaks_first() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--proxy-protocol").arg("v1").ready();
    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    // Not a byte has come from the client.
    let mut app_end = app.accept();
    let (from, to) = (client.tcp.local_addr().unwrap(), sidecar.addr());
    assert_eq!(line(&mut app_end), format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()));
    app_end.write_all(b"220 ready").unwrap();
    assert_eq!(client.receive(9).unwrap(), b"220 ready");
    client.send(b"EHLO").unwrap();
    assert_eq!(read(&mut app_end, 4), b"EHLO");
    client.close_notify();
    drop(app_end);
    client.receive_all();
    let entry = sidecar.access_log_entry("completed");
    assert_eq!((&entry["bytes_up"], &entry["bytes_down"]), (&4.into(), &9.into()), "the line is not the client's");
}

#[test]
fn version_2_tells_what_was_agreed_on() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar =
        Setup::proxy(&credentials, app.addr()).arg("--proxy-protocol").arg("v2").arg("--alpn").arg("h2").ready();
    for (version, name, cipher) in
        [(TLS12, "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"), (TLS13, "TLSv1.3", "TLS_AES_128_GCM_SHA256")]
    {
        let mut connector = connector_with(credentials.instance(), &[version]).alpn(&["h2"]);
        let mut provider = (**connector.config.crypto_provider()).clone();
        provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("AES_128_GCM"));
        connector.config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots())
            .with_no_client_auth();
        connector.config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = connector.connect(sidecar.addr()).unwrap();
        client.send(b"early").unwrap();
        let mut app_end = app.accept();
        let told = Told::read(&mut app_end);
        assert_eq!((told.source, told.destination), (client.tcp.local_addr().unwrap(), sidecar.addr()));
        assert_eq!(
            (told.value(0x01).as_deref(), told.value(0x02).as_deref()),
            (Some("h2"), Some(credentials.instance()))
        );
        assert_eq!(told.ssl(), (0x01, 1), "no certificate, so none that was verified");
        assert_eq!((told.within(0x21).as_deref(), told.within(0x23).as_deref()), (Some(name), Some(cipher)));
        assert_eq!((told.within(0x22), told.value(0xE0)), (None, None));
        assert_eq!(read(&mut app_end, 5), b"early");
    }
}

#[test]
fn version_2_tells_who_has_shown_a_certificate_and_whether_on_this_connection() {
    let credentials = Credentials::new();
    let files = TempDir::new().unwrap();
    let ca = files.path().join("ca.crt");
    fs::write(&ca, roots_pem()).unwrap();
    let app = App::start();
    let setup = Setup::proxy(&credentials, app.addr()).arg("--proxy-protocol").arg("v2");
    let sidecar = setup.arg("--client-ca").arg(ca.to_str().unwrap()).arg("--allow").arg("cf:any").ready();
    let spec = InstanceSpec { key: KeyKind::P256, ..InstanceSpec::generate().unwrap() };
    let instance = spec.instance.as_ref().unwrap().as_str();
    for version in [TLS12, TLS13] {
        let connector = certified(credentials.instance(), &spec, version);
        for (resumed, flags) in [(false, 0x07), (true, 0x05)] {
            let mut client = connector.connect(sidecar.addr()).unwrap();
            let mut app_end = app.accept();
            let told = Told::read(&mut app_end);
            assert_eq!(told.ssl(), (flags, 0));
            assert_eq!(told.within(0x22).as_deref(), Some(instance));
            let subject = told.value(0xE0).unwrap();
            for part in [format!("OU=app:{}", spec.app), format!("CN={instance}"), format!("OU=space:{}", spec.space)] {
                assert!(subject.contains(&part), "{part} in {subject}");
            }
            // The ticket comes with the first bytes.
            app_end.write_all(b"x").unwrap();
            client.receive(1).unwrap();
            assert_eq!(client.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed), resumed);
        }
    }
    // Denied clients are not announced to anybody.
    assert!(
        connector(credentials.instance()).connect(sidecar.addr()).and_then(|mut client| client.receive(1)).is_err()
    );
    sidecar.access_log_entry("denied");
    assert_eq!(app.unaccepted(), 0);
}

#[test]
fn an_app_behind_a_unix_socket_is_told_as_well_and_one_that_is_not_to_be_told_is_not() {
    let credentials = Credentials::new();
    let path = credentials.dir().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let plain = App::start();
    let config = credentials.dir().join("vestibule.toml");
    let text = format!(
        "proxy-protocol = 'v1'\n[[listener]]\nlisten = '127.0.0.1:0'\napp = 'unix:{}'\n\
         [[listener]]\nlisten = '127.0.0.1:0'\napp = '{}'\nproxy-protocol = 'off'\n",
        path.display(),
        plain.addr()
    );
    fs::write(&config, text).unwrap();
    let sidecar = Setup::command(&["proxy", "--config", config.to_str().unwrap()]).credentials(&credentials).ready();
    let addrs = sidecar.addrs();
    let connector = connector(credentials.instance());
    let client = connector.connect(addrs[0]).unwrap();
    let mut first = [0; 11];
    listener.accept().unwrap().0.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"PROXY TCP4 ");
    drop(client);
    let mut client = connector.connect(addrs[1]).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(read(&mut plain.accept(), 5), b"hello");
}

#[test]
fn a_load_balancer_that_is_listed_speaks_for_its_client_in_any_pieces() {
    let credentials = Credentials::new();
    let app = App::start();
    let setup = Setup::proxy(&credentials, app.addr()).arg("--proxy-protocol").arg("v1");
    let sidecar = setup.arg("--accept-proxy-protocol").arg("192.0.2.0/24,127.0.0.1").ready();
    let connector = connector(credentials.instance());
    for (header, told, peer) in [
        (header(), "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n", "203.0.113.7:4711"),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4712 443\r\n".to_vec(),
            "PROXY TCP6 2001:db8::7 2001:db8::1 4712 443\r\n",
            "[2001:db8::7]:4712",
        ),
    ] {
        for pieces in [header.len(), 1, 7] {
            let mut tcp = from([127, 0, 0, 1], sidecar.addr());
            let via = tcp.local_addr().unwrap().to_string();
            for piece in header.chunks(pieces) {
                tcp.write_all(piece).unwrap();
            }
            let mut client = connector.handshake(tcp).unwrap();
            let mut app_end = app.accept();
            assert_eq!(line(&mut app_end), told);
            client.send(b"hi").unwrap();
            assert_eq!(read(&mut app_end, 2), b"hi");
            drop((client, app_end));
            let entry = sidecar.wait_until("its entry", |line| line["proxy_addr"] == via.as_str());
            assert_eq!(entry["client_addr"], peer);
        }
    }
    // Whoever speaks for itself is known by its own address.
    for own in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"] {
        let mut tcp = from([127, 0, 0, 1], sidecar.addr());
        let here = tcp.local_addr().unwrap();
        tcp.write_all(own).unwrap();
        let client = connector.handshake(tcp).unwrap();
        assert!(line(&mut app.accept()).starts_with(&format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} ", here.port())));
        drop(client);
        sidecar.wait_until("its entry", |line| line["client_addr"] == here.to_string() && line["proxy_addr"].is_null());
    }
}

#[test]
fn the_header_and_the_client_hello_may_come_in_one_segment() {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).arg("--accept-proxy-protocol").arg("127.0.0.0/8").ready();
    let mut tcp = from([127, 0, 0, 1], sidecar.addr());
    let connector = connector(credentials.instance());
    let name = rustls::pki_types::ServerName::try_from(connector.name.clone()).unwrap();
    let mut tls = rustls::ClientConnection::new(connector.config.clone().into(), name).unwrap();
    let mut first = header();
    tls.write_tls(&mut first).unwrap();
    tcp.write_all(&first).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn from_whoever_is_not_listed_a_header_is_garbage() {
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).arg("--accept-proxy-protocol").arg("127.0.0.1").ready();
    let mut liar = from([127, 0, 0, 2], sidecar.addr());
    liar.write_all(b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n").unwrap();
    read_to_end(&liar);
    let entry = sidecar.access_log_entry("not_tls");
    assert_eq!(entry["client_addr"], liar.local_addr().unwrap().to_string());
    // And whoever is not listed needs none.
    let mut client = connector(credentials.instance()).handshake(from([127, 0, 0, 2], sidecar.addr())).unwrap();
    client.send(b"x").unwrap();
    assert_eq!(read(&mut app.accept(), 1), b"x");
    assert_eq!(app.unaccepted(), 0);
}

#[test]
fn a_listed_load_balancer_without_a_sound_header_is_turned_away() {
    let credentials = Credentials::new();
    let app = App::start();
    let setup = Setup::proxy(&credentials, app.addr()).arg("--accept-proxy-protocol").arg("127.0.0.1");
    let sidecar = setup.arg("--access-log").arg("denied").ready();
    let too_long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 2000]].concat();
    for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 \n", &too_long] {
        let mut tcp = from([127, 0, 0, 1], sidecar.addr());
        tcp.write_all(bytes).unwrap();
        assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Fin), "nothing is said to it, and nothing is reset");
        let here = tcp.local_addr().unwrap().to_string();
        let entry = sidecar.wait_until("its entry", |line| line["client_addr"] == here.as_str());
        assert_eq!((&entry["close_reason"], &entry["level"]), (&"proxy_header".into(), &"info".into()));
        let detail = entry["detail"].as_str().unwrap();
        assert!(detail.starts_with("no sound PROXY header, which --accept-proxy-protocol demands"), "{detail}");
    }
    // Cut off in the middle.
    let mut tcp = from([127, 0, 0, 1], sidecar.addr());
    tcp.write_all(b"PROXY TCP4 203.0").unwrap();
    let here = tcp.local_addr().unwrap().to_string();
    drop(tcp);
    let entry = sidecar.wait_until("its entry", |line| line["client_addr"] == here.as_str());
    assert_eq!(entry["close_reason"], "proxy_header");
    assert_eq!(app.unaccepted(), 0);
}

#[test]
fn a_health_check_of_a_listed_load_balancer_is_a_probe() {
    let credentials = Credentials::new();
    let app = App::start();
    let mut sidecar = Setup::proxy(&credentials, app.addr()).arg("--accept-proxy-protocol").arg("127.0.0.1").ready();
    drop(from([127, 0, 0, 1], sidecar.addr()));
    // With a header for itself, as haproxy checks with `check-send-proxy`.
    let mut tcp = from([127, 0, 0, 1], sidecar.addr());
    tcp.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0").unwrap();
    drop(tcp);
    crate::support::eventually("two probes", || {
        (sidecar.reasons().iter().filter(|reason| *reason == "probe").count() == 2).then_some(())
    });
    assert_eq!(app.unaccepted(), 0);
    sidecar.signal("TERM");
    assert!(sidecar.exited().success());
    assert!(!sidecar.reasons().iter().any(|reason| reason == "proxy_header"));
}

#[test]
fn an_app_that_is_asked_whether_it_is_ready_reads_a_header_there_as_well() {
    let credentials = Credentials::new();
    for (version, own) in [("v1", &b"PROXY UNKNOWN\r\n"[..]), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0")] {
        let app = App::start();
        let setup = Setup::proxy(&credentials, app.addr()).arg("--proxy-protocol").arg(version);
        let _sidecar = setup.arg("--app-ready").arg("http:/health").start();
        let asked = read(&mut app.accept(), own.len() + 11);
        assert_eq!(asked, [own, b"GET /health"].concat());
    }
}
