//! What we aim for, and whether this run is there.

use crate::measures::sign;
use crate::peers::VESTIBULE;
use crate::report::results::{FLOOR, Results};
use crate::report::table;

/// What a figure is held against.
#[derive(Clone, Copy)]
enum Against {
    /// The best of the peers in the same run.
    Best,
    /// Envoy in the same run.
    Envoy,
    /// The relay without TLS.
    Floor,
    /// Our own signature alone.
    Signature,
    /// Nothing: the goal is the figure itself.
    Itself,
}

/// A figure is to be at most so many times something else.
struct Goal {
    figure: &'static str,
    words: &'static str,
    at_most: f64,
    against: Against,
    /// Whether it holds on CPUs with AVX512-IFMA alone (`Some(true)`), without it alone, or on all.
    ifma: Option<bool>,
}

const fn goal(figure: &'static str, words: &'static str, at_most: f64, against: Against) -> Goal {
    Goal { figure, words, at_most, against, ifma: None }
}

const GOALS: &[Goal] = &[
    Goal { ifma: Some(true), ..goal("rsa-3072", "CPU per new connection, RSA-3072", 0.52, Against::Envoy) },
    Goal {
        ifma: Some(false),
        ..goal("rsa-3072", "CPU per new connection, RSA-3072, without IFMA", 0.95, Against::Envoy)
    },
    goal("rsa-3072", "CPU per new connection, RSA-3072", 1.15, Against::Signature),
    goal("rsa-2048", "CPU per new connection, RSA-2048", 0.72, Against::Best),
    goal("mtls", "CPU per new connection, mTLS", 0.60, Against::Best),
    goal("resumed", "CPU per new connection, resumed", 0.65, Against::Best),
    goal("request", "CPU per request", 0.75, Against::Best),
    goal("request", "CPU per request", 1.2, Against::Floor),
    goal("down", "CPU per GiB down", 0.85, Against::Best),
    goal("up", "CPU per GiB up", 0.85, Against::Best),
    goal("idle", "MiB at idle", 5.0, Against::Itself),
    goal("idle-anonymous", "MiB of anonymous memory at idle", 1.0, Against::Itself),
    goal("connection", "KiB per idle connection of 2,000", 6.0, Against::Itself),
    goal("connection-used", "the same after a request each", 6.0, Against::Itself),
    goal("connection-many", "KiB per idle connection of 9,000", 6.0, Against::Itself),
    goal("connection-many-used", "the same after a request each", 6.0, Against::Itself),
    goal("left-more", "MiB more than at the start, 5 s after 2,000 closed", 2.0, Against::Itself),
    goal("left-many-more", "MiB more than at the start, 5 s after 9,000 closed", 2.0, Against::Itself),
    goal("listening", "ms to listening", 10.0, Against::Itself),
    goal("first-nagle", "ms to the first answer, Nagle on and no tickets", 20.0, Against::Itself),
    goal("storm-p99", "p99 of established traffic in a handshake storm", 1.0, Against::Best),
];

/// A row for each goal that this run can judge.
pub(super) fn table(results: &Results, has_ifma: bool) -> String {
    let heading = ["", "goal", "here", ""].map(str::to_owned).to_vec();
    let here = GOALS.iter().filter(|goal| goal.ifma.is_none_or(|ifma| ifma == has_ifma));
    let rows: Vec<_> = [heading].into_iter().chain(here.filter_map(|goal| row(results, goal))).collect();
    if rows.len() == 1 { String::new() } else { table::markdown(&rows) }
}

fn row(results: &Results, goal: &Goal) -> Option<Vec<String>> {
    let median = |peer: &str| Some(results.summary(peer, goal.figure)?.median);
    let (by, unit) = match goal.against {
        Against::Best => {
            let (peer, median) = results.best_rival(goal.figure, true)?;
            (Some(median), format!(" × best peer ({peer})"))
        }
        Against::Envoy => (Some(median("envoy")?), " × envoy".to_owned()),
        Against::Floor => (Some(median(FLOOR)?), " × relay without TLS".to_owned()),
        Against::Signature => (Some(median(sign::ROW)?), " × signature alone".to_owned()),
        Against::Itself => (None, String::new()),
    };
    let value = match by {
        Some(by) => results.ratio(goal.figure, by)?,
        None => median(VESTIBULE)?,
    };
    let judged = if value <= goal.at_most { "met" } else { "**missed**" };
    Some(vec![goal.words.to_owned(), format!("≤ {}{unit}", goal.at_most), format!("{value:.2}"), judged.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::report::results::Results;

    #[test]
    fn a_goal_is_met_or_missed_and_left_out_where_nothing_can_be_said() {
        let mut results = Results::new(["vestibule", "envoy"].map(str::to_owned).into_iter());
        results.add("vestibule", "idle", 4.9);
        results.add("vestibule", "down", 0.9);
        results.add("envoy", "down", 1.0);
        let table = table(&results, true);
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(
            table
                .lines()
                .any(|line| line.contains("MiB at idle") && line.contains("| 4.90 |") && line.contains(" met "))
        );
        assert!(table.lines().any(|line| line.contains("GiB down")
            && line.contains("best peer (envoy)")
            && line.contains("**missed**")));
    }
}
