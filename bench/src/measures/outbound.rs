//! What is measured of those that speak mutual TLS for an app: client → measured process → server, which is the app in TLS.

use std::thread::sleep;

use anyhow::{Context, Result, ensure};

use super::idle::{AFTER_CLOSING, AFTER_OPENING, AFTER_START};
use super::{Figure, Measure, bulk, handshake, latency, requests, start};
use crate::load::{Client, Connection, pace};
use crate::peers::Peer;
use crate::report::results::FLOOR;
use crate::stage::{Bench, Setup};

/// All measures, in the order in which they are taken and shown.
pub(crate) const ALL: &[&Measure] =
    &[&REQUESTS, &LATENCY, &CONNECTIONS, &RESUMED, &DOWN, &UP, &MEMORY, &start::START, &FILE];

/// As fast as the answers come.
const REQUESTS: Measure = Measure {
    name: "requests-full",
    family: "Small requests on connections that stay open, at full speed",
    figures: &[
        Figure { id: "request", title: "CPU µs per request", digits: 1, lowest_wins: true },
        Figure { id: "request-rate", title: "requests a second", digits: 0, lowest_wins: false },
    ],
    of: carries,
    sample: |bench, peer| {
        let (count, cost) = requests::at_full_speed(bench, peer, Setup::default(), requests::CONNECTIONS)?;
        Ok(vec![cost.us_each(count), cost.rate(count)])
    },
};

/// At a fixed rate, and beside it the same without the proxy.
const LATENCY: Measure = Measure {
    name: "requests-fixed",
    family: "The same, 2,000 a second",
    figures: latency::FIGURES,
    of: carries,
    sample: latency::sample,
};

const NEW: &str = "New connections";

/// Where the server gives no tickets.
const CONNECTIONS: Measure = Measure {
    name: "connections-full",
    family: NEW,
    figures: &[
        Figure { id: "mtls", title: "full handshakes: CPU µs each", digits: 0, lowest_wins: true },
        Figure { id: "mtls-rate", title: "a second", digits: 0, lowest_wins: false },
    ],
    of: dials_for_each,
    sample: |bench, peer| {
        let Renewed { cpu, rate, resumed } = renew(bench, peer, Setup { tickets: false, ..Setup::default() })?;
        ensure!(resumed == 0.0, "{resumed} of a hundred were resumed without a ticket");
        Ok(vec![cpu, rate])
    },
};

/// Where the server gives tickets: whoever keeps them resumes.
const RESUMED: Measure = Measure {
    name: "connections-resumed",
    family: NEW,
    figures: &[
        Figure { id: "tickets", title: "the server gives tickets: CPU µs each", digits: 0, lowest_wins: true },
        Figure { id: "tickets-rate", title: "a second", digits: 0, lowest_wins: false },
        Figure { id: "resumed", title: "resumed, %", digits: 0, lowest_wins: false },
    ],
    of: dials_for_each,
    sample: |bench, peer| {
        let Renewed { cpu, rate, resumed } = renew(bench, peer, Setup::default())?;
        Ok(vec![cpu, rate, resumed])
    },
};

const BULK: &str = "Bulk";

/// From the server.
const DOWN: Measure = Measure {
    name: "bulk-down",
    family: BULK,
    figures: &[
        Figure { id: "down", title: "down: CPU s per GiB", digits: 2, lowest_wins: true },
        Figure { id: "down-rate", title: "GiB a second", digits: 2, lowest_wins: false },
    ],
    of: carries,
    sample: |bench, peer| carry(bench, peer, true),
};

/// To the server.
const UP: Measure = Measure {
    name: "bulk-up",
    family: BULK,
    figures: &[
        Figure { id: "up", title: "up: CPU s per GiB", digits: 2, lowest_wins: true },
        Figure { id: "up-rate", title: "GiB a second", digits: 2, lowest_wins: false },
    ],
    of: carries,
    sample: |bench, peer| carry(bench, peer, false),
};

/// At idle, per connection, and what is left.
const MEMORY: Measure = Measure {
    name: "memory",
    family: "Memory",
    figures: &[
        Figure { id: "idle", title: "idle, MiB", digits: 2, lowest_wins: true },
        Figure { id: "idle-anonymous", title: "of which anonymous", digits: 2, lowest_wins: true },
        Figure { id: "connection", title: "KiB per idle connection of 2,000", digits: 1, lowest_wins: true },
        Figure { id: "left-more", title: "MiB more than at idle 5 s after they closed", digits: 1, lowest_wins: true },
    ],
    of: |_| true,
    sample: memory,
};

/// What has to be there to run it.
const FILE: Measure = Measure {
    name: "file",
    family: "Program file",
    figures: &[Figure { id: "file", title: "MB", digits: 2, lowest_wins: true }],
    // One for each program.
    of: dials_for_each,
    sample: |_, peer| {
        let program = peer.program();
        let size = program.metadata().with_context(|| format!("cannot look at {}", program.display()))?.len();
        Ok(vec![size as f64 / 1e6])
    },
};

fn carries(peer: &dyn Peer) -> bool {
    peer.carries()
}

/// Where a connection of the client is one to the server, too.
fn dials_for_each(peer: &dyn Peer) -> bool {
    peer.carries() && !peer.speaks_http()
}

/// What new connections took.
struct Renewed {
    /// CPU microseconds each.
    cpu: f64,
    /// How many a second.
    rate: f64,
    /// How many of a hundred the server resumed.
    resumed: f64,
}

fn renew(bench: &Bench, peer: &dyn Peer, setup: Setup) -> Result<Renewed> {
    let stage = bench.serving(peer, setup)?;
    let before = stage.handshakes()?;
    let (count, cost) = handshake::renew(&stage, false)?;
    let after = stage.handshakes()?;
    let (full, resumed) = (after.full - before.full, after.resumed - before.resumed);
    // The floor has another server behind it, without TLS.
    if peer.name() != FLOOR {
        // Before those that are counted there is one of each client, which warms up.
        ensure!((full + resumed) as f64 >= count, "{count} connections, and {full} + {resumed} handshakes");
    }
    let share = resumed as f64 * 100.0 / (full + resumed).max(1) as f64;
    Ok(Renewed { cpu: cost.us_each(count), rate: cost.rate(count), resumed: share })
}

fn carry(bench: &Bench, peer: &dyn Peer, down: bool) -> Result<Vec<f64>> {
    let (gib, cost) = bulk::carry(bench, peer, down)?;
    Ok(vec![cost.cpu.as_secs_f64() / gib, cost.rate(gib)])
}

const MANY: usize = 2_000;

fn memory(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    // To dial it would have it shake hands with the server, which is no longer idle.
    let mut stage = bench.untouched(peer, Setup::default())?;
    sleep(AFTER_START);
    let idle = stage.process.memory()?;
    let mut figures = vec![idle.resident / 1024.0, idle.anonymous / 1024.0];
    if !peer.carries() {
        return Ok(figures);
    }
    stage.until_served()?;
    // With a request each: without one nobody can tell when the handshake behind the proxy is over.
    let open = bench
        .runtime
        .block_on(pace::open::<Connection>(&stage.target(Client::default())?, MANY))
        .with_context(|| stage.said())?;
    sleep(AFTER_OPENING);
    figures.push((stage.process.memory()? - idle).resident / MANY as f64);
    bench.runtime.block_on(async {
        for connection in open {
            connection.close().await;
        }
    });
    sleep(AFTER_CLOSING);
    figures.push((stage.process.memory()? - idle).resident / 1024.0);
    Ok(figures)
}
