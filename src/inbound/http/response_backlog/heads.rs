//! Heads and trailers of answers that were handed to h2 and were not sent: h2 writes all of them to one buffer, which doubles for each that finds no
//! room in it, and stays as large as it was as long as the connection is there.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::ResponseBacklog;
use crate::budget::{MemoryBudget, Reservation};
use crate::http::stream_memory::HEAD_COPIES;

/// So many bytes of them may be on their way while a short one is handed on: what h2 has room for from the beginning.
pub(super) const ENOUGH: usize = 16 * 1024;

/// The same for a long one while memory is short: h2 writes 16 KiB of it at a time, so its buffer doubles once.
pub(super) const ENOUGH_FOR_LONG: usize = 4 * 1024;

/// Those of one connection.
#[derive(Debug)]
pub(super) struct UnsentHeads {
    /// What is on its way, in bytes, where somebody counts.
    bytes: AtomicUsize,
    state: Mutex<UnsentState>,
    /// All that was written was sent.
    sent: Arc<Notify>,
}

/// Whoever waits until one more may be handed on, if it has to. Nothing is left of it once it is dropped: a client may reset as many streams that
/// wait as it likes.
#[derive(Debug, Default)]
pub(in crate::inbound::http) struct Turn(Option<Pin<Box<OwnedNotified>>>);

#[derive(Debug)]
struct UnsentState {
    /// Bytes that h2 has written to its buffer.
    encoded: usize,
    /// What they take of the memory.
    reservation: Reservation,
}

/// A head that h2 has, or trailers.
#[derive(Debug)]
pub(super) struct UnsentHead {
    backlog: Arc<ResponseBacklog>,
    bytes: usize,
}

impl UnsentHead {
    /// One of so many `bytes`, as long as h2 has it as it was handed on.
    pub(super) fn new(backlog: &Arc<ResponseBacklog>, bytes: usize) -> Self {
        backlog.unsent_heads.bytes.fetch_add(bytes, Ordering::AcqRel);
        Self { backlog: Arc::clone(backlog), bytes }
    }
}

impl Drop for UnsentHead {
    fn drop(&mut self) {
        // It was written to the buffer, or its stream was reset, and h2 sends what there is then.
        self.backlog.unsent_heads.state().encode(self.bytes);
    }
}

impl UnsentState {
    fn encode(&mut self, bytes: usize) {
        self.encoded += bytes;
        self.reservation.set(HEAD_COPIES * self.encoded.saturating_sub(ENOUGH));
    }
}

impl UnsentHeads {
    /// None yet. What they take is of `budget`.
    pub(super) fn new(budget: &Arc<MemoryBudget>) -> Self {
        let state = UnsentState { encoded: 0, reservation: budget.reservation() };
        Self { bytes: AtomicUsize::new(0), state: Mutex::new(state), sent: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, UnsentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once one more may be handed on: as soon as fewer than `enough` bytes are on their way. `turn` is whoever waits for that.
    pub(super) fn poll_turn(&self, turn: &mut Turn, enough: usize, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.bytes.load(Ordering::Acquire) < enough {
                turn.0 = None;
                return Poll::Ready(());
            }
            match &mut turn.0 {
                // It hears of what is sent from now on, and some may have been sent before.
                None => turn.0 = Some(Box::pin(Arc::clone(&self.sent).notified_owned())),
                Some(sent) => {
                    ready!(sent.as_mut().poll(cx));
                    turn.0 = None;
                }
            }
        }
    }

    /// One of so few `bytes` is handed on that nobody follows it further.
    pub(super) fn add_short(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.state().encode(bytes);
    }

    /// All that h2 had written to its buffer was sent.
    pub(super) fn note_sent(&self) {
        if self.bytes.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.state();
        self.bytes.fetch_sub(state.encoded, Ordering::AcqRel);
        state.encoded = 0;
        state.reservation.set(0);
        drop(state);
        self.sent.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;
    use crate::budget::Budgets;

    /// A stream that is there as long as somebody may wake it.
    struct Stream(AtomicUsize);

    impl Wake for Stream {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn backlog() -> Arc<ResponseBacklog> {
        Arc::new(ResponseBacklog::new(&Budgets::new(None, Some(1 << 20)).backlogs))
    }

    #[test]
    fn the_next_head_has_to_wait_until_enough_of_those_before_it_was_sent() {
        let backlog = backlog();
        let heads = &backlog.unsent_heads;
        let is_free_for =
            |enough| heads.poll_turn(&mut Turn::default(), enough, &mut Context::from_waker(Waker::noop())).is_ready();
        let is_free = || is_free_for(ENOUGH);
        heads.add_short(ENOUGH_FOR_LONG - 1);
        assert!(is_free_for(ENOUGH_FOR_LONG));
        heads.add_short(ENOUGH - ENOUGH_FOR_LONG);
        assert!(is_free() && backlog.budget.held() == 0, "every connection has room for that");
        assert!(!is_free_for(ENOUGH_FOR_LONG));
        let long = UnsentHead::new(&backlog, 3 * ENOUGH);
        assert!(!is_free() && !is_free());
        heads.note_sent();
        assert!(!is_free(), "h2 has not written it yet");
        drop(long);
        assert!(!is_free());
        assert_eq!(backlog.budget.held(), HEAD_COPIES * 2 * ENOUGH);
        heads.note_sent();
        assert!(is_free() && backlog.budget.held() == 0);
    }

    #[test]
    fn a_stream_that_waits_for_its_turn_is_woken_once_those_before_it_were_sent_and_nothing_of_one_that_was_reset_is_left()
     {
        let backlog = backlog();
        let heads = &backlog.unsent_heads;
        heads.add_short(ENOUGH);
        let [stays, is_reset] = [(); 2].map(|()| Arc::new(Stream(AtomicUsize::new(0))));
        let [mut turn, mut left] = [(); 2].map(|()| Turn::default());
        for (stream, turn) in [(&stays, &mut turn), (&is_reset, &mut left)] {
            let waker = Waker::from(Arc::clone(stream));
            assert!(heads.poll_turn(turn, ENOUGH, &mut Context::from_waker(&waker)).is_pending());
            assert_eq!(Arc::strong_count(stream), 3);
        }
        drop(left);
        assert_eq!(Arc::strong_count(&is_reset), 1, "whoever resets streams leaves nothing behind");
        heads.note_sent();
        assert_eq!([&stays, &is_reset].map(|stream| stream.0.load(Ordering::Acquire)), [1, 0]);
        let waker = Waker::from(Arc::clone(&stays));
        assert!(heads.poll_turn(&mut turn, ENOUGH, &mut Context::from_waker(&waker)).is_ready());
        drop(waker);
        assert_eq!(Arc::strong_count(&stays), 1);
    }
}
