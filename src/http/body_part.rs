//! How much of a body is read at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::budget::MemoryBudget;

/// What is read at a time, in bytes. hyper gives a read more room when one has filled it: one byte less than 16 KiB, and that is where it stays.
const PART: usize = 16 * 1024 - 1;

/// The same while memory is short.
const PART_WHILE_SHORT: usize = 4 * 1024;

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
    let part = body_part(budget);
    if buf.remaining() <= part {
        return stream.poll_read(cx, buf);
    }
    let mut space = ReadBuf::new(buf.initialize_unfilled_to(part));
    let read = stream.poll_read(cx, &mut space);
    let filled = space.filled().len();
    buf.advance(filled);
    read
}
