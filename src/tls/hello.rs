//! The ClientHello: read whole, and nothing answered yet.

use std::io;

use rustls::server::Acceptor;
use rustls::{AlertDescription, PeerMisbehaved};
use tokio::net::TcpStream;

use crate::budget::BudgetExceeded;
use crate::io::buffers;
use crate::tls::record::{HEADER, MAX_FRAGMENT};
use crate::tls::server_name::MaskedServerNames;

/// A complete ClientHello, and every byte that has come so far.
#[derive(Debug)]
pub struct Hello {
    /// As received. The handshake starts from these bytes.
    wire: Vec<u8>,
    /// The server name, hidden from rustls where it would not take it.
    pub(super) hidden_name: Option<MaskedServerNames>,
    alpn: ProtocolNames,
    server_name: Option<String>,
    tls13: bool,
}

/// The first byte of the numbers of TLS 1.3's suites (RFC 8446, B.4).
const TLS13_SUITES: u16 = 0x13;

/// The longest ClientHello, in bytes: as long as BoringSSL takes it. One with X25519MLKEM768 has some 1,800.
const MAX_HELLO_BYTES: usize = 16 * 1024;

/// The same with the headers of its records, of which there may be many and small ones (RFC 8446, 5.1).
const LONGEST_ON_WIRE: usize = MAX_HELLO_BYTES + 4 * 1024;

/// The length of a handshake message's header (RFC 8446, 4).
const HANDSHAKE_HEADER_LEN: usize = 4;

/// The type of a ClientHello (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;

impl Hello {
    /// Whether the client offers a suite of TLS 1.3, as all do that speak it.
    pub fn offers_tls13(&self) -> bool {
        self.tls13
    }

    /// What the handshake starts from. All else that was learned of it is done with.
    pub(super) fn into_parts(self) -> (Vec<u8>, Option<MaskedServerNames>) {
        (self.wire, self.hidden_name)
    }

    /// Whether the client offers at least one of `protocols` (RFC 7301).
    pub fn offers_any(&self, protocols: &[Vec<u8>]) -> bool {
        self.alpn.iter().any(|offered| protocols.iter().any(|spoken| spoken == offered))
    }

    /// The name the client asked for (RFC 6066); `None` also for what is not a DNS name. It decides nothing: routers send the instance,
    /// peers a route, others none.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

/// Why there is no ClientHello.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// Connect and close without a byte, as every health check does.
    #[error("the client left without a byte")]
    Probe,
    /// The client left after a part of its ClientHello.
    #[error("the client left in the middle of its ClientHello")]
    Incomplete,
    /// The first bytes are no TLS record that carries a handshake.
    #[error("the client does not speak TLS")]
    NotTls {
        /// An alert for the client.
        alert: Vec<u8>,
    },
    /// The first bytes are a request in plain HTTP.
    #[error("the client speaks plain HTTP to a TLS port; let it dial https://")]
    PlainHttp,
    /// TLS, but a ClientHello that cannot be understood.
    #[error("the ClientHello is malformed")]
    Malformed {
        /// An alert for the client.
        alert: Vec<u8>,
        /// What rustls found.
        #[source]
        cause: rustls::Error,
    },
    /// A ClientHello of TLS 1.1 or older, which has no signatures and key exchanges that we could use.
    #[error("the client speaks no newer TLS than {0}; at least TLS 1.2 is needed")]
    OldTls(&'static str),
    /// A ClientHello that goes on for longer than any client has to say.
    #[error("the ClientHello is longer than 16 KiB, or comes in too many records")]
    TooLong {
        /// An alert for the client.
        alert: Vec<u8>,
    },
    /// There is no memory left to wait for the rest of it.
    #[error(transparent)]
    Exhausted(#[from] BudgetExceeded),
    /// The socket failed.
    #[error("reading the ClientHello")]
    Io(#[from] io::Error),
}

/// Reads until the ClientHello is complete, over any number of reads. `wire` is what has been read of it already; `may_hold` is
/// told how many bytes wait for the rest.
///
/// # Errors
/// [`HelloError`]; the caller sends the alert it may carry.
pub async fn read_hello(
    client: &mut TcpStream,
    mut wire: Vec<u8>,
    mut may_hold: impl FnMut(usize) -> Result<(), BudgetExceeded>,
) -> Result<Hello, HelloError> {
    let mut framing = Framing::default();
    let mut parser = Parser::default();
    let mut hidden_name = None;
    loop {
        match framing.advance(&wire) {
            HelloProgress::Incomplete if wire.len() < LONGEST_ON_WIRE => {}
            HelloProgress::Incomplete | HelloProgress::TooLong => return Err(too_long()),
            // What is no ClientHello is rustls's to name, which may want to see more of it.
            HelloProgress::Complete | HelloProgress::Other => {
                let fed = match parser.feed(&wire) {
                    Err(HelloError::Malformed { cause: NAME_REFUSED, .. }) => {
                        // Once: there is no other name in it.
                        // It is whole, or it could not have been refused.
                        let _ = hidden_name.get_or_insert_with(MaskedServerNames::default).hide(&mut wire);
                        parser = Parser::default();
                        parser.feed(&wire)
                    }
                    fed => fed,
                };
                if let Some(HelloExtensions { alpn, server_name, tls13 }) = fed? {
                    return Ok(Hello { wire, hidden_name, alpn, server_name, tls13 });
                }
                if wire.len() >= LONGEST_ON_WIRE {
                    return Err(too_long());
                }
            }
        }
        let most = LONGEST_ON_WIRE - wire.len();
        match buffers::read_more(client, &mut wire, most).await {
            Ok(0) if wire.is_empty() => return Err(HelloError::Probe),
            Ok(0) => return Err(HelloError::Incomplete),
            Ok(_) => may_hold(wire.capacity() + parser.fed)?,
            // A health check that resets instead of closing is a health check all the same.
            Err(error) if wire.is_empty() && error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(HelloError::Probe);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How rustls refuses a server name that is not a DNS name.
const NAME_REFUSED: rustls::Error = rustls::Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName);

/// OpenSSL and BoringSSL send the same for a message that is too long.
fn too_long() -> HelloError {
    HelloError::TooLong { alert: fatal_alert(AlertDescription::IllegalParameter) }
}

/// What has come so far.
#[derive(Debug, PartialEq, Eq)]
enum HelloProgress {
    /// The beginning of a ClientHello.
    Incomplete,
    /// A ClientHello, and the record in which it ends.
    Complete,
    /// The beginning of a ClientHello that is longer than [`MAX_HELLO_BYTES`].
    TooLong,
    /// Something else.
    Other,
}

/// Finds the end of the ClientHello in its records, looking at each header once. No parser, and no copy of the bytes, is needed
/// until then: those who never send the rest cost no more than what they have sent.
#[derive(Debug, Default)]
struct Framing {
    /// Where the first record begins that is not whole.
    next: usize,
    /// Bytes of the message in the records before it.
    before: usize,
    /// Its first bytes: type and length (RFC 8446, 4).
    head: [u8; HANDSHAKE_HEADER_LEN],
}

impl Framing {
    /// Takes notice of what has come behind the bytes of the last call.
    fn advance(&mut self, wire: &[u8]) -> HelloProgress {
        loop {
            let rest = &wire[self.next..];
            let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
                return if speaks_tls(rest) || rest.is_empty() {
                    HelloProgress::Incomplete
                } else {
                    HelloProgress::Other
                };
            };
            let &[typ, major, _, high, low] = header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if (typ, major) != (22, 3) || length == 0 || length > MAX_FRAGMENT {
                return HelloProgress::Other;
            }
            let fragment = &body[..body.len().min(length)];
            let room = self.head.get_mut(self.before..).unwrap_or_default();
            for (place, byte) in room.iter_mut().zip(fragment) {
                *place = *byte;
            }
            let (come, [kind, head @ ..]) = (self.before + fragment.len(), self.head);
            if come > 0 && kind != CLIENT_HELLO {
                return HelloProgress::Other;
            }
            let message = HANDSHAKE_HEADER_LEN + head.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            if come >= HANDSHAKE_HEADER_LEN && message > MAX_HELLO_BYTES {
                return HelloProgress::TooLong;
            }
            if fragment.len() < length {
                return HelloProgress::Incomplete;
            }
            self.next += HEADER + length;
            self.before = come;
            if come >= HANDSHAKE_HEADER_LEN && come >= message {
                return HelloProgress::Complete;
            }
        }
    }
}

/// What of a ClientHello decides on the answer, and the name for the access log.
struct HelloExtensions {
    alpn: ProtocolNames,
    server_name: Option<String>,
    tls13: bool,
}

/// The protocols that a client offers, in as many bytes as they have on the wire (RFC 7301, 3.1): thousands fit into a ClientHello, and
/// each would cost twenty times that by itself.
#[derive(Debug, Default)]
struct ProtocolNames(Vec<u8>);

impl ProtocolNames {
    fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut wire = Vec::new();
        for name in names {
            // The length of each is one byte on the wire too.
            if let Ok(length) = u8::try_from(name.len()) {
                wire.push(length);
                wire.extend_from_slice(name);
            }
        }
        wire.shrink_to_fit();
        Self(wire)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let (name, others) = behind.split_at_checked(usize::from(*length))?;
            rest = others;
            Some(name)
        })
    }
}

/// rustls's reading of a ClientHello. Made when there is something to read, as it is not small; it copies what it is given.
#[derive(Default)]
struct Parser {
    acceptor: Option<Acceptor>,
    /// Bytes that it has been given.
    fed: usize,
}

impl Parser {
    /// Hands on what of `wire` is new; `Some` once the ClientHello is complete.
    fn feed(&mut self, wire: &[u8]) -> Result<Option<HelloExtensions>, HelloError> {
        if is_part_of_http_method(wire) {
            // rustls would have it be no TLS, and nobody would know what it is.
            return Ok(None);
        }
        let acceptor = self.acceptor.get_or_insert_default();
        let mut rest = &wire[self.fed..];
        self.fed = wire.len();
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let tls13 = hello.cipher_suites().iter().any(|suite| u16::from(*suite) >> 8 == TLS13_SUITES);
                    let alpn = ProtocolNames::of(hello.alpn().into_iter().flatten());
                    let server_name = hello.server_name().map(str::to_owned);
                    return Ok(Some(HelloExtensions { alpn, server_name, tls13 }));
                }
                Err((cause, mut unsent)) => {
                    let mut alert = Vec::new();
                    // Writing to a Vec does not fail.
                    let _ = unsent.write_all(&mut alert);
                    if alert.is_empty() {
                        // rustls has none where the first message is another one than a ClientHello.
                        alert = fatal_alert(AlertDescription::UnexpectedMessage);
                    }
                    if speaks_http(wire) {
                        return Err(HelloError::PlainHttp);
                    }
                    if let Some(version) = old_version(wire) {
                        return Err(HelloError::OldTls(version));
                    }
                    return Err(if speaks_tls(wire) {
                        HelloError::Malformed { alert, cause }
                    } else {
                        HelloError::NotTls { alert }
                    });
                }
            }
        }
        Ok(None)
    }
}

/// An alert that is not protected (RFC 8446, 6), as a whole record.
fn fatal_alert(description: AlertDescription) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, u8::from(description)]
}

/// Whether the bytes begin as a record with a handshake does: type 22, version 3.x (RFC 8446, 5.1).
fn speaks_tls(wire: &[u8]) -> bool {
    matches!(wire, [22, 3, ..] | [22])
}

/// The alert for a client that speaks no newer TLS (RFC 8446, 6.2).
pub fn old_tls_alert() -> Vec<u8> {
    fatal_alert(AlertDescription::ProtocolVersion)
}

/// The version of a ClientHello in its first record that is older than TLS 1.2: its `client_version` (RFC 5246, 7.4.1.2).
fn old_version(wire: &[u8]) -> Option<&'static str> {
    match wire {
        [22, 3, _, _, _, CLIENT_HELLO, _, _, _, 3, 2, ..] => Some("1.1"),
        [22, 3, _, _, _, CLIENT_HELLO, _, _, _, 3, 1, ..] => Some("1.0"),
        [22, 3, _, _, _, CLIENT_HELLO, _, _, _, 3, 0, ..] => Some("SSL 3.0"),
        _ => None,
    }
}

/// How requests of HTTP/1 and HTTP/2 begin (RFC 9110, 9; RFC 9113, 3.4).
const HTTP_METHODS: [&[u8]; 10] =
    [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO", b"DELET", b"PATCH", b"CONNE", b"TRACE", b"PRI *"];

/// Whether the bytes begin as a request of HTTP does.
fn speaks_http(wire: &[u8]) -> bool {
    HTTP_METHODS.iter().any(|method| wire.starts_with(method))
}

/// Whether they may become one.
fn is_part_of_http_method(wire: &[u8]) -> bool {
    HTTP_METHODS.iter().any(|method| wire.len() < method.len() && method.starts_with(wire))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello of `length` bytes with its head, in records of up to `record` bytes.
    fn hello(length: usize, record: usize) -> Vec<u8> {
        let mut message = vec![0; length];
        message[..HANDSHAKE_HEADER_LEN]
            .copy_from_slice(&u32::try_from(length - HANDSHAKE_HEADER_LEN).unwrap().to_be_bytes());
        message[0] = CLIENT_HELLO;
        let records = message.chunks(record).flat_map(|part| {
            let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1, high, low], part].concat()
        });
        records.collect()
    }

    #[test]
    fn the_end_of_a_client_hello_is_found_however_it_is_cut_into_records_and_reads() {
        for (length, record) in [(512, 16384), (1800, 1000), (1800, 1), (MAX_HELLO_BYTES, 16384), (9000, 7)] {
            let wire = hello(length, record);
            for read in [1, 3, 1448, wire.len()] {
                let mut framing = Framing::default();
                let ends = (0..wire.len()).step_by(read).map(|start| (start + read).min(wire.len()));
                for end in ends {
                    let wanted = if end == wire.len() { HelloProgress::Complete } else { HelloProgress::Incomplete };
                    assert_eq!(framing.advance(&wire[..end]), wanted, "{length} {record} {read} {end}");
                }
            }
            let behind = [wire.as_slice(), &[20, 3, 3, 0, 1, 1]].concat();
            assert_eq!(Framing::default().advance(&behind), HelloProgress::Complete);
        }
    }

    #[test]
    fn a_client_hello_that_is_too_long_is_known_by_its_first_bytes() {
        for record in [16384, 1] {
            let wire = hello(MAX_HELLO_BYTES + 1, record);
            // As many bytes as four records of one byte each.
            let head = HANDSHAKE_HEADER_LEN * (HEADER + 1);
            assert_eq!(Framing::default().advance(&wire[..head]), HelloProgress::TooLong);
            assert_eq!(Framing::default().advance(&wire), HelloProgress::TooLong);
        }
    }

    #[test]
    fn what_begins_in_another_way_is_something_else() {
        let not_a_hello = [22, 3, 1, 0, 4, 2, 0, 0, 0];
        let wires: [&[u8]; 6] =
            [b"GET / HTTP/1.1", b"G", &[21, 3, 3, 0, 2, 1, 0], &not_a_hello, &[22, 2], &[22, 3, 3, 0, 0]];
        for wire in wires {
            assert_eq!(Framing::default().advance(wire), HelloProgress::Other, "{wire:?}");
        }
        for wire in [&[][..], &[22], &[22, 3], &[22, 3, 1, 2]] {
            assert_eq!(Framing::default().advance(wire), HelloProgress::Incomplete, "{wire:?}");
        }
    }
}
