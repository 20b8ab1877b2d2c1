//! From the ClientHello to both Finished.

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

use crate::budget::BudgetExceeded;
use crate::io::buffers;
use crate::io::buffers::RECORD;
use crate::sys::socket;
use crate::tls::handshake_driver::HandshakeDriver;
use crate::tls::server_name::MaskedServerNames;
use crate::tls::{Hello, Negotiated, Session};

/// Why a handshake did not complete.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client ended it with this alert.
    #[error("the client sent the alert {0:?}")]
    ClientAlert(AlertDescription),
    /// We ended it; the client has been told by an alert.
    #[error("the handshake cannot be completed{}", remedy(.0))]
    Failed(#[source] rustls::Error),
    /// What stands behind us has gone, so that there is nothing to answer for.
    #[error("there is nobody any more to complete the handshake for")]
    UpstreamGone,
    /// The client closed the connection.
    #[error("the client left in the middle of the handshake")]
    ClientLeft,
    /// The client sends more than there is memory for.
    #[error(transparent)]
    Exhausted(#[from] BudgetExceeded),
    /// The socket failed.
    #[error("the connection failed in the middle of the handshake")]
    Io(#[from] io::Error),
}

/// A session, and what the client has sent behind its Finished.
#[derive(Debug)]
pub struct Established {
    /// Ready to carry the app's bytes.
    pub session: Session,
    /// What has arrived behind the client's Finished, for the session to open.
    pub pending_ciphertext: Vec<u8>,
    /// The certificates that the client has shown in the session that it resumes, leaf first.
    pub resumed_chain: Option<Vec<CertificateDer<'static>>>,
    /// Bytes of the client's chain, which the session keeps.
    pub chain_bytes: usize,
}

/// Whose turn it is to sign: a signature takes a hundred times as long as passing on a request does, and a thread that has
/// many to make would make them one after the other while everybody else waits.
#[derive(Debug)]
pub struct SigningLimiter(Semaphore);

impl SigningLimiter {
    /// As many at once as there are threads.
    pub fn new(threads: usize) -> Self {
        Self(Semaphore::new(threads.max(1)))
    }

    /// Waits until it is our turn, and until everybody whose socket is ready has had theirs: the scheduler looks at the
    /// sockets before it comes back to whoever yields.
    async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        // Never an error: it is not closed.
        let turn = self.0.acquire().await.ok();
        yield_now().await;
        turn
    }
}

/// Answers `hello` with `config` and completes the handshake; gives what was agreed on, too. `may_hold` is told how many of the
/// client's bytes are held. `may_send` is asked before each flight of ours, of which the last is the point of no return; it
/// comes after the signature, which takes its time.
///
/// # Errors
/// [`HandshakeError`]. An alert of ours has been sent by then; the caller closes.
pub async fn handshake(
    client: &mut TcpStream,
    hello: Hello,
    config: Arc<ServerConfig>,
    turns: &SigningLimiter,
    mut may_hold: impl FnMut(usize) -> Result<(), BudgetExceeded>,
    may_send: impl Fn() -> bool,
) -> Result<(Negotiated, Established), HandshakeError> {
    let (mut wire, hidden_name) = hello.into_parts();
    // Of what is done with, rustls keeps the client's certificates: all counts.
    let mut received = wire.len() + hidden_name.as_ref().map_or(0, MaskedServerNames::memory);
    may_hold(received)?;
    let mut driver = HandshakeDriver::with_client(config, hidden_name).map_err(HandshakeError::Failed)?;
    loop {
        // For each flight: the last one costs a tenth of a signature, and in a storm there are as many of them.
        let turn = turns.acquire().await;
        let Flight { driven, spoke, unsent } = answer(client, &mut driver, &mut wire, &may_send)?;
        drop(turn);
        write_all(client, &unsent).await?;
        let used = driven.map_err(|error| match error {
            rustls::Error::AlertReceived(alert) => HandshakeError::ClientAlert(alert),
            error => HandshakeError::Failed(error),
        })?;
        wire.drain(..used);
        if !driver.is_under_way() {
            if !spoke && wire.is_empty() {
                // A client that leaves Nagle's algorithm on holds its first request back until its Finished is
                // acknowledged, and nothing of ours carries that acknowledgement: do not delay it.
                socket::acknowledge_now(&*client);
            }
            wire.shrink_to_fit();
            let (resumed_chain, chain_bytes) = (driver.resumed_chain(), driver.chain_bytes());
            let (negotiated, session) = driver.finish().map_err(HandshakeError::Failed)?;
            return Ok((negotiated, Established { session, pending_ciphertext: wire, resumed_chain, chain_bytes }));
        }
        let read = match driver.peer_closed() {
            true => 0,
            false => buffers::read_more(client, &mut wire, RECORD).await?,
        };
        if read == 0 {
            return Err(HandshakeError::ClientLeft);
        }
        received += read;
        may_hold(received)?;
    }
}

/// What came of the client's bytes.
struct Flight {
    /// Bytes that are done with.
    driven: Result<usize, rustls::Error>,
    /// There was something to say to them.
    spoke: bool,
    /// What of that the socket did not take at once.
    unsent: Vec<u8>,
}

/// Takes in what has come, and sends what there is to say to it, as far as the socket takes it.
fn answer(
    client: &TcpStream,
    driver: &mut HandshakeDriver<UnbufferedServerConnection>,
    wire: &mut [u8],
    may_send: impl Fn() -> bool,
) -> Result<Flight, HandshakeError> {
    buffers::with(|buffers| {
        let out = &mut buffers.output;
        out.clear();
        let driven = driver.drive(wire, out);
        let spoke = !out.bytes().is_empty();
        if spoke && driven.is_ok() && !may_send() {
            return Err(HandshakeError::UpstreamGone);
        }
        // A ticket for a client that has asked for something already goes with the first bytes of the answer.
        let asks = driven.as_ref().is_ok_and(|used| *used < wire.len());
        let before_more = asks && !driver.is_under_way();
        let sent = match out.bytes() {
            [] => Ok(0),
            bytes if before_more => socket::send_before_more(client, bytes),
            bytes => client.try_write(bytes),
        };
        let sent = match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        Ok(Flight { driven, spoke, unsent: out.bytes()[sent..].to_vec() })
    })
}

/// Writes all of `bytes`.
pub(super) async fn write_all(peer: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        peer.writable().await?;
        match peer.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What the two sides have not in common, for people, and what helps; nothing for other errors, which speak for themselves.
fn remedy(error: &rustls::Error) -> &'static str {
    use rustls::PeerIncompatible::{
        NoCipherSuitesInCommon, NoKxGroupsInCommon, NoSignatureSchemesInCommon, ServerDoesNotSupportTls12Or13,
        SupportedVersionsExtensionRequired, Tls12NotOffered, Tls12NotOfferedOrEnabled, Tls13RequiredForQuic,
    };
    let rustls::Error::PeerIncompatible(what) = error else { return "" };
    match what {
        Tls12NotOffered
        | Tls12NotOfferedOrEnabled
        | SupportedVersionsExtensionRequired
        | ServerDoesNotSupportTls12Or13
        | Tls13RequiredForQuic => " (no TLS version in common: see --tls-min and the client's settings)",
        NoCipherSuitesInCommon | NoKxGroupsInCommon => {
            " (no cipher suite or key exchange in common: the client has to offer ECDHE with AES-GCM or ChaCha20)"
        }
        NoSignatureSchemesInCommon => " (no signature scheme in common: the client cannot verify a key of this kind)",
        _ => "",
    }
}
