//! The connection to an endpoint: TLS, or none where the server is not shown who we are.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::io::Outgoing;
use crate::io::buffers::Buffers;
use crate::sys::socket;
use crate::tls::Stream;

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) enum EndpointStream {
    /// Whoever is there was verified.
    Tls(Stream),
    /// Nobody knows who is there: bytes that are not ours to protect.
    Plain(TcpStream),
}

impl EndpointStream {
    /// Its socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tls(stream) => stream.tcp(),
            Self::Plain(tcp) => tcp,
        }
    }

    /// The server sees a reset once this is dropped: what it got is not whole.
    pub(super) fn reset_on_close(&self) {
        // When the option cannot be set the socket is closed all the same.
        let _ = self.tcp().set_zero_linger();
    }

    /// Bytes that were written to it and that the socket did not take.
    pub(super) fn unsent(&self) -> usize {
        match self {
            Self::Tls(stream) => stream.unsent(),
            Self::Plain(_) => 0,
        }
    }

    /// Bytes of what the server has sent and nobody has read yet.
    pub(super) fn unread(&self) -> usize {
        match self {
            Self::Tls(stream) => stream.unread(),
            Self::Plain(_) => 0,
        }
    }

    /// Bytes that it holds.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Tls(stream) => stream.memory(),
            Self::Plain(_) => 0,
        }
    }

    /// Reads once, at most `limit` bytes where no record is longer, and hands what comes to `sink`, which may break off: the rest comes next time.
    /// `false`: the endpoint has said everything. By the thread's buffers, which the caller has been lent.
    ///
    /// # Errors
    /// As reading.
    pub(super) fn poll_hand_on(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        limit: usize,
        mut sink: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Poll<io::Result<bool>> {
        match self {
            Self::Tls(stream) => stream.poll_records(cx, buffers, limit, sink),
            Self::Plain(tcp) => {
                let mut space = ReadBuf::new(&mut buffers.input[..limit]);
                ready!(Pin::new(tcp).poll_read(cx, &mut space))?;
                let is_more = !space.filled().is_empty();
                if is_more {
                    // What the other side does not take it keeps: one read.
                    let _ = sink(space.filled());
                }
                Poll::Ready(Ok(is_more))
            }
        }
    }

    /// To be written to by `output`, which the caller has been lent.
    pub(super) fn writer_with<'a>(&'a mut self, output: &'a mut Outgoing) -> EndpointWriter<'a> {
        EndpointWriter { endpoint: self, output }
    }
}

/// A connection to an endpoint that is written to by borrowed memory.
pub(super) struct EndpointWriter<'a> {
    endpoint: &'a mut EndpointStream,
    output: &'a mut Outgoing,
}

impl AsyncWrite for EndpointWriter<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { endpoint, output } = self.get_mut();
        match endpoint {
            EndpointStream::Tls(stream) => stream.poll_write_by(cx, buf, output),
            EndpointStream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { endpoint, output } = self.get_mut();
        match endpoint {
            EndpointStream::Tls(stream) => stream.poll_deliver(cx, output),
            // A socket has nothing to flush.
            EndpointStream::Plain(_) => Poll::Ready(Ok(())),
        }
    }

    /// close_notify and FIN.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { endpoint, output } = self.get_mut();
        match endpoint {
            EndpointStream::Tls(stream) => stream.poll_shutdown_by(cx, output),
            EndpointStream::Plain(tcp) => Poll::Ready(socket::end_sending(tcp)),
        }
    }
}

impl AsyncRead for EndpointStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => stream.poll_read_bounded(cx, buf),
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for EndpointStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => stream.poll_write_gathered(cx, bufs),
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            // A socket has nothing to flush.
            Self::Plain(_) => Poll::Ready(Ok(())),
        }
    }

    /// close_notify and FIN.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(tcp) => Poll::Ready(socket::end_sending(tcp)),
        }
    }
}
