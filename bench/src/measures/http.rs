//! What is measured of those that serve HTTP, over HTTP/1.1 and over HTTP/2; beside them, over HTTP/1.1, what only carries bytes.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::idle::{AFTER_OPENING, AFTER_START};
use super::{Figure, Measure, latency, requests};
use crate::load::pace::Asks;
use crate::load::{Client, Connection, Http2, pace};
use crate::peers::Peer;
use crate::process::memory::Memory;
use crate::stage::{Bench, Setup};

/// All measures, in the order in which they are taken and shown.
pub(crate) const ALL: &[&Measure] =
    &[&REQUESTS, &REQUESTS_HTTP2, &FIXED, &DOWN, &UP, &DOWN_HTTP2, &UP_HTTP2, &IDLE, &IDLE_HTTP2, &ACCESS_LOG];

const SMALL: &str = "Small requests on connections that stay open, at full speed: CPU µs per request";

/// As fast as the answers come, over few connections.
const REQUESTS: Measure = Measure {
    name: "requests-http1",
    family: SMALL,
    figures: &[Figure { id: "http1-request", title: "HTTP/1.1, 8 connections", digits: 1, lowest_wins: true }],
    of: super::everyone,
    sample: |bench, peer| Ok(vec![requests_http1(bench, peer, Setup::default())?]),
};

/// The same in streams.
const REQUESTS_HTTP2: Measure = Measure {
    name: "requests-http2",
    family: SMALL,
    figures: &[Figure {
        id: "http2-request",
        title: "HTTP/2, 8 streams on each of 2 connections",
        digits: 1,
        lowest_wins: true,
    }],
    of: serves_http,
    sample: requests_http2,
};

/// At a fixed rate, and beside it the same without the proxy.
const FIXED: Measure = Measure {
    name: "requests-fixed",
    family: "HTTP/1.1, 2,000 requests a second over 32 connections",
    figures: latency::FIGURES,
    of: super::everyone,
    sample: latency::sample,
};

const BULK: &str = "One body at a time: CPU seconds per GiB";

/// From the app.
const DOWN: Measure = Measure {
    name: "body-http1-down",
    family: BULK,
    figures: &[Figure { id: "http1-down", title: "HTTP/1.1 down", digits: 2, lowest_wins: true }],
    of: super::everyone,
    sample: |bench, peer| body::<Connection>(bench, peer, Client::default(), true),
};

/// To the app.
const UP: Measure = Measure {
    name: "body-http1-up",
    family: BULK,
    figures: &[Figure { id: "http1-up", title: "up", digits: 2, lowest_wins: true }],
    of: super::everyone,
    sample: |bench, peer| body::<Connection>(bench, peer, Client::default(), false),
};

/// From the app, in one stream.
const DOWN_HTTP2: Measure = Measure {
    name: "body-http2-down",
    family: BULK,
    figures: &[Figure { id: "http2-down", title: "HTTP/2 down", digits: 2, lowest_wins: true }],
    of: serves_http,
    sample: |bench, peer| body::<Http2>(bench, peer, HTTP2, true),
};

/// To the app, in one stream.
const UP_HTTP2: Measure = Measure {
    name: "body-http2-up",
    family: BULK,
    figures: &[Figure { id: "http2-up", title: "up", digits: 2, lowest_wins: true }],
    of: serves_http,
    sample: |bench, peer| body::<Http2>(bench, peer, HTTP2, false),
};

const MEMORY: &str = "KiB per idle connection of 2,000, after a request each";

/// Of HTTP/1.1.
const IDLE: Measure = Measure {
    name: "idle-http1",
    family: MEMORY,
    figures: &[
        Figure { id: "http1-rested", title: "HTTP/1.1", digits: 1, lowest_wins: true },
        Figure { id: "http1-later", title: "6 s later", digits: 1, lowest_wins: true },
    ],
    of: super::everyone,
    sample: |bench, peer| idle::<Connection>(bench, peer, Client::default()),
};

/// Of HTTP/2.
const IDLE_HTTP2: Measure = Measure {
    name: "idle-http2",
    family: MEMORY,
    figures: &[
        Figure { id: "http2-rested", title: "HTTP/2", digits: 1, lowest_wins: true },
        Figure { id: "http2-later", title: "6 s later", digits: 1, lowest_wins: true },
    ],
    of: serves_http,
    sample: |bench, peer| idle::<Http2>(bench, peer, HTTP2),
};

/// What the access log costs: a line for each request.
const ACCESS_LOG: Measure = Measure {
    name: "access-log",
    family: "Vestibule's access log: CPU µs per request, HTTP/1.1",
    figures: &[
        Figure { id: "log-off", title: "off", digits: 1, lowest_wins: true },
        Figure { id: "log-denied", title: "denied (default)", digits: 1, lowest_wins: true },
        Figure { id: "log-all", title: "all", digits: 1, lowest_wins: true },
        Figure { id: "log-adds", title: "all adds to denied, %", digits: 0, lowest_wins: true },
    ],
    of: |peer| peer.is_vestibule() && peer.speaks_http(),
    sample: |bench, peer| {
        let cost = |which| requests_http1(bench, peer, Setup { access_log: Some(which), ..Setup::default() });
        let [off, denied, all] = [cost("off")?, cost("denied")?, cost("all")?];
        Ok(vec![off, denied, all, (all / denied - 1.0) * 100.0])
    },
};

const HTTP2: Client<'_> = Client { pair: None, ca: None, resumes: false, http2: true };

/// Few enough that each has its own work to do, and as many as one thread is kept busy with.
const CONNECTIONS: usize = 8;
const HTTP2_CONNECTIONS: usize = 2;
const STREAMS: usize = 8;

const MANY: usize = 2_000;

/// Longer than vestibule keeps a connection to the app that nothing is asked over.
const LATER: Duration = Duration::from_secs(6);

fn serves_http(peer: &dyn Peer) -> bool {
    peer.speaks_http()
}

/// CPU microseconds per request.
fn requests_http1(bench: &Bench, peer: &dyn Peer, setup: Setup) -> Result<f64> {
    let (count, cost) = requests::at_full_speed(bench, peer, setup, CONNECTIONS)?;
    Ok(cost.us_each(count))
}

fn requests_http2(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let open = bench.runtime.block_on(pace::open::<Http2>(&stage.target(HTTP2)?, HTTP2_CONNECTIONS))?;
    let streams = open.iter().flat_map(|connection| vec![connection.clone(); STREAMS]).collect();
    let ((_streams, count), cost) = stage.cost_of(pace::full(streams, bench.sizes.time))?;
    Ok(vec![cost.us_each(count as f64)])
}

fn body<A: Asks>(bench: &Bench, peer: &dyn Peer, client: Client<'_>, down: bool) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let mut open: Vec<A> = bench.runtime.block_on(pace::open(&stage.target(client)?, 1))?;
    let connection = &mut open[0];
    // As much as the other measures carry over four connections.
    let bytes = 4 * bench.sizes.bulk;
    let work = async { if down { connection.down(bytes).await } else { connection.up(bytes).await } };
    let ((), cost) = stage.cost_of(work)?;
    Ok(vec![cost.cpu.as_secs_f64() * f64::from(1 << 30) / bytes as f64])
}

/// Memory for each connection, a moment after the last request and later.
fn idle<A: Asks>(bench: &Bench, peer: &dyn Peer, client: Client<'_>) -> Result<Vec<f64>> {
    let stage = bench.listening(peer, Setup::default())?;
    // While time passes the client has to answer what it is asked.
    let pass = |time| bench.runtime.block_on(async move { sleep(time).await });
    pass(AFTER_START);
    let before = stage.process.memory()?;
    let open: Vec<A> =
        bench.runtime.block_on(pace::open(&stage.target(client)?, MANY)).with_context(|| stage.said())?;
    let each = |memory: Memory| (memory - before).resident / open.len() as f64;
    pass(AFTER_OPENING);
    let rested = stage.process.memory()?;
    pass(LATER);
    Ok(vec![each(rested), each(stage.process.memory()?)])
}
