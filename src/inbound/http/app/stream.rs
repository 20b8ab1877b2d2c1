//! The app's socket, which is reset unless somebody has ended it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::{AppStream, Socket};

/// The app's socket, which is reset when it is dropped before it was shut down: what the app got of a request must not look whole.
#[derive(Debug)]
pub(in crate::inbound::http) struct ResettingStream {
    stream: Option<AppStream>,
    is_ended: bool,
}

impl ResettingStream {
    /// `stream`, which is not ended yet.
    pub(super) fn new(stream: AppStream) -> Self {
        Self { stream: Some(stream), is_ended: false }
    }

    /// The socket, which is not reset any more; `None`: it was taken before.
    pub(in crate::inbound::http) fn into_inner(mut self) -> Option<AppStream> {
        self.stream.take()
    }

    /// The app has ended its sending: it need not be told that nothing more comes.
    pub(super) fn note_end(&mut self) {
        self.is_ended = true;
    }

    /// Closes it as one that is done.
    pub(super) fn end(mut self) {
        self.is_ended = true;
        if let Some(stream) = &self.stream {
            // An app that has gone need not be told.
            let _ = stream.end_sending();
        }
    }

    /// # Errors
    /// It was taken, and nobody has it to ask.
    fn stream(&mut self) -> io::Result<Pin<&mut AppStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for ResettingStream {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take().filter(|_| !self.is_ended) {
            stream.reset();
        }
    }
}

impl AsyncRead for ResettingStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for ResettingStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_ended = true;
        this.stream()?.poll_shutdown(cx)
    }
}
