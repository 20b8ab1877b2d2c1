//! The room for heads of answers over HTTP/1.1 as they are read: an app may say tens of kilobytes to hundreds of clients at once.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::body_part::FIRST_PART;
use crate::budget::{AwaitedRoom, BudgetExceeded, MemoryBudget};

/// Bytes of a head for which every connection has room.
pub(crate) const FREE_ANSWER_HEAD: usize = 16 * 1024;

/// A head is held as it came, by its fields, as it is written, and as it is sealed, in buffers that double.
const COPIES: usize = 5;

/// Once it was sent there is the buffer that it was read into, whose rest is read into on.
const COPIES_ONCE_SENT: usize = 2;

/// One whose body goes out by a stream of HTTP/2 leaves buffers behind that are as large as the one that it was read into, as long as the connection to
/// the app is there: one that is read into, and those whose parts are on their way. The stream has room for the first part of each.
const STREAM_BUFFERS: usize = 3;

/// One that is longer than what is free has room for so many bytes at once, with those of the last read: for most are no longer, and whoever waits in the
/// middle of one has the room of others in hand. Those that are longer still have room for all that any may have. They would wait for those who do the
/// same, and all of them may wait for requests whose answers they are: one at a time is given it however little there is.
const STEPS: [usize; 2] = [72 * 1024, 264 * 1024];

/// That of the answers on one connection.
#[derive(Debug)]
pub(super) struct HeadRoom {
    room: AwaitedRoom,
    /// Bytes that have come of a head, while one is read.
    read: Option<usize>,
    /// Bytes of the last one, with what was read with it, as long as something of it is held.
    whole: usize,
}

impl HeadRoom {
    pub(super) fn of(budget: &Arc<MemoryBudget>) -> Self {
        Self { room: AwaitedRoom::of(budget), read: None, whole: 0 }
    }

    /// What is read from now on is a head.
    pub(super) fn begin(&mut self) {
        self.read = Some(0);
        self.release();
    }

    /// It has come whole.
    pub(super) fn end(&mut self) {
        self.whole = self.read.take().unwrap_or_default();
        self.room.reservation.set(COPIES * self.over());
    }

    /// Whether there was one, of which something is held, for which not every connection has room.
    pub(super) fn is_long(&self) -> bool {
        self.over() > 0
    }

    /// Bytes of it beyond those that are free.
    fn over(&self) -> usize {
        self.whole.saturating_sub(FREE_ANSWER_HEAD)
    }

    /// It goes to a stream of HTTP/2, the only one of its connection or a further one, and so does its body. Of what it had, what is left for
    /// its fields.
    ///
    /// # Errors
    /// There is no room for what is left behind.
    pub(super) fn pass_to_stream(&mut self, is_only: bool) -> Result<usize, BudgetExceeded> {
        self.room.settle();
        let reservation = &mut self.room.reservation;
        let had = reservation.bytes();
        let buffers = STREAM_BUFFERS * self.whole.saturating_sub(FIRST_PART);
        // Less is never refused.
        reservation.try_resize_beside_others(buffers, is_only)?;
        Ok(had.saturating_sub(buffers))
    }

    /// It was sent, and something of the body may follow for hours.
    pub(super) fn sent(&mut self) {
        self.room.settle();
        self.room.reservation.set(COPIES_ONCE_SENT * self.over());
    }

    /// Nothing of it is held any more.
    pub(super) fn release(&mut self) {
        self.whole = 0;
        self.room.release();
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
        let step = STEPS.into_iter().find(|step| all <= *step).unwrap_or(all);
        let room = COPIES * (step - FREE_ANSWER_HEAD);
        self.room.poll_reserve(cx, room, "memory is short, and the head of the answer is long")
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::budget::Budgets;
    use crate::budget::ROOM_TIMEOUT;

    #[tokio::test(start_paused = true)]
    async fn a_long_head_waits_for_room_and_is_given_up_where_there_is_none_for_seconds() {
        let room = COPIES * (STEPS[0] - FREE_ANSWER_HEAD);
        let budget = Budgets::new(None, Some(400 * 1024)).backlogs;
        // Somebody goes beyond it already.
        let overdraft = budget.overdraw();
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
        assert!(began.elapsed() >= ROOM_TIMEOUT);
        third.begin();
        third.add(FREE_ANSWER_HEAD);
        first.add(8192);
        first.end();
        assert_eq!(budget.held(), room + COPIES * 8191, "what it takes is known now");
        (0..2).for_each(|_| first.sent());
        assert_eq!(budget.held(), room + COPIES_ONCE_SENT * 8191, "its body may follow for hours");
        first.release();
        first.sent();
        assert_eq!(budget.held(), room);
        second.release();
        poll_fn(|cx| third.poll_room(cx, 8192)).await.unwrap();
        drop((heads, overdraft));
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn where_requests_hold_all_there_is_one_head_at_a_time_is_read_all_the_same() {
        let budget = Budgets::new(None, Some(400 * 1024)).backlogs;
        let mut requests = budget.reservation();
        requests.set(600 * 1024);
        let mut heads = [HeadRoom::of(&budget), HeadRoom::of(&budget)];
        heads.iter_mut().for_each(HeadRoom::begin);
        let [first, second] = &mut heads;
        let began = Instant::now();
        poll_fn(|cx| first.poll_room(cx, 20 * 1024)).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        let waits = async {
            sleep(Duration::from_secs(1)).await;
            first.add(20 * 1024);
            first.end();
            first.sent();
        };
        let (second, ()) = tokio::join!(poll_fn(|cx| second.poll_room(cx, 20 * 1024)), waits);
        second.unwrap();
        assert!((1..2).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_goes_to_a_stream_counts_for_the_buffers_that_it_leaves_behind_and_gives_the_rest_to_its_fields()
     {
        let budget = Budgets::new(None, Some(4 << 20)).backlogs;
        let mut short = HeadRoom::of(&budget);
        short.begin();
        short.add(FIRST_PART);
        short.end();
        assert_eq!((short.pass_to_stream(false), budget.held()), (Ok(0), 0), "the stream has room for it");
        let mut head = HeadRoom::of(&budget);
        head.begin();
        poll_fn(|cx| head.poll_room(cx, 40 * 1024)).await.unwrap();
        head.add(40 * 1024);
        let room = budget.held();
        head.end();
        let had = budget.held();
        assert!(had < room);
        let left = STREAM_BUFFERS * (40 * 1024 - FIRST_PART);
        assert_eq!((head.pass_to_stream(false), budget.held()), (Ok(had - left), left));
        head.release();
        // There are still the buffers of a head for which reading asks nobody.
        let mut spent = budget.reservation();
        spent.set(4 << 20);
        head.begin();
        head.add(16 * 1024);
        head.end();
        assert_eq!(head.pass_to_stream(false), Err(BudgetExceeded));
        assert_eq!(head.pass_to_stream(true), Ok(0));
        assert_eq!(budget.held(), (4 << 20) + STREAM_BUFFERS * (16 * 1024 - FIRST_PART));
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
        assert!(began.elapsed() < ROOM_TIMEOUT);
        assert_eq!(budget.held(), 0);
    }
}
