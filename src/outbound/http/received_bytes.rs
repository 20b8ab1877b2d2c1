//! What has come from one side and is not whole: heads, which hyper keeps, and records.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::body_backlog::{ALWAYS, BacklogCell, BodyBacklog};
use crate::budget::{MemoryBudget, Reservation};
use crate::http::MAX_HEAD;
use crate::io::Transferred;
use crate::relay::{BacklogWatch, NoBacklogProgress};

/// There is no memory left for what the server has sent.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the memory for backlogs is short, and the head of the server's response is too large for what is left; raise the container's memory limit (or --memory-limit), or add instances"
)]
struct NoRoomForHead;

impl BodyBacklog {
    /// From now on what comes from that side is the head of a response, until [`BodyBacklog::end_head`].
    pub(super) fn begin_head(&self) {
        self.set_head(Some(0));
    }

    /// The head has come.
    pub(super) fn end_head(&self) {
        self.set_head(None);
    }

    fn set_head(&self, head: Option<usize>) {
        if let Some(cell) = &self.0 {
            cell.state().head = head;
        }
    }
}

/// What was read from one side, and what of it somebody keeps.
#[derive(Debug)]
pub(super) struct ReceivedBytes {
    read: u64,
    /// What has come and is not whole counts.
    reservation: Reservation,
    /// Looks after that, while there is some.
    watch: Option<BacklogWatch>,
}

impl ReceivedBytes {
    /// Nothing yet; what is kept is of `budget`.
    pub(super) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Self { read: 0, reservation: budget.reservation(), watch: None }
    }

    /// What has come of reading for `backlog`, `read` bytes more: what the other end makes us keep counts, `unread` of it before anybody has
    /// read it, and is not more than there is room for.
    pub(super) fn note_read(
        &mut self,
        cx: &mut Context<'_>,
        backlog: &BacklogCell,
        came: Poll<io::Result<()>>,
        read: usize,
        unread: impl FnOnce() -> usize,
    ) -> Poll<io::Result<()>> {
        self.read += read as u64;
        let mut state = backlog.state();
        let head = state.head.as_mut().map_or(0, |head| {
            *head = (*head + read).min(MAX_HEAD);
            *head
        });
        drop(state);
        // The rest of a record that was read waits for the other side, which goes if it does not take it. One that is not whole waits for this one.
        let held = head + if came.is_pending() { unread() } else { 0 };
        if held <= ALWAYS {
            self.reservation.set(0);
            self.watch = None;
            return came;
        }
        // While memory is short so much is read at a time that a head of usual length is never refused.
        let is_under_pressure = backlog.budget.is_under_pressure();
        if head > ALWAYS && is_under_pressure && self.reservation.try_resize(held).is_err() {
            return Poll::Ready(Err(backlog.evict(NoRoomForHead)));
        }
        self.reservation.set(held);
        if came.is_ready() {
            return came;
        }
        let transferred = Transferred { up: 0, down: self.read };
        let watch = self.watch.get_or_insert_with(|| BacklogWatch::new(transferred));
        while watch.poll_check(cx).is_ready() {
            if watch.is_stuck(transferred, false, true) && backlog.budget.is_under_pressure() {
                return Poll::Ready(Err(backlog.evict(NoBacklogProgress)));
            }
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::backlog::tests::side;
    use crate::budget::Budgets;
    use crate::http::body_part;

    #[tokio::test]
    async fn what_has_come_of_a_head_counts_until_the_head_is_whole() {
        let budget = Budgets::new(None, Some(1 << 20)).backlogs;
        let (mut stream, backlog, mut other) = side(&budget);
        let mut space = [0; 64 * 1024];
        backlog.begin_head();
        other.write_all(&[b'a'; 10_000]).await.unwrap();
        assert_eq!(stream.read(&mut space).await.unwrap(), 10_000);
        assert_eq!(budget.held(), 10_000);
        backlog.end_head();
        other.write_all(b"body").await.unwrap();
        assert_eq!(stream.read(&mut space).await.unwrap(), 4);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn a_head_for_which_there_is_no_memory_ends_its_connection_and_says_so() {
        let budget = Budgets::new(None, Some(64 * 1024)).backlogs;
        let (mut stream, backlog, mut other) = side(&budget);
        let mut others = budget.reservation();
        others.set(40 * 1024);
        backlog.begin_head();
        other.write_all(&[b'a'; 20_000]).await.unwrap();
        let mut space = [0; 64 * 1024];
        // One of usual length has its room.
        for _ in 0..2 {
            assert_eq!(stream.read(&mut space).await.unwrap(), body_part(Some(&budget)));
        }
        assert_eq!(backlog.evicted(), None);
        stream.read(&mut space).await.unwrap_err();
        assert!(backlog.evicted().unwrap().contains("head of the server's response"));
        drop(stream);
        assert_eq!(budget.held(), others.bytes());
    }
}
