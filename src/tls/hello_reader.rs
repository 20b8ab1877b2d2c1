//! The ClientHello: read whole, and nothing answered yet.

mod framing;

use std::io;

use rustls::server::Acceptor;
use rustls::{AlertDescription, PeerMisbehaved};
use tokio::net::TcpStream;

use crate::budget::BudgetExceeded;
use crate::io::buffers;
use crate::tls::hello_rules::{self, BrokenRule, BrokenRules};
use crate::tls::server_name::MaskedServerNames;

use self::framing::{Framing, HelloProgress, MAX_HELLO_BYTES, speaks_tls};

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
    /// A rule that it breaks for servers that speak TLS 1.3.
    tls13_rule: Option<BrokenRule>,
}

/// The first byte of the numbers of TLS 1.3's suites (RFC 8446, B.4).
const TLS13_SUITES: u16 = 0x13;

/// The same with the headers of its records, of which there may be many and small ones (RFC 8446, 5.1).
const LONGEST_ON_WIRE: usize = MAX_HELLO_BYTES + 4 * 1024;

impl Hello {
    /// Whether the client offers a suite of TLS 1.3, as all do that speak it.
    pub fn offers_tls13(&self) -> bool {
        self.tls13
    }

    /// Whether a server that speaks TLS 1.3 may answer it.
    ///
    /// # Errors
    /// [`HelloError::Forbidden`]; the caller sends its alert.
    pub fn allowed_with_tls13(&self) -> Result<(), HelloError> {
        self.tls13_rule.map_or(Ok(()), |rule| Err(forbidden(rule)))
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
    /// A ClientHello that can be understood, and that a server has to refuse.
    #[error("the ClientHello breaks a rule: {what}")]
    Forbidden {
        /// An alert for the client.
        alert: Vec<u8>,
        /// Which rule, and of which RFC.
        what: &'static str,
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
            HelloProgress::RecordTooLong => return Err(forbidden(RECORD_TOO_LONG)),
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
                    let BrokenRules { always, with_tls13: tls13_rule } = hello_rules::broken_by(&wire);
                    return match always {
                        Some(rule) => Err(forbidden(rule)),
                        None => Ok(Hello { wire, hidden_name, alpn, server_name, tls13, tls13_rule }),
                    };
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

/// rustls takes records of up to 18 KiB, as if they were sealed.
const RECORD_TOO_LONG: BrokenRule =
    BrokenRule { alert: AlertDescription::RecordOverflow, what: "a record is longer than 16 KiB (RFC 8446, 5.1)" };

fn forbidden(BrokenRule { alert, what }: BrokenRule) -> HelloError {
    HelloError::Forbidden { alert: fatal_alert(alert), what }
}

/// OpenSSL and BoringSSL send the same for a message that is too long.
fn too_long() -> HelloError {
    HelloError::TooLong { alert: fatal_alert(AlertDescription::IllegalParameter) }
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
                    if let Some(version) = hello_rules::old_version(wire) {
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
pub(super) fn fatal_alert(description: AlertDescription) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, u8::from(description)]
}

/// The alert for a client that speaks no newer TLS (RFC 8446, 6.2).
pub fn old_tls_alert() -> Vec<u8> {
    fatal_alert(AlertDescription::ProtocolVersion)
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
