//! Latencies, and where most of them lie.

use std::time::Duration;

/// All latencies of a sample. Every one is kept: there are some ten thousand.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    all: Vec<Duration>,
}

impl Latencies {
    /// Takes one more.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.all.push(latency);
    }

    /// Takes those of another connection.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.all.append(&mut other.all);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// The latency, in microseconds, that the given share of them do not exceed; NaN when there is none.
    pub(crate) fn at(&mut self, share: f64) -> f64 {
        self.all.sort_unstable();
        let rank = (self.all.len() as f64 * share).ceil() as usize;
        self.all.get(rank.saturating_sub(1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;
    use std::time::Duration;

    #[test]
    fn a_percentile_is_the_smallest_latency_that_the_share_does_not_exceed() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|us| latencies.add(Duration::from_micros(us)));
        assert_eq!([0.5, 0.99, 1.0].map(|share| latencies.at(share).round()), [50.0, 99.0, 100.0]);
        assert!(Latencies::default().at(0.5).is_nan());
    }
}
