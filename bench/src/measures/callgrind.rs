//! Instructions of vestibule per handshake, request and MiB, counted by valgrind: figures that hardly change from run to run, however
//! busy the machine is. Each is the difference of a run with much and one with little work, so that start and end cancel out.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::{Client, Connection, Target};
use crate::peers::Peer;
use crate::process::Running;
use crate::stage::{Bench, Setup};

/// One kind of work, `of` so many units, and what a unit is called.
struct Work {
    unit: &'static str,
    little: u64,
    much: u64,
    of: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Handshake { resumes: bool, asks_clients: bool },
    Request,
    Down,
    Up,
}

/// Longer than vestibule takes, under valgrind, from listening until it serves.
const READY: Duration = Duration::from_secs(1);

const MIB: u64 = 1 << 20;

const ALL: [Work; 6] = [
    Work {
        unit: "full handshake, RSA-2048",
        little: 5,
        much: 25,
        of: Kind::Handshake { resumes: false, asks_clients: false },
    },
    Work {
        unit: "the same with mTLS",
        little: 5,
        much: 25,
        of: Kind::Handshake { resumes: false, asks_clients: true },
    },
    Work { unit: "resumption", little: 5, much: 55, of: Kind::Handshake { resumes: true, asks_clients: false } },
    Work { unit: "small request", little: 50, much: 1_050, of: Kind::Request },
    Work { unit: "MiB down", little: 4, much: 36, of: Kind::Down },
    Work { unit: "MiB up", little: 4, much: 36, of: Kind::Up },
];

/// Counts, and prints a line for each kind of work.
///
/// # Errors
/// valgrind is not installed, or vestibule fails under it.
pub(crate) fn count(bench: &Bench, vestibule: &dyn Peer) -> Result<()> {
    let version = Command::new("valgrind").arg("--version").output();
    let version = version.context("cannot start valgrind; apt-get install valgrind")?;
    println!(
        "{}, callgrind: instructions of vestibule {}",
        String::from_utf8_lossy(&version.stdout).trim(),
        vestibule.version()
    );
    println!(
        "valgrind offers the program no AVX-512: signatures take the path of CPUs without IFMA, and bulk that without VAES\n"
    );
    println!("| per | instructions | again |\n|---|---:|---:|");
    for work in &ALL {
        let (once, again) = (difference(bench, vestibule, work)?, difference(bench, vestibule, work)?);
        println!("| {} | {once} | {again} |", work.unit);
    }
    Ok(())
}

fn difference(bench: &Bench, vestibule: &dyn Peer, work: &Work) -> Result<i64> {
    let run = |units| instructions(bench, vestibule, work, units).with_context(|| format!("{} {}", units, work.unit));
    Ok((run(work.much)? - run(work.little)?) / (work.much - work.little).cast_signed())
}

/// Instructions of one process from its start to its end, with so many units of work in between.
fn instructions(bench: &Bench, vestibule: &dyn Peer, work: &Work, units: u64) -> Result<i64> {
    let asks_clients = matches!(work.of, Kind::Handshake { asks_clients: true, .. });
    let setup = Setup { asks_clients, ..Setup::default() };
    let site = bench.site(vestibule, setup)?;
    let counts = site.dir.with_extension("callgrind");
    let mut stage = bench.staged(site, vestibule, setup, |command, log| {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", counts.display()));
        valgrind.arg(command.get_program()).args(command.get_args());
        Running::start(&valgrind, bench.places.peer, log)
    })?;
    // An attempt that comes too early would be counted, and not in every run.
    sleep(READY);
    stage.until_served()?;
    let target = stage
        .target(Client { resumes: matches!(work.of, Kind::Handshake { resumes: true, .. }), ..Client::default() })?;
    bench.runtime.block_on(perform(&target, work.of, units)).with_context(|| stage.said())?;
    let status = stage.process.terminate()?;
    ensure!(status.success(), "vestibule ended with {status}");
    let text = fs::read_to_string(&counts).with_context(|| format!("cannot read {}", counts.display()))?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.context("callgrind wrote no totals")
}

/// One thing after the other: nothing waits for anything else, so that the process takes the same way each time.
async fn perform(target: &Target, kind: Kind, units: u64) -> Result<()> {
    match kind {
        Kind::Handshake { .. } => {
            for _ in 0..units {
                let mut connection = Connection::open(target).await?;
                connection.request().await?;
                connection.close().await;
            }
        }
        Kind::Request => {
            let mut connection = Connection::open(target).await?;
            for _ in 0..units {
                connection.request().await?;
            }
            connection.close().await;
        }
        Kind::Down => {
            let mut connection = Connection::open(target).await?;
            connection.down(units * MIB).await?;
            connection.close().await;
        }
        Kind::Up => {
            let mut connection = Connection::open(target).await?;
            connection.up(units * MIB).await?;
            connection.close().await;
        }
    }
    Ok(())
}
