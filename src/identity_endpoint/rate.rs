//! How often something may be done: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many a second, and some more at once after a pause.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    burst: f64,
    state: Mutex<RateState>,
}

#[derive(Debug)]
struct RateState {
    left: f64,
    /// When that was so.
    at: Instant,
}

impl RateLimit {
    /// A full bucket.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        Self { per_second, burst, state: Mutex::new(RateState { left: burst, at: now }) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        // Two numbers cannot be left half-written.
        let mut bucket = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let came = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        bucket.left = (bucket.left + came).min(self.burst);
        bucket.at = bucket.at.max(now);
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_so_many_a_second_and_who_has_to_wait_is_told_how_long() {
        let start = Instant::now();
        let limit = RateLimit::new(10, 50, start);
        let taken = |at: Instant| (0..1000).filter(|_| limit.take(at).is_ok()).count();
        assert_eq!(taken(start), 50);
        let wait = limit.take(start).unwrap_err();
        assert!(wait <= Duration::from_millis(100) && wait > Duration::from_millis(90), "{wait:?}");
        assert_eq!(taken(start + Duration::from_millis(1001)), 10);
        assert_eq!(taken(start), 0, "a clock that went back gives nothing");
        assert_eq!(taken(start + Duration::from_secs(3600)), 50, "no more than a burst is kept");
    }
}
