//! A header as it comes in, in front of the ClientHello.

use std::io;

use tokio::net::TcpStream;

use super::{MalformedHeader, ReceivedHeader};
use crate::io::buffers;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Connect and close without a byte, as health checks do.
    #[error("the client left without a byte")]
    Probe,
    /// The connection closed within the header.
    #[error("the connection closed in the middle of a PROXY header")]
    Incomplete,
    /// Something else stands there.
    #[error("no sound PROXY header, which --accept-proxy-protocol demands from this address")]
    Malformed(#[from] MalformedHeader),
    /// The socket failed.
    #[error("reading the PROXY header")]
    Io(#[source] io::Error),
}

/// Reads until the header is whole, over any number of reads. Gives it, and the bytes that have come behind it.
///
/// # Errors
/// [`HeaderError`].
pub async fn receive(client: &mut TcpStream) -> Result<(ReceivedHeader, Vec<u8>), HeaderError> {
    let mut bytes = Vec::new();
    loop {
        // What stands behind the header is the ClientHello's, and is read there.
        let most = ReceivedHeader::LONGEST - bytes.len();
        match buffers::read_more(client, &mut bytes, most).await {
            Ok(0) if bytes.is_empty() => return Err(HeaderError::Probe),
            Ok(0) => return Err(HeaderError::Incomplete),
            Ok(_) => {}
            // A health check that resets instead of closing is a health check all the same.
            Err(error) if bytes.is_empty() && error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(HeaderError::Probe);
            }
            Err(error) => return Err(HeaderError::Io(error)),
        }
        if let Some(header) = ReceivedHeader::parse(&bytes)? {
            bytes.drain(..header.length);
            return Ok((header, bytes));
        }
    }
}
