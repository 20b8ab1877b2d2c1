//! The client's side of a connection that carries requests: with TLS, or without.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::http::RequestSource;
use crate::io::PlainStream;
use crate::sys::socket;
use crate::telemetry::{AccessLogEntry, CloseReason};
use crate::tls::Stream;

/// A client's connection.
#[derive(Debug)]
pub(super) enum ClientStream {
    /// With TLS.
    Tls(Stream),
    /// Without.
    Plain(PlainStream),
}

impl ClientStream {
    /// The connection below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tls(stream) => stream.tcp(),
            Self::Plain(stream) => stream.tcp(),
        }
    }

    /// The connection below; all else is given up.
    pub(super) fn into_tcp(self) -> TcpStream {
        match self {
            Self::Tls(stream) => stream.into_tcp(),
            Self::Plain(stream) => stream.into_parts().0,
        }
    }

    /// Bytes that were written to it and that the socket did not take.
    pub(super) fn unsent(&self) -> usize {
        match self {
            Self::Tls(stream) => stream.unsent(),
            Self::Plain(_) => 0,
        }
    }

    /// Ready once something can be read without waiting. Cancel safe.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tls(stream) => stream.poll_readable(cx),
            Self::Plain(stream) => stream.poll_readable(cx),
        }
    }

    /// Since when something waits to be read that came while a request was waited for, where that is known.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match self {
            Self::Tls(_) => None,
            Self::Plain(stream) => stream.waiting_since(),
        }
    }

    /// How the connection has failed, if it has.
    pub(super) fn failure(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Tls(stream) => stream.failure(),
            Self::Plain(stream) => stream.failure(),
        }
    }

    /// Whether the client has ended the connection, or its sending, and nothing is left to be read.
    pub(super) fn is_at_end(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.is_at_end(),
            Self::Plain(stream) => stream.is_at_end(),
        }
    }
}

/// Why a connection is over that has come to its end by itself; `entry` is told how the client has broken it, if it has. `is_busy`: in the
/// middle of something.
pub(super) fn reason_of_end(stream: &ClientStream, is_busy: bool, entry: &mut AccessLogEntry) -> CloseReason {
    if let ClientStream::Tls(stream) = stream
        && let Some(violation) = stream.violation()
    {
        entry.set_error(&violation);
    }
    match stream.failure() {
        Some(io::ErrorKind::InvalidData) => CloseReason::ClientViolation,
        // Messages say themselves where they end: between them nothing can be cut off.
        Some(io::ErrorKind::UnexpectedEof) if is_busy => CloseReason::ClientTruncated,
        Some(io::ErrorKind::UnexpectedEof) | None => CloseReason::Completed,
        Some(_) => CloseReason::ClientReset,
    }
}

impl RequestSource for ClientStream {
    fn has_peer_closed(&self) -> bool {
        socket::has_peer_closed(self.tcp())
    }

    fn unread(&self) -> usize {
        match self {
            Self::Tls(stream) => stream.unread(),
            Self::Plain(stream) => stream.unread(),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => stream.poll_write_gathered(cx, parts),
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
