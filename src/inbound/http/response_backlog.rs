//! Answers over HTTP/2 that their client leaves no room for: what is kept of them counts, and whoever leaves none for too long gets no more.
//!
//! A client decides itself how much of each answer it takes (RFC 9113, 5.2), and one that takes nothing holds the memory of what has come from
//! the app. hyper asks for a part of an answer, and for the next one once there is room for it. So a stream that waits for room is one whose
//! answer has given a part and was not asked for more since. It ends once the client has taken the last part, where so much is kept that it
//! matters: until then it can be reset.

mod executor;
mod heads;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) use executor::StreamExecutor;

pub(super) use self::heads::Turn;
use self::heads::{ENOUGH, ENOUGH_FOR_LONG, UnsentHead, UnsentHeads};
use super::validate::{encoded_text, head_length, head_map, head_text};
use crate::budget::{BudgetExceeded, MemoryBudget, Reservation};
use crate::http::CountedBytes;
use crate::http::stream_memory::{FREE_HEAD, PART_SLOT, max_answer_parts};
use crate::io::Transferred;
use crate::relay::{BacklogWatch, MIN_BACKLOG_BYTES};

/// Looks at a connection that is stuck after which it has to go as a whole: its streams have had theirs by then.
const STREAMS_FIRST: u8 = 5;

/// What one connection may keep before the ends of its answers wait until all of them was sent: until then a stream can be reset.
const ENDED_EARLY: usize = 64 * 1024;

/// What is kept of all answers of one connection.
#[derive(Debug)]
pub(super) struct ResponseBacklog {
    budget: Arc<MemoryBudget>,
    kept: AtomicUsize,
    unsent_heads: UnsentHeads,
    /// It has become more than a connection may keep for as long as it likes.
    pub(super) grew: Notify,
    /// It is the socket that takes nothing.
    is_blocked: AtomicBool,
    /// How often it has taken something.
    writes: AtomicU64,
    /// Streams that are run.
    streams: AtomicUsize,
    /// All that ever were.
    begun: AtomicUsize,
    progress: Mutex<LastProgress>,
}

/// When a client has taken something.
#[derive(Debug)]
struct LastProgress {
    /// Bytes that it had taken when it was looked at.
    delivered: u64,
    /// When that had become more.
    at: Instant,
}

impl LastProgress {
    /// Whether that was within `limit`, now that it has taken `delivered` bytes; `None`: it may take as long as it likes.
    fn goes_on(&mut self, delivered: u64, limit: Option<Duration>) -> bool {
        if delivered != self.delivered {
            *self = Self { delivered, at: Instant::now() };
        }
        limit.is_none_or(|limit| self.at.elapsed() < limit)
    }
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
    /// Its head or its trailers wait for those before them.
    waits_for_turn: AtomicBool,
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
    _unsent: UnsentHead,
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
            unsent_heads: UnsentHeads::new(budget),
            grew: Notify::new(),
            is_blocked: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            progress: Mutex::new(LastProgress { delivered: 0, at: Instant::now() }),
        }
    }

    /// Whether it keeps more than it may for as long as it likes.
    pub(super) fn is_large(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > MIN_BACKLOG_BYTES
    }

    /// Whether there is something of answers that its client has not taken, and it has taken something within `limit`, by when it is asked that:
    /// `delivered` bytes by now.
    pub(super) fn is_being_taken(&self, delivered: u64, limit: Option<Duration>) -> bool {
        let is_left = self.kept.load(Ordering::Relaxed) > 0 || self.is_blocked.load(Ordering::Relaxed);
        is_left && self.progress.lock().unwrap_or_else(PoisonError::into_inner).goes_on(delivered, limit)
    }

    /// All that h2 has written was sent.
    pub(super) fn note_sent(&self) {
        self.unsent_heads.note_sent();
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

    /// The socket has taken something.
    pub(super) fn note_written(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
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
            waits_for_turn: AtomicBool::new(false),
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

    /// What the head of its answer, which has these `fields`, takes until h2 has written it, in bytes. Those that say little count for nothing.
    pub(super) fn head_room(&self, fields: &HeaderMap) -> usize {
        match head_length(fields) <= FREE_HEAD || self.backlog.budget.limit().is_none() {
            true => 0,
            // As it came and as it is written, and its map.
            false => head_text(fields) + encoded_text(fields) + head_map(fields),
        }
    }

    /// Accounts for the head of its answer, which has these `fields` and takes `room`, until h2 has written it. It has had `given` of it already.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn hold_head(&self, fields: &mut HeaderMap, room: usize, given: usize) -> Result<(), BudgetExceeded> {
        if room == 0 {
            return Ok(());
        }
        let mut reservation = self.backlog.budget.reservation();
        match room <= given {
            true => reservation.set(room),
            false => reservation.try_resize_beside_others(room, self.is_only())?,
        }
        self.hold_with(fields, reservation);
        Ok(())
    }

    /// Accounts for its trailers, which have had so much `room`, until h2 has written them.
    pub(super) fn hold_trailers(&self, trailers: &mut HeaderMap, room: usize) {
        if room > 0 {
            let mut reservation = self.backlog.budget.reservation();
            reservation.set(room);
            self.hold_with(trailers, reservation);
        }
    }

    /// The longest of the `fields` holds the `reservation`, and is let go of with the rest.
    fn hold_with(&self, fields: &mut HeaderMap, reservation: Reservation) {
        let unsent = UnsentHead::new(&self.backlog, encoded_text(fields));
        if let Some(longest) = fields.values_mut().max_by_key(|value| value.len()) {
            let bytes = Bytes::copy_from_slice(longest.as_bytes());
            let held = Bytes::from_owner(ReservedValue { bytes, _reservation: reservation, _unsent: unsent });
            if let Ok(mut value) = HeaderValue::from_maybe_shared(held) {
                // What is not is kept to compress later heads by (RFC 7541, 7.1.3), and the room with it.
                value.set_sensitive(true);
                *longest = value;
            }
        }
    }

    /// Hands on an answer with a head of these `fields`, once those before it are on their way, where somebody counts.
    pub(super) async fn wait_for_turn(&self, fields: &HeaderMap) {
        // Longer ones have had their turn.
        if self.backlog.budget.limit().is_some() && head_length(fields) <= FREE_HEAD {
            let mut turn = Turn::default();
            poll_fn(|cx| self.poll_turn_behind(&mut turn, ENOUGH, cx)).await;
            self.backlog.unsent_heads.add_short(encoded_text(fields));
        }
    }

    /// Ready once a long head may be handed on; `turn` is whoever waits for that.
    pub(super) fn poll_turn(&self, turn: &mut Turn, cx: &mut Context<'_>) -> Poll<()> {
        let enough = if self.backlog.is_under_pressure() { ENOUGH_FOR_LONG } else { ENOUGH };
        self.poll_turn_behind(turn, enough, cx)
    }

    /// Its client makes room for it by reading what is before it.
    fn poll_turn_behind(&self, turn: &mut Turn, enough: usize, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.backlog.unsent_heads.poll_turn(turn, enough, cx);
        if self.waits_for_turn.swap(polled.is_pending(), Ordering::Relaxed) && polled.is_ready() {
            self.parts.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    /// The same for long trailers, which nothing is to keep from being sent then: the body is gone.
    pub(super) fn poll_trailers(&self, turn: &mut Turn, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_kept(cx, 1));
        self.poll_turn(turn, cx)
    }

    /// Whether it is the only stream of its connection.
    pub(super) fn is_only(&self) -> bool {
        self.admission == Admission::Only
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

#[cfg(test)]
mod tests;
