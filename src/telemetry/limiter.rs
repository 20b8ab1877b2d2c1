//! Keeps a flood of refused clients from flooding the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use strum::EnumCount;

use crate::telemetry::CloseReason;

/// Lines of one reason in one [`WINDOW`]; the next line behind a flood says how many were left out.
const LINES: u32 = 20;

const WINDOW: Duration = Duration::from_secs(1);

/// Lets some lines of each reason through. What is counted is not affected.
#[derive(Debug)]
pub(super) struct Limiter([Mutex<LineCount>; CloseReason::COUNT]);

#[derive(Debug, Default)]
struct LineCount {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Default for Limiter {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Limiter {
    /// Whether a line about `reason` may be written at `now`, and how many were left out before it; `None`: it may not.
    pub(super) fn admit(&self, reason: CloseReason, now: Instant) -> Option<u64> {
        // Counts cannot be left half-written.
        let mut lines = self.0[reason as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if lines.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            lines.since = Some(now);
            lines.written = 0;
        }
        if lines.written == LINES {
            lines.left_out += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_some_lines_and_the_number_of_the_others() {
        let limiter = Limiter::default();
        let now = Instant::now();
        let written = (0..500).filter(|_| limiter.admit(CloseReason::Denied, now).is_some()).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(limiter.admit(CloseReason::Overloaded, now), Some(0), "another reason has lines of its own");
        assert_eq!(limiter.admit(CloseReason::Denied, now + WINDOW), Some(500 - u64::from(LINES)));
        assert_eq!(limiter.admit(CloseReason::Denied, now + WINDOW), Some(0));
    }
}
