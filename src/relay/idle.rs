//! Notices that a connection is silent.
//!
//! No clock is read on the path of the bytes: bytes set a flag, and a timer that finds the flag set starts again. A
//! silence is therefore noticed after one to two times its limit.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Whose byte was the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastSender {
    Nobody,
    Client,
    App,
}

/// The silence of one connection. Costs a pointer and three bytes while nobody asks.
#[derive(Debug)]
pub(crate) struct IdleTimer {
    moved: bool,
    last: LastSender,
    /// Bytes were on their way when it was polled last.
    kept: bool,
    watch: Option<Box<SilenceWatch>>,
}

#[derive(Debug)]
struct SilenceWatch {
    limit: Duration,
    /// A silence in which somebody waits does not count: the client for its answer, or we for the first word.
    answered: bool,
    /// Limits that have passed without a first word.
    limits_before_first_byte: u32,
    /// What had been delivered when the last limit passed.
    delivered: u64,
    timer: Pin<Box<Sleep>>,
}

/// A client that connects is about to ask for something; to close then would lose a request that a router cannot send
/// again. One that has said nothing for this many limits has nothing to say.
const LIMITS_BEFORE_FIRST_BYTE: u32 = 20;

impl Default for IdleTimer {
    fn default() -> Self {
        Self { moved: false, last: LastSender::Nobody, kept: false, watch: None }
    }
}

impl IdleTimer {
    pub(crate) fn on_client_data(&mut self) {
        self.moved = true;
        self.last = LastSender::Client;
    }

    pub(crate) fn on_app_data(&mut self) {
        self.moved = true;
        self.last = LastSender::App;
    }

    /// Bytes that were sent before are on their way still.
    pub(crate) fn on_delivery(&mut self) {
        self.moved = true;
    }

    /// Whether nothing was said yet.
    pub(crate) fn is_before_first_byte(&self) -> bool {
        self.last == LastSender::Nobody
    }

    /// Whether the last word was the client's, which then waits for an answer.
    pub(crate) fn client_waits(&self) -> bool {
        self.last == LastSender::Client
    }

    /// From now on a silence of `limit` is reported.
    pub(crate) fn set_timeout(&mut self, limit: Duration) {
        self.watch(limit, false);
    }

    /// From now on a silence of `limit` is reported, unless the client had the last word, or has just come, or an answer is
    /// under way.
    pub(crate) fn set_drain_idle_timeout(&mut self, limit: Duration) {
        self.watch(limit, true);
    }

    /// Whether silence as such is limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.answered)
    }

    fn watch(&mut self, limit: Duration, answered: bool) {
        self.moved = false;
        self.watch = Some(Box::new(SilenceWatch {
            limit,
            answered,
            limits_before_first_byte: 0,
            delivered: 0,
            timer: Box::pin(tokio::time::sleep(limit)),
        }));
    }

    /// Ready once the silence has lasted. It has not as long as bytes are `on_their_way` and what is `delivered` changes, which is
    /// asked when a limit has passed; and where silence within an exchange does not count, as long as any are on their way, or an
    /// answer is `under_way`.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        on_their_way: bool,
        delivered: impl Fn() -> u64,
        under_way: bool,
    ) -> Poll<()> {
        // Whoever has just taken the last of what was kept is not silent, though nobody has said anything.
        self.moved |= std::mem::replace(&mut self.kept, on_their_way) && !on_their_way;
        let Some(watch) = &mut self.watch else { return Poll::Pending };
        loop {
            ready!(watch.timer.as_mut().poll(cx));
            watch.limits_before_first_byte += 1;
            let somebody_waits = match self.last {
                LastSender::Nobody => watch.limits_before_first_byte < LIMITS_BEFORE_FIRST_BYTE,
                LastSender::Client => true,
                LastSender::App => false,
            };
            let excused = watch.answered && (somebody_waits || under_way);
            let delivered = if on_their_way && !watch.answered { delivered() } else { watch.delivered };
            let moves_on = on_their_way && (watch.answered || delivered != watch.delivered);
            if !self.moved && !excused && !moves_on {
                return Poll::Ready(());
            }
            watch.delivered = delivered;
            self.moved = false;
            watch.timer.as_mut().reset(Instant::now() + watch.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_begins_when_the_last_of_what_was_kept_is_taken() {
        const LIMIT: Duration = Duration::from_secs(10);
        let mut idle = IdleTimer::default();
        idle.on_app_data();
        idle.set_timeout(LIMIT);
        let mut is_idle = |kept| idle.poll(&mut Context::from_waker(Waker::noop()), kept, || 0, false).is_ready();
        assert!(!is_idle(true));
        advance(LIMIT - Duration::from_secs(1)).await;
        assert!(!is_idle(false), "the rest is taken");
        advance(Duration::from_secs(2)).await;
        assert!(!is_idle(false), "it was taken two seconds ago");
        advance(2 * LIMIT).await;
        assert!(is_idle(false), "nothing has moved since");
    }
}
