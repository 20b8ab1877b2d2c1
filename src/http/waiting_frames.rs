//! Frames of bodies that have come over HTTP/2 and that nobody has taken.
//!
//! h2 has a slot for each beside its bytes, however few these are, and keeps the slots as long as the connection is there. Trailers wait as the
//! last of them, and take more than came of them on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use super::frames::FrameStart;
use super::stream_memory::{FRAME_SLOT, FREE_TRAILERS, of_head};
use crate::budget::{BudgetExceeded, Reservation};

/// Slots are accounted for by so many at a time, and the first ones not at all: a connection without small frames needs no more.
const STEP: usize = 64;

/// A stream's window has room for few that are larger, in bytes, and those count with the stream.
const SMALL: usize = 4 * 1024;

/// Whether a frame of `length` bytes counts. One that is padded counts in every case, for nobody knows how much of it is handed on.
fn is_small(length: usize) -> bool {
    (1..SMALL).contains(&length)
}

/// How many DATA frames of a connection wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct WaitingFrames(Arc<AtomicIsize>);

impl WaitingFrames {
    /// So many more have come. How many wait now, as far as is known.
    fn add(&self, frames: usize) -> usize {
        let more = isize::try_from(frames).unwrap_or(isize::MAX);
        usize::try_from(self.0.fetch_add(more, Ordering::Relaxed).saturating_add(more)).unwrap_or_default()
    }

    /// One was taken, of which `length` bytes say something.
    pub(super) fn remove(&self, length: usize) {
        if is_small(length) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
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
    "the memory for backlogs is short, and many small DATA frames of the client, or long trailers, are not taken yet; raise the container's memory limit (or --memory-limit), or add instances"
)]
pub(crate) struct TooManyWaitingFrames;

impl FrameSlots {
    /// None yet, for the frames of `waiting`. What they take is of `reservation`.
    pub(crate) fn new(waiting: WaitingFrames, reservation: Reservation) -> Self {
        Self { waiting, most: STEP, reservation }
    }

    /// A DATA frame has come.
    ///
    /// # Errors
    /// There is no memory for its slot.
    pub(crate) fn take(&mut self, frame: FrameStart) -> Result<(), BudgetExceeded> {
        // An empty one is the end of a message, and is handed to nobody.
        let is_counted = frame.is_padded || is_small(frame.length);
        if is_counted && frame.length > 0 { self.hold(1) } else { Ok(()) }
    }

    /// A frame of trailers has come, of `length` bytes. Long ones count until nothing waits any more.
    ///
    /// # Errors
    /// There is no memory for what it says.
    pub(crate) fn take_trailers(&mut self, length: usize) -> Result<(), BudgetExceeded> {
        if length <= FREE_TRAILERS { Ok(()) } else { self.hold(of_head(length).div_ceil(FRAME_SLOT)) }
    }

    fn hold(&mut self, frames: usize) -> Result<(), BudgetExceeded> {
        let waiting = self.waiting.add(frames);
        if waiting <= self.most {
            return Ok(());
        }
        self.most = waiting.next_multiple_of(STEP);
        self.reservation.try_resize(self.most * FRAME_SLOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;
    use crate::http::DATA;

    fn data(length: usize) -> FrameStart {
        FrameStart { kind: DATA, length, continues: true, is_padded: false }
    }

    #[test]
    fn a_frame_that_is_padded_counts_whatever_its_length_and_is_never_taken_more_often_than_it_came() {
        let budget = Budgets::new(None, Some(1024 * 1024)).backlogs;
        let waiting = WaitingFrames::default();
        let mut slots = FrameSlots::new(waiting.clone(), budget.reservation());
        for length in [1, SMALL - 1, SMALL, SMALL + 100] {
            slots.take(FrameStart { is_padded: true, ..data(length) }).unwrap();
        }
        assert_eq!(waiting.add(0), 4);
        for said in [SMALL - 200, SMALL + 100, SMALL, SMALL - 1] {
            waiting.remove(said);
        }
        assert_eq!(waiting.add(0), 2);
    }

    #[test]
    fn frames_that_wait_are_paid_for_and_those_that_are_taken_are_not() {
        let budget = Budgets::new(None, Some(1024 * 1024)).backlogs;
        let waiting = WaitingFrames::default();
        let mut slots = FrameSlots::new(waiting.clone(), budget.reservation());
        for _ in 0..100_000 {
            slots.take(data(1)).unwrap();
            waiting.remove(1);
            slots.take(data(0)).unwrap();
            slots.take(data(SMALL)).unwrap();
            waiting.remove(SMALL);
        }
        assert_eq!(budget.held(), 0);
        let taken = (0..100_000).take_while(|_| slots.take(data(1)).is_ok()).count();
        assert!((400..600).contains(&taken), "an eighth of the budget has {taken} slots");
        assert!(budget.held() > 100 * 1024);
        waiting.clear();
        assert!(slots.take(data(1)).is_ok(), "there are slots for it");
        drop(slots);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn trailers_that_wait_are_paid_for_by_what_they_may_say_and_short_ones_are_not() {
        let budget = Budgets::new(None, Some(1024 * 1024)).backlogs;
        let waiting = WaitingFrames::default();
        let mut slots = FrameSlots::new(waiting.clone(), budget.reservation());
        (0..100_000).for_each(|_| slots.take_trailers(FREE_TRAILERS).unwrap());
        assert_eq!(budget.held(), 0);
        slots.take_trailers(1000).unwrap();
        assert!((64_000..100_000).contains(&budget.held()), "{}", budget.held());
        slots.take_trailers(1000).unwrap();
        assert!(slots.take_trailers(1000).is_err(), "an eighth of the budget has room for two");
        waiting.clear();
        slots.take_trailers(1000).unwrap();
        drop(slots);
        assert_eq!(budget.held(), 0);
    }
}
