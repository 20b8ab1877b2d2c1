//! The ClientHello: read whole, and nothing answered yet.

use std::io;

use rustls::AlertDescription;
use rustls::PeerMisbehaved;
use rustls::server::Acceptor;
use tokio::net::TcpStream;

use crate::buffers;
use crate::tls::server_name::Hidden;

/// A complete ClientHello, and every byte that has come so far.
#[derive(Debug)]
pub struct Hello {
    /// As received. The handshake starts from these bytes.
    pub(super) wire: Vec<u8>,
    /// The server name, hidden from rustls where it would not take it.
    pub(super) hidden_name: Option<Hidden>,
    alpn: Vec<Vec<u8>>,
    server_name: Option<String>,
    tls13: bool,
}

/// The first byte of the numbers of TLS 1.3's suites (RFC 8446, B.4).
const TLS13_SUITES: u16 = 0x13;

impl Hello {
    /// Whether the client offers a suite of TLS 1.3, as all do that speak it.
    pub fn offers_tls13(&self) -> bool {
        self.tls13
    }

    /// Whether the client offers at least one of `protocols` (RFC 7301).
    pub fn offers_any(&self, protocols: &[Vec<u8>]) -> bool {
        self.alpn.iter().any(|offered| protocols.contains(offered))
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
    /// TLS, but a ClientHello that cannot be understood.
    #[error("the ClientHello is malformed")]
    Malformed {
        /// An alert for the client.
        alert: Vec<u8>,
        /// What rustls found.
        #[source]
        cause: rustls::Error,
    },
    /// The socket failed.
    #[error("reading the ClientHello")]
    Io(#[from] io::Error),
}

/// Reads until the ClientHello is complete, over any number of reads. `wire` is what has been read of it already.
///
/// # Errors
/// [`HelloError`]; the caller sends the alert it may carry.
pub async fn read_hello(client: &mut TcpStream, mut wire: Vec<u8>) -> Result<Hello, HelloError> {
    let mut acceptor = Acceptor::default();
    let mut hidden_name = None;
    let mut fresh = 0;
    loop {
        let fed = match feed(&mut acceptor, &wire, fresh) {
            Err(HelloError::Malformed { cause: NAME_REFUSED, .. }) => {
                // Once: there is no other name in it.
                // It is whole, or it could not have been refused.
                let _ = hidden_name.get_or_insert_with(Hidden::default).hide(&mut wire);
                acceptor = Acceptor::default();
                feed(&mut acceptor, &wire, 0)
            }
            fed => fed,
        };
        if let Some(Asked { alpn, server_name, tls13 }) = fed? {
            return Ok(Hello { wire, hidden_name, alpn, server_name, tls13 });
        }
        fresh = wire.len();
        match buffers::read_more(client, &mut wire).await {
            Ok(0) if wire.is_empty() => return Err(HelloError::Probe),
            Ok(0) => return Err(HelloError::Incomplete),
            Ok(_) => {}
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

/// What of a ClientHello decides on the answer, and the name for the record.
struct Asked {
    alpn: Vec<Vec<u8>>,
    server_name: Option<String>,
    tls13: bool,
}

/// Hands the bytes from `fresh` on to the parser; `Some` once the ClientHello is complete.
fn feed(acceptor: &mut Acceptor, wire: &[u8], fresh: usize) -> Result<Option<Asked>, HelloError> {
    let mut rest = &wire[fresh..];
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest)?;
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let tls13 = hello.cipher_suites().iter().any(|suite| u16::from(*suite) >> 8 == TLS13_SUITES);
                let alpn = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
                let server_name = hello.server_name().map(str::to_owned);
                return Ok(Some(Asked { alpn, server_name, tls13 }));
            }
            Err((cause, mut unsent)) => {
                let mut alert = Vec::new();
                // Writing to a Vec does not fail.
                let _ = unsent.write_all(&mut alert);
                if alert.is_empty() {
                    // rustls has none where the first message is another one than a ClientHello.
                    alert = fatal_alert(AlertDescription::UnexpectedMessage);
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

/// An alert that is not protected (RFC 8446, 6), as a whole record.
fn fatal_alert(description: AlertDescription) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, u8::from(description)]
}

/// Whether the bytes begin as a record with a handshake does: type 22, version 3.x (RFC 8446, 5.1).
fn speaks_tls(wire: &[u8]) -> bool {
    matches!(wire, [22, 3, ..] | [22])
}
