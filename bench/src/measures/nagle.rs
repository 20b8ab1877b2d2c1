//! How long the first answer takes for a client that takes no tickets, with Nagle's algorithm off and on. Wall time.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::{Figure, Measure};
use crate::load::bare;
use crate::load::percentiles::Latencies;
use crate::peers::Peer;
use crate::stage::{Bench, Setup};

/// The median of some connections, one after the other.
pub(super) const NAGLE: Measure = Measure {
    name: "nagle",
    family: "First answer on a new connection of a client that takes no tickets, ms",
    figures: &[
        Figure { id: "first", title: "Nagle off", digits: 1, lowest_wins: true },
        Figure { id: "first-nagle", title: "Nagle on", digits: 1, lowest_wins: true },
    ],
    of: super::with_tls,
    sample,
};

fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let median = |nagle| {
        let mut all = Latencies::default();
        for _ in 0..bench.sizes.starts * 2 {
            all.add(bare::first_answer(stage.site.listen, nagle)?);
            // A server that is still at the connection before would be measured with it.
            sleep(Duration::from_millis(5));
        }
        anyhow::Ok(all.at(0.5) / 1e3)
    };
    Ok(vec![median(false)?, median(true)?])
}
