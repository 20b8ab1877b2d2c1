//! The handshake with a server, from our ClientHello to both Finished.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use super::handshake::write_all;
use super::handshake_driver::HandshakeDriver;
use super::{Negotiated, Session};
use crate::io::buffers::{self, RECORD};

/// More bytes than that no server has to say before its Finished: four messages of the longest that rustls takes.
const MAX_RECEIVED: usize = 4 * 64 * 1024;

/// A session with a server, and what is known of that.
#[derive(Debug)]
pub struct EstablishedWithServer {
    /// What was agreed on.
    pub negotiated: Negotiated,
    /// The certificates that it has shown, leaf first, be it in the session that is resumed.
    pub chain: Vec<CertificateDer<'static>>,
    /// Ready to carry the app's bytes.
    pub(super) session: Session,
    /// What has arrived behind its Finished, for the session to open.
    pub(super) pending_ciphertext: Vec<u8>,
}

/// Why there is no session with a server.
#[derive(Debug)]
pub struct ServerHandshakeError {
    /// What has gone wrong.
    pub error: io::Error,
    /// The certificates that it has shown, leaf first, where they were verified before: whoever it is has refused us. Else there are none.
    pub chain: Vec<CertificateDer<'static>>,
}

impl From<io::Error> for ServerHandshakeError {
    fn from(error: io::Error) -> Self {
        Self { error, chain: Vec::new() }
    }
}

/// Shakes hands with the server `name` on `server`, as `config` has it. `may_hold` is told how many bytes the server has said, and is ready once what they
/// become may be held.
///
/// # Errors
/// That of `may_hold`;
/// The socket failed or was closed, which is [`io::ErrorKind::UnexpectedEof`]; or the handshake cannot be completed, which is
/// [`io::ErrorKind::InvalidData`], with the [`rustls::Error`] in it. An alert of ours has been sent by then, as far as the socket took it.
pub async fn client_handshake(
    server: &mut TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    may_hold: impl FnMut(usize, &mut Context<'_>) -> Poll<io::Result<()>>,
) -> Result<EstablishedWithServer, ServerHandshakeError> {
    let mut driver = HandshakeDriver::with_server(config, name).map_err(broken_off)?;
    match shake(server, &mut driver, may_hold).await {
        Ok(wire) => {
            let chain = driver.peer_chain().unwrap_or_default().to_vec();
            let (negotiated, session) = driver.finish().map_err(broken_off)?;
            Ok(EstablishedWithServer { negotiated, chain, session, pending_ciphertext: wire })
        }
        // rustls keeps a chain once it was verified.
        Err(error) => Err(ServerHandshakeError { error, chain: driver.peer_chain().unwrap_or_default().to_vec() }),
    }
}

/// Goes on until both are done; gives what has come behind the server's part.
async fn shake(
    server: &mut TcpStream,
    driver: &mut HandshakeDriver<UnbufferedClientConnection>,
    mut may_hold: impl FnMut(usize, &mut Context<'_>) -> Poll<io::Result<()>>,
) -> io::Result<Vec<u8>> {
    let (mut wire, mut received) = (Vec::new(), 0);
    loop {
        let used = answer(server, driver, &mut wire).await?;
        wire.drain(..used);
        if !driver.is_under_way() {
            wire.shrink_to_fit();
            return Ok(wire);
        }
        let read = match driver.peer_closed() {
            true => 0,
            false => buffers::read_more(server, &mut wire, RECORD).await?,
        };
        received += read;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended in the middle"));
        }
        if received > MAX_RECEIVED {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server's part of it has no end"));
        }
        poll_fn(|cx| may_hold(received, cx)).await?;
    }
}

/// Takes in what has come, and sends what there is to say to it; gives the bytes done with.
async fn answer(
    server: &TcpStream,
    driver: &mut HandshakeDriver<UnbufferedClientConnection>,
    wire: &mut [u8],
) -> io::Result<usize> {
    let (driven, sent) = buffers::with(|buffers| {
        let out = &mut buffers.output;
        out.clear();
        let driven = driver.drive(wire, out);
        let sent = match out.bytes() {
            [] => Ok(0),
            bytes => server.try_write(bytes),
        };
        let sent = match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        };
        (driven, sent.map(|sent| out.bytes()[sent..].to_vec()))
    });
    // An alert that the socket does not take at once has no reader.
    let used = driven.map_err(broken_off)?;
    write_all(server, &sent?).await?;
    Ok(used)
}

fn broken_off(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
