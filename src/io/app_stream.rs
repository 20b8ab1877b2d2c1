//! The connection to the app: TCP or a Unix socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::sys::socket;

/// A connection to the app.
#[derive(Debug)]
pub enum AppStream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl AppStream {
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether the app, or the kernel in the place of an app that has died, has reset the connection.
    pub fn is_reset(&self) -> bool {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// Whether the app has ended its sending, or has gone, however much it has sent before.
    pub fn has_hung_up(&self) -> bool {
        match self {
            Self::Tcp(stream) => socket::has_hung_up(stream),
            Self::Unix(stream) => socket::has_hung_up(stream),
        }
    }

    /// The app reads an end of file; its own sending goes on.
    pub fn end_sending(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => socket::end_sending(stream),
            Self::Unix(stream) => socket::end_sending(stream),
        }
    }

    /// The app sees a reset, so that what it got does not look whole. A Unix socket cannot say that: there it is an end
    /// of file, and an error once the app writes.
    pub fn reset(self) {
        self.reset_on_close();
    }

    /// As [`AppStream::reset`], once it is dropped.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // When the option cannot be set the socket is closed all the same.
            let _ = stream.set_zero_linger();
        }
    }
}

impl AsyncRead for AppStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end_sending())
    }
}
