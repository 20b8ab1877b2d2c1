//! What strangers may have the proxy hold. How a whole process fares in a control group is in `bench/`, by `flood`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::metrics::Measured;
use crate::support::app::App;
use crate::support::client::{Client, Connector, Ending, connector, read_to_end};
use crate::support::credentials::{Credentials, roots_pem};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{TEST_TIMEOUT, app, eventually};

const KIB: usize = 1024;

/// illegal_parameter, fatal.
const TOO_LONG: [u8; 7] = [21, 3, 3, 0, 2, 2, 47];

/// The first `sent` bytes of a ClientHello of `length` bytes.
fn unfinished_hello(length: usize, sent: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    message[..4].copy_from_slice(&u32::try_from(length - 4).unwrap().to_be_bytes());
    message[0] = 1;
    let mut wire = in_records(&message, 16 * KIB);
    wire.truncate(sent);
    wire
}

/// A handshake message in records of up to `size` bytes.
fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    let records = message.chunks(size).flat_map(|part| {
        let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, high, low], part].concat()
    });
    records.collect()
}

/// A client that says `bytes` and no more.
fn saying(bytes: &[u8], sidecar: &Sidecar) -> TcpStream {
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.set_nodelay(true).unwrap();
    // Whoever is turned away meanwhile need not hear the end of it.
    let _ = tcp.write_all(bytes);
    tcp
}

/// A client whose ClientHello is nearly as long as may be.
fn long_winded(connector: &Connector) -> Connector {
    let mut connector = connector.clone();
    connector.config.alpn_protocols = (0..54).map(|nth| vec![nth; 255]).collect();
    connector
}

/// Sends `bytes` and gets them back.
fn echoes(client: &mut Client, bytes: usize) {
    for _ in 0..bytes / 1000 {
        client.send(&[7; 1000]).unwrap();
        assert_eq!(client.receive(1000).unwrap(), [7; 1000]);
    }
}

fn held(measured: &Measured, budget: &str) -> f64 {
    measured.series()[&format!("vestibule_held_memory_bytes{{budget=\"{budget}\"}}")]
}

/// An app that sends without end on every connection, and reads nothing.
pub(crate) fn torrent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            std::thread::spawn(move || while connection.write_all(&[0; 64 * KIB]).is_ok() {});
        }
    });
    addr
}

/// An app that reads one byte of every connection, and no more unless that is an `e`: then it sends back what else it gets.
fn deaf() -> (SocketAddr, std::sync::mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (kept, keep) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut first = [0];
            if connection.read_exact(&mut first).is_ok() && first == *b"e" {
                std::thread::spawn(move || {
                    let mut space = vec![0; 64 * KIB];
                    while let Ok(read) = connection.read(&mut space) {
                        if read == 0 || connection.write_all(&space[..read]).is_err() {
                            return;
                        }
                    }
                });
            } else if kept.send(connection).is_err() {
                return;
            }
        }
    });
    (addr, keep)
}

#[test]
fn a_client_hello_of_up_to_16_kib_is_served_and_a_longer_one_refused_by_an_alert() {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).ready();
    let connector = connector(credentials.instance());
    let long = long_winded(&connector);
    assert!((14 * KIB..16 * KIB).contains(&long.hello().len()), "{}", long.hello().len());
    echoes(&mut long.connect(sidecar.addr()).unwrap(), 1000);

    // Known by its head; the rest, which never comes, is not waited for.
    for length in [16 * KIB + 1, 62 * KIB, 0xff_ff_ff + 4] {
        let tcp = saying(&unfinished_hello(length, 100), &sidecar);
        assert_eq!(read_to_end(&tcp), (TOO_LONG.to_vec(), Ending::Fin), "{length}");
    }
    eventually("three entries", || {
        let entries = sidecar.lines().into_iter().filter(|line| {
            line["close_reason"] == "handshake_failed"
                && line["detail"].as_str().is_some_and(|detail| detail.contains("longer than 16 KiB"))
        });
        (entries.count() == 3).then_some(())
    });
}

#[test]
fn thousands_of_names_in_a_client_hello_take_no_more_memory_than_their_bytes() {
    const CLIENTS: usize = 60;
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).arg("--handshake-timeout").arg("10m").ready();
    let mut connector = connector(credentials.instance());
    connector.config.alpn_protocols = vec![vec![b'x']; 7_300];
    let hello = connector.hello();
    assert!((15 * KIB..16 * KIB).contains(&hello.len()), "{}", hello.len());
    let say_hello = || {
        let mut tcp = saying(&hello, &sidecar);
        tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        // It has been answered, and waits for a Finished that does not come.
        tcp.read_exact(&mut [0; 3]).unwrap();
        tcp
    };
    let mut waiting = vec![say_hello()];
    let before = crate::relay::anonymous_kib(sidecar.pid());
    waiting.extend((1..CLIENTS).map(|_| say_hello()));
    let grown = crate::relay::anonymous_kib(sidecar.pid()).saturating_sub(before);
    assert!(grown < 60 * CLIENTS as u64, "{} KiB for each", grown / CLIENTS as u64);
    drop(waiting);
}

#[test]
fn a_client_hello_in_the_smallest_records_and_segments_is_served_and_too_many_of_them_are_refused() {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).ready();
    let hello = connector(credentials.instance()).hello();
    let mut tcp = TcpStream::connect(sidecar.addr()).unwrap();
    tcp.set_nodelay(true).unwrap();
    for byte in in_records(&hello[5..], 1) {
        tcp.write_all(&[byte]).unwrap();
    }
    tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut answer = [0; 3];
    tcp.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [22, 3, 3], "a ServerHello");

    let message = unfinished_hello(16 * KIB, 5 + 16 * KIB)[5..].to_vec();
    let tcp = saying(&in_records(&message, 1), &sidecar);
    assert_eq!(read_to_end(&tcp).0, TOO_LONG);
}

#[test]
fn clients_with_large_unfinished_hellos_are_turned_away_before_those_with_small_ones() {
    let credentials = Credentials::new();
    let setup = Setup::proxy(&credentials, app::echo()).arg("--memory-limit").arg("16M");
    let measured = Measured::new(setup.arg("--max-connections").arg("2000").arg("--handshake-timeout").arg("10m"));
    let (sidecar, connector) = (&measured.sidecar, connector(credentials.instance()));
    let limit = measured.series()["vestibule_held_memory_limit_bytes{budget=\"handshakes\"}"];
    assert_eq!(limit, (2 * KIB * KIB) as f64);

    let mut established = connector.connect(sidecar.addr()).unwrap();
    let flood: Vec<_> = (0..200).map(|_| saying(&unfinished_hello(15 * KIB, 14 * KIB), sidecar)).collect();
    let entry = sidecar.access_log_entry("overloaded");
    assert!(entry["detail"].as_str().unwrap().contains("memory for handshakes"), "{entry}");
    let refused = || sidecar.reasons().iter().filter(|reason| *reason == "overloaded").count();
    eventually("all but those that fit", || (refused() >= 90).then_some(()));
    assert!(held(&measured, "handshakes") <= limit);

    // Whoever needs little comes in, and whoever is in stays.
    echoes(&mut connector.connect(sidecar.addr()).unwrap(), 10_000);
    echoes(&mut established, 10_000);
    let hello = unfinished_hello(1800, 1700);
    let patient = saying(&hello, sidecar);
    let late = saying(&unfinished_hello(15 * KIB, 14 * KIB), sidecar);
    assert_eq!(read_to_end(&late), (Vec::new(), Ending::Reset));
    patient.set_nonblocking(true).unwrap();
    assert_eq!(patient.peek(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it may go on");

    drop((flood, patient));
    measured.wait_for("vestibule_held_memory_bytes{budget=\"handshakes\"}", 0.0);
    echoes(&mut long_winded(&connector).connect(sidecar.addr()).unwrap(), 1000);
}

#[test]
fn large_client_certificates_without_an_end_are_turned_away_and_usual_ones_come_in() {
    let mut credentials = Credentials::new();
    let ca = credentials.dir().join("ca.crt");
    std::fs::write(&ca, roots_pem()).unwrap();
    let setup = Setup::proxy(&credentials, app::echo()).arg("--client-ca").arg(ca.to_str().unwrap());
    let setup = setup.arg("--client-auth").arg("require");
    let setup = setup.arg("--memory-limit").arg("4M").arg("--max-connections").arg("500");
    let measured = Measured::new(setup.arg("--handshake-timeout").arg("10m"));
    let client = credentials.issue();
    let usual = connector(credentials.instance()).showing(&client.cert_pem, &client.key_pem);
    let pem = client.cert_pem.len();
    let large =
        connector(credentials.instance()).showing(&client.cert_pem.repeat(45 * KIB * 4 / 3 / pem), &client.key_pem);
    let limit = measured.series()["vestibule_held_memory_limit_bytes{budget=\"handshakes\"}"];
    let mut established = usual.connect(measured.sidecar.addr()).unwrap();
    let flood: Vec<_> = (0..30).map(|_| large.all_but_the_last_byte(measured.sidecar.addr())).collect();
    let entry = measured.sidecar.access_log_entry("overloaded");
    assert!(entry["detail"].as_str().unwrap().contains("memory for handshakes"), "{entry}");
    assert!(held(&measured, "handshakes") <= limit);
    echoes(&mut usual.connect(measured.sidecar.addr()).unwrap(), 10_000);
    echoes(&mut established, 10_000);
    drop(flood);
    measured.wait_for("vestibule_held_memory_bytes{budget=\"handshakes\"}", 0.0);
}

#[test]
fn established_clients_with_long_chains_are_turned_away_when_memory_is_short_and_usual_ones_come_in() {
    let mut credentials = Credentials::new();
    let ca = credentials.dir().join("ca.crt");
    std::fs::write(&ca, roots_pem()).unwrap();
    let setup = Setup::proxy(&credentials, app::echo()).arg("--client-ca").arg(ca.to_str().unwrap());
    let setup = setup.arg("--client-auth").arg("require").arg("--allow").arg("any");
    let measured = Measured::new(setup.arg("--memory-limit").arg("4M").arg("--max-connections").arg("500"));
    let client = credentials.issue();
    let usual = connector(credentials.instance()).showing(&client.cert_pem, &client.key_pem);
    let certificates = client.cert_pem.matches("BEGIN CERTIFICATE").count();
    let long = connector(credentials.instance()).showing(&client.cert_pem.repeat(10 / certificates), &client.key_pem);
    let limit = measured.series()["vestibule_held_memory_limit_bytes{budget=\"backlogs\"}"];
    let mut established = usual.connect(measured.sidecar.addr()).unwrap();
    let clients: Vec<_> =
        (0..120).filter_map(|_| long.clone().afresh().connect(measured.sidecar.addr()).ok()).collect();
    let entry = measured.sidecar.access_log_entry("overloaded");
    assert!(entry["detail"].as_str().unwrap().contains("chain of certificates is long"), "{entry}");
    assert!(held(&measured, "backlogs") <= limit && clients.len() > 5, "{}", clients.len());
    echoes(&mut usual.connect(measured.sidecar.addr()).unwrap(), 10_000);
    echoes(&mut established, 10_000);
    drop(clients);
    measured.wait_for("vestibule_held_memory_bytes{budget=\"backlogs\"}", 0.0);
}

#[test]
fn where_there_is_much_memory_unfinished_hellos_are_waited_for() {
    let credentials = Credentials::new();
    let setup = Setup::proxy(&credentials, app::echo()).arg("--memory-limit").arg("1T");
    let sidecar = setup.arg("--max-connections").arg("2000").ready();
    let flood: Vec<_> = (0..300).map(|_| saying(&unfinished_hello(15 * KIB, 14 * KIB), &sidecar)).collect();
    echoes(&mut connector(credentials.instance()).connect(sidecar.addr()).unwrap(), 1000);
    assert!(!sidecar.reasons().contains(&"overloaded".to_owned()), "{:?}", sidecar.reasons());
    drop(flood);
}

#[test]
fn downloads_that_are_not_read_make_room_when_memory_is_short_and_those_that_are_read_go_on() {
    let credentials = Credentials::new();
    let setup = Setup::proxy(&credentials, torrent()).arg("--memory-limit").arg("4M");
    let measured = Measured::new(setup.arg("--max-connections").arg("200"));
    let connector = connector(credentials.instance());
    let mut reading = connector.connect(measured.sidecar.addr()).unwrap();
    let unread: Vec<_> = (0..60).map(|_| connector.connect(measured.sidecar.addr()).unwrap()).collect();
    let limit = measured.series()["vestibule_held_memory_limit_bytes{budget=\"backlogs\"}"];
    // They hold what there is, and then no more than a small read each.
    eventually("a budget that is spent", || (held(&measured, "backlogs") > limit / 2.0).then_some(()));
    for _ in 0..400 {
        assert_eq!(reading.receive(10_000).unwrap(), [0; 10_000]);
    }
    assert!(held(&measured, "backlogs") <= limit + (unread.len() * 5 * KIB) as f64);
    let overloaded = |line: &serde_json::Value| {
        line["close_reason"] == "overloaded"
            && line["detail"].as_str().is_some_and(|detail| detail.contains("memory for backlogs"))
    };
    let entry = eventually("one that had to go", || {
        assert_eq!(reading.receive(10_000).unwrap(), [0; 10_000]);
        measured.sidecar.lines().into_iter().find(overloaded)
    });
    assert!(entry["bytes_down"].as_u64().unwrap() > 0, "{entry}");
    eventually("room again", || {
        assert_eq!(reading.receive(10_000).unwrap(), [0; 10_000]);
        (held(&measured, "backlogs") <= limit / 2.0).then_some(())
    });
}

#[test]
fn uploads_that_the_app_does_not_take_and_records_without_an_end_make_room_when_memory_is_short() {
    let credentials = Credentials::new();
    let (app, _kept) = deaf();
    let setup = Setup::proxy(&credentials, app).arg("--memory-limit").arg("4M");
    let measured = Measured::new(setup.arg("--max-connections").arg("200"));
    let connector = connector(credentials.instance());
    let mut upload = connector.connect(measured.sidecar.addr()).unwrap();
    upload.send(b"e").unwrap();
    let unfinished: Vec<_> = (0..60)
        .map(|_| {
            let mut client = connector.connect(measured.sidecar.addr()).unwrap();
            std::io::Write::write_all(&mut client.tls.writer(), &[0; 16 * KIB]).unwrap();
            let mut record = Vec::new();
            while client.tls.wants_write() {
                client.tls.write_tls(&mut record).unwrap();
            }
            client.tcp.write_all(&record[..record.len() - 1]).unwrap();
            client
        })
        .collect();
    let limit = measured.series()["vestibule_held_memory_limit_bytes{budget=\"backlogs\"}"];
    eventually("a budget that is spent", || (held(&measured, "backlogs") > limit / 2.0).then_some(()));
    // In whole records of the largest size, which have to pass nevertheless.
    for _ in 0..40 {
        upload.send(&[7; 16 * KIB]).unwrap();
        assert_eq!(upload.receive(16 * KIB).unwrap(), [7; 16 * KIB]);
    }
    assert!(held(&measured, "backlogs") <= limit + (unfinished.len() * 19 * KIB) as f64);
    eventually("room again", || {
        echoes(&mut upload, 1000);
        (held(&measured, "backlogs") <= limit / 2.0).then_some(())
    });
    let entry = measured.sidecar.access_log_entry("overloaded");
    assert!(entry["detail"].as_str().unwrap().contains("memory for backlogs"), "{entry}");
}

#[test]
fn clients_beyond_those_that_wait_over_the_limit_are_reset_and_counted() {
    let credentials = Credentials::new();
    let app = App::start();
    let setup = Setup::proxy(&credentials, app.addr()).arg("--max-connections").arg("1");
    let measured = Measured::new(setup.arg("--handshake-timeout").arg("10m"));
    let _one = connector(credentials.instance()).connect(measured.sidecar.addr()).unwrap();
    let waiting: Vec<_> = (0..64).map(|_| TcpStream::connect(measured.sidecar.addr()).unwrap()).collect();
    measured.wait_for("vestibule_connections_active", 65.0);
    for _ in 0..10 {
        match TcpStream::connect(measured.sidecar.addr()) {
            Ok(tcp) => assert_eq!(read_to_end(&tcp), (Vec::new(), Ending::Reset)),
            // It was reset before the call has returned.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    measured.wait_for("vestibule_connections_closed_total{reason=\"overloaded\"}", 10.0);
    let entry = measured.sidecar.access_log_entry("overloaded");
    assert!(entry["detail"].as_str().unwrap().contains("--max-connections"), "{entry}");
    assert_eq!(measured.series()["vestibule_connections_opened_total"], 75.0);
    drop(waiting);
}
