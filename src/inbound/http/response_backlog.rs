//! Answers over HTTP/2 that their client leaves no room for: what is kept of them counts, and whoever leaves none for too long gets no more.
//!
//! A client decides itself how much of each answer it takes (RFC 9113, 5.2), and one that takes nothing holds the memory of what has come from
//! the app. hyper asks for a part of an answer, and for the next one once there is room for it. So a stream that waits for room is one whose
//! answer has given a part and was not asked for more since. It ends once the client has taken the last part, where so much is kept that it
//! matters: until then it can be reset.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::validate::head_length;
use crate::budget::{BudgetExceeded, MemoryBudget, Reservation};
use crate::http::CountedBytes;
use crate::http::stream_memory::{FREE_HEAD, HEAD_COPIES, PART_SLOT, StreamCost, max_answer_parts};
use crate::io::Transferred;
use crate::relay::{BacklogWatch, MIN_BACKLOG_BYTES};

/// How often a stream that waits for room is looked at, and how long it may wait while memory is short.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Looks at a connection that is stuck after which it has to go as a whole: its streams have had theirs by then.
const STREAMS_FIRST: u8 = 5;

/// What one connection may keep before the ends of its answers wait until all of them was sent: until then a stream can be reset.
const ENDED_EARLY: usize = 64 * 1024;

/// What is kept of all answers of one connection.
#[derive(Debug)]
pub(super) struct ResponseBacklog {
    budget: Arc<MemoryBudget>,
    kept: AtomicUsize,
    /// It has become more than a connection may keep for as long as it likes.
    pub(super) grew: Notify,
    /// It is the socket that takes nothing.
    is_blocked: AtomicBool,
    /// Streams that are run.
    streams: AtomicUsize,
    /// All that ever were.
    begun: AtomicUsize,
}

/// Looks, once a second, whether a connection that keeps more than it may goes on at all.
#[derive(Debug)]
pub(super) struct ResponseStallCheck {
    watch: BacklogWatch,
    stuck: u8,
}

/// Whether there is memory for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// However short it is: it is the only one of its connection.
    Only,
    /// There was some.
    Further,
    /// There is none.
    Refused,
}

/// Where one stream stands.
#[derive(Debug)]
pub(super) struct StreamBacklog {
    backlog: Arc<ResponseBacklog>,
    admission: Admission,
    /// Its answer waits for room.
    waits: AtomicBool,
    /// Parts of the answer that there was room for.
    parts: AtomicU64,
    /// Parts of its answer that are kept, and how many may be.
    kept: AtomicUsize,
    max_kept: usize,
    /// Whoever waits until none is, or fewer.
    waker: Mutex<Option<Waker>>,
    is_stalled: AtomicBool,
}

/// A part of an answer, on its way to the client. Over HTTP/1.1 the connection counts for it.
pub(super) type ResponseBytes = CountedBytes<ReservedBytes>;

/// What a part of an answer takes of the room there is.
#[derive(Debug)]
pub(super) struct ReservedBytes {
    stream_backlog: Arc<StreamBacklog>,
    /// Given back with it.
    _reservation: Reservation,
    bytes: usize,
}

/// The value of a field that holds the room of the whole head.
#[derive(Debug)]
struct ReservedValue {
    bytes: Bytes,
    /// Given back with it.
    _reservation: Reservation,
}

impl AsRef<[u8]> for ReservedValue {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ResponseBacklog {
    /// That of one connection, of `budget`.
    pub(super) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            kept: AtomicUsize::new(0),
            grew: Notify::new(),
            is_blocked: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
        }
    }

    /// Whether it keeps more than it may for as long as it likes.
    pub(super) fn is_large(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > MIN_BACKLOG_BYTES
    }

    /// Whether others need the memory.
    pub(super) fn is_under_pressure(&self) -> bool {
        self.budget.limit().is_some() && self.budget.is_under_pressure()
    }

    /// Streams that are run.
    pub(super) fn running(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Requests that were handed to us on its connection.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether the socket takes nothing now.
    pub(super) fn note_blocked(&self, is_blocked: bool) {
        // Nothing is shared as long as nothing changes.
        if self.is_blocked.load(Ordering::Relaxed) != is_blocked {
            self.is_blocked.store(is_blocked, Ordering::Relaxed);
        }
    }

    /// Keeps `bytes` from now on.
    fn keep(&self, bytes: usize) -> Reservation {
        let before = self.kept.fetch_add(bytes, Ordering::Relaxed);
        if before <= MIN_BACKLOG_BYTES && before + bytes > MIN_BACKLOG_BYTES {
            self.grew.notify_one();
        }
        let mut reservation = self.budget.reservation();
        reservation.set(bytes);
        reservation
    }
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        let stream = &self.stream_backlog;
        stream.backlog.kept.fetch_sub(self.bytes, Ordering::Relaxed);
        let left = stream.kept.fetch_sub(1, Ordering::AcqRel) - 1;
        // Not for each: there is to be something to do.
        if (left == 0 || left == stream.max_kept / 2)
            && let Some(waker) = stream.waker().take()
        {
            waker.wake();
        }
    }
}

impl ResponseStallCheck {
    /// `delivered` bytes have been taken so far.
    pub(super) fn new(delivered: u64) -> Self {
        Self { watch: BacklogWatch::new(Transferred { up: 0, down: delivered }), stuck: 0 }
    }

    /// Ready once a second.
    pub(super) fn poll_check(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch.poll_check(cx)
    }

    /// Whether nothing goes on, now that `delivered` bytes have been taken, although streams that wait for room were given up meanwhile.
    pub(super) fn is_stuck(&mut self, delivered: u64) -> bool {
        let is_stuck = self.watch.is_stuck(Transferred { up: 0, down: delivered }, false, true);
        self.stuck = if is_stuck { self.stuck.saturating_add(1) } else { 0 };
        self.stuck > STREAMS_FIRST
    }
}

impl StreamBacklog {
    fn new(backlog: &Arc<ResponseBacklog>, admission: Admission) -> Self {
        Self {
            backlog: Arc::clone(backlog),
            admission,
            waits: AtomicBool::new(false),
            parts: AtomicU64::new(0),
            kept: AtomicUsize::new(0),
            max_kept: max_answer_parts(backlog.budget.limit()),
            waker: Mutex::default(),
            is_stalled: AtomicBool::new(false),
        }
    }

    /// Whether there is memory for it.
    pub(super) fn admission(&self) -> Admission {
        self.admission
    }

    /// Its answer has begun, the app's or one of our own.
    pub(super) fn begin(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }

    /// There was room, and the app has nothing to fill it with yet.
    pub(super) fn wait_for_app(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }

    /// There was room, and this fills it.
    pub(super) fn fill(self: &Arc<Self>, bytes: Bytes) -> ResponseBytes {
        self.waits.store(true, Ordering::Relaxed);
        self.parts.fetch_add(1, Ordering::Relaxed);
        if bytes.is_empty() {
            return bytes.into();
        }
        let taken = bytes.len() + PART_SLOT;
        let reservation = self.backlog.keep(taken);
        self.kept.fetch_add(1, Ordering::Relaxed);
        let kept = ReservedBytes { stream_backlog: Arc::clone(self), _reservation: reservation, bytes: taken };
        ResponseBytes::new(bytes, Some(kept))
    }

    /// Accounts for the head of its answer, which has these `fields`, until h2 has written it: the longest of them holds the room, and is let go
    /// of with the rest. Those that say little count for nothing.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn hold_head(self: &Arc<Self>, fields: &mut HeaderMap) -> Result<(), BudgetExceeded> {
        let length = head_length(fields);
        if length <= FREE_HEAD || self.backlog.budget.limit().is_none() {
            return Ok(());
        }
        let mut reservation = self.backlog.budget.reservation();
        match self.admission {
            Admission::Only => reservation.try_resize_for_first(HEAD_COPIES * length)?,
            Admission::Further | Admission::Refused => reservation.try_resize(HEAD_COPIES * length)?,
        }
        if let Some(longest) = fields.values_mut().max_by_key(|value| value.len()) {
            let bytes = Bytes::copy_from_slice(longest.as_bytes());
            let held = Bytes::from_owner(ReservedValue { bytes, _reservation: reservation });
            if let Ok(mut value) = HeaderValue::from_maybe_shared(held) {
                // What is not is kept to compress later heads by (RFC 7541, 7.1.3), and the room with it.
                value.set_sensitive(true);
                *longest = value;
            }
        }
        Ok(())
    }

    /// Whether the end of an answer has to wait until all of it was sent.
    pub(super) fn holds_end_back(&self) -> bool {
        self.backlog.kept.load(Ordering::Relaxed) > ENDED_EARLY
    }

    /// Ready once the end may come.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.holds_end_back() { Poll::Ready(()) } else { self.poll_kept(cx, 1) }
    }

    /// Ready once its client has taken so much that one more part may be asked for: the app's may be as small as it likes, and h2 counts bytes.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_kept(cx, self.max_kept)
    }

    /// Ready once fewer than so many parts are kept: one, or as many as may be.
    fn poll_kept(&self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        if self.kept.load(Ordering::Acquire) < most {
            return Poll::Ready(());
        }
        *self.waker() = Some(cx.waker().clone());
        // Some may have been sent meanwhile.
        if self.kept.load(Ordering::Acquire) < most {
            return Poll::Ready(());
        }
        self.waits.store(true, Ordering::Relaxed);
        Poll::Pending
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client has left no room for too long.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }
}

/// What a stream takes of the room there is, as long as it is run.
#[derive(Debug)]
struct StreamMemory {
    backlog: Arc<ResponseBacklog>,
    reservation: Reservation,
    cost: StreamCost,
    admission: Admission,
}

impl StreamMemory {
    /// That of the next stream of a connection with this `backlog`. Its only one takes it however short memory is.
    fn of_next(backlog: &Arc<ResponseBacklog>, cost: StreamCost) -> Self {
        backlog.begun.fetch_add(1, Ordering::Relaxed);
        let mut reservation = backlog.budget.reservation();
        let admission = match backlog.streams.fetch_add(1, Ordering::Relaxed) {
            0 => {
                reservation.set(cost.always);
                Admission::Only
            }
            _ => reservation.try_resize(cost.always).map_or(Admission::Refused, |()| Admission::Further),
        };
        Self { backlog: Arc::clone(backlog), reservation, cost, admission }
    }

    /// Whether its client leaves room has changed.
    fn note_waits(&mut self, waits: bool) {
        if self.reservation.bytes() > 0 {
            self.reservation.set(self.cost.always + if waits { self.cost.unasked } else { 0 });
        }
    }
}

impl Drop for StreamMemory {
    fn drop(&mut self) {
        self.backlog.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of a stream before it is run.
type NextStream = (Arc<StreamBacklog>, StreamMemory);

/// Runs the streams of one connection, and gives up those whose clients leave no room for too long.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor {
    limit: Option<Duration>,
    cost: StreamCost,
    /// That of the stream which hyper runs next: it asks for the future of an answer, and runs it before it asks for another.
    next: Arc<Mutex<Option<NextStream>>>,
}

impl StreamExecutor {
    /// For clients that may leave no room for `limit`; `None`: for ever. Each stream takes so much as `cost` says.
    pub(super) fn new(limit: Option<Duration>, cost: StreamCost) -> Self {
        Self { limit, cost, next: Arc::default() }
    }

    /// The room of the stream that is run next, on a connection with this `backlog`.
    pub(super) fn begin(&self, backlog: &Arc<ResponseBacklog>) -> Arc<StreamBacklog> {
        let memory = StreamMemory::of_next(backlog, self.cost);
        let stream_backlog = Arc::new(StreamBacklog::new(backlog, memory.admission));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(&stream_backlog), memory));
        stream_backlog
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stream_backlog, memory)) = next else { return drop(tokio::spawn(stream)) };
        let mut wait = BacklogWait { stream_backlog, limit: self.limit, timer: None, memory };
        // One that is given up is dropped, and h2 resets it.
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            poll_fn(|cx| if stream.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { wait.poll_over(cx) }).await;
        });
    }
}

/// How long a stream has waited for room.
struct BacklogWait {
    stream_backlog: Arc<StreamBacklog>,
    limit: Option<Duration>,
    timer: Option<Box<WaitTimer>>,
    memory: StreamMemory,
}

struct WaitTimer {
    timer: Pin<Box<Sleep>>,
    since: Instant,
    /// Parts that there had been room for.
    parts: u64,
}

impl BacklogWait {
    /// Ready once it was too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stream_backlog = &self.stream_backlog;
        let waits = stream_backlog.waits.load(Ordering::Relaxed);
        self.memory.note_waits(waits);
        if !waits {
            return Poll::Pending;
        }
        if stream_backlog.admission == Admission::Refused && stream_backlog.backlog.is_under_pressure() {
            // It was told so as far as its client lets us.
            stream_backlog.is_stalled.store(true, Ordering::Relaxed);
            return Poll::Ready(());
        }
        let look = self.limit.map_or(CHECK_INTERVAL, |limit| limit.min(CHECK_INTERVAL));
        let parts = stream_backlog.parts.load(Ordering::Relaxed);
        let begin = || WaitTimer { timer: Box::pin(sleep(look)), since: Instant::now(), parts };
        let wait = self.timer.get_or_insert_with(|| Box::new(begin()));
        if wait.parts != parts {
            (wait.parts, wait.since) = (parts, Instant::now());
        }
        loop {
            ready!(wait.timer.as_mut().poll(cx));
            let waited = wait.since.elapsed();
            // Where the socket takes nothing, the connection makes room as a whole.
            let has_to_go = waited >= CHECK_INTERVAL
                && stream_backlog.backlog.is_under_pressure()
                && !stream_backlog.backlog.is_blocked.load(Ordering::Relaxed);
            if has_to_go || self.limit.is_some_and(|limit| waited >= limit) {
                stream_backlog.is_stalled.store(true, Ordering::Relaxed);
                return Poll::Ready(());
            }
            let left = self.limit.map_or(look, |limit| limit.saturating_sub(waited).min(look));
            wait.timer.as_mut().reset(Instant::now() + left.max(Duration::from_millis(1)));
        }
    }
}

#[cfg(test)]
mod tests;
