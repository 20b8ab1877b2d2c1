//! A client's connection that speaks HTTP/2, watched from below: what comes on it is counted before hyper reads it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::client_stream::ClientStream;
use super::response_backlog::ResponseBacklog;
use super::slow_reader::PacedStream;
use crate::http::{
    ControlFrameBudget, FrameScan, FrameSlots, FrameStart, HeadMemory, RequestSource, TooLargeHeads,
    TooManyControlFrames, TooManyWaitingFrames,
};
use crate::telemetry::{CloseReason, GoawayReason};

/// The client's connection, shared with hyper, which does not give it back.
#[derive(Debug, Clone)]
pub(super) struct SharedStream(Arc<Mutex<GuardedStream>>);

/// A connection whose frames are counted.
#[derive(Debug)]
struct GuardedStream {
    stream: PacedStream,
    backlog: Arc<ResponseBacklog>,
    from_client: FrameScan,
    to_client: FrameScan,
    budget: ControlFrameBudget,
    /// What waits of the bodies of requests.
    slots: FrameSlots,
    /// What has come of their heads.
    heads: HeadMemory,
    /// How long a head may take, or what comes in front of all of them.
    head_timeout: Duration,
    /// The end of that, of one that has begun.
    head: Option<Pin<Box<Sleep>>>,
    /// What has come, and waits for memory.
    waiting: Option<Box<WaitingBytes>>,
    violation: Option<Http2Violation>,
}

/// What was read, and is not handed on before there is memory for what becomes of it.
#[derive(Debug)]
struct WaitingBytes {
    bytes: Vec<u8>,
    retry: Pin<Box<Sleep>>,
    /// When it is over.
    end: Pin<Box<Sleep>>,
}

/// How long they wait before it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Why no more is read of a client.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Http2Violation {
    #[error("{TooManyControlFrames}")]
    Flood,
    #[error("{TooManyWaitingFrames}")]
    WaitingFrames,
    #[error("{TooLargeHeads}")]
    LargeHeads,
    #[error(
        "the client has not said that it knows the settings of this side (RFC 9113, 6.5.3), though it has sent more than a connection begins with"
    )]
    Unsettled,
    #[error("the connection preface, or the head of a request, was not whole {0:?} after its first byte")]
    IncompleteHead(Duration),
}

impl Http2Violation {
    /// What the entry of its connection says.
    pub(super) fn reason(self) -> CloseReason {
        match self {
            Self::Flood | Self::Unsettled | Self::IncompleteHead(_) => CloseReason::ClientViolation,
            Self::WaitingFrames | Self::LargeHeads => CloseReason::Overloaded,
        }
    }

    /// As what it counts, if the client is told to calm down.
    pub(super) fn goaway(self) -> Option<GoawayReason> {
        match self {
            Self::Flood | Self::Unsettled => Some(GoawayReason::ControlFrames),
            Self::WaitingFrames | Self::LargeHeads => Some(GoawayReason::Memory),
            Self::IncompleteHead(_) => None,
        }
    }
}

impl From<Http2Violation> for io::Error {
    fn from(violation: Http2Violation) -> Self {
        let kind = match violation {
            Http2Violation::Flood | Http2Violation::Unsettled => io::ErrorKind::InvalidData,
            Http2Violation::WaitingFrames | Http2Violation::LargeHeads => io::ErrorKind::OutOfMemory,
            Http2Violation::IncompleteHead(_) => io::ErrorKind::TimedOut,
        };
        Self::new(kind, violation)
    }
}

impl SharedStream {
    /// `stream`, on which a head may take `head_timeout`; what waits of requests takes of `slots`, and what has come of heads of `heads`.
    pub(super) fn new(
        stream: PacedStream,
        backlog: Arc<ResponseBacklog>,
        slots: FrameSlots,
        heads: HeadMemory,
        head_timeout: Duration,
    ) -> Self {
        Self(Arc::new(Mutex::new(GuardedStream {
            stream,
            backlog,
            from_client: FrameScan::of_client(),
            to_client: FrameScan::of_server(),
            budget: ControlFrameBudget::new(Instant::now()),
            slots,
            heads,
            head_timeout,
            head: None,
            waiting: None,
            violation: None,
        })))
    }

    fn locked(&self) -> MutexGuard<'_, GuardedStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with what came, if anything is.
    pub(super) fn violation(&self) -> Option<Http2Violation> {
        self.locked().violation
    }

    /// Whether a frame of ours may begin here.
    pub(super) fn is_between_frames(&self) -> bool {
        self.locked().to_client.is_between_frames()
    }

    /// Bytes that have left the kernel for the client.
    pub(super) fn delivered(&self) -> u64 {
        self.locked().stream.delivered()
    }

    /// Whether the client has had to make room.
    pub(super) fn is_evicted(&self) -> bool {
        self.locked().stream.is_evicted()
    }

    /// Whether the connection below is broken.
    pub(super) fn has_failed(&self) -> bool {
        self.locked().stream.get_ref().failure().is_some()
    }

    /// What `look` sees of the connection below.
    pub(super) fn with<R>(&self, look: impl FnOnce(&ClientStream) -> R) -> R {
        look(self.locked().stream.get_ref())
    }

    /// The connection below, if nobody else holds it.
    pub(super) fn into_inner(self) -> Option<ClientStream> {
        let guarded = Arc::try_unwrap(self.0).ok()?;
        Some(guarded.into_inner().unwrap_or_else(PoisonError::into_inner).stream.into_inner().0)
    }
}

impl GuardedStream {
    /// Counts what has come.
    fn pass(&mut self, bytes: &[u8]) {
        let Self { from_client, budget, slots, heads, head, violation, backlog, .. } = self;
        from_client.pass(bytes, |frame: FrameStart| {
            if budget.take(frame.kind, Instant::now) {
                violation.get_or_insert(Http2Violation::Flood);
            }
            if slots.take(frame, backlog.running()).is_err() {
                violation.get_or_insert(Http2Violation::WaitingFrames);
            }
            heads.add(frame);
            if frame.begins_head() {
                // Each has a time of its own.
                *head = None;
            }
        });
        if heads.note_read(bytes.len()) {
            violation.get_or_insert(Http2Violation::Unsettled);
        }
    }

    /// Accounts for the head that is not whole.
    fn has_room_for_head(&mut self) -> bool {
        self.heads.hold(self.from_client.unfinished_head()).is_ok()
    }

    /// Hands on what was read before, once there is memory for it; `None`: nothing waits.
    fn poll_waiting(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Option<Poll<io::Result<()>>> {
        let has_room = self.waiting.is_some() && self.has_room_for_head();
        let waiting = self.waiting.as_mut()?;
        while !has_room && waiting.retry.as_mut().poll(cx).is_ready() {
            if self.stream.has_peer_closed() {
                return Some(Poll::Ready(Ok(())));
            }
            waiting.retry.as_mut().reset(tokio::time::Instant::now() + RETRY_AFTER);
        }
        if !has_room {
            if waiting.end.as_mut().poll(cx).is_pending() {
                return Some(Poll::Pending);
            }
            self.violation = Some(Http2Violation::LargeHeads);
            return Some(Poll::Ready(Err(Http2Violation::LargeHeads.into())));
        }
        let handed = waiting.bytes.len().min(buf.remaining());
        buf.put_slice(&waiting.bytes[..handed]);
        waiting.bytes.drain(..handed);
        if waiting.bytes.is_empty() {
            self.waiting = None;
        }
        Some(Poll::Ready(Ok(())))
    }

    /// Keeps what was read last, behind the first `before` bytes of `buf`, until there is memory for it.
    fn keep(&mut self, buf: &mut ReadBuf<'_>, before: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let bytes = buf.filled()[before..].to_vec();
        buf.set_filled(before);
        let (retry, end) = (Box::pin(sleep(RETRY_AFTER)), Box::pin(sleep(self.head_timeout)));
        self.waiting = Some(Box::new(WaitingBytes { bytes, retry, end }));
        self.poll_waiting(cx, buf).unwrap_or(Poll::Pending)
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guarded = &mut *self.locked();
        if guarded.heads.puts_off(guarded.backlog.begun()) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(waiting) = guarded.poll_waiting(cx, buf) {
            return waiting;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut guarded.stream).poll_read(cx, buf);
        guarded.pass(&buf.filled()[before..]);
        if let Some(violation) = guarded.violation {
            return Poll::Ready(Err(violation.into()));
        }
        if !guarded.has_room_for_head() && buf.filled().len() > before {
            return guarded.keep(buf, before, cx);
        }
        if !guarded.from_client.is_within_head() {
            guarded.head = None;
        } else if read.is_pending() {
            let limit = guarded.head_timeout;
            ready!(guarded.head.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
            guarded.violation = Some(Http2Violation::IncompleteHead(limit));
            return Poll::Ready(Err(Http2Violation::IncompleteHead(limit).into()));
        }
        read
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let guarded = &mut *self.locked();
        let written = Pin::new(&mut guarded.stream).poll_write(cx, bytes);
        guarded.backlog.note_blocked(written.is_pending());
        if let Poll::Ready(Ok(written)) = written {
            guarded.backlog.note_written();
            let budget = &mut guarded.budget;
            guarded.to_client.pass(&bytes[..written], |frame| budget.note_sent(frame.kind, frame.length));
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guarded = &mut *self.locked();
        let flushed = Pin::new(&mut guarded.stream).poll_flush(cx);
        if flushed.is_ready() {
            guarded.backlog.note_sent();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.locked().stream).poll_shutdown(cx)
    }
}
