//! When a connection is over, whatever it does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::{Sleep, sleep_until};

use crate::inbound::AuthorizedClient;
use crate::telemetry::CloseReason;

/// When a connection is over, whatever it does. Never where no end is set, and then it costs no timer.
#[derive(Debug)]
pub(super) struct Deadline(Option<(Pin<Box<Sleep>>, CloseReason)>);

impl Deadline {
    /// The end of the validity of the client's certificate, or of the longest life, whichever is first.
    pub(super) fn first_of(authorization: Option<&AuthorizedClient>, max_age: Option<Duration>) -> Self {
        let holder = authorization.and_then(|authorization| authorization.client.certificate());
        let expiry = holder.map(|holder| (until(holder.not_after), CloseReason::PeerExpired));
        let too_old = max_age.map(|limit| (tokio::time::Instant::now() + limit, CloseReason::MaxAge));
        let first = expiry.into_iter().chain(too_old).min_by_key(|(at, _)| *at);
        Self(first.map(|(at, reason)| (Box::pin(sleep_until(at)), reason)))
    }
}

impl Future for Deadline {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        match &mut self.0 {
            Some((timer, reason)) => timer.as_mut().poll(cx).map(|()| *reason),
            None => Poll::Pending,
        }
    }
}

/// When the wall clock will show `time`.
fn until(time: SystemTime) -> tokio::time::Instant {
    tokio::time::Instant::now() + time.duration_since(SystemTime::now()).unwrap_or_default()
}
