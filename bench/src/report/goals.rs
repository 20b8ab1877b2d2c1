//! What we aim for, and whether this run is there.

use crate::measures::sign;
use crate::peers::VESTIBULE;
use crate::peers::configured::RUN;
use crate::peers::http::TCP_MODE;
use crate::peers::outbound::{self, ENVOY_HTTP, FORWARD_PROXY, WITHOUT};
use crate::report::results::{FLOOR, Results};
use crate::report::table;

/// What a figure is held against.
#[derive(Clone, Copy)]
enum Against {
    /// The best of the peers in the same run.
    Best,
    /// One peer in the same run.
    Peer(&'static str),
    /// What vestibule takes without an outbound listener in the same run, which is subtracted.
    Without,
    /// The relay without TLS.
    Floor,
    /// Our own signature alone.
    Signature,
    /// Nothing: the goal is the figure itself.
    Itself,
}

/// How much a figure may be, or has to be.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure is to be within a bound, as it is or in relation to something else.
pub(crate) struct Goal {
    /// Whose figure it is.
    of: &'static str,
    figure: &'static str,
    words: &'static str,
    bound: Bound,
    against: Against,
    /// Whether it holds on CPUs with AVX512-IFMA alone (`Some(true)`), without it alone, or on all.
    ifma: Option<bool>,
}

const fn goal(figure: &'static str, words: &'static str, at_most: f64, against: Against) -> Goal {
    Goal { of: VESTIBULE, figure, words, bound: Bound::AtMost(at_most), against, ifma: None }
}

const fn at_least(figure: &'static str, words: &'static str, bound: f64, against: Against) -> Goal {
    Goal { bound: Bound::AtLeast(bound), ..goal(figure, words, bound, against) }
}

/// The same for requests that are sent one by one.
const fn of_http(goal: Goal) -> Goal {
    Goal { of: outbound::HTTP, ..goal }
}

const ENVOY: Against = Against::Peer("envoy");
const ENVOY_FOR_HTTP: Against = Against::Peer(ENVOY_HTTP);

/// For outbound.
pub(crate) const OUTBOUND: &[Goal] = &[
    at_least("request-rate", "requests a second", 1.3, Against::Best),
    goal("request", "CPU per request", 0.8, ENVOY),
    at_least("mtls-rate", "new connections a second, full handshakes", 1.2, Against::Best),
    at_least("down-rate", "GiB a second down", 1.0, ENVOY),
    at_least("down-rate", "GiB a second down", 2.0, Against::Peer("ghostunnel")),
    goal("added-p50", "added p50", 1.0, Against::Best),
    goal("added-p99", "added p99", 0.7, Against::Best),
    goal("idle", "MiB at idle", 0.3, Against::Without),
    goal("connection", "KiB per idle connection of 2,000", 8.0, Against::Itself),
    goal("served", "ms to the first answer", 5.0, Against::Without),
    of_http(at_least("request-rate", "http1: requests a second", 1.3, ENVOY_FOR_HTTP)),
    of_http(goal("request", "http1: CPU per request", 0.8, ENVOY_FOR_HTTP)),
    of_http(at_least("down-rate", "http1: GiB a second down", 1.0, ENVOY_FOR_HTTP)),
    of_http(goal("added-p50", "http1: added p50", 1.0, ENVOY_FOR_HTTP)),
    of_http(goal("added-p99", "http1: added p99", 0.7, ENVOY_FOR_HTTP)),
    of_http(goal("connection", "http1: KiB per idle connection of 2,000", 8.0, Against::Itself)),
    Goal {
        of: FORWARD_PROXY,
        ..at_least("request-rate", "forward proxy: requests a second", 0.8, Against::Peer(outbound::HTTP))
    },
];

/// For connections that come in.
pub(crate) const INBOUND: &[Goal] = &[
    Goal { ifma: Some(true), ..goal("rsa-3072", "CPU per new connection, RSA-3072", 0.52, ENVOY) },
    Goal { ifma: Some(false), ..goal("rsa-3072", "CPU per new connection, RSA-3072, without IFMA", 0.95, ENVOY) },
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
    Goal { of: RUN, ..goal("idle", "MiB at idle, run", 5.0, Against::Itself) },
    Goal { of: RUN, ..goal("idle-anonymous", "MiB of anonymous memory at idle, run", 1.0, Against::Itself) },
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

/// For HTTP mode.
pub(crate) const HTTP: &[Goal] = &[
    goal("http1-request", "CPU per request, HTTP/1.1", 1.6, Against::Peer(TCP_MODE)),
    goal("http1-request", "CPU per request, HTTP/1.1", 0.9, Against::Peer("nginx")),
    goal("http1-request", "CPU per request, HTTP/1.1", 0.45, ENVOY),
    goal("http2-request", "CPU per request, HTTP/2", 1.0, Against::Best),
    goal("added-p99", "added p99, HTTP/1.1", 1.3, Against::Peer(TCP_MODE)),
    goal("http1-down", "CPU per GiB down, HTTP/1.1", 1.2, Against::Peer(TCP_MODE)),
    goal("http1-up", "CPU per GiB up, HTTP/1.1", 1.2, Against::Peer(TCP_MODE)),
    goal("http1-later", "KiB per idle HTTP/1.1 connection of 2,000", 6.0, Against::Itself),
    goal("http2-later", "KiB per idle HTTP/2 connection of 2,000", 24.0, Against::Itself),
    goal("log-adds", "% that the full access log adds to a request", 15.0, Against::Itself),
];

/// A row for each goal that this run can judge.
pub(super) fn table(results: &Results, goals: &[Goal], has_ifma: bool) -> String {
    let heading = ["", "goal", "here", ""].map(str::to_owned).to_vec();
    let here = goals.iter().filter(|goal| goal.ifma.is_none_or(|ifma| ifma == has_ifma));
    let rows: Vec<_> = [heading].into_iter().chain(here.filter_map(|goal| row(results, goal))).collect();
    if rows.len() == 1 { String::new() } else { table::markdown(&rows) }
}

fn row(results: &Results, goal: &Goal) -> Option<Vec<String>> {
    let times = |other: &str| results.ratio(goal.of, other, goal.figure);
    let (value, unit) = match goal.against {
        Against::Best => {
            let (peer, _) = results.best_rival(goal.figure, matches!(goal.bound, Bound::AtMost(_)))?;
            (times(peer)?, format!(" × best peer ({peer})"))
        }
        Against::Peer(peer) => (times(peer)?, format!(" × {peer}")),
        Against::Floor => (times(FLOOR)?, " × relay without TLS".to_owned()),
        Against::Signature => (times(sign::ROW)?, " × signature alone".to_owned()),
        Against::Without => (results.difference(goal.of, WITHOUT, goal.figure)?, format!(" more than {WITHOUT}")),
        Against::Itself => (results.summary(goal.of, goal.figure)?.median, String::new()),
    };
    let (sign, bound, is_met) = match goal.bound {
        Bound::AtMost(most) => ("≤", most, value <= most),
        Bound::AtLeast(least) => ("≥", least, value >= least),
    };
    let judged = if is_met { "met" } else { "**missed**" };
    Some(vec![goal.words.to_owned(), format!("{sign} {bound}{unit}"), format!("{value:.2}"), judged.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::{INBOUND, OUTBOUND, table};
    use crate::report::results::Results;

    #[test]
    fn a_goal_is_met_or_missed_and_left_out_where_nothing_can_be_said() {
        let mut results = Results::new(["vestibule", "envoy"].map(str::to_owned).into_iter());
        results.add("vestibule", "idle", 4.9);
        results.add("vestibule", "down", 0.9);
        results.add("envoy", "down", 1.0);
        let table = table(&results, INBOUND, true);
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

    #[test]
    fn a_rate_is_to_be_high_and_what_is_added_low() {
        let mut results =
            Results::new(["vestibule", "without outbound", "envoy", "ghostunnel"].map(str::to_owned).into_iter());
        for (peer, rate) in [("vestibule", 130.0), ("envoy", 90.0), ("ghostunnel", 100.0)] {
            results.add(peer, "request-rate", rate);
        }
        results.add("vestibule", "idle", 5.0);
        results.add("without outbound", "idle", 4.5);
        let table = table(&results, OUTBOUND, true);
        assert_eq!(table.lines().count(), 4, "{table}");
        assert!(table.lines().any(|line| line.contains("≥ 1.3 × best peer (ghostunnel)") && line.contains(" met ")));
        assert!(table.lines().any(|line| line.contains("≤ 0.3 more than without outbound")
            && line.contains("| 0.50 |")
            && line.contains("**missed**")));
    }
}
