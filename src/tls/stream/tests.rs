use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::TlsSettings;
use crate::credentials::Pair;
use crate::crypto::provider;
use crate::identity::Client;
use crate::issuer::{CertificateAuthority, Credential, InstanceSpec};
use crate::policy::Policy;
use crate::tls::{ServerConfigs, SigningLimiter, handshake, read_hello};
use crate::trust::ClientAuth;

type TestStream = StreamOwned<ClientConnection, std::net::TcpStream>;

static AUTHORITY: LazyLock<CertificateAuthority> =
    LazyLock::new(|| CertificateAuthority::generate(SystemTime::now()).unwrap());
static CREDENTIAL: LazyLock<(InstanceSpec, Credential)> = LazyLock::new(|| {
    let spec = InstanceSpec::generate().unwrap();
    let credential = AUTHORITY.issue(&spec, SystemTime::now()).unwrap();
    (spec, credential)
});

/// A stock rustls client of one version, on a thread of its own, and our end of its session.
async fn between<T: Send + 'static>(
    version: &'static SupportedProtocolVersion,
    client: impl FnOnce(TestStream) -> T + Send + 'static,
) -> (Stream, thread::JoinHandle<T>) {
    let (spec, credential) = &*CREDENTIAL;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(AUTHORITY.roots_pem().as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let name = spec.instance.clone().unwrap().to_string().try_into().unwrap();
    let client = thread::spawn(move || {
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let tcp = std::net::TcpStream::connect(addr).unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        client(stream)
    });
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut tcp = TcpStream::from_std(socket).unwrap();
    let (cert, key) = (credential.cert_pem.as_bytes(), credential.key_pem.as_bytes());
    let pair = Pair::from_pem(cert, key, &provider()).unwrap();
    let configs = ServerConfigs::new(pair.certified_key(), &TlsSettings::default(), &ClientAuth::None).unwrap();
    let hello = read_hello(&mut tcp, Vec::new(), |_| Ok(())).await.unwrap();
    let config = configs.select(&hello).unwrap().config;
    let turns = SigningLimiter::new(1);
    let (_, established) = handshake(&mut tcp, hello, config, &turns, |_| Ok(()), || true).await.unwrap();
    let permit = Policy::anonymous().authorize(&Client::Anonymous, None).unwrap();
    (Stream::new(&permit, tcp, established), client)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_go_both_ways_at_once_and_both_ends_are_proper_in_both_versions() {
    const SIZE: usize = 3_000_000;
    for version in [&TLS12, &TLS13] {
        let (stream, client) = between(version, |mut stream| {
            stream.write_all(&pattern(SIZE)).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        })
        .await;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move {
            let mut upload = Vec::new();
            reader.read_to_end(&mut upload).await.unwrap();
            upload
        });
        writer.write_all(&pattern(SIZE)[1..]).await.unwrap();
        writer.shutdown().await.unwrap();
        assert!(writer.write(b"x").await.is_err(), "nothing follows close_notify");
        assert_eq!(reading.await.unwrap(), pattern(SIZE));
        assert_eq!(client.join().unwrap(), pattern(SIZE)[1..]);
    }
}

#[tokio::test]
async fn a_record_is_read_in_parts_of_any_size_and_nothing_is_held_once_it_was() {
    let (mut stream, client) = between(&TLS13, |mut stream| {
        stream.write_all(&pattern(40_000)).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    })
    .await;
    let mut read = Vec::new();
    for size in (1..).map(|nth| nth * 7 % 1000 + 1) {
        let mut part = vec![0; size];
        let length = stream.read(&mut part).await.unwrap();
        read.extend_from_slice(&part[..length]);
        assert!(stream.memory() < 64 * 1024);
        if read.len() == 40_000 {
            break;
        }
    }
    assert_eq!((read, stream.memory()), (pattern(40_000), 0));
    stream.write_all(b"x").await.unwrap();
    client.join().unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_without_close_notify_is_an_error_behind_what_came() {
    let (mut stream, client) = between(&TLS13, |mut stream| {
        stream.write_all(b"cut").unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        stream.sock
    })
    .await;
    let mut read = [0; 8];
    assert_eq!(stream.read(&mut read).await.unwrap(), 3);
    for _ in 0..2 {
        assert_eq!(stream.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
    client.join().unwrap();
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_gets_an_alert_and_we_an_error() {
    let (mut stream, client) = between(&TLS13, |mut stream| {
        stream.write_all(b"good").unwrap();
        let forged = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
        stream.sock.write_all(&forged).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap_err().to_string()
    })
    .await;
    let mut read = [0; 8];
    assert_eq!(stream.read(&mut read).await.unwrap(), 4);
    assert_eq!(stream.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    drop(stream);
    let said = client.join().unwrap();
    assert!(said.contains("BadRecordMac"), "{said}");
}

#[tokio::test]
async fn a_key_update_is_answered_without_anything_being_written() {
    let (mut stream, client) = between(&TLS13, |mut stream| {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.write_all(b"a").unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        answer
    })
    .await;
    let mut read = [0; 8];
    assert_eq!(stream.read(&mut read).await.unwrap(), 1);
    stream.write_all(b"abc").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(client.join().unwrap(), *b"abc");
    assert_eq!(stream.read(&mut read).await.unwrap(), 0, "close_notify is the end");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_writer_and_little_memory() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (mut stream, client) = between(&TLS13, move |mut stream| {
        wait.recv().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.len()
    })
    .await;
    let chunk = pattern(100_000);
    let mut written = 0;
    loop {
        let write = tokio::time::timeout(std::time::Duration::from_millis(300), stream.write(&chunk));
        match write.await {
            Ok(length) => written += length.unwrap(),
            Err(_) => break,
        }
    }
    assert!(stream.memory() <= 2 * READ, "{}", stream.memory());
    go.send(()).unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(client.join().unwrap(), written);
}
