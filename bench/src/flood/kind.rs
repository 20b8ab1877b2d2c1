//! The kinds of floods.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::app::{NOTHING, SEND};
use super::proxy::Proxy;
use super::{http1, http2};
use crate::wire::client::{Client, dial, reset};
use crate::wire::end::End;

/// Clients that come at a time.
const HANDS: usize = 16;

/// How long nothing has to move before an upload counts as blocked.
const BLOCKED: Duration = Duration::from_millis(300);

/// Bytes of answers that the kernel takes for a client that reads none: as few as it will.
const UNREAD: usize = 4 * KIB;

const KIB: usize = 1024;

/// What each client of a flood does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Silent,
    OneByte,
    SmallHellos,
    LargeHellos,
    Dribbled,
    TooLongHellos,
    Handshakes,
    Certificates,
    Idle,
    PartOfARecord,
    Uploads,
    Downloads,
    BothWays,
    Resets,
    Http1Requests,
    Http1Answers,
    Http1Uploads,
    Http1Heads,
    Http1LargeHeads,
    Http2OpenHeads,
    Http2RefusedHeads,
    Http2LargeHeads,
    Http2Requests,
    Http2TooManyRequests,
    Http2Answers,
}

impl Kind {
    pub(super) const ALL: [Self; 25] = [
        Self::Silent,
        Self::OneByte,
        Self::SmallHellos,
        Self::LargeHellos,
        Self::Dribbled,
        Self::TooLongHellos,
        Self::Handshakes,
        Self::Certificates,
        Self::Idle,
        Self::PartOfARecord,
        Self::Uploads,
        Self::Downloads,
        Self::BothWays,
        Self::Resets,
        Self::Http1Requests,
        Self::Http1Answers,
        Self::Http1Uploads,
        Self::Http1Heads,
        Self::Http1LargeHeads,
        Self::Http2OpenHeads,
        Self::Http2RefusedHeads,
        Self::Http2LargeHeads,
        Self::Http2Requests,
        Self::Http2TooManyRequests,
        Self::Http2Answers,
    ];

    /// For the table.
    pub(super) fn name(self) -> &'static str {
        self.names().1
    }

    /// For files.
    pub(super) fn id(self) -> &'static str {
        self.names().0
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Silent => ("silent", "not a byte"),
            Self::OneByte => ("one-byte", "one byte"),
            Self::SmallHellos => ("small-hellos", "1.7 KiB of a ClientHello of 1.8"),
            Self::LargeHellos => ("large-hellos", "14 KiB of a ClientHello of 15"),
            Self::Dribbled => ("dribbled", "the same, in 500 bytes at a time"),
            Self::TooLongHellos => ("too-long", "62 KiB of a ClientHello"),
            Self::Handshakes => ("handshakes", "a ClientHello, and no more"),
            Self::Certificates => ("certificates", "a client certificate of 55 KiB but for its end"),
            Self::Idle => ("idle", "a handshake, and no more"),
            Self::PartOfARecord => ("part", "a record of 16 KiB but for its end"),
            Self::Uploads => ("uploads", "uploads that the app does not read"),
            Self::Downloads => ("downloads", "downloads that the client does not read"),
            Self::BothWays => ("both", "both"),
            Self::Resets => ("resets", "part of a ClientHello, and a reset"),
            Self::Http1Requests => ("http1-requests", "HTTP/1.1: 3,000 requests at once that the app does not answer"),
            Self::Http1Answers => ("http1-answers", "HTTP/1.1: 30 answers that the client does not read"),
            Self::Http1Uploads => ("http1-uploads", "HTTP/1.1: an upload that the app does not read"),
            Self::Http1Heads => ("http1-heads", "HTTP/1.1: a head of 14 KiB that the app does not answer"),
            Self::Http1LargeHeads => ("http1-large-heads", "HTTP/1.1: the same of 60 KiB"),
            Self::Http2OpenHeads => ("http2-open-heads", "HTTP/2: 3.6 KiB of a head, which say 3,700 fields"),
            Self::Http2RefusedHeads => ("http2-refused-heads", "HTTP/2: 4 heads of 3,600 fields, which are refused"),
            Self::Http2LargeHeads => ("http2-large-heads", "HTTP/2: a head of 54 KiB"),
            Self::Http2Requests => ("http2-requests", "HTTP/2: 16 requests that the app does not answer"),
            Self::Http2TooManyRequests => ("http2-too-many", "HTTP/2: 400 such requests"),
            Self::Http2Answers => ("http2-answers", "HTTP/2: 16 answers that the client does not read"),
        }
    }

    /// Whether clients speak HTTP/2.
    pub(super) fn speaks_http2(self) -> bool {
        matches!(
            self,
            Self::Http2OpenHeads
                | Self::Http2RefusedHeads
                | Self::Http2LargeHeads
                | Self::Http2Requests
                | Self::Http2TooManyRequests
                | Self::Http2Answers
        )
    }

    /// Whether clients speak HTTP to the proxy itself.
    pub(super) fn speaks_http(self) -> bool {
        let speaks_http1 = matches!(
            self,
            Self::Http1Requests | Self::Http1Answers | Self::Http1Uploads | Self::Http1Heads | Self::Http1LargeHeads
        );
        speaks_http1 || self.speaks_http2()
    }

    /// Whether clients are asked for certificates.
    pub(super) fn shows_certificates(self) -> bool {
        self == Self::Certificates
    }

    /// How often a chain of so many bytes of PEM makes a large one.
    pub(super) fn chains(self, pem: usize) -> usize {
        // Four bytes of PEM are three of DER.
        55 * KIB * 4 / 3 / pem
    }
}

/// Whoever has come, and stays until this is dropped.
pub(super) struct Flood {
    _stays: Vec<TcpStream>,
}

impl Flood {
    /// Lets so many clients come.
    pub(super) fn new(kind: Kind, proxy: &Proxy, connections: usize) -> Self {
        let (next, stays) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let (addr, config) = (proxy.flooded, proxy.flooding());
        thread::scope(|scope| {
            for _ in 0..HANDS {
                scope.spawn(|| {
                    while next.fetch_add(1, Relaxed) < connections {
                        // Whoever is turned away is counted by the proxy.
                        if let Ok(stream) = come(kind, addr, config) {
                            stays.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                        }
                    }
                });
            }
        });
        Self { _stays: stays.into_inner().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// One client of it.
fn come(kind: Kind, addr: SocketAddr, config: &Arc<ClientConfig>) -> Result<TcpStream, End> {
    match kind {
        Kind::Silent => dial(addr),
        Kind::OneByte => say(dial(addr)?, &hello(1800)[..1]),
        Kind::SmallHellos => say(dial(addr)?, &hello(1800)[..1700]),
        Kind::LargeHellos => say(dial(addr)?, &hello(15 * KIB)[..14 * KIB]),
        Kind::Dribbled => hello(15 * KIB)[..14 * KIB].chunks(500).try_fold(dial(addr)?, say),
        Kind::TooLongHellos => say(dial(addr)?, &hello(63 * KIB)[..62 * KIB]),
        Kind::Handshakes => {
            let mut tls = connection(config)?;
            say(dial(addr)?, &outgoing(&mut tls)?)
        }
        Kind::Certificates => all_but_the_end_of_the_handshake(dial(addr)?, config),
        Kind::Idle => Ok(Client::connect(addr, config, "localhost")?.tcp),
        Kind::PartOfARecord => {
            let mut client = Client::connect(addr, config, "localhost")?;
            client.tls.writer().write_all(&[0; 16 * KIB]).map_err(|error| End::of(&error))?;
            let record = outgoing(&mut client.tls)?;
            say(client.tcp, &record[..record.len() - 1])
        }
        Kind::Uploads => blocked_upload(addr, config, NOTHING),
        Kind::Downloads => {
            let mut client = Client::connect(addr, config, "localhost")?;
            client.send(&[SEND])?;
            Ok(client.tcp)
        }
        Kind::BothWays => blocked_upload(addr, config, SEND),
        Kind::Resets => {
            reset(say(dial(addr)?, &hello(1800)[..1000])?);
            Err(End::Reset)
        }
        Kind::Http1Requests => ask(addr, config, &http1::unanswered(3000)),
        Kind::Http1Answers => ask(addr, config, &http1::large_answers(30)),
        Kind::Http1Uploads => ask(addr, config, &http1::upload(400 * KIB)),
        Kind::Http1Heads => ask(addr, config, &http1::large_head(14 * KIB)),
        Kind::Http1LargeHeads => ask(addr, config, &http1::large_head(60 * KIB)),
        Kind::Http2OpenHeads => ask(addr, config, &http2::open_head(3700)),
        Kind::Http2RefusedHeads => ask(addr, config, &http2::heads(4, 3600)),
        Kind::Http2LargeHeads => ask(addr, config, &http2::large_head(54 * KIB)),
        Kind::Http2Requests => ask(addr, config, &http2::unanswered(16)),
        Kind::Http2TooManyRequests => ask(addr, config, &http2::unanswered(400)),
        Kind::Http2Answers => ask(addr, config, &http2::large_answers(16)),
    }
}

/// Shakes hands, sends `bytes`, and reads nothing of what comes.
fn ask(addr: SocketAddr, config: &Arc<ClientConfig>, bytes: &[u8]) -> Result<TcpStream, End> {
    let tcp = dial(addr)?;
    setsockopt(&tcp, RcvBuf, &UNREAD).map_err(|error| End::of(&error.into()))?;
    let mut client = Client::over(tcp, config, "localhost")?;
    client.send(bytes)?;
    Ok(client.tcp)
}

/// Sends `bytes`. Whoever is turned away meanwhile is gone.
fn say(mut stream: TcpStream, bytes: &[u8]) -> Result<TcpStream, End> {
    stream.write_all(bytes).map_err(|error| End::of(&error))?;
    Ok(stream)
}

/// A ClientHello of `length` bytes, of which the rest means nothing.
fn hello(length: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    let [_, high, middle, low] = u32::try_from(length - 4).unwrap_or_default().to_be_bytes();
    message[..4].copy_from_slice(&[1, high, middle, low]);
    let records = message.chunks(16 * KIB).flat_map(|part| {
        let [high, low] = u16::try_from(part.len()).unwrap_or_default().to_be_bytes();
        [&[22, 3, 1, high, low], part].concat()
    });
    records.collect()
}

fn connection(config: &Arc<ClientConfig>) -> Result<ClientConnection, End> {
    let other = |error: &dyn std::error::Error| End::Other(error.to_string());
    let name = ServerName::try_from("localhost").map_err(|error| other(&error))?;
    ClientConnection::new(Arc::clone(config), name).map_err(|error| other(&error))
}

/// What `tls` has to say.
fn outgoing(tls: &mut ClientConnection) -> Result<Vec<u8>, End> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).map_err(|error| End::of(&error))?;
    }
    Ok(bytes)
}

/// Shakes hands, but for the last byte of what the client has to say.
fn all_but_the_end_of_the_handshake(mut tcp: TcpStream, config: &Arc<ClientConfig>) -> Result<TcpStream, End> {
    let mut tls = connection(config)?;
    let mut last = outgoing(&mut tls)?;
    while tls.is_handshaking() {
        tcp = say(tcp, &last)?;
        while !tls.wants_write() {
            if tls.read_tls(&mut tcp).map_err(|error| End::of(&error))? == 0 {
                return Err(End::Fin);
            }
            tls.process_new_packets().map_err(|error| End::Other(error.to_string()))?;
        }
        last = outgoing(&mut tls)?;
    }
    say(tcp, &last[..last.len() - 1])
}

/// Sends until nothing more is taken; the app does what `first` says.
fn blocked_upload(addr: SocketAddr, config: &Arc<ClientConfig>, first: u8) -> Result<TcpStream, End> {
    let mut client = Client::connect(addr, config, "localhost")?;
    client.send(&[first])?;
    client.tcp.set_nonblocking(true).map_err(|error| End::of(&error))?;
    let mut moved = Instant::now();
    while moved.elapsed() < BLOCKED {
        if !client.tls.wants_write() {
            client.tls.writer().write_all(&[0; 16 * KIB]).map_err(|error| End::of(&error))?;
        }
        match client.tls.write_tls(&mut client.tcp) {
            Ok(_) => moved = Instant::now(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(End::of(&error)),
        }
    }
    Ok(client.tcp)
}
