//! The samples, by peer and figure.

use std::collections::HashMap;

use crate::measures::sign;

/// The relay without TLS: the floor, and no rival.
pub(crate) const FLOOR: &str = "relay";

/// All samples of a run.
pub(crate) struct Results {
    peers: Vec<String>,
    round: u32,
    /// By round: what was measured minutes apart is not comparable on a machine that others use too.
    samples: HashMap<(String, String), Vec<(u32, f64)>>,
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
        Self { peers, round: 0, samples: HashMap::new(), failures: Vec::new() }
    }

    /// What is added from now on was measured in another round.
    pub(crate) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Takes one more sample.
    pub(crate) fn add(&mut self, peer: &str, figure: &str, value: f64) {
        self.samples.entry((peer.to_owned(), figure.to_owned())).or_default().push((self.round, value));
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
        Summary::of(self.samples_of(peer, figure).iter().map(|(_, value)| *value).collect())
    }

    fn samples_of(&self, peer: &str, figure: &str) -> &[(u32, f64)] {
        self.samples.get(&(peer.to_owned(), figure.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// What `compare` makes of a figure of `ours` and of `theirs`, the median of the rounds that have both.
    fn compared(&self, ours: &str, theirs: &str, figure: &str, compare: fn(f64, f64) -> Option<f64>) -> Option<f64> {
        let theirs = self.samples_of(theirs, figure);
        let of_round = |round| theirs.iter().find(|(other, _)| *other == round).map(|(_, value)| *value);
        let pairs = self.samples_of(ours, figure).iter();
        let all = pairs.filter_map(|(round, value)| compare(*value, of_round(*round)?));
        Some(Summary::of(all.collect())?.median)
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

    /// A figure of `ours` by that of `theirs`, the median of the rounds in which there is something to divide by; `None` where there are
    /// none.
    pub(crate) fn ratio(&self, ours: &str, theirs: &str, figure: &str) -> Option<f64> {
        self.compared(ours, theirs, figure, |ours, theirs| (theirs > 0.0).then(|| ours / theirs))
    }

    /// How much more a figure of `ours` is than that of `theirs`, the median of the rounds.
    pub(crate) fn difference(&self, ours: &str, theirs: &str, figure: &str) -> Option<f64> {
        self.compared(ours, theirs, figure, |ours, theirs| Some(ours - theirs))
    }
}

impl Summary {
    /// `None` when there is nothing.
    fn of(mut all: Vec<f64>) -> Option<Self> {
        all.sort_by(f64::total_cmp);
        let (min, max, middle) = (*all.first()?, *all.last()?, all.len() / 2);
        let median = if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) };
        Some(Self { median, min, max, count: all.len() })
    }
}

/// Those that vestibule is compared with; another build of it may have any other name.
pub(crate) const RIVALS: [&str; 6] = ["envoy", "haproxy", "nginx", "hitch", "stunnel", "ghostunnel"];

#[cfg(test)]
mod tests {
    use super::{Results, Summary};

    fn results() -> Results {
        let mut results = Results::new(["vestibule", "old", "envoy", "nginx", "relay"].map(str::to_owned).into_iter());
        for round in 0..3 {
            results.begin_round();
            for (peer, values) in [
                ("vestibule", [1.0, 4.0, 2.0]),
                ("old", [1.0; 3]),
                ("envoy", [2.0, 16.0, 8.0]),
                ("nginx", [4.0; 3]),
                ("relay", [0.0, 1.0, 0.0]),
            ] {
                results.add(peer, "request", values[round]);
            }
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
    }

    #[test]
    fn a_comparison_is_the_median_of_those_within_each_round() {
        assert_eq!(results().ratio("vestibule", "envoy", "request"), Some(0.25));
        assert_eq!(results().difference("vestibule", "envoy", "request"), Some(-6.0));
        assert_eq!(results().ratio("vestibule", "relay", "request"), Some(4.0), "the others are nothing to divide by");
        assert_eq!(results().ratio("vestibule", "haproxy", "request"), None);
        let mut results = results();
        results.begin_round();
        results.add("vestibule", "request", 80.0);
        assert_eq!(
            results.ratio("vestibule", "envoy", "request"),
            Some(0.25),
            "a round without the other counts for nothing"
        );
    }
}
