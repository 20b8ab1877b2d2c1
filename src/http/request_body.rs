//! The body of a request on its way to whoever answers it.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{io, mem};

use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::body_part::PartSize;
use super::continue_gate::{ContinueGate, ContinueOpener};
use super::unread_body::{discard_for_a_moment, discard_to_end, wait_for_end};
use super::unsent_bytes::{BodyPace, UnsentBytes};
use super::waiting_frames::WaitingFrames;

/// The body of a request on its way to whoever answers it.
///
/// It is handed to hyper's clients in a box: they keep room for 32 requests on each connection, as large as they are.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None`: there is none.
    inner: Option<Incoming>,
    gate: ContinueGate,
    silence: Option<ReadTimeout>,
    /// The longest that it may be, in bytes.
    limit: Option<u64>,
    filter_trailers: fn(&mut HeaderMap),
    /// What nobody has read is left to whoever sees its progress.
    keeps_rest: bool,
    /// What is read at a time of where it comes from.
    source: PartSize,
    /// Counts those of its frames that wait, over HTTP/2.
    waiting: Option<WaitingFrames>,
    /// How it goes on from there.
    pace: Option<BodyPace>,
    progress: Arc<BodyProgress>,
}

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    /// As it was read.
    #[error(transparent)]
    Read(#[from] hyper::Error),
    /// Nothing more of it has come.
    #[error("nothing more of the body has come for {0:?}")]
    Silent(Duration),
    /// It is longer than it may be.
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
}

/// What has become of a body so far.
#[derive(Debug, Default)]
pub(crate) struct BodyProgress {
    is_done: AtomicBool,
    has_failed: AtomicBool,
    is_malformed: AtomicBool,
    is_silent: AtomicBool,
    is_too_long: AtomicBool,
    is_held_back: AtomicBool,
    is_taken_to_end: AtomicBool,
    bytes: AtomicU64,
    rest: Mutex<RemainingBody>,
}

/// What nobody is going to read of a body.
#[derive(Debug, Default)]
enum RemainingBody {
    /// Somebody reads it still.
    #[default]
    None,
    /// This is left until the answer was sent. It may be so long, in bytes.
    Kept(Incoming, u64),
    /// The answer was sent.
    Answered,
}

impl BodyProgress {
    /// Whether all of it has been taken.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Whether what was sent is no body.
    pub(crate) fn is_malformed(&self) -> bool {
        self.is_malformed.load(Ordering::Acquire)
    }

    /// Whether it has ended too early: whoever sent it has gone or is silent, or what was sent is no body.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Whether nothing more of it has come for too long.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }

    /// Whether more of it has come than may.
    pub(crate) fn is_too_long(&self) -> bool {
        self.is_too_long.load(Ordering::Acquire)
    }

    /// Whether nobody has asked for it yet who has to.
    pub(crate) fn is_held_back(&self) -> bool {
        self.is_held_back.load(Ordering::Acquire)
    }

    /// Bytes that have been taken.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The answer was sent: what is left is let go of in a moment, and `held` until then.
    pub(crate) fn answered(&self, held: impl Send + 'static) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if let RemainingBody::Kept(rest, most) = mem::replace(&mut *rest, RemainingBody::Answered) {
            self.discard(rest, most, held);
        }
    }

    /// Its answer is no refusal: whoever sends it may go on to its end. Many clients (curl among them) wait until they have sent all, and for ever
    /// where they are told that nobody reads it.
    pub(crate) fn take_to_end(&self) {
        self.is_taken_to_end.store(true, Ordering::Release);
    }

    fn discard(&self, rest: Incoming, most: u64, held: impl Send + 'static) {
        match self.is_taken_to_end.load(Ordering::Acquire) {
            true => discard_to_end(rest, most, held),
            false => discard_for_a_moment(rest, held),
        }
    }
}

/// How long nothing may come.
#[derive(Debug)]
struct ReadTimeout {
    limit: Duration,
    /// Since the timer was set.
    moved: bool,
    /// Made when it is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// `inner`, of whose trailers `filter_trailers` leaves what may be passed on.
    pub(crate) fn new(inner: Incoming, filter_trailers: fn(&mut HeaderMap)) -> Self {
        let inner = Some(inner).filter(|inner| !inner.is_end_stream());
        let is_done = AtomicBool::new(inner.as_ref().is_none_or(is_whole));
        let progress = BodyProgress { is_done, ..BodyProgress::default() };
        Self {
            inner,
            gate: ContinueGate::Open,
            silence: None,
            limit: None,
            filter_trailers,
            keeps_rest: false,
            source: PartSize::default(),
            waiting: None,
            pace: None,
            progress: Arc::new(progress),
        }
    }

    /// A body of nothing.
    pub(crate) fn none() -> Self {
        let progress = BodyProgress { is_done: AtomicBool::new(true), ..BodyProgress::default() };
        let progress = Arc::new(progress);
        Self {
            inner: None,
            gate: ContinueGate::Open,
            silence: None,
            limit: None,
            filter_trailers: |_| (),
            keeps_rest: false,
            source: PartSize::default(),
            waiting: None,
            pace: None,
            progress,
        }
    }

    /// What is not read of it is kept until the answer was sent, as its progress is told. HTTP/2 resets a stream when its body is let go; only
    /// behind the end of the answer does the client not take that for a failure (RFC 9113, 8.1).
    pub(crate) fn keep_rest(&mut self) {
        self.keeps_rest = true;
    }

    /// Its frames are among those of `waiting` until they are taken.
    pub(crate) fn count_frames(&mut self, waiting: WaitingFrames) {
        self.waiting = Some(waiting);
    }

    /// It is held back until what is given here is opened, or for a while.
    pub(crate) fn hold_back(&mut self) -> ContinueOpener {
        let (gate, opener) = ContinueGate::closed_for_now();
        self.progress.is_held_back.store(true, Ordering::Release);
        self.gate = gate;
        opener
    }

    /// It is read by parts of `source`.
    pub(crate) fn read_by(&mut self, source: PartSize) {
        self.source = source;
    }

    /// The next part of it waits until whoever reads has sent on what is counted as `unsent`.
    pub(crate) fn wait_for(&mut self, unsent: UnsentBytes) {
        self.pace = Some(BodyPace::new(unsent, self.source.clone()));
    }

    /// It fails once nothing of it has come for `limit`, as long as it is waited for.
    pub(crate) fn set_read_timeout(&mut self, limit: Duration) {
        self.silence = Some(ReadTimeout { limit, moved: false, timer: None });
    }

    /// It fails once there is more of it than `limit` bytes.
    pub(crate) fn limit_bytes(&mut self, limit: u64) {
        self.limit = Some(limit);
    }

    /// What becomes of it.
    pub(crate) fn progress(&self) -> Arc<BodyProgress> {
        Arc::clone(&self.progress)
    }

    /// Ready once it was silent for too long.
    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<RequestBodyError> {
        let Some(ReadTimeout { limit, moved, timer }) = &mut self.silence else { return Poll::Pending };
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(*limit)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if !std::mem::take(moved) {
                return Poll::Ready(RequestBodyError::Silent(*limit));
            }
            timer.as_mut().reset(Instant::now() + *limit);
        }
    }

    fn note_failure(&self, error: &RequestBodyError) {
        let progress = &self.progress;
        progress.has_failed.store(true, Ordering::Release);
        match error {
            RequestBodyError::Read(error) => progress.is_malformed.store(is_malformed(error), Ordering::Release),
            RequestBodyError::Silent(_) => progress.is_silent.store(true, Ordering::Release),
            RequestBodyError::TooLong(_) => progress.is_too_long.store(true, Ordering::Release),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        ready!(self.gate.poll_open(cx));
        self.progress.is_held_back.store(false, Ordering::Release);
        if let Some(pace) = &self.pace {
            ready!(pace.poll_room(cx));
        }
        let polled = match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_frame(cx).map_err(RequestBodyError::from),
            None => Poll::Ready(None),
        };
        let mut frame = match polled {
            Poll::Ready(frame) => frame,
            Poll::Pending => Some(Err(ready!(self.poll_silent(cx)))),
        };
        if let (Some(limit), Some(Ok(read))) = (self.limit, &frame)
            && let Some(data) = read.data_ref()
            && self.progress.bytes() + data.len() as u64 > limit
        {
            frame = Some(Err(RequestBodyError::TooLong(limit)));
        }
        match &mut frame {
            Some(Err(error)) => self.note_failure(error),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Some(waiting) = &self.waiting {
                        waiting.remove(data.len());
                    }
                    self.progress.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                    if let Some(pace) = &self.pace {
                        pace.add(data.len());
                    }
                }
                if let Some(silence) = &mut self.silence {
                    silence.moved = true;
                }
                // Trailers are heads that come late, and nothing follows them.
                if let Some(trailers) = frame.trailers_mut() {
                    (self.filter_trailers)(trailers);
                    self.progress.is_done.store(true, Ordering::Release);
                } else if self.inner.as_ref().is_none_or(is_whole) {
                    self.progress.is_done.store(true, Ordering::Release);
                }
            }
            None => self.progress.is_done.store(true, Ordering::Release),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    /// An app that knows the length of a body may have answered before the client has said that nothing follows. HTTP/2 resets a stream that is
    /// let go before that, and clients that are about to say it take that for a failure.
    fn drop(&mut self) {
        let Some(inner) = self.inner.take().filter(|inner| !inner.is_end_stream()) else { return };
        if !is_whole(&inner) {
            if self.keeps_rest {
                let most = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.progress.bytes()));
                let mut rest = self.progress.rest.lock().unwrap_or_else(PoisonError::into_inner);
                match *rest {
                    RemainingBody::Answered => self.progress.discard(inner, most, ()),
                    RemainingBody::None | RemainingBody::Kept(..) => *rest = RemainingBody::Kept(inner, most),
                }
            }
        } else {
            wait_for_end(inner);
        }
    }
}

/// Whether all that was promised of `body` has been taken.
fn is_whole(body: &Incoming) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// Whether `error` says that what was read is no body.
pub(crate) fn is_malformed(error: &hyper::Error) -> bool {
    error.is_parse()
        || io_cause(error)
            .is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
}

/// The failure of the connection below `error`.
pub(crate) fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}
