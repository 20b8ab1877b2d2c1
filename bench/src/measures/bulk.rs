//! CPU per GiB, down and up.

use anyhow::Result;
use tokio::task::JoinSet;

use super::{Figure, Measure};
use crate::load::{Client, Connection, pace};
use crate::peers::Peer;
use crate::stage::{Bench, Cost, Setup};

const FAMILY: &str = "CPU seconds per GiB";

/// From the app.
pub(super) const DOWN: Measure = Measure {
    name: "bulk-down",
    family: FAMILY,
    figures: &[Figure { id: "down", title: "down", digits: 2, lowest_wins: true }],
    of: super::everyone,
    sample: |bench, peer| sample(bench, peer, true),
};

/// To the app.
pub(super) const UP: Measure = Measure {
    name: "bulk-up",
    family: FAMILY,
    figures: &[Figure { id: "up", title: "up", digits: 2, lowest_wins: true }],
    of: super::everyone,
    sample: |bench, peer| sample(bench, peer, false),
};

/// At a time.
const CONNECTIONS: u32 = 4;

fn sample(bench: &Bench, peer: &dyn Peer, down: bool) -> Result<Vec<f64>> {
    let (gib, cost) = carry(bench, peer, down)?;
    Ok(vec![cost.cpu.as_secs_f64() / gib])
}

/// How many GiB were carried, and what they took.
///
/// # Errors
/// A connection is cut off.
pub(super) fn carry(bench: &Bench, peer: &dyn Peer, down: bool) -> Result<(f64, Cost)> {
    let stage = bench.serving(peer, Setup::default())?;
    let open =
        bench.runtime.block_on(pace::open::<Connection>(&stage.target(Client::default())?, CONNECTIONS as usize))?;
    let bytes = bench.sizes.bulk;
    let (_open, cost) = stage.cost_of(async {
        let mut tasks = JoinSet::new();
        for mut connection in open {
            tasks.spawn(async move {
                if down {
                    connection.down(bytes).await?
                } else {
                    connection.up(bytes).await?
                }
                anyhow::Ok(connection)
            });
        }
        let mut open = Vec::new();
        while let Some(done) = tasks.join_next().await {
            open.push(done??);
        }
        Ok(open)
    })?;
    Ok((f64::from(CONNECTIONS) * bytes as f64 / f64::from(1 << 30), cost))
}
