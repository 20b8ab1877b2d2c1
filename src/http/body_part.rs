//! How much of a body is read at a time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::budget::MemoryBudget;

/// What is read at a time, in bytes, as long as nothing is known of whoever takes it. hyper gives a read more room when one has filled it: one byte
/// less than 16 KiB, and that is where it stays.
const PART: usize = 16 * 1024 - 1;

/// The same while memory is short.
const PART_WHILE_SHORT: usize = 4 * 1024;

/// How often that is doubled for whoever takes all that it is given at once: nearly 64 KiB, which the session of TLS seals and opens at a time.
/// Every part costs a turn of either side, and a call of the kernel for reading and one for writing.
const MAX_DOUBLINGS: u8 = 2;

/// The part of the budget, one in so many, of which no more may be spent where it is doubled so often: whoever stops reading keeps such a part.
const SPENT_AT_MOST: [usize; MAX_DOUBLINGS as usize] = [8, 32];

/// How much is read at a time of a connection, as whoever takes what is read of it goes along.
#[derive(Debug, Clone)]
pub(crate) struct PartSize(Arc<PartState>);

#[derive(Debug)]
struct PartState {
    /// The most that it may be, in bytes.
    most: usize,
    doublings: AtomicU8,
    /// Bytes that were read last.
    last: AtomicUsize,
}

impl Default for PartSize {
    fn default() -> Self {
        Self::up_to(usize::MAX)
    }
}

impl PartSize {
    /// Of no more than `most` bytes.
    pub(crate) fn up_to(most: usize) -> Self {
        Self(Arc::new(PartState { most, doublings: AtomicU8::default(), last: AtomicUsize::default() }))
    }

    /// What is read at a time, in bytes, by whoever is held to `budget`.
    fn bytes(&self, budget: &MemoryBudget) -> usize {
        let allowed = SPENT_AT_MOST.iter().take_while(|one_in| budget.has_spent_at_most(**one_in)).count();
        match allowed.min(self.0.doublings.load(Ordering::Relaxed).into()) {
            0 => body_part(Some(budget)),
            doublings => (((PART + 1) << doublings) - 1).min(self.0.most),
        }
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
        let read = poll_read_up_to(self.bytes(budget), stream, cx, buf);
        if read.is_ready() {
            self.0.last.store(buf.filled().len() - before, Ordering::Relaxed);
        }
        read
    }

    /// All that was read was taken at once: twice as much is read at a time, within limits.
    pub(super) fn grow(&self) {
        let doublings = self.0.doublings.load(Ordering::Relaxed);
        self.0.doublings.store(MAX_DOUBLINGS.min(doublings + 1), Ordering::Relaxed);
    }

    /// Something of it waits, or nobody takes it any more: as little as at first is read at a time.
    pub(super) fn shrink(&self) {
        self.0.doublings.store(0, Ordering::Relaxed);
    }

    /// What the last part takes that was read, or the next one if that is more, in bytes.
    pub(super) fn kept(&self, budget: &MemoryBudget) -> usize {
        self.0.last.load(Ordering::Relaxed).max(self.bytes(budget))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
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

fn poll_read_up_to(
    most: usize,
    stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    if buf.remaining() <= most {
        return stream.poll_read(cx, buf);
    }
    let mut space = ReadBuf::new(buf.initialize_unfilled_to(most));
    let read = stream.poll_read(cx, &mut space);
    let filled = space.filled().len();
    buf.advance(filled);
    read
}
