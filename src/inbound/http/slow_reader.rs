//! A client that is slow to take what it is sent: what is kept for it counts, and where memory is short and it takes nothing it makes room for
//! others.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client_stream::ClientStream;
use crate::budget::{MemoryBudget, Reservation};
use crate::http::{RequestSource, UnsentBytes};
use crate::io::Transferred;
use crate::relay::{BacklogWatch, MIN_BACKLOG_BYTES, delivered_to};
use crate::telemetry::RequestReason;

/// A client's connection that is written to as fast as its client reads. Costs a counter as long as it does.
#[derive(Debug)]
pub(super) struct PacedStream {
    stream: ClientStream,
    budget: Arc<MemoryBudget>,
    /// Why what is under way was cut off, once it is.
    cut: Arc<OnceLock<RequestReason>>,
    /// Bytes that were written.
    written: u64,
    /// There once the client has not taken something.
    backlog: Option<Box<ClientBacklog>>,
    is_evicted: bool,
    /// What was handed on of the answer, over HTTP/1.1.
    unsent: Option<UnsentBytes>,
}

/// What a client has not taken yet.
#[derive(Debug)]
struct ClientBacklog {
    watch: BacklogWatch,
    reservation: Reservation,
    /// What the connection did not take; it keeps more of what it did.
    bytes: usize,
}

impl PacedStream {
    /// `stream`; what is kept for it is of `budget`. If it has to make room, `cut` says so. `unsent`: what is counted of the answer that is
    /// under way, where no other follows before it.
    pub(super) fn new(
        stream: ClientStream,
        budget: Arc<MemoryBudget>,
        cut: Arc<OnceLock<RequestReason>>,
        unsent: Option<UnsentBytes>,
    ) -> Self {
        Self { stream, budget, cut, written: 0, backlog: None, is_evicted: false, unsent }
    }

    /// The connection below.
    pub(super) fn get_ref(&self) -> &ClientStream {
        &self.stream
    }

    /// The connection below, and whether it had to make room.
    pub(super) fn into_inner(self) -> (ClientStream, bool) {
        (self.stream, self.is_evicted)
    }

    /// Whether it had to make room.
    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted
    }

    /// Bytes that have left the kernel for the client.
    pub(super) fn delivered(&self) -> u64 {
        delivered_to(self.stream.tcp(), self.written, self.backlog.is_some())
    }

    /// What became of writing, of `length` bytes.
    fn note_written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(written)) => {
                self.written += written as u64;
                if let Some(backlog) = &mut self.backlog {
                    backlog.bytes = length - written;
                    backlog.reservation.set(backlog.bytes + self.stream.unsent());
                }
            }
            Poll::Pending if self.keep(cx, length) => return Poll::Ready(Err(no_room())),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        written
    }

    /// The client did not take `bytes`. Whether it has to make room.
    fn keep(&mut self, cx: &mut Context<'_>, bytes: usize) -> bool {
        if let Some(unsent) = &self.unsent {
            unsent.note_waiting();
        }
        if self.budget.limit().is_none() {
            return false;
        }
        let written = self.written;
        let backlog = self.backlog.get_or_insert_with(|| {
            let watch = BacklogWatch::new(Transferred { up: 0, down: written });
            Box::new(ClientBacklog { watch, reservation: self.budget.reservation(), bytes: 0 })
        });
        // A flush knows nothing of what is written behind it.
        backlog.bytes = backlog.bytes.max(bytes);
        // The next part has been read from the app.
        let next = self.unsent.as_ref().map_or(0, |unsent| unsent.next_part(&self.budget));
        let kept = backlog.bytes + self.stream.unsent() + next;
        backlog.reservation.set(kept);
        while backlog.watch.poll_check(cx).is_ready() {
            let down = delivered_to(self.stream.tcp(), written, true);
            let is_stuck = backlog.watch.is_stuck(Transferred { up: 0, down }, false, true);
            if is_stuck && kept > MIN_BACKLOG_BYTES && self.budget.is_under_pressure() {
                self.is_evicted = true;
                // What else ends it has been said.
                let _ = self.cut.set(RequestReason::Overloaded);
                return true;
            }
        }
        false
    }
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "memory is short, and the client takes nothing")
}

impl RequestSource for PacedStream {
    fn has_peer_closed(&self) -> bool {
        self.stream.has_peer_closed()
    }

    fn unread(&self) -> usize {
        self.stream.unread()
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, into)
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_written(cx, written, bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = parts.iter().map(|part| part.len()).sum();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.note_written(cx, written, length)
    }

    /// Over HTTP/1.1 parts of a body go out as they were read, and are not put one behind the other first. HTTP/2 does that itself.
    fn is_write_vectored(&self) -> bool {
        self.unsent.is_some()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                // Whoever writes has written all of it before.
                this.backlog = None;
                if let Some(unsent) = &this.unsent {
                    unsent.clear();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if this.keep(cx, 0) => Poll::Ready(Err(no_room())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
