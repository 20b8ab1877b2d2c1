//! What was handed to whoever sends a message and was not sent yet.
//!
//! hyper takes parts of a body as long as its buffer for writing is smaller than the longest head that it may read. What the other side does not
//! take would pile up there; so the next part is handed to it when what it has is nearly sent. And as long as all of it is sent at once, the
//! parts grow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::body_part::{FIRST_PART, PartSize};
use crate::budget::{BudgetExceeded, MemoryBudget, Reservation};

/// What may wait to be sent while one more part is handed on, in bytes: small parts go out together.
const ENOUGH: usize = FIRST_PART;

/// The bytes of a message that were handed to whoever sends it and were not sent yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnsentBytes(Arc<Mutex<SendState>>);

#[derive(Debug, Default)]
struct SendState {
    bytes: usize,
    /// Waits until they were sent.
    next: Option<Waker>,
    /// Some of them had to wait.
    has_waited: bool,
    /// How much is read at a time of whoever the message comes from.
    source: Option<PartSize>,
    /// What hyper's buffer for heads has grown to: it stays so as long as hyper is there.
    heads: Option<Reservation>,
}

impl UnsentBytes {
    fn state(&self) -> MutexGuard<'_, SendState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once another part may be handed on.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.bytes < ENOUGH {
            return Poll::Ready(());
        }
        state.next = Some(cx.waker().clone());
        Poll::Pending
    }

    /// `bytes` more are handed on.
    fn add(&self, bytes: usize) {
        self.state().bytes += bytes;
    }

    /// The other side does not take some of them now.
    pub(crate) fn note_waiting(&self) {
        let mut state = self.state();
        state.has_waited = true;
        if let Some(source) = &state.source {
            source.shrink();
        }
    }

    /// Whether the other side has not taken some of them when they were there to be sent, and they were not sent since.
    pub(crate) fn is_waiting(&self) -> bool {
        self.state().has_waited
    }

    /// All of them were sent.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        let has_waited = std::mem::take(&mut state.has_waited);
        if let Some(source) = state.source.as_ref().filter(|_| state.bytes > 0) {
            // It stands before them.
            source.sent_head();
            if state.bytes >= ENOUGH && !has_waited {
                source.grow();
            }
        }
        state.bytes = 0;
        if let Some(next) = state.next.take() {
            next.wake();
        }
    }

    /// Accounts by `budget` for the buffer that a head is written to, and has so many bytes more for it, as long as this is there.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn hold_head(&self, more: usize, budget: &Arc<MemoryBudget>) -> Result<(), BudgetExceeded> {
        let mut state = self.state();
        let heads = state.heads.get_or_insert_with(|| budget.reservation());
        heads.try_resize_for_first(heads.bytes().max(more))
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.state().bytes
    }

    /// What has been read behind them, or is going to be by whoever is held to `budget`, in bytes.
    pub(crate) fn next_part(&self, budget: &MemoryBudget) -> usize {
        self.state().source.clone().unwrap_or_default().kept(budget)
    }
}

/// A message on its way from where it is read to where it is sent. What is read of it at a time follows what is sent at a time, as long as this is
/// there.
#[derive(Debug)]
pub(crate) struct BodyPace {
    unsent: UnsentBytes,
    source: PartSize,
}

impl BodyPace {
    /// That of a message that is read by parts of `source`, and counted as `unsent` where it is sent.
    pub(crate) fn new(unsent: UnsentBytes, source: PartSize) -> Self {
        unsent.state().source = Some(source.clone());
        Self { unsent, source }
    }

    /// Ready once another part may be handed on.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.unsent.poll_room(cx)
    }

    /// `bytes` more are handed on.
    pub(super) fn add(&self, bytes: usize) {
        self.unsent.add(bytes);
    }
}

impl Drop for BodyPace {
    fn drop(&mut self) {
        // The next message has another way.
        self.source.shrink();
        self.unsent.state().source.take_if(|source| source.is_same(&self.source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;

    #[test]
    fn the_next_part_has_to_wait_until_what_was_handed_on_is_sent() {
        let (unsent, cx) = (UnsentBytes::default(), Context::from_waker(Waker::noop()));
        unsent.add(ENOUGH - 1);
        assert!(unsent.poll_room(&cx).is_ready(), "small parts go together");
        unsent.add(1);
        assert!(unsent.poll_room(&cx).is_pending());
        assert_eq!(unsent.count(), ENOUGH);
        unsent.clear();
        assert!(unsent.poll_room(&cx).is_ready());
        assert_eq!(unsent.count(), 0);
    }

    #[test]
    fn parts_grow_only_as_long_as_a_quarter_of_the_memory_has_room_for_all_that_may_be_kept_of_them() {
        let budget = Budgets::new(None, Some(1 << 20)).backlogs;
        let (mut held, source) = (budget.reservation(), PartSize::of(&budget));
        let sizes = |held: &mut Reservation, others: usize| {
            held.set(others);
            source.shrink();
            (0..4).for_each(|_| source.grow());
            source.kept(&budget) / 1000
        };
        let quarter = 256 << 10;
        assert_eq!(sizes(&mut held, 0), 65);
        assert!(budget.held() <= quarter && !budget.is_under_pressure());
        assert_eq!(sizes(&mut held, 1000), 32);
        assert_eq!(sizes(&mut held, quarter - (64 << 10)), 16);
        assert_eq!(sizes(&mut held, quarter), 8);
        assert_eq!(sizes(&mut held, 3 * quarter), 4, "memory is short");
        held.set(0);
        source.grow();
        drop(source);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn parts_grow_while_all_is_taken_at_once_and_are_small_again_once_something_waits_or_the_message_is_over() {
        let (unsent, source) = (UnsentBytes::default(), PartSize::default());
        let budget = Budgets::new(None, None).backlogs;
        let pace = BodyPace::new(unsent.clone(), source.clone());
        let sizes = |send: &dyn Fn()| {
            send();
            source.kept(&budget)
        };
        let at_once = |bytes| {
            pace.add(bytes);
            unsent.clear();
        };
        assert_eq!(source.kept(&budget), 8 * 1024 - 1);
        assert_eq!(sizes(&|| at_once(100)), 8 * 1024 - 1, "small messages tell nothing");
        assert_eq!(sizes(&|| at_once(8 * 1024 - 1)), 16 * 1024 - 1);
        assert_eq!(sizes(&|| at_once(16 * 1024 - 1)), 32 * 1024 - 1);
        assert_eq!(sizes(&|| at_once(32 * 1024 - 1)), 64 * 1024 - 1);
        assert_eq!(sizes(&|| at_once(64 * 1024 - 1)), 64 * 1024 - 1, "that is the most");
        pace.add(64 * 1024 - 1);
        assert_eq!(sizes(&|| unsent.note_waiting()), 8 * 1024 - 1);
        assert_eq!(sizes(&|| unsent.clear()), 8 * 1024 - 1, "it has waited");
        assert_eq!(sizes(&|| at_once(8 * 1024 - 1)), 16 * 1024 - 1);
        drop(pace);
        assert_eq!(source.kept(&budget), 8 * 1024 - 1);
        unsent.add(ENOUGH);
        unsent.clear();
        assert_eq!(source.kept(&budget), 8 * 1024 - 1, "it is nothing to whoever sends another message");
    }
}
