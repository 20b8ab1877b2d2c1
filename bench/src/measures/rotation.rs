//! What a rotation costs while there is traffic, and whether anybody notices it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Figure, Measure};
use crate::credentials::Pair;
use crate::load::{Client, Connection, Target, pace};
use crate::peers::Peer;
use crate::stage::{Bench, Setup};

/// Of those that take new files into service by themselves.
pub(super) const ROTATION: Measure = Measure {
    name: "rotation",
    family: "Rotation under load (1,000 requests and 50 new connections a second)",
    figures: &[
        Figure { id: "rotation", title: "CPU ms per rotation", digits: 2, lowest_wins: true },
        Figure { id: "rotation-served", title: "ms until it is served", digits: 1, lowest_wins: true },
        Figure { id: "rotation-calm-p99", title: "request p99 µs without", digits: 0, lowest_wins: true },
        Figure { id: "rotation-p99", title: "with", digits: 0, lowest_wins: true },
    ],
    of: |peer| peer.rotates(),
    sample,
};

const CONNECTIONS: usize = 8;
const RATE: u32 = 1_000;
/// Between the beginnings of two new connections.
const NEW_EVERY: Duration = Duration::from_millis(20);
/// Between two rotations: more than Envoy takes for one.
const ROTATE_EVERY: Duration = Duration::from_millis(200);

fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let target = stage.target(Client::default())?;
    let time = bench.sizes.time.max(3 * ROTATE_EVERY);
    let open = bench.runtime.block_on(pace::open(&target, CONNECTIONS))?;

    let ((open, mut calm, _), without) = stage.cost_of(traffic(&target, open, time))?;
    let pairs = &stage.site.credentials.pairs;
    let mut rotations = 0;
    let ((_open, mut busy, _), with) = stage.cost_of(async {
        let rotate = async {
            let start = Instant::now();
            while ROTATE_EVERY * (rotations + 1) < time {
                peer.rotate(&stage.site, &pairs[(rotations as usize + 1) % pairs.len()])?;
                rotations += 1;
                sleep_until(start + ROTATE_EVERY * rotations).await;
            }
            anyhow::Ok(())
        };
        let (traffic, rotated) = tokio::join!(traffic(&target, open, time), rotate);
        rotated?;
        traffic
    })?;
    // Once more, by itself: how long until a client sees it.
    let last = &pairs[(rotations as usize + 1) % pairs.len()];
    let served = bench.runtime.block_on(async {
        let start = Instant::now();
        peer.rotate(&stage.site, last)?;
        until_served(&target, last).await?;
        anyhow::Ok(start.elapsed())
    })?;
    let each = (with.cpu.as_secs_f64() - without.cpu.as_secs_f64()) * 1e3 / f64::from(rotations);
    Ok(vec![each, served.as_secs_f64() * 1e3, calm.at(0.99), busy.at(0.99)])
}

/// Requests at a fixed rate, and new connections at another one, for `time`.
async fn traffic(
    target: &Target,
    open: Vec<Connection>,
    time: Duration,
) -> Result<(Vec<Connection>, crate::load::percentiles::Latencies, u32)> {
    let arrivals = async {
        let start = Instant::now();
        let mut count = 0;
        while NEW_EVERY * count < time {
            let mut connection = Connection::open(target).await.context("a new connection")?;
            connection.request().await?;
            connection.close().await;
            count += 1;
            sleep_until(start + NEW_EVERY * count).await;
        }
        anyhow::Ok(count)
    };
    let (requests, arrived) = tokio::join!(pace::fixed(open, RATE, time), arrivals);
    let (open, latencies) = requests?;
    Ok((open, latencies, arrived?))
}

/// Waits until new connections get the certificate of `pair`.
async fn until_served(target: &Target, pair: &Pair) -> Result<()> {
    let expected = CertificateDer::from_pem_slice(pair.chain.as_bytes())?;
    let start = Instant::now();
    loop {
        let connection = Connection::open(target).await?;
        let served = connection.certificate.as_deref() == Some(expected.as_ref());
        connection.close().await;
        if served {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(20) {
            bail!("the new certificate was not served within 20 s");
        }
        sleep(Duration::from_millis(1)).await;
    }
}
