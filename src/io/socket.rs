//! What a relay asks of a connection beside its bytes.

use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::sys::{send_queue, socket};

/// A connection that a relay carries bytes to and from.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Ready once there may be something to read: bytes, the end, or an error.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The other side reads an end of file; its own sending goes on.
    ///
    /// # Errors
    /// It is gone already.
    fn end_sending(&self) -> io::Result<()>;

    /// The other side sees a reset once this is dropped, where the connection can say that.
    fn reset_on_close(&self);

    /// Whether the other side, or the kernel in its place, has reset the connection and nobody was told so far.
    fn is_reset(&self) -> bool;
}

/// The connection of a client, who may be slow to take what it is sent.
pub trait ClientSocket: Socket {
    /// Writes as much of `bytes` as is taken at once.
    ///
    /// # Errors
    /// Nothing is taken now, or ever.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// The same, and has the kernel wait for what follows before it sends them. Gives how many were taken, which may be none.
    ///
    /// # Errors
    /// Nothing is ever taken. Whoever hears it is the only one to hear how the connection has failed.
    fn send_before_more(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Bytes that were written and that the client has not taken; 0 where nobody can say.
    fn unacknowledged(&self) -> u64;
}

impl Socket for TcpStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn end_sending(&self) -> io::Result<()> {
        socket::end_sending(self)
    }

    fn reset_on_close(&self) {
        // When the option cannot be set the socket is closed all the same.
        let _ = self.set_zero_linger();
    }

    fn is_reset(&self) -> bool {
        !matches!(self.take_error(), Ok(None))
    }
}

impl ClientSocket for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn send_before_more(&self, bytes: &[u8]) -> io::Result<usize> {
        socket::send_before_more(self, bytes)
    }

    fn unacknowledged(&self) -> u64 {
        send_queue::unacknowledged(self).ok().flatten().unwrap_or_default()
    }
}
