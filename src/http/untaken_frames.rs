//! DATA frames of an app's answer that have come over HTTP/2 and that nobody has taken.
//!
//! h2 has a slot for each beside its bytes, however few these are, and keeps the slots as long as the connection is there. An app may fill its
//! window with frames of one byte: so nothing more is read of it while many of them wait.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::body_part::poll_read_up_to;
use super::frames::{DATA, FrameScan};
use super::stream_memory::max_answer_parts;

/// How far beyond the frame that is under way is read at a time where memory is limited, in bytes: each frame has a header of nine.
const AHEAD: usize = 1024;

/// The same where it is not.
const AHEAD_UNLIMITED: usize = 16 * 1024;

/// How many frames of one answer wait, between whoever reads them and whoever takes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct UntakenFrames(Arc<Mutex<FrameCount>>);

#[derive(Debug, Default)]
struct FrameCount {
    frames: usize,
    /// Waits until there are fewer.
    reader: Option<Waker>,
}

impl UntakenFrames {
    fn lock(&self) -> MutexGuard<'_, FrameCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once fewer than `most` wait.
    fn poll_room(&self, cx: &Context<'_>, most: usize) -> Poll<()> {
        let mut count = self.lock();
        if count.frames < most {
            return Poll::Ready(());
        }
        count.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn set(&self, frames: impl FnOnce(usize) -> usize) {
        let mut count = self.lock();
        count.frames = frames(count.frames);
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
    }
}

/// Reads what an app sends by HTTP/2 no faster than its frames are taken.
#[derive(Debug)]
pub(crate) struct AnswerFrames {
    scan: FrameScan,
    untaken: UntakenFrames,
    most: usize,
    ahead: usize,
}

impl AnswerFrames {
    /// In front of the first frame, where all connections together hold `limit`.
    pub(crate) fn new(untaken: UntakenFrames, limit: Option<usize>) -> Self {
        let ahead = if limit.is_some() { AHEAD } else { AHEAD_UNLIMITED };
        Self { scan: FrameScan::of_server(), untaken, most: max_answer_parts(limit), ahead }
    }

    /// As [`AsyncRead::poll_read`] of `stream`, once there is room.
    pub(crate) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.untaken.poll_room(cx, self.most));
        let before = buf.filled().len();
        ready!(poll_read_up_to(self.scan.left() + self.ahead, stream, cx, buf))?;
        let mut come = 0;
        // One that is empty is given to nobody.
        self.scan.pass(&buf.filled()[before..], |frame| come += usize::from(frame.kind == DATA && frame.length > 0));
        if come > 0 {
            self.untaken.set(|frames| frames + come);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// A connection whose frames are taken one by one.
    struct Gated<'a>(&'a [u8], AnswerFrames);

    impl AsyncRead for Gated<'_> {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Self(bytes, frames) = self.get_mut();
            frames.poll_read(Pin::new(bytes), cx, buf)
        }
    }

    #[tokio::test]
    async fn no_more_is_read_while_many_frames_wait_however_small_they_are_and_large_ones_come_as_they_are() {
        let small = [0, 0, 1, DATA, 0, 0, 0, 0, 1, b'x'].repeat(10_000);
        let untaken = UntakenFrames::default();
        let mut gated = Gated(&small, AnswerFrames::new(untaken.clone(), Some(1 << 20)));
        let (most, mut read) = (max_answer_parts(Some(1 << 20)), 0);
        let mut space = vec![0; 64 * 1024];
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = |gated: &mut Gated<'_>, space: &mut [u8]| {
            let mut buf = ReadBuf::new(space);
            Pin::new(gated).poll_read(&mut cx, &mut buf).map(|read| read.map(|()| buf.filled().len()).unwrap())
        };
        while let Poll::Ready(more) = poll(&mut gated, &mut space) {
            read += more;
        }
        assert!((10 * most..10 * most + 2 * AHEAD).contains(&read), "{read}");
        for _ in 0..read / 10 {
            assert!(untaken.lock().frames > 0);
            untaken.remove();
        }
        assert!(poll(&mut gated, &mut space).is_ready());
        untaken.clear();
        let large = [&[0, 0x40, 0, DATA, 0, 0, 0, 0, 1][..], &[0; 16 * 1024]].concat().repeat(3);
        let mut gated = Gated(&large, AnswerFrames::new(untaken, Some(1 << 20)));
        let mut lengths = Vec::new();
        while let Ok(read @ 1..) = gated.read(&mut space).await {
            lengths.push(read);
        }
        assert_eq!(lengths.iter().sum::<usize>(), large.len());
        assert!(lengths.len() <= 4, "{lengths:?}");
    }
}
