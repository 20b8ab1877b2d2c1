//! DATA frames that have come over HTTP/2 and that nobody has taken.
//!
//! h2 has a slot for each beside its bytes, however few these are, and keeps the slots as long as the connection is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use super::stream_memory::FRAME_SLOT;
use crate::budget::{BudgetExceeded, Reservation};

/// Slots are accounted for by so many at a time, and the first ones not at all: a connection without small frames needs no more.
const STEP: usize = 64;

/// How many DATA frames of a connection wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct WaitingFrames(Arc<AtomicIsize>);

impl WaitingFrames {
    /// One more has come. How many wait now, as far as is known.
    fn add(&self) -> usize {
        usize::try_from(self.0.fetch_add(1, Ordering::Relaxed) + 1).unwrap_or_default()
    }

    /// One was taken.
    pub(super) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// None waits, those of requests included of which the rest was dropped.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The slots that a connection has come to have.
#[derive(Debug)]
pub(crate) struct FrameSlots {
    waiting: WaitingFrames,
    most: usize,
    reservation: Reservation,
}

/// There is no memory for the slots of more frames.
#[derive(Debug, thiserror::Error)]
#[error(
    "the memory for backlogs is short, and many small DATA frames of the client are not taken yet; raise the container's memory limit (or --memory-limit), or add instances"
)]
pub(crate) struct TooManyWaitingFrames;

impl FrameSlots {
    /// None yet, for the frames of `waiting`. What they take is of `reservation`.
    pub(crate) fn new(waiting: WaitingFrames, reservation: Reservation) -> Self {
        Self { waiting, most: STEP, reservation }
    }

    /// A DATA frame of `length` bytes has come.
    ///
    /// # Errors
    /// There is no memory for its slot.
    pub(crate) fn take(&mut self, length: usize) -> Result<(), BudgetExceeded> {
        // An empty one is the end of a message, and is handed to nobody.
        if length == 0 || self.waiting.add() <= self.most {
            return Ok(());
        }
        self.most += STEP;
        self.reservation.try_resize(self.most * FRAME_SLOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;

    #[test]
    fn frames_that_wait_are_paid_for_and_those_that_are_taken_are_not() {
        let budget = Budgets::new(None, Some(1024 * 1024)).backlogs;
        let waiting = WaitingFrames::default();
        let mut slots = FrameSlots::new(waiting.clone(), budget.reservation());
        for _ in 0..100_000 {
            slots.take(1).unwrap();
            waiting.remove();
            slots.take(0).unwrap();
        }
        assert_eq!(budget.held(), 0);
        let taken = (0..100_000).take_while(|_| slots.take(1).is_ok()).count();
        assert!((400..600).contains(&taken), "an eighth of the budget has {taken} slots");
        assert!(budget.held() > 100 * 1024);
        waiting.clear();
        assert!(slots.take(1).is_ok(), "there are slots for it");
        drop(slots);
        assert_eq!(budget.held(), 0);
    }
}
