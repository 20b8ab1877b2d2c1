//! How long answers take on established connections while new ones keep the proxy busy with handshakes.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Figure, Measure};
use crate::load::storm::Storm;
use crate::load::{Client, pace};
use crate::peers::Peer;
use crate::stage::{Bench, Setup};

/// Before and during.
pub(super) const STORM: Measure = Measure {
    name: "storm",
    family: "Established traffic during a handshake storm, µs",
    figures: &[
        Figure { id: "calm-p99", title: "p99 before", digits: 0, lowest_wins: true },
        Figure { id: "storm-p50", title: "p50 during", digits: 0, lowest_wins: true },
        Figure { id: "storm-p99", title: "p99 during", digits: 0, lowest_wins: true },
        Figure { id: "storm-rate", title: "handshakes a second", digits: 0, lowest_wins: false },
    ],
    of: super::with_tls,
    sample,
};

const CONNECTIONS: usize = 8;
const RATE: u32 = 500;
/// Until the first handshakes of the storm are done.
const RISING: Duration = Duration::from_millis(200);

fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let target = stage.target(Client::default())?;
    let time = bench.sizes.time;
    bench.runtime.block_on(async {
        let open = pace::open(&target, CONNECTIONS).await?;
        let (open, mut calm) = pace::fixed(open, RATE, time).await?;
        let storm = Storm::start(target.addr)?;
        sleep(RISING).await;
        let (_open, mut stormy) = pace::fixed(open, RATE, time).await?;
        Ok(vec![calm.at(0.99), stormy.at(0.5), stormy.at(0.99), storm.end()?])
    })
}
