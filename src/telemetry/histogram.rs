//! How long things take, as a histogram of plain counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The buckets' upper bounds in microseconds, 100 µs to 10 s: a handshake takes a millisecond and a dial of the same
/// machine less, and both have limits of seconds.
const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Durations, counted.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// By the first bound that is not exceeded; the last has no bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistogramSnapshot {
    /// Upper bound in seconds, and how many durations lie in this bucket alone.
    pub(crate) buckets: Vec<(f64, u64)>,
    /// Seconds, of all.
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn count(&self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < duration);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        // 584 years fit.
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        HistogramSnapshot {
            buckets: bounds.zip(counts).collect(),
            sum: self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

impl HistogramSnapshot {
    /// How many durations there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for microseconds in [0, 100, 101, 999_999, 10_000_000, 10_000_001] {
            histogram.count(Duration::from_micros(microseconds));
        }
        let HistogramSnapshot { buckets, sum } = histogram.snapshot();
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0001, 2), (0.00025, 1), (1.0, 1), (10.0, 1), (f64::INFINITY, 1)]);
        assert!((sum - 21.000_201).abs() < 1e-9, "{sum}");
        assert_eq!(histogram.snapshot().count(), 6);
    }
}
