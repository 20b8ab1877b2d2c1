//! Looks after a connection that keeps something for a side that does not take it, or waits for the rest of a record.
//!
//! Nothing tells of such a connection: it is not read from, or what comes is never enough. Most of them go on by themselves, and
//! are left alone as long as there is memory. When it is short, those that have been stuck for some seconds make room for others.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::end::{RelayEnd, STUCK, delivered_to};
use crate::budget::MemoryBudget;
use crate::io::{ClientSocket, Transferred};

/// How often such a connection is looked after.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What a client has to take between two looks, in bytes: one that takes drops holds as much memory as one that takes nothing.
const MIN_DOWN: u64 = 4 * 1024;

/// Detects that what a connection holds for a side makes no progress.
#[derive(Debug)]
pub(crate) struct BacklogWatch {
    timer: Pin<Box<Sleep>>,
    up: BytesMoved,
    down: BytesMoved,
}

/// Of one direction.
#[derive(Debug)]
struct BytesMoved {
    delivered: u64,
    looks: u8,
}

impl BacklogWatch {
    pub(crate) fn new(transferred: Transferred) -> Self {
        let progress = |delivered| BytesMoved { delivered, looks: 0 };
        Self { timer: Box::pin(sleep(CHECK_INTERVAL)), up: progress(transferred.up), down: progress(transferred.down) }
    }

    /// Ready once a second.
    pub(crate) fn poll_check(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx).map(|()| self.timer.as_mut().reset(Instant::now() + CHECK_INTERVAL))
    }

    /// Looks after a relay, now and then, that has carried `transferred` and keeps something of a direction or of both: a client that resets
    /// while its upload is blocked is not read from, so nothing tells; and a connection that is stuck may have to go while the memory of
    /// `budget` is short, where one is given.
    pub(super) fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        client: &impl ClientSocket,
        transferred: Transferred,
        is_upload_blocked: bool,
        (keeps_up, keeps_down): (bool, bool),
        budget: Option<&MemoryBudget>,
    ) -> Poll<RelayEnd> {
        while self.poll_check(cx).is_ready() {
            if is_upload_blocked && client.is_reset() {
                return Poll::Ready(RelayEnd::ClientReset);
            }
            let down = delivered_to(client, transferred.down, keeps_down);
            let is_stuck = self.is_stuck(Transferred { down, ..transferred }, keeps_up, keeps_down);
            if is_stuck && budget.is_some_and(MemoryBudget::is_under_pressure) {
                return Poll::Ready(RelayEnd::BacklogEvicted);
            }
        }
        Poll::Pending
    }

    /// Whether what is kept has been the same for [`STUCK`] looks, of which this is one. Bytes to the app count when they are carried,
    /// and bytes to the client when it takes them: a record that comes in drops keeps its memory all the same.
    pub(crate) fn is_stuck(&mut self, delivered: Transferred, keeps_up: bool, keeps_down: bool) -> bool {
        let up = self.up.stands_still(delivered.up, keeps_up, 1);
        let down = self.down.stands_still(delivered.down, keeps_down, MIN_DOWN);
        up || down
    }
}

impl BytesMoved {
    /// Fewer than `least` bytes since the last look are none.
    fn stands_still(&mut self, delivered: u64, keeps: bool, least: u64) -> bool {
        let moved = delivered.wrapping_sub(self.delivered);
        self.looks = if keeps && moved < least { (self.looks + 1).min(STUCK) } else { 0 };
        self.delivered = delivered;
        self.looks == STUCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_direction_that_keeps_something_and_carries_nothing_is_stuck_after_five_looks() {
        let mut stall = BacklogWatch::new(Transferred::default());
        let mut look = |up, down, keeps_up, keeps_down| stall.is_stuck(Transferred { up, down }, keeps_up, keeps_down);
        assert!((1..STUCK).all(|at| !look(u64::from(at), 0, true, true)));
        assert!(look(7, 0, true, true), "nothing has gone down");
        assert!(look(8, 0, true, true));
        assert!(look(8, MIN_DOWN - 1, true, true), "drops");
        assert!(!look(8, 2 * MIN_DOWN, true, true));
        assert!(!look(8, 2 * MIN_DOWN, false, false));
        assert!((1..STUCK).all(|_| !look(8, 2 * MIN_DOWN, true, false)));
        assert!(look(8, 2 * MIN_DOWN, true, false));
    }
}
