//! Waiting for a moment of the wall clock, which may be set meanwhile, or go on while the machine is suspended.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep, sleep};

/// The clock is looked at this often: a step of it is noticed after so long at the latest.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Ready once the wall clock shows a certain time or a later one.
#[derive(Debug)]
pub(crate) struct WallClockTimer {
    at: SystemTime,
    clock: fn() -> SystemTime,
    /// Until the clock is looked at again.
    timer: Pin<Box<Sleep>>,
}

impl WallClockTimer {
    /// Ready at this time.
    pub(crate) fn at(at: SystemTime) -> Self {
        Self::with_clock(SystemTime::now, at)
    }

    fn with_clock(clock: fn() -> SystemTime, at: SystemTime) -> Self {
        Self { at, clock, timer: Box::pin(sleep(pause(clock, at))) }
    }
}

/// Until the clock is to be looked at.
fn pause(clock: fn() -> SystemTime, at: SystemTime) -> Duration {
    at.duration_since(clock()).unwrap_or_default().min(CHECK_INTERVAL)
}

impl Future for WallClockTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { at, clock, timer } = self.get_mut();
        loop {
            ready!(timer.as_mut().poll(cx));
            match pause(*clock, *at) {
                Duration::ZERO => return Poll::Ready(()),
                pause => timer.as_mut().reset(Instant::now() + pause),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Mutex;

    use tokio::time::{advance, timeout};

    static CLOCK: Mutex<SystemTime> = Mutex::new(SystemTime::UNIX_EPOCH);

    fn set(time: SystemTime) {
        *CLOCK.lock().unwrap() = time;
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_within_a_minute_whichever_way() {
        const HOUR: Duration = Duration::from_secs(3600);
        let noon = SystemTime::UNIX_EPOCH + 12 * HOUR;
        set(noon);
        let mut timer = WallClockTimer::with_clock(|| *CLOCK.lock().unwrap(), noon + 2 * HOUR);
        // Set back by as much as passes.
        assert!(timeout(3 * HOUR, &mut timer).await.is_err(), "it is noon");
        set(noon + HOUR);
        assert!(timeout(2 * CHECK_INTERVAL, &mut timer).await.is_err(), "an hour is left");
        set(noon + 3 * HOUR);
        timeout(CHECK_INTERVAL, &mut timer).await.unwrap();
        // What is over when it begins.
        timeout(Duration::ZERO, WallClockTimer::with_clock(|| *CLOCK.lock().unwrap(), noon)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_goes_as_it_should_is_waited_for_to_the_moment() {
        let at = SystemTime::now() + Duration::from_millis(5);
        let timer = WallClockTimer::at(at);
        advance(Duration::from_millis(1)).await;
        timer.await;
        assert!(SystemTime::now() >= at);
    }
}
