//! Room of a memory budget that is waited for: what an app or a server says is not refused at once where memory is short.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::{MemoryBudget, Overdraft, Reservation};

/// How long one waits for room at most: the app has acted on the request, and whoever takes nothing makes room within five seconds.
pub(crate) const ROOM_TIMEOUT: Duration = Duration::from_secs(6);

/// How often it is looked for.
pub(crate) const ROOM_INTERVAL: Duration = Duration::from_millis(20);

/// A reservation, and the wait for more.
#[derive(Debug)]
pub(crate) struct AwaitedRoom {
    pub(crate) reservation: Reservation,
    /// More than there is, until it is settled.
    overdraft: Option<Overdraft>,
    /// When to look again, and since when there is none.
    wait: Option<(Pin<Box<Sleep>>, Instant)>,
}

impl AwaitedRoom {
    /// None of `budget` yet.
    pub(crate) fn of(budget: &Arc<MemoryBudget>) -> Self {
        Self { reservation: budget.reservation(), overdraft: None, wait: None }
    }

    /// Ready once `room` bytes are reserved in all, as [`Self::poll_reserve_within`]. Those who have a part in hand might wait for each other: one at a
    /// time is given what it needs however little there is, until [`Self::settle`].
    ///
    /// # Errors
    /// There was no room for too long ([`io::ErrorKind::OutOfMemory`]): `why` says for what.
    pub(crate) fn poll_reserve(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        why: &'static str,
    ) -> Poll<io::Result<()>> {
        if !self.has(room)
            && let Some(overdraft) = self.reservation.budget().overdraw()
        {
            self.overdraft = Some(overdraft);
            self.reservation.set(room);
        }
        self.poll_reserve_within(cx, room, why)
    }

    /// Whether `room` bytes are reserved, or there are as many.
    fn has(&mut self, room: usize) -> bool {
        self.reservation.bytes() >= room || self.reservation.try_resize_for_first(room).is_ok()
    }

    /// Ready once `room` bytes are reserved in all, within what there is: for what a client may keep as long as it likes.
    ///
    /// # Errors
    /// There was no room for too long ([`io::ErrorKind::OutOfMemory`]): `why` says for what.
    pub(crate) fn poll_reserve_within(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        why: &'static str,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.has(room) {
                self.wait = None;
                return Poll::Ready(Ok(()));
            }
            let begin = || (Box::pin(sleep(ROOM_INTERVAL)), Instant::now());
            let (timer, since) = self.wait.get_or_insert_with(begin);
            if since.elapsed() > ROOM_TIMEOUT {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, why)));
            }
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(Instant::now() + ROOM_INTERVAL);
        }
    }

    /// What is held from here on, which is `bytes`.
    pub(crate) fn into_reservation(self, bytes: usize) -> Reservation {
        let mut reservation = self.reservation;
        reservation.set(bytes);
        reservation
    }

    /// Whoever waits from here on does so without it.
    pub(crate) fn settle(&mut self) {
        self.overdraft = None;
    }

    /// Nothing is held any more, and nothing is waited for.
    pub(crate) fn release(&mut self) {
        self.overdraft = None;
        self.wait = None;
        self.reservation.set(0);
    }
}
