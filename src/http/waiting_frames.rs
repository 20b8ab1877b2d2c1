//! Frames of bodies that have come over HTTP/2 and that nobody has taken.
//!
//! h2 has a slot for each beside its bytes, however few these are, and keeps the slots as long as the connection is there. Trailers wait as the
//! last of them, and take more than came of them on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use super::frames::{CONTINUATION, DATA, FrameStart, HEADERS};
use super::stream_memory::{FRAME_SLOT, FREE_TRAILERS, READ_BUFFER, free_pins, of_head};
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
    /// Bytes that came since the last frame of those.
    since: usize,
    /// The most that came between two of those that wait.
    gap: usize,
    /// Bytes of the trailers that come, if any do.
    trailers: Option<usize>,
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
        Self { waiting, most: STEP, reservation, since: 0, gap: 0, trailers: None }
    }

    /// A frame has come, while so many `streams` are run.
    ///
    /// # Errors
    /// There is no memory for what it takes until somebody takes it.
    pub(crate) fn take(&mut self, frame: FrameStart, streams: usize) -> Result<(), BudgetExceeded> {
        let FrameStart { kind, length, .. } = frame;
        // An empty one is the end of a message, and is handed to nobody.
        let is_counted = kind == DATA && length > 0 && (frame.is_padded || is_small(length));
        self.since = self.since.saturating_add(length);
        if kind != CONTINUATION {
            self.trailers = (kind == HEADERS && frame.continues).then_some(0);
        }
        if is_counted {
            let gap = std::mem::take(&mut self.since).min(READ_BUFFER);
            return self.hold(1, gap, streams);
        }
        let Some(trailers) = &mut self.trailers else { return Ok(()) };
        *trailers += length;
        if *trailers <= FREE_TRAILERS {
            return Ok(());
        }
        // Long ones count until nothing waits any more.
        self.hold(of_head(length).div_ceil(FRAME_SLOT), 0, streams)
    }

    /// So many more `frames` wait, `gap` bytes behind what waits already.
    fn hold(&mut self, frames: usize, gap: usize, streams: usize) -> Result<(), BudgetExceeded> {
        let waiting = self.waiting.add(frames);
        // The first one shares its buffer with nothing that waits.
        self.gap = if waiting <= frames { 0 } else { self.gap.max(gap) };
        let free = free_pins(self.reservation.budget().limit());
        let pins = waiting.saturating_sub(free * streams.max(1));
        let pinned = (pins * self.gap).next_multiple_of(STEP * FRAME_SLOT);
        if waiting <= self.most && pinned == 0 && self.reservation.bytes() == 0 {
            return Ok(());
        }
        let most = self.most.max(waiting.next_multiple_of(STEP));
        let slots = if most > STEP { most * FRAME_SLOT } else { 0 };
        self.reservation.try_resize(slots + pinned)?;
        self.most = most;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;

    fn data(length: usize) -> FrameStart {
        FrameStart { kind: DATA, length, continues: true, ends_stream: false, is_padded: false, is_settings_ack: false }
    }

    fn trailers(length: usize) -> FrameStart {
        FrameStart { kind: HEADERS, ..data(length) }
    }

    #[test]
    fn a_small_frame_that_waits_counts_for_the_buffer_that_it_was_read_into() {
        let budget = Budgets::new(None, Some(4 << 20)).backlogs;
        let mut slots = FrameSlots::new(WaitingFrames::default(), budget.reservation());
        let filler = FrameStart { kind: 0xbe, ..data(16 * 1024) };
        let many = (0..1000).take_while(|_| slots.take(filler, 1).is_ok() && slots.take(data(1), 1).is_ok()).count();
        assert!((40..100).contains(&many), "{many} frames of a byte keep 8 KiB each");
        // Those of a stream that come one behind the other share their buffers.
        let mut slots = FrameSlots::new(WaitingFrames::default(), budget.reservation());
        assert!((0..1000).all(|_| slots.take(data(1), 1).is_ok()));
        // And the body of a stream has room for the first ones.
        let mut slots = FrameSlots::new(WaitingFrames::default(), budget.reservation());
        assert!((0..60).all(|_| slots.take(filler, 20).is_ok() && slots.take(data(1), 20).is_ok()));
        assert_eq!(slots.reservation.bytes(), 0);
    }

    #[test]
    fn trailers_count_however_they_are_cut_into_frames() {
        let budget = Budgets::new(None, Some(4 << 20)).backlogs;
        let continuation = |length| FrameStart { kind: CONTINUATION, ..data(length) };
        for cuts in [&[3000][..], &[0, 3000], &[1, 2999], &[1000, 1000, 1000]] {
            let mut slots = FrameSlots::new(WaitingFrames::default(), budget.reservation());
            slots.take(trailers(cuts[0]), 1).unwrap();
            cuts[1..].iter().for_each(|cut| slots.take(continuation(*cut), 1).unwrap());
            assert!(slots.reservation.bytes() > 180_000, "{cuts:?}");
        }
        // A head that begins a stream is nothing that waits.
        let mut slots = FrameSlots::new(WaitingFrames::default(), budget.reservation());
        slots.take(FrameStart { continues: false, ..trailers(10) }, 1).unwrap();
        slots.take(continuation(3000), 1).unwrap();
        assert_eq!(slots.reservation.bytes(), 0);
    }

    #[test]
    fn a_frame_that_is_padded_counts_whatever_its_length_and_is_never_taken_more_often_than_it_came() {
        let budget = Budgets::new(None, Some(1024 * 1024)).backlogs;
        let waiting = WaitingFrames::default();
        let mut slots = FrameSlots::new(waiting.clone(), budget.reservation());
        for length in [1, SMALL - 1, SMALL, SMALL + 100] {
            slots.take(FrameStart { is_padded: true, ..data(length) }, 1).unwrap();
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
            slots.take(data(1), 1).unwrap();
            waiting.remove(1);
            slots.take(data(0), 1).unwrap();
            slots.take(data(SMALL), 1).unwrap();
            waiting.remove(SMALL);
        }
        assert_eq!(budget.held(), 0);
        let taken = (0..100_000).take_while(|_| slots.take(data(1), 1).is_ok()).count();
        assert!((400..600).contains(&taken), "an eighth of the budget has {taken} slots");
        assert!(budget.held() > 100 * 1024);
        waiting.clear();
        assert!(slots.take(data(1), 1).is_ok(), "there are slots for it");
        drop(slots);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn trailers_that_wait_are_paid_for_by_what_they_may_say_and_short_ones_are_not() {
        let budget = Budgets::new(None, Some(1024 * 1024)).backlogs;
        let waiting = WaitingFrames::default();
        let mut slots = FrameSlots::new(waiting.clone(), budget.reservation());
        (0..100_000).for_each(|_| slots.take(trailers(FREE_TRAILERS), 1).unwrap());
        assert_eq!(budget.held(), 0);
        slots.take(trailers(1000), 1).unwrap();
        assert!((64_000..100_000).contains(&budget.held()), "{}", budget.held());
        slots.take(trailers(1000), 1).unwrap();
        assert!(slots.take(trailers(1000), 1).is_err(), "an eighth of the budget has room for two");
        waiting.clear();
        slots.take(trailers(1000), 1).unwrap();
        drop(slots);
        assert_eq!(budget.held(), 0);
    }
}
