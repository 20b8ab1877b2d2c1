//! How much of a body is read at a time.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::answer_scan::AnswerScan;
use super::head_room::HeadRoom;
use super::stream_memory::FREE_ANSWER_TRAILERS;
use super::trailer_room::TrailerRoom;
use crate::budget::{BudgetExceeded, MemoryBudget, Reservation};

/// What is read at a time, in bytes, where nobody says how much is taken.
const PART: usize = 16 * 1024 - 1;

/// The same while memory is short.
const PART_WHILE_SHORT: usize = 4 * 1024;

/// The same as long as nothing is known of whoever takes it. hyper gives a read more room when one has filled it: this is one byte less than what
/// it begins with, and that is where it stays.
pub(super) const FIRST_PART: usize = 8 * 1024 - 1;

/// How often that is doubled for whoever takes all that it is given at once: nearly 64 KiB, which the session of TLS seals and opens at a time.
/// Every part costs a turn of either side, and a call of the kernel for reading and one for writing.
const MAX_DOUBLINGS: u8 = 3;

/// So many parts are held of a body once it is not taken any more: one that is being sent, the next one, the room that hyper has for another, and
/// what the session of TLS has made of the first. Those that are larger than the first ones are reserved while they are taken.
const PARTS_HELD: usize = 4;

/// How much is read at a time of a connection, as whoever takes what is read of it goes along.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartSize(Arc<PartState>);

#[derive(Debug, Default)]
struct PartState {
    doublings: AtomicU8,
    /// Bytes that were read last.
    last: AtomicUsize,
    /// What parts take that are larger than the first ones; without it nobody counts that.
    grown: Option<Mutex<Reservation>>,
    /// The same of the heads and the trailers of answers.
    answer: Option<Mutex<AnswerRoom>>,
}

/// The room for what an answer has beside its body.
#[derive(Debug)]
struct AnswerRoom {
    head: HeadRoom,
    trailers: TrailerRoom,
    scan: AnswerScan,
}

impl PartSize {
    /// What is read is held to `budget`.
    pub(crate) fn of(budget: &Arc<MemoryBudget>) -> Self {
        let is_limited = budget.limit().is_some();
        let grown = is_limited.then(|| Mutex::new(budget.reservation()));
        let answer = is_limited.then(|| Mutex::new(AnswerRoom::of(budget)));
        Self(Arc::new(PartState { grown, answer, ..PartState::default() }))
    }

    /// What is read at a time, in bytes, by whoever is held to `budget`.
    fn bytes(&self, budget: &MemoryBudget) -> usize {
        if budget.is_under_pressure() { PART_WHILE_SHORT } else { doubled(self.0.doublings.load(Ordering::Relaxed)) }
    }

    /// As [`poll_read_part`], by parts of this size.
    pub(crate) fn poll_read(
        &self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        budget: &MemoryBudget,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = |cx: &mut Context<'_>, buf: &mut ReadBuf<'_>| poll_read_up_to(self.bytes(budget), stream, cx, buf);
        match self.answer() {
            Some(mut answer) => ready!(answer.poll_read(cx, buf, read))?,
            None => ready!(read(cx, buf))?,
        }
        self.0.last.store(buf.filled().len() - before, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn answer(&self) -> Option<MutexGuard<'_, AnswerRoom>> {
        self.0.answer.as_ref().map(|answer| answer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is read from now on is an answer, and first its head, which waits where there is no room for it.
    pub(crate) fn begin_answer(&self) {
        if let Some(mut answer) = self.answer() {
            answer.begin();
        }
    }

    /// It has come whole.
    pub(crate) fn end_head(&self) {
        if let Some(mut answer) = self.answer() {
            answer.head.end();
        }
    }

    /// It was sent.
    pub(crate) fn sent_head(&self) {
        if let Some(mut answer) = self.answer() {
            answer.head.sent();
        }
    }

    /// What follows is for a stream of HTTP/2, which counts for two of the first parts; h2 says how much of it is asked for.
    pub(crate) fn begin_stream(&self) {
        self.0.doublings.store(1, Ordering::Relaxed);
    }

    /// The head is for that stream too, the only one of its connection or a further one. What is left for its fields of the room that it had.
    ///
    /// # Errors
    /// There is no room for the buffers that it leaves behind.
    pub(crate) fn pass_head_to_stream(&self, is_only: bool) -> Result<usize, BudgetExceeded> {
        self.answer().map_or(Ok(0), |mut answer| answer.head.pass_to_stream(is_only))
    }

    /// Whether there is something that trailers hold.
    pub(crate) fn holds_trailers(&self) -> bool {
        self.answer().is_some_and(|answer| answer.trailers.is_held())
    }

    /// The trailers go to whoever sends them: the room that they have had, in bytes, which is given back by this.
    pub(crate) fn take_trailer_room(&self) -> usize {
        self.answer().map_or(0, |mut answer| answer.trailers.take())
    }

    /// Whether the buffer that the answer was read into is larger than most, where somebody counts.
    pub(crate) fn has_grown(&self) -> bool {
        // A stream begins with one doubling.
        self.answer().is_some_and(|answer| answer.head.is_long() || self.0.doublings.load(Ordering::Relaxed) > 1)
    }

    /// Nothing of a message is held any more. Whether nothing was read behind it that nobody has seen.
    pub(crate) fn end_answer(&self) -> bool {
        self.shrink();
        self.answer().is_none_or(|mut answer| answer.end())
    }

    /// All that was read was taken at once: twice as much is read at a time, within limits.
    pub(super) fn grow(&self) {
        let doublings = self.0.doublings.load(Ordering::Relaxed) + 1;
        if doublings <= MAX_DOUBLINGS && self.reserve(PARTS_HELD * doubled(doublings)) {
            self.0.doublings.store(doublings, Ordering::Relaxed);
        }
    }

    /// Something of it waits, or nobody takes it any more: as little as at first is read at a time.
    pub(super) fn shrink(&self) {
        if self.0.doublings.swap(0, Ordering::Relaxed) > 0 {
            self.reserve(0);
        }
    }

    /// Whether there is memory for so many bytes.
    fn reserve(&self, bytes: usize) -> bool {
        let Some(grown) = &self.0.grown else { return true };
        grown.lock().unwrap_or_else(PoisonError::into_inner).try_resize_for_speed(bytes).is_ok()
    }

    /// What the last part takes that was read, or the next one if that is more, in bytes.
    pub(super) fn kept(&self, budget: &MemoryBudget) -> usize {
        self.0.last.load(Ordering::Relaxed).max(self.bytes(budget))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl AnswerRoom {
    fn of(budget: &Arc<MemoryBudget>) -> Self {
        let trailers = TrailerRoom::of(budget, FREE_ANSWER_TRAILERS);
        Self { head: HeadRoom::of(budget), trailers, scan: AnswerScan::default() }
    }

    fn begin(&mut self) {
        self.head.begin();
        self.trailers.release();
        self.scan = AnswerScan::of_answer();
    }

    fn end(&mut self) -> bool {
        self.head.release();
        self.trailers.release();
        self.scan = AnswerScan::default();
        !self.trailers.is_withholding()
    }

    /// Reads by `read`, where there is room for what it becomes.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        read: impl FnOnce(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let Self { head, trailers, scan } = self;
        ready!(head.poll_room(cx, FIRST_PART))?;
        trailers.poll_read(cx, buf, read, |bytes| {
            head.add(bytes.len());
            scan.pass(bytes)
        })
    }
}

/// The first part, doubled so often, in bytes.
fn doubled(times: u8) -> usize {
    ((FIRST_PART + 1) << times) - 1
}

/// What is read of a body at a time by whoever is held to `budget`, in bytes; `None`: to nothing.
pub(crate) fn body_part(budget: Option<&MemoryBudget>) -> usize {
    if budget.is_some_and(MemoryBudget::is_under_pressure) { PART_WHILE_SHORT } else { PART }
}

/// Reads from `stream` into `buf`, no more than [`body_part`] at a time: whoever reads keeps what it is given until the other side takes it.
pub(crate) fn poll_read_part(
    stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    budget: Option<&MemoryBudget>,
) -> Poll<io::Result<()>> {
    poll_read_up_to(body_part(budget), stream, cx, buf)
}

pub(super) fn poll_read_up_to(
    most: usize,
    stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    // It leaves alone what it does not fill: memory that was never written to is none.
    Pin::new(&mut stream.take(most as u64)).poll_read(cx, buf)
}
