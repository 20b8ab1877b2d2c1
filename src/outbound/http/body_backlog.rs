//! The bytes of bodies on their way to one side of a connection, as they count against the memory budget.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::budget::{MemoryBudget, Reservation};
use crate::http::CountedBytes;

/// What a connection may hold of a body however short memory is, in bytes.
pub(super) const ALWAYS: usize = 8 * 1024;

/// The same while memory is not short: more than one part, so that nobody waits for the other side who does not have to.
const USUALLY: usize = 24 * 1024;

/// A part of a body that is no longer has memory of its own, in bytes: one byte would keep all of the memory that it was read into.
const COPIED: usize = 4 * 1024;

/// The memory that hyper reads into, in bytes, which a longer part keeps.
const READ_MEMORY: usize = 16 * 1024;

/// What has come behind a body that the other side does not take, in bytes: the next part of it, in the memory that it was read into, and the
/// rest of a record.
const READ_BEHIND: usize = 24 * 1024;

/// The bytes of bodies that are on their way to one side of a connection. Costs nothing where memory is not limited.
#[derive(Debug, Clone)]
pub(in crate::outbound) struct BodyBacklog(pub(super) Option<Arc<BacklogCell>>);

#[derive(Debug)]
pub(super) struct BacklogCell {
    pub(super) budget: Arc<MemoryBudget>,
    state: Mutex<BacklogState>,
    /// What there was no memory for, once its connection has ended for that.
    evicted: OnceLock<String>,
}

#[derive(Debug)]
pub(super) struct BacklogState {
    /// Of bodies, with the memory that they keep.
    pub(super) held: usize,
    /// Behind that, sealed.
    pub(super) sealed: usize,
    /// What of both counts: it is found out when the other side does not take them.
    pub(super) reservation: Reservation,
    /// As much may be held when more of a body is taken.
    room: usize,
    /// Who waits for room.
    waiting: Option<Waker>,
    /// What has come of the head of a response, as long as that is waited for: hyper keeps it.
    pub(super) head: Option<usize>,
}

impl BodyBacklog {
    /// Of `budget`, nothing yet.
    pub(in crate::outbound) fn new(budget: &Arc<MemoryBudget>) -> Self {
        let state = || BacklogState {
            held: 0,
            sealed: 0,
            reservation: budget.reservation(),
            room: 0,
            waiting: None,
            head: None,
        };
        Self(budget.limit().map(|_| {
            Arc::new(BacklogCell { budget: Arc::clone(budget), state: Mutex::new(state()), evicted: OnceLock::new() })
        }))
    }

    /// `bytes`, which count until they are dropped.
    fn hold(&self, bytes: Bytes) -> HeldBytes {
        let Some(cell) = &self.0 else { return HeldBytes::new(bytes, None) };
        let (bytes, held) = match bytes.len() {
            length @ ..=COPIED => (Bytes::copy_from_slice(&bytes), length),
            length => (bytes, length.max(READ_MEMORY)),
        };
        cell.state().held += held;
        HeldBytes::new(bytes, Some(HeldCount { held, cell: Arc::clone(cell) }))
    }

    /// Ready once more of a body may be taken.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(cell) = &self.0 else { return Poll::Ready(()) };
        let mut state = cell.state();
        state.room = if cell.budget.is_under_pressure() { ALWAYS } else { USUALLY };
        if state.held + state.sealed < state.room {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Why its connection has ended, if that was for want of memory.
    pub(in crate::outbound) fn evicted(&self) -> Option<&str> {
        self.0.as_ref()?.evicted.get().map(String::as_str)
    }
}

impl BacklogCell {
    pub(super) fn state(&self) -> MutexGuard<'_, BacklogState> {
        // Nothing in it can be left half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its connection ends, for `why`.
    pub(super) fn evict(&self, why: impl std::error::Error + Send + Sync + 'static) -> io::Error {
        let _ = self.evicted.set(why.to_string());
        io::Error::other(why)
    }
}

impl BacklogState {
    pub(super) fn account(&mut self) {
        let waiting = self.held + self.sealed;
        self.reservation.set(if waiting > 0 { waiting + READ_BEHIND } else { 0 });
    }

    /// There is less of it.
    pub(super) fn relieve(&mut self) {
        // As long as the other side takes all of it, nothing that others share is touched.
        if self.reservation.bytes() > 0 {
            self.account();
        }
        if let Some(waiting) = self.waiting.take_if(|_| self.held + self.sealed < self.room) {
            waiting.wake();
        }
    }
}

/// A part of a body on its way.
pub(in crate::outbound) type HeldBytes = CountedBytes<HeldCount>;

/// What a part of a body counts.
#[derive(Debug)]
pub(in crate::outbound) struct HeldCount {
    held: usize,
    cell: Arc<BacklogCell>,
}

impl Drop for HeldCount {
    fn drop(&mut self) {
        let mut state = self.cell.state();
        state.held -= self.held;
        state.relieve();
    }
}

/// A body whose bytes count as long as they are on their way.
#[derive(Debug)]
pub(in crate::outbound) struct HeldBody<B> {
    inner: B,
    backlog: BodyBacklog,
}

impl<B> HeldBody<B> {
    /// `inner`, on its way to the side of `backlog`.
    pub(in crate::outbound) fn new(inner: B, backlog: BodyBacklog) -> Self {
        Self { inner, backlog }
    }

    /// The body as it was.
    pub(in crate::outbound) fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for HeldBody<B> {
    type Data = HeldBytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<HeldBytes>, Self::Error>>> {
        ready!(self.backlog.poll_room(cx));
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.backlog.hold(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
