//! CPU per new connection: accepted, shaken hands on, one small request answered, closed by both sides.

use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::{Figure, Measure};
use crate::credentials::Rsa;
use crate::load::{Client, Connection};
use crate::peers::Peer;
use crate::stage::{Bench, Cost, Setup, Stage};

const FAMILY: &str = "CPU per new connection, µs";

/// A full handshake with a key of 2048 bits.
pub(super) const RSA_2048: Measure = Measure {
    name: "handshake-2048",
    family: FAMILY,
    figures: &[Figure { id: "rsa-2048", title: "RSA-2048", digits: 0, lowest_wins: true }],
    of: super::with_tls,
    sample: |bench, peer| sample(bench, peer, Setup::default(), false),
};

/// A full handshake with a key of 3072 bits.
pub(super) const RSA_3072: Measure = Measure {
    name: "handshake-3072",
    family: FAMILY,
    figures: &[Figure { id: "rsa-3072", title: "RSA-3072", digits: 0, lowest_wins: true }],
    of: super::with_tls,
    sample: |bench, peer| sample(bench, peer, Setup { rsa: Rsa::Bits3072, ..Setup::default() }, false),
};

/// A full handshake in which the client shows a certificate.
pub(super) const CLIENTS: Measure = Measure {
    name: "handshake-mtls",
    family: FAMILY,
    figures: &[Figure { id: "mtls", title: "mTLS, RSA-2048", digits: 0, lowest_wins: true }],
    of: super::with_tls,
    sample: |bench, peer| sample(bench, peer, Setup { asks_clients: true, ..Setup::default() }, false),
};

/// A resumption.
pub(super) const RESUMED: Measure = Measure {
    name: "handshake-resumed",
    family: FAMILY,
    figures: &[Figure { id: "resumed", title: "resumed", digits: 0, lowest_wins: true }],
    of: super::with_tls,
    sample: |bench, peer| sample(bench, peer, Setup::default(), true),
};

/// So many at a time that the server always has one to work on, and few enough that none waits long.
const AT_A_TIME: usize = 8;

fn sample(bench: &Bench, peer: &dyn Peer, setup: Setup, resumes: bool) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, setup)?;
    cost(&stage, resumes).map(|us| vec![us])
}

/// CPU per new connection, in microseconds.
///
/// # Errors
/// A connection fails, or is not resumed although it should be.
pub(super) fn cost(stage: &Stage<'_>, resumes: bool) -> Result<f64> {
    let (count, cost) = renew(stage, resumes)?;
    Ok(cost.us_each(count))
}

/// How many connections were opened, used and closed, and what they took.
///
/// # Errors
/// A connection fails, or is not resumed although it should be.
pub(super) fn renew(stage: &Stage<'_>, resumes: bool) -> Result<(f64, Cost)> {
    let client = Client { resumes, ..Client::default() };
    // Each of the clients has its own tickets. The first connection brings them, or warms up.
    let targets = (0..AT_A_TIME).map(|_| stage.target(client)).collect::<Result<Vec<_>>>()?;
    stage.bench.runtime.block_on(async {
        for target in &targets {
            once(Connection::open(target).await?).await?;
        }
        anyhow::Ok(())
    })?;
    let time = stage.bench.sizes.time;
    let ((all, resumed), cost) = stage.cost_of(async {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for target in targets {
            tasks.spawn(async move {
                let (mut all, mut resumed) = (0_u32, 0_u32);
                while Instant::now() < end {
                    let connection = Connection::open(&target).await?;
                    all += 1;
                    resumed += u32::from(connection.resumed);
                    once(connection).await?;
                }
                anyhow::Ok((all, resumed))
            });
        }
        let mut sum = (0, 0);
        while let Some(done) = tasks.join_next().await {
            let (all, resumed) = done??;
            sum = (sum.0 + all, sum.1 + resumed);
        }
        Ok(sum)
    })?;
    let expected = if resumes { all } else { 0 };
    ensure!(resumed == expected, "{resumed} of {all} connections were resumed instead of {expected}");
    Ok((f64::from(all), cost))
}

async fn once(mut connection: Connection) -> Result<()> {
    connection.request().await?;
    connection.close().await;
    Ok(())
}
