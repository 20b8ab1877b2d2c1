//! DATA frames of an app's answer that have come over HTTP/2 and that nobody has taken, and its trailers.
//!
//! h2 has a slot for each beside its bytes, however few these are, and keeps the slots as long as the connection is there. An app may fill its
//! window with frames of one byte: so they count, and while memory is short nothing more is read of an app of which many wait. Not before that, for
//! behind them there may be a PING to be answered, or the window of an upload.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::body_part::poll_read_up_to;
use super::frames::{DATA, FrameScan, FrameStart, HEADERS};
use super::response_check::MAX_ANSWER_HEAD;
use super::stream_memory::{FREE_H2C_TRAILERS, PART_SLOT, max_answer_parts, of_trailers};
use super::trailer_room::TrailerRoom;
use crate::budget::{MemoryBudget, Reservation};
use crate::io::PeriodicCheck;

/// How far beyond the frame that is under way is read at a time, in bytes: each frame has a header of nine.
const AHEAD: usize = 1024;

/// How many frames of one answer wait, between whoever reads them and whoever takes them. Nobody counts them where memory has no limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct UntakenFrames(Option<Arc<Mutex<FrameCount>>>);

#[derive(Debug)]
struct FrameCount {
    frames: usize,
    /// For those that are more than every answer may have.
    memory: Reservation,
    /// That of the trailers, which wait behind them.
    trailers: TrailerRoom,
    /// Waits until there are fewer.
    reader: Option<Waker>,
}

impl UntakenFrames {
    /// None yet. They are held to `budget`.
    pub(crate) fn new(budget: &Arc<MemoryBudget>) -> Self {
        let count = || FrameCount {
            frames: 0,
            memory: budget.reservation(),
            trailers: TrailerRoom::of(budget, of_trailers(FREE_H2C_TRAILERS, MAX_ANSWER_HEAD as u32)),
            reader: None,
        };
        Self(budget.limit().map(|_| Arc::new(Mutex::new(count()))))
    }

    fn lock(&self) -> Option<MutexGuard<'_, FrameCount>> {
        self.0.as_ref().map(|count| count.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, frames: impl FnOnce(usize) -> usize) {
        let Some(mut count) = self.lock() else { return };
        count.frames = frames(count.frames);
        let more = count.frames.saturating_sub(max_answer_parts(count.memory.budget().limit()));
        count.memory.set(more * PART_SLOT);
        if let Some(reader) = count.reader.take() {
            reader.wake();
        }
    }

    /// One was taken.
    pub(crate) fn remove(&self) {
        self.set(|frames| frames.saturating_sub(1));
    }

    /// Another answer begins: those of the last one are gone.
    pub(crate) fn clear(&self) {
        self.set(|_| 0);
        self.take_trailer_room();
    }

    /// Whether there is something that trailers hold.
    pub(crate) fn holds_trailers(&self) -> bool {
        self.lock().is_some_and(|count| count.trailers.is_held())
    }

    /// The trailers go to whoever sends them: the room that they have had, in bytes, which is given back by this.
    pub(crate) fn take_trailer_room(&self) -> usize {
        self.lock().map_or(0, |mut count| count.trailers.take())
    }
}

impl FrameCount {
    /// Whether too many wait for the memory there is.
    fn is_too_much(&self) -> bool {
        self.memory.bytes() > 0 && self.memory.budget().is_under_pressure()
    }
}

/// Reads what an app sends by HTTP/2 no faster than its frames are taken, while memory is short.
#[derive(Debug)]
pub(crate) struct AnswerFrames {
    scan: FrameScan,
    /// The last list of fields was of trailers.
    is_in_trailers: bool,
    untaken: UntakenFrames,
    /// Looks whether there is memory again.
    look: PeriodicCheck,
}

impl AnswerFrames {
    /// In front of the first frame.
    pub(crate) fn new(untaken: UntakenFrames) -> Self {
        let look = PeriodicCheck::default();
        Self { scan: FrameScan::of_server(), is_in_trailers: false, untaken, look }
    }

    /// Bytes of trailers in `frame`.
    fn trailers_of(is_in_trailers: &mut bool, frame: FrameStart) -> usize {
        if frame.kind == HEADERS {
            // A head that follows one which came before it does not end anything, unless there is no body (RFC 9113, 8.1).
            *is_in_trailers = frame.continues && frame.ends_stream;
        }
        if *is_in_trailers && frame.is_of_head() { frame.length } else { 0 }
    }

    /// Ready once there is room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut count) = self.untaken.lock() else { return Poll::Ready(()) };
        if count.is_too_much() && !self.look.poll(cx, || !count.is_too_much()) {
            count.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.look.rest();
        Poll::Ready(())
    }

    /// As [`AsyncRead::poll_read`] of `stream`, once there is room.
    pub(crate) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_room(cx));
        let Self { scan, is_in_trailers, untaken, .. } = self;
        let Some(mut count) = untaken.lock() else { return stream.poll_read(cx, buf) };
        let mut come = 0;
        let most = scan.left() + AHEAD;
        let read = |cx: &mut Context<'_>, buf: &mut ReadBuf<'_>| poll_read_up_to(most, stream, cx, buf);
        let judge = |bytes: &[u8]| {
            let mut trailers = 0;
            scan.pass(bytes, |frame| {
                come += usize::from(is_taken(frame));
                trailers += Self::trailers_of(is_in_trailers, frame);
            });
            of_trailers(trailers, MAX_ANSWER_HEAD as u32)
        };
        let read = count.trailers.poll_read(cx, buf, read, judge);
        drop(count);
        if come > 0 {
            untaken.set(|frames| frames + come);
        }
        read
    }
}

/// Whether somebody is given what is in a frame: nobody is where there is nothing, and nobody knows of one that is padded.
fn is_taken(frame: FrameStart) -> bool {
    frame.kind == DATA && frame.length > 0 && !frame.is_padded
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::super::frames::CONTINUATION;
    use super::*;
    use crate::budget::Budgets;

    /// A connection whose frames are taken one by one.
    struct Gated<'a>(&'a [u8], AnswerFrames);

    impl AsyncRead for Gated<'_> {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Self(bytes, frames) = self.get_mut();
            frames.poll_read(Pin::new(bytes), cx, buf)
        }
    }

    #[tokio::test]
    async fn no_more_is_read_while_many_frames_wait_and_memory_is_short_and_large_ones_come_as_they_are() {
        let small = [0, 0, 1, DATA, 0, 0, 0, 0, 1, b'x'].repeat(10_000);
        let budget = Budgets::new(None, Some(1 << 20)).backlogs;
        let untaken = UntakenFrames::new(&budget);
        let mut gated = Gated(&small, AnswerFrames::new(untaken.clone()));
        let mut space = vec![0; 64 * 1024];
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = |gated: &mut Gated<'_>, space: &mut [u8]| {
            let mut buf = ReadBuf::new(space);
            Pin::new(gated).poll_read(&mut cx, &mut buf).map(|read| read.map(|()| buf.filled().len()).unwrap())
        };
        let mut read = 0;
        while let Poll::Ready(more) = poll(&mut gated, &mut space) {
            read += more;
        }
        assert!(budget.is_under_pressure() && budget.held() < 768 << 10, "{}", budget.held());
        let frames = read / 10;
        assert!((1000..2000).contains(&frames), "{frames}");
        (0..frames - 10).for_each(|_| untaken.remove());
        assert!(budget.held() == 0 && poll(&mut gated, &mut space).is_ready());
        // Others have all of it.
        let mut others = budget.reservation();
        others.set(1 << 20);
        while poll(&mut gated, &mut space).is_ready() {}
        let most = max_answer_parts(budget.limit());
        assert!(
            (most..most + 2 * AHEAD / 10).contains(&untaken.lock().unwrap().frames),
            "{}",
            untaken.lock().unwrap().frames
        );
        untaken.clear();
        let large = [&[0, 0x40, 0, DATA, 0, 0, 0, 0, 1][..], &[0; 16 * 1024]].concat().repeat(3);
        let mut gated = Gated(&large, AnswerFrames::new(untaken));
        let mut lengths = Vec::new();
        while let Ok(read @ 1..) = gated.read(&mut space).await {
            lengths.push(read);
        }
        assert_eq!(lengths.iter().sum::<usize>(), large.len());
        assert!(lengths.len() <= 4, "{lengths:?}");
    }

    #[tokio::test]
    async fn trailers_count_where_they_are_long_and_heads_do_not_until_they_are_taken() {
        let frame = |kind, flags, length: u16| {
            let [high, low] = length.to_be_bytes();
            [&[0, high, low, kind, flags, 0, 0, 0, 1][..], &vec![0x82; usize::from(length)]].concat()
        };
        let of = |bytes| of_trailers(bytes, MAX_ANSWER_HEAD as u32);
        let (head, ends, continues) = (4, 5, 1);
        let answers = [
            (vec![frame(HEADERS, head, 100), frame(HEADERS, head, 8000), frame(DATA, 0, 100)], 0),
            (vec![frame(HEADERS, head, 10), frame(DATA, 0, 10), frame(HEADERS, ends, FREE_H2C_TRAILERS as u16)], 0),
            (vec![frame(HEADERS, head, 10), frame(DATA, 0, 10), frame(HEADERS, ends, 2000)], of(2000)),
            (
                vec![frame(HEADERS, head, 10), frame(HEADERS, continues, 1000), frame(CONTINUATION, head, 1000)],
                of(2000),
            ),
            (vec![frame(HEADERS, head, 10), frame(HEADERS, ends, 16_000)], of(16_000)),
        ];
        for (frames, counted) in answers {
            let budget = Budgets::new(None, Some(16 << 20)).backlogs;
            let untaken = UntakenFrames::new(&budget);
            let bytes = frames.concat();
            let mut read = Vec::new();
            Gated(&bytes, AnswerFrames::new(untaken.clone())).read_to_end(&mut read).await.unwrap();
            assert!(read == bytes && budget.held() == counted, "{} and not {counted}", budget.held());
            assert_eq!((untaken.take_trailer_room(), budget.held()), (counted, 0));
        }
    }

    #[test]
    fn what_is_given_to_nobody_does_not_count() {
        let frame = |length, is_padded| FrameStart {
            kind: DATA,
            length,
            continues: true,
            ends_stream: false,
            is_padded,
            is_settings_ack: false,
        };
        assert!(is_taken(frame(1, false)) && !is_taken(frame(0, false)) && !is_taken(frame(10, true)));
    }
}
