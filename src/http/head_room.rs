//! The room for heads of answers over HTTP/1.1 as they are read: an app may say tens of kilobytes to hundreds of clients at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::budget::{MemoryBudget, Overdraft, Reservation};

/// Bytes of a head for which every connection has room.
pub(crate) const FREE_ANSWER_HEAD: usize = 16 * 1024;

/// A head is held as it came, by its fields, as it is written, and as it is sealed, in buffers that double.
const COPIES: usize = 5;

/// Once it was sent there is the buffer that it was read into, whose rest is read into on.
const COPIES_ONCE_SENT: usize = 2;

/// One that is longer than that has room for so many bytes at once, with those of the last read, and one that is longer still for all that any may
/// have. Whoever waits for that has the room of the others in hand, and would wait for those who do the same: one of them at a time is given it however
/// little there is.
const LONG: usize = 72 * 1024;
const LONGEST: usize = 264 * 1024;

/// How long one waits for room at most: the app has acted on the request, and whoever takes nothing makes room within five seconds.
pub(crate) const HEAD_ROOM_TIMEOUT: Duration = Duration::from_secs(6);

/// How often it is looked for.
pub(crate) const HEAD_ROOM_INTERVAL: Duration = Duration::from_millis(20);

/// That of the answers on one connection.
#[derive(Debug)]
pub(super) struct HeadRoom {
    reservation: Reservation,
    /// More than there is, until the head was sent.
    overdraft: Option<Overdraft>,
    /// Bytes that have come of a head, while one is read.
    read: Option<usize>,
    /// Bytes of the last one beyond those that are free, as long as something of it is held.
    over: usize,
    /// When to look again, and since when there is none.
    wait: Option<(Pin<Box<Sleep>>, Instant)>,
}

impl HeadRoom {
    pub(super) fn of(budget: &Arc<MemoryBudget>) -> Self {
        Self { reservation: budget.reservation(), overdraft: None, read: None, over: 0, wait: None }
    }

    /// What is read from now on is a head.
    pub(super) fn begin(&mut self) {
        self.read = Some(0);
        self.wait = None;
        self.release();
    }

    /// It has come whole.
    pub(super) fn end(&mut self) {
        self.over = self.read.take().unwrap_or_default().saturating_sub(FREE_ANSWER_HEAD);
        self.reservation.set(COPIES * self.over);
    }

    /// It was sent, and something of the body may follow for hours.
    pub(super) fn sent(&mut self) {
        self.overdraft = None;
        self.reservation.set(COPIES_ONCE_SENT * self.over);
    }

    /// Nothing of it is held any more.
    pub(super) fn release(&mut self) {
        self.over = 0;
        self.overdraft = None;
        self.reservation.set(0);
    }

    /// So many bytes more have come.
    pub(super) fn add(&mut self, bytes: usize) {
        if let Some(read) = &mut self.read {
            *read += bytes;
        }
    }

    /// Ready once `next` bytes may be read.
    ///
    /// # Errors
    /// There was no room for too long ([`io::ErrorKind::OutOfMemory`]).
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, next: usize) -> Poll<io::Result<()>> {
        let Some(all) = self.read.map(|read| read + next).filter(|all| *all > FREE_ANSWER_HEAD) else {
            return Poll::Ready(Ok(()));
        };
        let is_longest = all > LONG;
        let room = COPIES * (if is_longest { LONGEST } else { LONG } - FREE_ANSWER_HEAD);
        loop {
            if self.reservation.bytes() >= room || self.reservation.try_resize_for_first(room).is_ok() {
                self.wait = None;
                return Poll::Ready(Ok(()));
            }
            if is_longest && let Some(overdraft) = self.reservation.budget().overdraw() {
                self.overdraft = Some(overdraft);
                self.reservation.set(room);
                continue;
            }
            let begin = || (Box::pin(sleep(HEAD_ROOM_INTERVAL)), Instant::now());
            let (timer, since) = self.wait.get_or_insert_with(begin);
            if since.elapsed() > HEAD_ROOM_TIMEOUT {
                let why = "memory is short, and the head of the answer is long";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, why)));
            }
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(Instant::now() + HEAD_ROOM_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::budget::Budgets;

    #[tokio::test(start_paused = true)]
    async fn a_long_head_waits_for_room_and_is_given_up_where_there_is_none_for_seconds() {
        let budget = Budgets::new(None, Some(400 * 1024)).backlogs;
        let mut heads = [HeadRoom::of(&budget), HeadRoom::of(&budget), HeadRoom::of(&budget)];
        for head in &mut heads {
            head.begin();
            head.add(FREE_ANSWER_HEAD - 1);
            poll_fn(|cx| head.poll_room(cx, 1)).await.unwrap();
            assert_eq!(budget.held(), 0, "there is room for that in any case");
        }
        let [first, second, third] = &mut heads;
        poll_fn(|cx| first.poll_room(cx, 8192)).await.unwrap();
        poll_fn(|cx| second.poll_room(cx, 8192)).await.unwrap();
        let began = Instant::now();
        let given_up = poll_fn(|cx| third.poll_room(cx, 8192)).await.unwrap_err();
        assert_eq!(given_up.kind(), io::ErrorKind::OutOfMemory);
        assert!(began.elapsed() >= HEAD_ROOM_TIMEOUT);
        third.begin();
        third.add(FREE_ANSWER_HEAD);
        first.add(8192);
        first.end();
        assert_eq!(budget.held(), COPIES * (LONG - FREE_ANSWER_HEAD + 8191), "what it takes is known now");
        (0..2).for_each(|_| first.sent());
        assert_eq!(
            budget.held(),
            COPIES * (LONG - FREE_ANSWER_HEAD) + COPIES_ONCE_SENT * 8191,
            "its body may follow for hours"
        );
        first.release();
        first.sent();
        assert_eq!(budget.held(), COPIES * (LONG - FREE_ANSWER_HEAD));
        second.release();
        poll_fn(|cx| third.poll_room(cx, 8192)).await.unwrap();
        drop(heads);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn heads_that_are_longer_still_are_read_one_after_the_other_where_all_of_them_wait_for_the_room_that_others_have()
     {
        let budget = Budgets::new(None, Some(1 << 20)).backlogs;
        let mut heads: Vec<_> = (0..5).map(|_| HeadRoom::of(&budget)).collect();
        for head in &mut heads {
            head.begin();
            poll_fn(|cx| head.poll_room(cx, 32 * 1024)).await.unwrap();
            head.add(70 * 1024);
        }
        let began = Instant::now();
        for mut head in heads {
            poll_fn(|cx| head.poll_room(cx, 8192)).await.unwrap();
            assert!(budget.held() < 3 << 20, "{}", budget.held());
            head.add(8192);
            head.end();
        }
        assert!(began.elapsed() < HEAD_ROOM_TIMEOUT);
        assert_eq!(budget.held(), 0);
    }
}
