//! Looking after what nobody wakes us for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How often.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A look once a second, as long as there is reason to. It costs nothing before that.
#[derive(Debug, Default)]
pub(crate) struct PeriodicCheck(Option<Pin<Box<Sleep>>>);

impl PeriodicCheck {
    /// Whether the look that is due, if one is, finds that `has_happened`; the task is woken for the next one.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, has_happened: impl Fn() -> bool) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep(CHECK_INTERVAL)));
        while let Poll::Ready(()) = timer.as_mut().poll(cx) {
            if has_happened() {
                return true;
            }
            timer.as_mut().reset(Instant::now() + CHECK_INTERVAL);
        }
        false
    }

    /// There is no reason to look now. The timer runs on, for there may soon be one again, and goes with its end.
    pub(crate) fn rest(&mut self) {
        self.0.take_if(|timer| timer.is_elapsed());
    }
}
