//! Keeps a flood of refused clients from flooding the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use strum::EnumCount;

use crate::telemetry::CloseReason;

/// Lines of one kind in one [`WINDOW`]; the next line behind a flood says how many were left out.
const LINES: u32 = 20;

const WINDOW: Duration = Duration::from_secs(1);

/// Of failed attempts the first in so long a time is written.
const FAILED_WINDOW: Duration = Duration::from_secs(3600);

/// Lets some inbound entries of each kind through. What is counted is not affected.
#[derive(Debug, Default)]
pub(super) struct Limiter(LineLimiter<KINDS>);

/// Lets some lines of each of so many kinds through.
#[derive(Debug)]
pub(super) struct LineLimiter<const N: usize>([Mutex<LineCount>; N]);

const KINDS: usize = 2 * CloseReason::COUNT + 1;

/// The entries that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A client that was turned away, for this reason.
    Refused(CloseReason),
    /// A client that failed for this reason, as scanners do.
    Failed(CloseReason),
    /// A client that audit mode has let in.
    Audited,
}

#[derive(Debug, Default)]
struct LineCount {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl<const N: usize> Default for LineLimiter<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl<const N: usize> LineLimiter<N> {
    /// Whether a line of the kind `kind` may be written at `now`, and how many were left out before it; `None`: it may not.
    pub(super) fn admit(&self, kind: usize, now: Instant) -> Option<u64> {
        self.admit_within(kind, (LINES, WINDOW), now)
    }

    /// The same, of at most so many lines in so long a time.
    fn admit_within(&self, kind: usize, (most, window): (u32, Duration), now: Instant) -> Option<u64> {
        // Counts cannot be left half-written.
        let mut lines = self.0.get(kind)?.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.since.is_none_or(|since| now.duration_since(since) >= window) {
            lines.since = Some(now);
            lines.written = 0;
        }
        if lines.written == most {
            lines.left_out += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.left_out))
    }
}

impl Limiter {
    /// Whether an entry of this `kind` may be written at `now`, and how many were left out before it; `None`: it may not.
    pub(super) fn admit(&self, kind: EntryKind, now: Instant) -> Option<u64> {
        let place = match kind {
            EntryKind::Refused(reason) => reason as usize,
            EntryKind::Failed(reason) => CloseReason::COUNT + reason as usize,
            EntryKind::Audited => KINDS - 1,
        };
        match kind {
            EntryKind::Failed(_) => self.0.admit_within(place, (1, FAILED_WINDOW), now),
            EntryKind::Refused(_) | EntryKind::Audited => self.0.admit(place, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_some_lines_and_the_number_of_the_others() {
        const DENIED: EntryKind = EntryKind::Refused(CloseReason::Denied);
        let limiter = Limiter::default();
        let now = Instant::now();
        let written = (0..500).filter(|_| limiter.admit(DENIED, now).is_some()).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(
            limiter.admit(EntryKind::Refused(CloseReason::Overloaded), now),
            Some(0),
            "another reason has lines of its own"
        );
        assert_eq!(limiter.admit(EntryKind::Audited, now), Some(0), "and so has audit mode");
        let failed = EntryKind::Failed(CloseReason::Denied);
        assert_eq!((limiter.admit(failed, now), limiter.admit(failed, now + WINDOW)), (Some(0), None));
        assert_eq!(limiter.admit(failed, now + FAILED_WINDOW), Some(1));
        assert_eq!(limiter.admit(DENIED, now + WINDOW), Some(500 - u64::from(LINES)));
        assert_eq!(limiter.admit(DENIED, now + WINDOW), Some(0));
    }
}
