//! The app's socket, which is reset unless somebody has ended it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::budget::{MemoryBudget, Reservation};
use crate::config::AppProtocol;
use crate::http::{AnswerFrames, PartSize, UnsentBytes, UntakenFrames};
use crate::io::{AppStream, Socket, Transferred};
use crate::relay::{BacklogWatch, MIN_BACKLOG_BYTES};

/// The app's socket, which is reset when it is dropped before it was shut down: what the app got of a request must not look whole.
#[derive(Debug)]
pub(in crate::inbound::http) struct ResettingStream {
    stream: Option<AppStream>,
    is_ended: bool,
    protocol: AppProtocol,
    /// What was handed on of the request, over HTTP/1.1.
    unsent: UnsentBytes,
    /// What is read at a time of an answer, over HTTP/1.1.
    part: PartSize,
    /// What is read of it over HTTP/2.
    frames: AnswerFrames,
    /// What that takes of the memory.
    reservation: Reservation,
    /// Bytes that were written.
    written: u64,
    /// There while the app does not take something.
    watch: Option<Box<BacklogWatch>>,
    /// The app reads nothing more. What it has said before is read all the same.
    is_unwritable: bool,
}

impl ResettingStream {
    /// `stream`, which is not ended yet, and on which `protocol` is spoken. What is kept for it is of `budget`. Over HTTP/2 the frames that are
    /// read of it are `untaken` first.
    pub(super) fn new(
        stream: AppStream,
        protocol: AppProtocol,
        untaken: UntakenFrames,
        budget: &Arc<MemoryBudget>,
    ) -> Self {
        Self {
            stream: Some(stream),
            is_ended: false,
            protocol,
            unsent: UnsentBytes::default(),
            part: PartSize::of(budget),
            frames: AnswerFrames::new(untaken),
            reservation: budget.reservation(),
            written: 0,
            watch: None,
            is_unwritable: false,
        }
    }

    /// What is counted of the request that is under way, over HTTP/1.1.
    pub(super) fn unsent(&self) -> &UnsentBytes {
        &self.unsent
    }

    /// What is read of it at a time, over HTTP/1.1.
    pub(super) fn part(&self) -> &PartSize {
        &self.part
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

    /// The app did not take something. Whether it has to make room for others.
    fn keep(&mut self, cx: &mut Context<'_>) -> bool {
        self.unsent.note_waiting();
        let budget = self.reservation.budget();
        if budget.limit().is_none() || self.protocol != AppProtocol::Http1 {
            return false;
        }
        let (kept, written) = (self.unsent.count(), self.written);
        // The next part has been read from the client.
        let next = self.unsent.next_part(budget);
        self.reservation.set(kept + next);
        let watch = self.watch.get_or_insert_with(|| Box::new(BacklogWatch::new(Transferred { up: written, down: 0 })));
        while watch.poll_check(cx).is_ready() {
            let is_stuck = watch.is_stuck(Transferred { up: written, down: 0 }, true, false);
            if is_stuck && kept + next > MIN_BACKLOG_BYTES && self.reservation.budget().is_under_pressure() {
                return true;
            }
        }
        false
    }

    /// What became of writing. An app may answer, and close, while its request still comes: what it has said lies behind the failure of a
    /// write, and would not be read by whoever is told of that. Whoever reads finds the answer, and then the end.
    fn note_written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.written += *bytes as u64,
            Poll::Ready(Err(error)) if self.protocol == AppProtocol::Http1 && is_of_reader(error) => {
                self.is_unwritable = true;
                return Poll::Pending;
            }
            Poll::Pending if self.keep(cx) => {
                let why = "memory is short, and the app takes nothing";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, why)));
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        written
    }
}

/// Whether a write has failed with `error` because the other side reads nothing more.
fn is_of_reader(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
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
        let this = self.get_mut();
        match (this.protocol, &mut this.stream) {
            (AppProtocol::Http1, Some(stream)) => {
                this.part.poll_read(Pin::new(stream), cx, buf, this.reservation.budget())
            }
            (AppProtocol::H2c, Some(stream)) => this.frames.poll_read(Pin::new(stream), cx, buf),
            (_, None) => this.stream()?.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ResettingStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_unwritable {
            return Poll::Pending;
        }
        let written = this.stream()?.poll_write(cx, bytes);
        this.note_written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_unwritable {
            return Poll::Pending;
        }
        let written = this.stream()?.poll_write_vectored(cx, bufs);
        this.note_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever writes has written all of it before.
        this.unsent.clear();
        this.reservation.set(0);
        this.watch = None;
        this.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_ended = true;
        this.stream()?.poll_shutdown(cx)
    }
}
