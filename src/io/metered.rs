//! A connection whose bytes are counted where others can see it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Transferred;

/// More has come than may come.
#[derive(Debug, thiserror::Error)]
#[error("more has come than may come")]
pub(crate) struct ReadLimitReached;

/// Bytes so far.
#[derive(Debug)]
pub(crate) struct ByteMeter {
    written: AtomicU64,
    read: AtomicU64,
    is_truncated: AtomicBool,
    /// No more is read than this.
    limit: AtomicU64,
}

impl Default for ByteMeter {
    fn default() -> Self {
        let [written, read] = [0; 2].map(AtomicU64::new);
        Self { written, read, is_truncated: AtomicBool::new(false), limit: AtomicU64::new(u64::MAX) }
    }
}

impl ByteMeter {
    /// From now on no more than `bytes` may be read; `None`: as many as come. Reading on is an error of the kind `InvalidData`.
    pub(crate) fn limit_reading(&self, bytes: Option<u64>) {
        let limit = bytes.map_or(u64::MAX, |bytes| self.read.load(Ordering::Relaxed).saturating_add(bytes));
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Written (up) and read (down) so far.
    pub(crate) fn bytes(&self) -> Transferred {
        Transferred { up: self.written.load(Ordering::Relaxed), down: self.read.load(Ordering::Relaxed) }
    }

    /// Whether what was read has ended without the end that its protocol demands.
    pub(crate) fn is_truncated(&self) -> bool {
        self.is_truncated.load(Ordering::Relaxed)
    }
}

/// What a connection has carried since a moment.
#[derive(Debug)]
pub(crate) struct BytesSince {
    meter: Arc<ByteMeter>,
    before: Transferred,
}

impl BytesSince {
    /// From now on, on the connection of `meter`.
    pub(crate) fn now(meter: &Arc<ByteMeter>) -> Self {
        Self { meter: Arc::clone(meter), before: meter.bytes() }
    }

    /// Bytes since then.
    pub(crate) fn bytes(&self) -> Transferred {
        let now = self.meter.bytes();
        Transferred { up: now.up - self.before.up, down: now.down - self.before.down }
    }
}

/// `S`, whose bytes are counted.
#[derive(Debug)]
pub(crate) struct MeteredStream<S> {
    stream: S,
    meter: Arc<ByteMeter>,
}

impl<S> MeteredStream<S> {
    /// `stream`, of which nothing was counted yet.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, meter: Arc::default() }
    }

    /// What is counted.
    pub(crate) fn meter(&self) -> Arc<ByteMeter> {
        Arc::clone(&self.meter)
    }

    /// The stream, for what carries no bytes.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, no longer counted.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn note_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = written {
            self.meter.written.fetch_add(written as u64, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf)).inspect_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                this.meter.is_truncated.store(true, Ordering::Relaxed);
            }
        })?;
        let read = (buf.filled().len() - before) as u64;
        let all = this.meter.read.fetch_add(read, Ordering::Relaxed) + read;
        if all > this.meter.limit.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, ReadLimitReached)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
