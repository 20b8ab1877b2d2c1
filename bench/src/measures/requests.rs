//! CPU per small request over connections that stay open, and how long answers take.

use anyhow::Result;

use super::{Figure, Measure};
use crate::load::{Client, Connection, pace};
use crate::peers::Peer;
use crate::stage::{Bench, Cost, Setup};

const FAMILY: &str = "Small requests on connections that stay open";

/// As fast as the answers come.
pub(super) const FULL: Measure = Measure {
    name: "requests-full",
    family: FAMILY,
    figures: &[Figure { id: "request", title: "full speed: CPU µs per request", digits: 1, lowest_wins: true }],
    of: super::everyone,
    sample: full,
};

/// At a rate that leaves every peer idle most of the time.
pub(super) const FIXED: Measure = Measure {
    name: "requests-fixed",
    family: FAMILY,
    figures: &[
        Figure { id: "request-fixed", title: "2,000 a second: CPU µs per request", digits: 1, lowest_wins: true },
        Figure { id: "p50", title: "p50 µs", digits: 0, lowest_wins: true },
        Figure { id: "p99", title: "p99 µs", digits: 0, lowest_wins: true },
        Figure { id: "p999", title: "p99.9 µs", digits: 0, lowest_wins: true },
    ],
    of: super::everyone,
    sample: fixed,
};

pub(super) const CONNECTIONS: usize = 32;
pub(super) const RATE: u32 = 2_000;

fn full(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let (count, cost) = at_full_speed(bench, peer, Setup::default(), CONNECTIONS)?;
    Ok(vec![cost.us_each(count)])
}

/// How many requests were answered at full speed over so many connections, and what they took.
///
/// # Errors
/// An answer fails.
pub(super) fn at_full_speed(bench: &Bench, peer: &dyn Peer, setup: Setup, connections: usize) -> Result<(f64, Cost)> {
    let stage = bench.serving(peer, setup)?;
    let open = bench.runtime.block_on(pace::open::<Connection>(&stage.target(Client::default())?, connections))?;
    // The connections stay open beyond the reading of the clock: their end is not part of a request.
    let ((_open, count), cost) = stage.cost_of(pace::full(open, bench.sizes.time))?;
    Ok((count as f64, cost))
}

fn fixed(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let open = bench.runtime.block_on(pace::open(&stage.target(Client::default())?, CONNECTIONS))?;
    let ((_open, mut latencies), cost) = stage.cost_of(pace::fixed(open, RATE, bench.sizes.time))?;
    let each = cost.us_each(latencies.count() as f64);
    Ok(vec![each, latencies.at(0.5), latencies.at(0.99), latencies.at(0.999)])
}
