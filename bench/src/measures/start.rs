//! From the start of the process until it listens, and until it has served the first client. Wall time, since that is what a start is about.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Figure, Measure};
use crate::load::{Client, Connection};
use crate::peers::Peer;
use crate::process::{Running, pages};
use crate::stage::{Bench, Pages, Setup};

/// The median of some starts.
pub(super) const START: Measure = Measure {
    name: "start",
    family: "Start, ms",
    figures: &[
        Figure { id: "listening-read", title: "read from the disk: to listening", digits: 1, lowest_wins: true },
        Figure { id: "served-read", title: "to the first answer over TLS", digits: 1, lowest_wins: true },
        Figure { id: "listening", title: "in memory already: to listening", digits: 1, lowest_wins: true },
        Figure { id: "served", title: "to the first answer over TLS", digits: 1, lowest_wins: true },
    ],
    of: |_| true,
    sample,
};

fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let mut figures = vec![];
    for pages in [Pages::Evicted, Pages::AsTheyAre] {
        let mut all = (0..bench.sizes.starts).map(|_| once(bench, peer, pages)).collect::<Result<Vec<_>>>()?;
        for of in [|start: &(f64, f64)| start.0, |start: &(f64, f64)| start.1] {
            all.sort_by(|a, b| of(a).total_cmp(&of(b)));
            figures.push(of(&all[all.len() / 2]));
        }
    }
    Ok(figures)
}

fn once(bench: &Bench, peer: &dyn Peer, pages: Pages) -> Result<(f64, f64)> {
    let site = bench.site(peer, Setup::default())?;
    let program = bench.program(peer, &site, pages)?;
    let mut start = Instant::now();
    let stage = bench.staged(site, peer, Setup::default(), |command, log| {
        let command = pages::with_copy(command, peer.program(), &program);
        // Writing the configuration is not the peer's work.
        start = Instant::now();
        Running::start_bare(&command, log)
    })?;
    let listening = start.elapsed();
    let target = stage.target(Client::default())?;
    // Some listen before they have read their certificate, and refuse until then.
    loop {
        let served: Result<()> = bench.runtime.block_on(async { Connection::open(&target).await?.request().await });
        match served {
            Ok(()) => break,
            Err(error) if start.elapsed() > Duration::from_secs(20) => bail!("no answer after 20 s: {error:#}"),
            // A client that tries without a pause would be most of what the server does.
            Err(_) => sleep(Duration::from_millis(1)),
        }
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok((ms(listening), ms(start.elapsed())))
}
