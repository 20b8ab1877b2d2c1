//! When a connection has to end, whatever it does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::{Sleep, sleep};

use crate::sys::wall_clock::WallClockTimer;
use crate::telemetry::CloseReason;

/// When a connection is over, whatever it does: each end that is set, once. Never where none is, and then it costs no timer.
#[derive(Debug)]
pub(super) struct Deadline(Option<Box<DeadlineTimers>>);

/// Of which at least one is there.
#[derive(Debug)]
struct DeadlineTimers {
    /// The end of the validity of the client's certificate.
    expiry: Option<WallClockTimer>,
    /// The end of the longest life.
    max_age: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The end of the validity of the client's certificate, or of the longest life, whichever is first.
    pub(super) fn first_of(not_after: Option<SystemTime>, max_age: Option<Duration>) -> Self {
        let expiry = not_after.map(WallClockTimer::at);
        let max_age = max_age.map(|limit| Box::pin(sleep(limit)));
        Self((expiry.is_some() || max_age.is_some()).then(|| Box::new(DeadlineTimers { expiry, max_age })))
    }
}

impl Future for Deadline {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let Some(DeadlineTimers { expiry, max_age }) = self.0.as_deref_mut() else { return Poll::Pending };
        if expiry.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready()) {
            return Poll::Ready(CloseReason::PeerExpired);
        }
        if max_age.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            *max_age = None;
            return Poll::Ready(CloseReason::MaxAge);
        }
        Poll::Pending
    }
}
