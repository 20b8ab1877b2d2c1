//! How long answers take at a fixed rate, and how much of that is the proxy's: beside it stands the same client in mutual TLS with the
//! same app, seconds before.

use anyhow::Result;

use super::{Figure, requests};
use crate::load::{Client, pace};
use crate::peers::Peer;
use crate::report::results::FLOOR;
use crate::stage::{Bench, Setup};

/// What [`sample`] yields.
pub(super) const FIGURES: &[Figure] = &[
    Figure { id: "request-fixed", title: "CPU µs per request", digits: 1, lowest_wins: true },
    Figure { id: "p50", title: "p50 µs", digits: 0, lowest_wins: true },
    Figure { id: "p99", title: "p99 µs", digits: 0, lowest_wins: true },
    Figure { id: "added-p50", title: "p50 more than without a proxy", digits: 0, lowest_wins: true },
    Figure { id: "added-p99", title: "p99 more", digits: 0, lowest_wins: true },
];

/// One sample.
///
/// # Errors
/// An answer fails.
pub(super) fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let (rate, time) = (requests::RATE, bench.sizes.time);
    let mut direct = bench.runtime.block_on(async {
        let open = pace::open(&stage.direct()?, requests::CONNECTIONS).await?;
        anyhow::Ok(pace::fixed(open, rate, time).await?.1)
    })?;
    let open = bench.runtime.block_on(pace::open(&stage.target(Client::default())?, requests::CONNECTIONS))?;
    let ((_open, mut through), cost) = stage.cost_of(pace::fixed(open, rate, time))?;
    let (p50, p99) = (through.at(0.5), through.at(0.99));
    let mut figures = vec![cost.us_each(through.count() as f64), p50, p99];
    // The floor has another server behind it, without TLS.
    if peer.name() != FLOOR {
        figures.extend([p50 - direct.at(0.5), p99 - direct.at(0.99)]);
    }
    Ok(figures)
}
