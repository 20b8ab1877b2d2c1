//! Much at once: hundreds of mebibytes, thousands of connections, a side that does not read.

use super::*;

#[test]
fn hundreds_of_mebibytes_go_each_way_at_once_and_arrive_exactly() {
    const SIZE: u64 = 256 << 20;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let credentials = Credentials::new();
        let app = App::start();
        let sidecar = Setup::proxy(&credentials, app.addr()).ready();
        let mut client = connector_with(credentials.instance(), &[version]).connect(sidecar.addr()).unwrap();
        let app = app.accept();
        // TLS 1.2 is here for its record format; a sixteenth shows that.
        let size = if version.version == rustls::ProtocolVersion::TLSv1_2 { SIZE / 16 } else { SIZE };

        let mut from = app.try_clone().unwrap();
        let mut to = app.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            pattern(size, 1, |chunk| to.write_all(chunk).unwrap());
            to.shutdown(Shutdown::Write).unwrap();
        });
        let reader = std::thread::spawn(move || {
            let mut space = vec![0; 64 * 1024];
            let mut check = Checker::new(2);
            loop {
                match from.read(&mut space).unwrap() {
                    0 => return check.at,
                    n => check.take(&space[..n]),
                }
            }
        });
        both_ways(&mut client, size);
        writer.join().unwrap();
        assert_eq!(reader.join().unwrap(), size);
        drop(client);
        let entry = sidecar.access_log_entry("completed");
        assert_eq!((entry["bytes_up"].as_u64(), entry["bytes_down"].as_u64()), (Some(size), Some(size)));
    }
}

/// Sends `size` bytes of pattern 2 while receiving `size` bytes of pattern 1, in one thread, by readiness.
fn both_ways(client: &mut Client, size: u64) {
    client.tcp.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    client.tcp.set_nonblocking(true).unwrap();
    let mut check = Checker::new(1);
    let (mut sent, mut ended) = (0, false);
    let mut space = vec![0; 64 * 1024];
    let mut chunk = vec![0; 64 * 1024];
    while sent < size || check.at < size || !ended || client.tls.wants_write() {
        let mut moved = false;
        if sent < size && !client.tls.wants_write() {
            let n = usize::try_from(size - sent).unwrap_or(usize::MAX).min(chunk.len());
            fill(&mut chunk[..n], sent, 2);
            let n = client.tls.writer().write(&chunk[..n]).unwrap();
            sent += n as u64;
            if sent == size {
                client.tls.send_close_notify();
            }
        }
        while client.tls.wants_write() {
            match client.tls.write_tls(&mut client.tcp) {
                Ok(_) => moved = true,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if !ended {
            match client.tls.read_tls(&mut client.tcp) {
                Ok(_) => {
                    moved = true;
                    client.tls.process_new_packets().unwrap();
                    loop {
                        match client.tls.reader().read(&mut space) {
                            Ok(0) => {
                                ended = true;
                                break;
                            }
                            Ok(n) => check.take(&space[..n]),
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        if !moved {
            std::thread::yield_now();
        }
    }
    assert_eq!(check.at, size);
    client.tcp.set_nonblocking(false).unwrap();
}

/// Byte `at` of stream `salt`: no two nearby blocks are alike.
fn fill(chunk: &mut [u8], at: u64, salt: u64) {
    for (i, byte) in chunk.iter_mut().enumerate() {
        let at = at + i as u64;
        *byte = (at ^ (at >> 8) ^ (at >> 16).wrapping_mul(31) ^ salt.wrapping_mul(97)) as u8;
    }
}

fn pattern(size: u64, salt: u64, mut write: impl FnMut(&[u8])) {
    let mut chunk = vec![0; 64 * 1024];
    let mut at = 0;
    while at < size {
        let n = usize::try_from(size - at).unwrap_or(usize::MAX).min(chunk.len());
        fill(&mut chunk[..n], at, salt);
        write(&chunk[..n]);
        at += n as u64;
    }
}

/// Compares a stream with its pattern as it comes.
struct Checker {
    at: u64,
    salt: u64,
    wanted: Vec<u8>,
}

impl Checker {
    fn new(salt: u64) -> Self {
        Self { at: 0, salt, wanted: vec![0; 64 * 1024] }
    }

    fn take(&mut self, bytes: &[u8]) {
        let wanted = &mut self.wanted[..bytes.len()];
        fill(wanted, self.at, self.salt);
        assert!(bytes == wanted, "bytes differ near {}", self.at);
        self.at += bytes.len() as u64;
    }
}

#[test]
fn a_side_that_does_not_read_slows_the_other_and_memory_stays_bounded() {
    let RelaySetup { mut client, mut app, sidecar } = relay_setup();
    let before = anonymous_kib(sidecar.pid());

    client.tcp.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    app.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Neither side reads: both writers must get stuck, since nobody may hold it all for them.
    let mut given = 0_usize;
    while client.send(&[5; 64 * 1024]).is_ok() {
        given += 64 * 1024;
        assert!(given < 64 << 20, "the sidecar swallows what the app does not read");
    }
    let mut given = 0_usize;
    while app.write_all(&[5; 64 * 1024]).is_ok() {
        given += 64 * 1024;
        assert!(given < 64 << 20, "the sidecar swallows what the client does not read");
    }

    let grown = anonymous_kib(sidecar.pid()).saturating_sub(before);
    assert!(grown < 2048, "{grown} KiB for one connection that is stuck both ways");
}

#[test]
fn five_thousand_connections_at_a_time_are_all_served() {
    const CONNECTIONS: usize = 5000;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = limit.maximum;
        limit
    })
    .unwrap();
    let credentials = Credentials::new();
    let app = App::start();
    let sidecar = Setup::proxy(&credentials, app.addr()).ready();
    let connector = connector(credentials.instance());

    let mut pairs: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let client = connector.connect(sidecar.addr()).unwrap();
            (client, app.accept())
        })
        .collect();
    for (i, (client, app)) in pairs.iter_mut().enumerate() {
        let question = (i as u64).to_be_bytes();
        client.send(&question).unwrap();
        let mut got = [0; 8];
        app.read_exact(&mut got).unwrap();
        assert_eq!(got, question, "connection {i}");
        app.write_all(&got).unwrap();
        assert_eq!(client.receive(8).unwrap(), question, "connection {i}");
    }
}
