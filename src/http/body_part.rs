//! How much of a body is read at a time.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

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

/// Bytes of the head of an answer over HTTP/1.1 for which every connection has room.
pub(crate) const FREE_ANSWER_HEAD: usize = 8 * 1024;

/// The head of an answer is held as it came, as it is written, in a buffer that doubles, and as it is sealed.
pub(crate) const ANSWER_HEAD_COPIES: usize = 4;

/// How much is read at a time of a connection, as whoever takes what is read of it goes along.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartSize(Arc<PartState>);

#[derive(Debug, Default)]
struct PartState {
    doublings: AtomicU8,
    /// Bytes that were read last.
    last: AtomicUsize,
    /// What parts take that are larger than the first ones, or a head that is read; without it nobody counts that.
    grown: Option<Mutex<Reservation>>,
    /// A head is read, of which so many bytes have come.
    head: AtomicUsize,
    is_head: AtomicBool,
}

impl PartSize {
    /// What is read is held to `budget`.
    pub(crate) fn of(budget: &Arc<MemoryBudget>) -> Self {
        let grown = budget.limit().map(|_| Mutex::new(budget.reservation()));
        Self(Arc::new(PartState { grown, ..PartState::default() }))
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
        ready!(poll_read_up_to(self.bytes(budget), stream, cx, buf))?;
        let read = buf.filled().len() - before;
        self.0.last.store(read, Ordering::Relaxed);
        if self.0.is_head.load(Ordering::Relaxed) && !self.has_room_for_head(read) {
            let why = "memory is short, and the head is long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, why)));
        }
        Poll::Ready(Ok(()))
    }

    /// What is read from now on is the head of a message, until [`PartSize::end_head`].
    pub(crate) fn begin_head(&self) {
        self.0.head.store(0, Ordering::Relaxed);
        self.0.is_head.store(true, Ordering::Relaxed);
    }

    /// Whoever has it accounts for it from now on.
    pub(crate) fn end_head(&self) {
        self.0.is_head.store(false, Ordering::Relaxed);
        if self.0.head.swap(0, Ordering::Relaxed) > FREE_ANSWER_HEAD {
            self.reserve(|grown| grown.try_resize(0));
        }
    }

    /// Whether there is memory for a head of which `read` bytes more have come.
    fn has_room_for_head(&self, read: usize) -> bool {
        let all = self.0.head.fetch_add(read, Ordering::Relaxed) + read;
        all <= FREE_ANSWER_HEAD || self.reserve(|grown| grown.try_resize(ANSWER_HEAD_COPIES * all))
    }

    /// All that was read was taken at once: twice as much is read at a time, within limits.
    pub(super) fn grow(&self) {
        let doublings = self.0.doublings.load(Ordering::Relaxed) + 1;
        if doublings <= MAX_DOUBLINGS
            && self.reserve(|grown| grown.try_resize_for_speed(PARTS_HELD * doubled(doublings)))
        {
            self.0.doublings.store(doublings, Ordering::Relaxed);
        }
    }

    /// Something of it waits, or nobody takes it any more: as little as at first is read at a time.
    pub(super) fn shrink(&self) {
        if self.0.doublings.swap(0, Ordering::Relaxed) > 0 {
            self.reserve(|grown| grown.try_resize(0));
        }
    }

    /// Whether there is memory for what is asked for.
    fn reserve(&self, ask: impl FnOnce(&mut Reservation) -> Result<(), BudgetExceeded>) -> bool {
        let Some(grown) = &self.0.grown else { return true };
        ask(&mut grown.lock().unwrap_or_else(PoisonError::into_inner)).is_ok()
    }

    /// What the last part takes that was read, or the next one if that is more, in bytes.
    pub(super) fn kept(&self, budget: &MemoryBudget) -> usize {
        self.0.last.load(Ordering::Relaxed).max(self.bytes(budget))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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
