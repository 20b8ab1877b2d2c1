//! Floods of strangers against vestibule in a memory control group of its own, with established traffic beside them: it must not be
//! killed, what it turns away must be counted, and the traffic must go on.

mod app;
mod group;
mod http1;
mod http2;
mod kind;
mod proxy;
mod traffic;

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::args::FloodArgs;
use crate::process::exec;
use crate::product;
use crate::product::Linked;
use crate::report::machine::Machine;
use crate::report::table;
use app::App;
use kind::{Flood, Kind};
use proxy::{Proxy, World};
use traffic::Traffic;

/// How long a flood stays: longer than a handshake may take, and than a connection may be stuck while memory is short.
const STAY: Duration = Duration::from_secs(12);

/// How long memory may take to come back: the longest farewell, and the allocator's.
const AFTER: Duration = Duration::from_secs(5);

/// What one flood came to.
struct Outcome {
    kind: Kind,
    refused: u64,
    start: u64,
    most: u64,
    after: u64,
    killed: bool,
    requests: usize,
    slowest: Duration,
    mebibytes: usize,
    errors: Vec<String>,
}

/// Runs all floods, prints the table and writes FLOOD.md.
///
/// # Errors
/// A control group cannot be made; or vestibule was killed, or established traffic saw an error.
pub(crate) fn run(args: &FloodArgs) -> Result<()> {
    exec::raise_descriptors()?;
    let machine = Machine::look(product::root());
    let binary = product::binary(&args.product, Linked::Static)?;
    let work = tempfile::Builder::new().prefix("vestibule-flood-").tempdir().context("cannot make a folder")?;
    let world = World::new(&binary, work.path(), args.memory)?;
    let mut outcomes = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| args.wants(kind.id())) {
        eprintln!("{} ...", kind.name());
        outcomes.push(flood(&world, kind, args.connections)?);
    }
    let text = markdown(&machine, args, &outcomes);
    println!("{text}");
    if args.only.is_empty() {
        let path = Path::new(product::HERE).join("FLOOD.md");
        std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let faults: Vec<_> =
        outcomes.iter().filter(|it| it.killed || !it.errors.is_empty()).map(|it| it.kind.name()).collect();
    ensure!(faults.is_empty(), "killed, or established traffic saw an error: {}", faults.join(", "));
    Ok(())
}

fn flood(world: &World, kind: Kind, connections: usize) -> Result<Outcome> {
    let app = App::start()?;
    let mut proxy = Proxy::start(world, kind, app.addr)?;
    let start = proxy.group.usage()?;
    let traffic = Traffic::start(proxy.client(), proxy.addr)?;
    // Established before the flood comes.
    thread::sleep(Duration::from_millis(500));
    let flood = Flood::new(kind, &proxy, connections);
    thread::sleep(STAY);
    let killed = proxy.ended();
    let refused = if killed { 0 } else { proxy.refused()? };
    drop(flood);
    let seen = traffic.stop();
    thread::sleep(AFTER);
    let (after, most) = (proxy.group.usage()?, proxy.group.most()?);
    let killed = killed || proxy.ended();
    let mut errors = seen.errors;
    if killed {
        errors.push(proxy.last_words());
    }
    Ok(Outcome {
        kind,
        refused,
        start,
        most,
        after,
        killed,
        requests: seen.requests,
        slowest: seen.slowest,
        mebibytes: seen.bytes >> 20,
        errors,
    })
}

fn markdown(machine: &Machine, args: &FloodArgs, outcomes: &[Outcome]) -> String {
    let titles = [
        "",
        "refused",
        "at the start, MiB",
        "at most, MiB",
        "after it, MiB",
        "killed",
        "requests",
        "slowest, ms",
        "bulk, MiB",
        "errors",
    ];
    let mut rows = vec![titles.map(str::to_owned).into()];
    rows.extend(outcomes.iter().map(Outcome::row));
    let errors =
        |it: &Outcome| it.errors.iter().map(|error| format!("- {}: {error}\n", it.kind.name())).collect::<String>();
    let errors: String = outcomes.iter().map(errors).collect();
    let errors = if errors.is_empty() { errors } else { format!("\n## Errors\n\n{errors}") };
    format!(
        "# Floods of strangers in a container of {} MiB\n\n{machine}\n\n{} connections of each kind at once, beside established traffic: small requests, and 16 KiB records both ways \
         (bulk). Memory is what the control group counts. Refused: connections closed as `overloaded`. See [README.md](README.md).\n\n{}{errors}",
        args.memory,
        args.connections,
        table::markdown(&rows)
    )
}

impl Outcome {
    fn row(&self) -> Vec<String> {
        let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1024.0 / 1024.0);
        vec![
            self.kind.name().to_owned(),
            self.refused.to_string(),
            mebibytes(self.start),
            mebibytes(self.most),
            mebibytes(self.after),
            if self.killed { "**yes**" } else { "no" }.to_owned(),
            self.requests.to_string(),
            self.slowest.as_millis().to_string(),
            self.mebibytes.to_string(),
            self.errors.len().to_string(),
        ]
    }
}
