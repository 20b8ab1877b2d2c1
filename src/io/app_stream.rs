//! The connection to the app: TCP or a Unix socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::io::Socket;
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
    /// Whether the app has ended its sending, or has gone, however much it has sent before.
    pub fn has_peer_closed(&self) -> bool {
        match self {
            Self::Tcp(stream) => socket::has_peer_closed(stream),
            Self::Unix(stream) => socket::has_peer_closed(stream),
        }
    }

    /// Whether the app has ended its sending, and nothing that it has sent is left to be read.
    pub fn has_ended_wordless(&self) -> bool {
        match self {
            Self::Tcp(stream) => socket::has_ended_wordless(stream),
            Self::Unix(stream) => socket::has_ended_wordless(stream),
        }
    }

    /// The app sees a reset, so that what it got does not look whole. A Unix socket cannot say that: there it is an end
    /// of file, and an error once the app writes.
    pub fn reset(self) {
        self.reset_on_close();
    }
}

/// The app's connection as long as nobody answers it. Should that be given up, as by the end of the process, the app sees a reset: an end of file
/// would be an empty answer.
#[derive(Debug)]
pub struct UnansweredApp<'a>(&'a mut AppStream);

impl<'a> UnansweredApp<'a> {
    /// That of `app`.
    pub fn new(app: &'a mut AppStream) -> Self {
        Self(app)
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut AppStream {
        self.0
    }

    /// Somebody takes care of it now.
    pub fn release(self) {
        // There is nothing in it but a reference.
        std::mem::forget(self);
    }
}

impl Drop for UnansweredApp<'_> {
    fn drop(&mut self) {
        self.0.reset_on_close();
    }
}

impl Socket for AppStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn end_sending(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.end_sending(),
            Self::Unix(stream) => socket::end_sending(stream),
        }
    }

    fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            stream.reset_on_close();
        }
    }

    fn is_reset(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_reset(),
            Self::Unix(stream) => !matches!(stream.take_error(), Ok(None)),
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
