//! The samples, by peer and figure.

use std::collections::HashMap;

use crate::measures::sign;
use crate::peers::VESTIBULE;

/// The relay without TLS: the floor, and no rival.
pub(crate) const FLOOR: &str = "relay";

/// All samples of a run.
pub(crate) struct Results {
    peers: Vec<String>,
    samples: HashMap<(String, String), Vec<f64>>,
    failures: Vec<String>,
}

/// What the samples of one figure come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Half of the samples are below it.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
    /// How many there are.
    pub(crate) count: usize,
}

impl Results {
    /// Those of `peers`, in this order; none so far.
    pub(crate) fn new(peers: impl Iterator<Item = String>) -> Self {
        let peers = peers.chain([sign::ROW.to_owned()]).collect();
        Self { peers, samples: HashMap::new(), failures: Vec::new() }
    }

    /// Takes one more sample.
    pub(crate) fn add(&mut self, peer: &str, figure: &str, value: f64) {
        self.samples.entry((peer.to_owned(), figure.to_owned())).or_default().push(value);
    }

    /// Takes note of a sample that could not be taken.
    pub(crate) fn fail(&mut self, failure: String) {
        self.failures.push(failure);
    }

    /// Samples that could not be taken.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The rows of tables.
    pub(crate) fn peers(&self) -> &[String] {
        &self.peers
    }

    /// What the samples of `peer` come to; `None` when there are none.
    pub(crate) fn summary(&self, peer: &str, figure: &str) -> Option<Summary> {
        let mut all = self.samples.get(&(peer.to_owned(), figure.to_owned()))?.clone();
        all.sort_by(f64::total_cmp);
        let (min, max, middle) = (*all.first()?, *all.last()?, all.len() / 2);
        let median = if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) };
        Some(Summary { median, min, max, count: all.len() })
    }

    /// The best median among the rivals: not a build of vestibule, nor a floor.
    pub(crate) fn best_rival(&self, figure: &str, lowest_wins: bool) -> Option<(&str, f64)> {
        let rivals = self.peers.iter().filter(|name| RIVALS.contains(&name.as_str()));
        let medians = rivals.filter_map(|name| Some((name.as_str(), self.summary(name, figure)?.median)));
        if lowest_wins {
            medians.min_by(|a, b| a.1.total_cmp(&b.1))
        } else {
            medians.max_by(|a, b| a.1.total_cmp(&b.1))
        }
    }

    /// Vestibule's median, by that of `other`; `None` where one is missing, or too near to nothing to divide by.
    pub(crate) fn ratio(&self, figure: &str, other: f64) -> Option<f64> {
        let ours = self.summary(VESTIBULE, figure)?.median;
        (other > 0.0).then(|| ours / other)
    }
}

/// Those that vestibule is compared with; another build of it may have any other name.
pub(crate) const RIVALS: [&str; 6] = ["envoy", "haproxy", "nginx", "hitch", "stunnel", "ghostunnel"];

#[cfg(test)]
mod tests {
    use super::{Results, Summary};

    fn results() -> Results {
        let mut results = Results::new(["vestibule", "old", "envoy", "nginx", "relay"].map(str::to_owned).into_iter());
        for (peer, values) in [
            ("vestibule", [1.0, 4.0, 2.0]),
            ("old", [1.0; 3]),
            ("envoy", [8.0; 3]),
            ("nginx", [4.0; 3]),
            ("relay", [1.0; 3]),
        ] {
            values.into_iter().for_each(|value| results.add(peer, "request", value));
        }
        results
    }

    #[test]
    fn samples_come_to_a_median_and_a_range() {
        let summary = results().summary("vestibule", "request");
        assert_eq!(summary, Some(Summary { median: 2.0, min: 1.0, max: 4.0, count: 3 }));
        assert_eq!(results().summary("vestibule", "other"), None);
    }

    #[test]
    fn the_best_rival_is_neither_another_build_nor_the_floor() {
        assert_eq!(results().best_rival("request", true), Some(("nginx", 4.0)));
        assert_eq!(results().best_rival("request", false), Some(("envoy", 8.0)));
        assert_eq!(results().ratio("request", 4.0), Some(0.5));
        assert_eq!(results().ratio("request", 0.0), None);
    }
}
