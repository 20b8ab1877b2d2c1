//! The room for the trailers of answers: whoever reads them keeps them until the client has taken the body in front of them.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use crate::budget::{AwaitedRoom, MemoryBudget};

/// That of the answer which is under way on one connection.
#[derive(Debug)]
pub(super) struct TrailerRoom {
    room: AwaitedRoom,
    /// Bytes that count for nothing.
    free: usize,
    /// What the trailers take that have come, in bytes.
    taken: usize,
    /// What was read and waits until there is room for what it becomes.
    withheld: Vec<u8>,
    /// There is: it goes as it is asked for.
    is_granted: bool,
}

impl TrailerRoom {
    /// None of `budget` yet. What trailers take counts where it is more than `free` bytes.
    pub(super) fn of(budget: &Arc<MemoryBudget>, free: usize) -> Self {
        Self { room: AwaitedRoom::of(budget), free, taken: 0, withheld: Vec::new(), is_granted: false }
    }

    /// Another answer begins, or the last one is over. What was read and not handed on by then is still there for whoever reads on.
    pub(super) fn release(&mut self) {
        self.taken = 0;
        self.room.release();
    }

    /// Whether something was read that was not handed on.
    pub(super) fn is_withholding(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// Whether there is room that they hold.
    pub(super) fn is_held(&self) -> bool {
        self.room.reservation.bytes() > 0
    }

    /// The trailers go to somebody else: what they have had of the room, which is given back by this.
    pub(super) fn take(&mut self) -> usize {
        let had = self.room.reservation.bytes();
        self.release();
        had
    }

    /// Reads by `read`. What has come of trailers with that, which take so many bytes as `judge` says, is handed on once there is room for it, and
    /// what came in front of it in the same read.
    ///
    /// # Errors
    /// There was no room for too long ([`io::ErrorKind::OutOfMemory`]), or as `read`.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        read: impl FnOnce(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
        judge: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<()>> {
        if self.withheld.is_empty() {
            let before = buf.filled().len();
            ready!(read(cx, buf))?;
            let more = judge(&buf.filled()[before..]);
            if more == 0 {
                return Poll::Ready(Ok(()));
            }
            self.taken += more;
            if self.taken <= self.free {
                return Poll::Ready(Ok(()));
            }
            self.withheld = buf.filled()[before..].to_vec();
            self.is_granted = false;
            buf.set_filled(before);
            // It is there already.
            let reservation = &mut self.room.reservation;
            reservation.set(reservation.bytes() + self.withheld.len());
        }
        if !self.is_granted {
            let room = self.taken + self.withheld.len();
            ready!(self.room.poll_reserve_within(
                cx,
                room,
                "memory is short, and the trailers of the answer are long"
            ))?;
            self.is_granted = true;
        }
        let handed = self.withheld.len().min(buf.remaining());
        buf.put_slice(&self.withheld[..handed]);
        match handed == self.withheld.len() {
            true => self.withheld = Vec::new(),
            false => drop(self.withheld.drain(..handed)),
        }
        self.room.reservation.set(self.taken + self.withheld.len());
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::budget::Budgets;
    use crate::budget::ROOM_TIMEOUT;

    const FREE: usize = 1000;

    /// What is read of `bytes`, all of them at once, which take so much room, in parts of `size`.
    async fn read(room: &mut TrailerRoom, bytes: &[u8], takes: usize, size: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut left) = (Vec::new(), bytes);
        let mut space = vec![0; bytes.len()];
        while all.len() < bytes.len() {
            let end = if left.is_empty() { size } else { bytes.len() };
            let mut buf = ReadBuf::new(&mut space[..end]);
            poll_fn(|cx| {
                let source = &mut left;
                let read = |_: &mut Context<'_>, buf: &mut ReadBuf<'_>| {
                    buf.put_slice(std::mem::take(source));
                    Poll::Ready(Ok(()))
                };
                room.poll_read(cx, &mut buf, read, |_| takes)
            })
            .await?;
            all.extend_from_slice(buf.filled());
        }
        Ok(all)
    }

    #[tokio::test(start_paused = true)]
    async fn short_trailers_count_for_nothing_and_long_ones_until_they_are_taken() {
        let budget = Budgets::new(None, Some(100_000)).backlogs;
        let mut room = TrailerRoom::of(&budget, FREE);
        assert_eq!(read(&mut room, b"data", 0, 1).await.unwrap(), b"data");
        assert_eq!(read(&mut room, b"short", FREE, 1).await.unwrap(), b"short");
        assert_eq!(budget.held(), 0);
        // All that have come count, the first ones too.
        assert_eq!(read(&mut room, b"long", 5000, 1).await.unwrap(), b"long");
        assert_eq!(budget.held(), FREE + 5000);
        assert_eq!((room.take(), budget.held()), (FREE + 5000, 0));
        assert_eq!(read(&mut room, b"next", FREE, 1).await.unwrap(), b"next");
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_waits_with_what_it_came_with_and_is_given_up_after_seconds() {
        let budget = Budgets::new(None, Some(100_000)).backlogs;
        let mut others = budget.reservation();
        others.set(140_000);
        let mut rooms = [TrailerRoom::of(&budget, FREE), TrailerRoom::of(&budget, FREE)];
        let [first, second] = &mut rooms;
        let began = Instant::now();
        let given_up = read(first, &[7; 300], 20_000, 300).await.unwrap_err();
        assert_eq!(given_up.kind(), io::ErrorKind::OutOfMemory);
        assert!(began.elapsed() >= ROOM_TIMEOUT);
        assert_eq!(budget.held(), 140_300, "what was read is there");
        assert!(first.is_withholding());
        first.release();
        let leaves = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            others.set(0);
        };
        let (read, ()) = tokio::join!(read(second, &[7; 300], 20_000, 7), leaves);
        assert_eq!(read.unwrap(), [7; 300], "in parts as large as they are asked for");
        assert!(budget.held() == 20_000 && !second.is_withholding());
        drop(rooms);
        assert_eq!(budget.held(), 0);
    }
}
