//! The connection to an endpoint: TLS, or none where the server is not shown who we are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::sys::socket;

/// A connection to an endpoint.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
pub(super) enum EndpointStream {
    /// Whoever is there was verified.
    Tls(TlsStream<TcpStream>),
    /// Nobody knows who is there: bytes that are not ours to protect.
    Plain(TcpStream),
}

impl EndpointStream {
    /// The certificates that the server has shown, the leaf first.
    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default(),
            Self::Plain(_) => &[],
        }
    }

    /// Its socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tls(stream) => stream.get_ref().0,
            Self::Plain(tcp) => tcp,
        }
    }

    /// The server sees a reset once this is dropped: what it got is not whole.
    pub(super) fn reset_on_close(&self) {
        // When the option cannot be set the socket is closed all the same.
        let _ = self.tcp().set_zero_linger();
    }
}

impl AsyncRead for EndpointStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
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
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
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
