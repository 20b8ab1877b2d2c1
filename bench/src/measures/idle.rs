//! Memory: at idle, per idle connection, and what stays when they are closed.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figure, Measure};
use crate::load::{Client, Connection};
use crate::peers::Peer;
use crate::process::memory::Memory;
use crate::stage::{Bench, Pages, Setup, Stage};

const FAMILY: &str = "Memory";

/// Without a connection, under two conditions.
pub(super) const IDLE: Measure = Measure {
    name: "idle",
    family: "Idle memory, MiB",
    figures: &[
        Figure { id: "idle", title: "resident", digits: 2, lowest_wins: true },
        Figure { id: "idle-anonymous", title: "of which anonymous", digits: 2, lowest_wins: true },
        Figure { id: "idle-pss", title: "proportional (PSS), beside a second one", digits: 2, lowest_wins: true },
        Figure { id: "idle-written", title: "resident, where the file was just written", digits: 2, lowest_wins: true },
    ],
    of: |_| true,
    sample: idle,
};

/// With 2,000 connections.
pub(super) const SOME: Measure = Measure {
    name: "memory",
    family: FAMILY,
    figures: &[
        Figure { id: "connection", title: "KiB per idle connection of 2,000", digits: 1, lowest_wins: true },
        Figure { id: "connection-used", title: "after a request each", digits: 1, lowest_wins: true },
        Figure { id: "left", title: "MiB 5 s after they closed", digits: 1, lowest_wins: true },
        Figure { id: "left-more", title: "more than at idle", digits: 1, lowest_wins: true },
    ],
    of: super::everyone,
    sample: |bench, peer| sample(bench, peer, 2_000),
};

/// With 2,000 connections of clients that have shown a certificate, as the platform's do.
pub(super) const KNOWN: Measure = Measure {
    name: "memory-mtls",
    family: FAMILY,
    figures: &[Figure {
        id: "connection-mtls",
        title: "KiB per idle connection with a client certificate",
        digits: 1,
        lowest_wins: true,
    }],
    of: super::with_tls,
    sample: |bench, peer| {
        let setup = Setup { asks_clients: true, ..Setup::default() };
        let (stage, idle, open) = opened(bench, peer, setup, 2_000)?;
        sleep(AFTER_OPENING);
        Ok(vec![(stage.process.memory()? - idle).resident / open.len() as f64])
    },
};

/// With as many as the larger measure has.
pub(super) const MANY: Measure = Measure {
    name: "many",
    family: FAMILY,
    figures: &[
        Figure { id: "connection-many", title: "KiB per idle connection of 9,000", digits: 1, lowest_wins: true },
        Figure { id: "connection-many-used", title: "after a request each", digits: 1, lowest_wins: true },
        Figure { id: "left-many", title: "MiB 5 s after they closed", digits: 1, lowest_wins: true },
        Figure { id: "left-many-more", title: "more than at idle", digits: 1, lowest_wins: true },
    ],
    of: super::everyone,
    sample: |bench, peer| sample(bench, peer, bench.sizes.many),
};

/// How long memory may take until it has settled after a start, after connections came, and after they went.
pub(super) const AFTER_START: Duration = Duration::from_secs(2);
pub(super) const AFTER_OPENING: Duration = Duration::from_millis(300);
pub(super) const AFTER_CLOSING: Duration = Duration::from_secs(5);

/// A process of `peer`, what it took at idle, and `count` connections to it.
fn opened<'a>(
    bench: &'a Bench,
    peer: &dyn Peer,
    setup: Setup,
    count: usize,
) -> Result<(Stage<'a>, Memory, Vec<Connection>)> {
    let needed = 2 * count as u64 + 100;
    ensure!(
        bench.descriptors >= needed,
        "it needs {needed} descriptors, and the limit is {} (ulimit -Hn)",
        bench.descriptors
    );
    let stage = bench.listening(peer, setup)?;
    sleep(AFTER_START);
    let idle = stage.process.memory()?;
    let target = stage.target(Client::default())?;
    let mut open = Vec::with_capacity(count);
    bench.runtime.block_on(async {
        for at in 0..count {
            open.push(Connection::open(&target).await.with_context(|| format!("connection {at}; {}", stage.said()))?);
        }
        anyhow::Ok(())
    })?;
    Ok((stage, idle, open))
}

fn idle(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let memory = |stage: &Stage<'_>| {
        if peer.starts_the_app() { stage.process.memory_alone() } else { stage.process.memory() }
    };
    let first = bench.listening_from(peer, Setup::default(), Pages::Evicted)?;
    sleep(AFTER_START);
    let alone = memory(&first)?;
    let second = bench.listening_from(peer, Setup::default(), Pages::AsTheyAre)?;
    let written = bench.listening_from(peer, Setup::default(), Pages::Written)?;
    sleep(AFTER_START);
    let figures = [alone.resident, alone.anonymous, memory(&second)?.proportional, memory(&written)?.resident];
    Ok(figures.map(|kib| kib / 1024.0).to_vec())
}

fn sample(bench: &Bench, peer: &dyn Peer, count: usize) -> Result<Vec<f64>> {
    let (stage, idle, mut open) = opened(bench, peer, Setup::default(), count)?;
    sleep(AFTER_OPENING);
    let opened = stage.process.memory()? - idle;
    bench.runtime.block_on(async {
        for (at, connection) in open.iter_mut().enumerate() {
            connection.request().await.with_context(|| format!("connection {at}; {}", stage.said()))?;
        }
        anyhow::Ok(())
    })?;
    sleep(AFTER_OPENING);
    let used = stage.process.memory()? - idle;
    bench.runtime.block_on(async {
        for connection in open {
            connection.close().await;
        }
    });
    sleep(AFTER_CLOSING);
    let left = stage.process.memory()?;
    Ok(vec![
        opened.resident / count as f64,
        used.resident / count as f64,
        left.resident / 1024.0,
        (left - idle).resident / 1024.0,
    ])
}
