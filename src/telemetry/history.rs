//! How the number of connections has gone in the last minutes.
//!
//! No task keeps this up to date: whoever opens or ends a connection, and whoever looks, first makes up for the time that
//! has passed. So an idle process is not woken for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How many buckets are remembered.
pub(crate) const BUCKETS: usize = 60;

/// How long a bucket is.
pub const BUCKET: Duration = Duration::from_secs(5);

/// What happened in one bucket of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Connections that were accepted.
    pub opened: u32,
    /// Clients that were denied.
    pub denied: u32,
    /// The most connections that were there at once.
    pub active: u32,
}

/// The last five minutes.
#[derive(Debug)]
pub(crate) struct History {
    began: Instant,
    kept: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// Each in the place of its number, modulo their number.
    buckets: [Bucket; BUCKETS],
    /// The number of the one that is written to; counts from the beginning.
    number: u64,
    /// Connections that are there now.
    active: u32,
}

impl Default for History {
    fn default() -> Self {
        let kept = Ring { buckets: [Bucket::default(); BUCKETS], number: 0, active: 0 };
        Self { began: Instant::now(), kept: Mutex::new(kept) }
    }
}

impl History {
    pub(crate) fn opened(&self, now: Instant) {
        self.note(now, |bucket, active| {
            *active += 1;
            bucket.opened += 1;
            bucket.active = bucket.active.max(*active);
        });
    }

    pub(crate) fn ended(&self, now: Instant) {
        self.note(now, |_, active| *active = active.saturating_sub(1));
    }

    pub(crate) fn denied(&self, now: Instant) {
        self.note(now, |bucket, _| bucket.denied += 1);
    }

    /// The buckets up to `now`, the oldest first. Those before the beginning are empty.
    pub(crate) fn buckets(&self, now: Instant) -> Vec<Bucket> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.go_to(self.bucket_index(now));
        let oldest = bucket_index(kept.number + 1);
        kept.buckets[oldest..].iter().chain(&kept.buckets[..oldest]).copied().collect()
    }

    fn note(&self, now: Instant, note: impl FnOnce(&mut Bucket, &mut u32)) {
        // Numbers cannot be left half-written.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.go_to(self.bucket_index(now));
        let Ring { buckets, number, active } = &mut *kept;
        note(&mut buckets[bucket_index(*number)], active);
    }

    fn bucket_index(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / BUCKET.as_secs()
    }
}

impl Ring {
    /// Begins the buckets up to `number`. In those in which nothing happened the connections were there all the same.
    /// A clock that was read before another's lock was won may be a little behind; then the newest bucket it is.
    fn go_to(&mut self, number: u64) {
        let first = (self.number + 1).max(number.saturating_sub(BUCKETS as u64 - 1));
        for new in first..=number {
            self.buckets[bucket_index(new)] = Bucket { active: self.active, ..Bucket::default() };
        }
        self.number = self.number.max(number);
    }
}

fn bucket_index(number: u64) -> usize {
    (number % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(opened: u32, denied: u32, active: u32) -> Bucket {
        Bucket { opened, denied, active }
    }

    #[test]
    fn what_happens_is_in_the_bucket_of_its_time_and_stays_there_for_five_minutes() {
        let course = History::default();
        let at = |seconds| course.began + Duration::from_secs(seconds);
        course.opened(at(0));
        course.opened(at(4));
        course.ended(at(4));
        course.denied(at(12));
        let buckets = course.buckets(at(14));
        assert_eq!(buckets.len(), BUCKETS);
        assert_eq!(buckets[BUCKETS - 3..], [bucket(2, 0, 2), bucket(0, 0, 1), bucket(0, 1, 1)]);
        assert_eq!(buckets[..BUCKETS - 3], [Bucket::default(); BUCKETS - 3]);

        let buckets = course.buckets(at(299));
        assert_eq!((buckets[0], buckets[2], buckets[59]), (bucket(2, 0, 2), bucket(0, 1, 1), bucket(0, 0, 1)));
        assert_eq!(course.buckets(at(300))[0], bucket(0, 0, 1));
    }

    #[test]
    fn a_long_silence_leaves_what_was_there_and_a_clock_behind_breaks_nothing() {
        let course = History::default();
        let at = |seconds| course.began + Duration::from_secs(seconds);
        course.opened(at(0));
        assert_eq!(course.buckets(at(1_000_000)), [bucket(0, 0, 1); BUCKETS]);
        course.ended(at(999_999));
        assert_eq!(course.buckets(at(1_000_005))[59], bucket(0, 0, 0));
    }
}
