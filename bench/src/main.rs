//! What Vestibule costs, beside its peers, in one run: `cargo run --release -- run`.
//!
//! `run` is the story; read it first. A [measure](measures::Measure) takes samples of a [peer](peers::Peer) on a
//! [stage](stage::Stage); the [load](load) comes from this process; the [process] accounting is the kernel's; the [report] shows it.

mod app;
mod args;
mod credentials;
mod diego;
mod differential;
mod flood;
mod load;
mod measures;
mod peers;
mod process;
mod product;
mod relay;
mod report;
mod rolling;
mod run;
mod stage;
mod wire;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use args::{Cli, Task};

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(task: Task) -> Result<()> {
    match task {
        Task::Run(args) => run::run(&args, &run::INBOUND),
        Task::Outbound(args) => run::run(&args, &run::OUTBOUND),
        Task::Http(args) => run::run(&args, &run::HTTP),
        Task::Callgrind(args) => run::callgrind(&args),
        Task::List => run::list(),
        Task::Differential(args) => differential::run(&args),
        Task::Flood(args) => flood::run(&args),
        Task::Rolling(args) => rolling::run(&args),
        Task::Web { port } => rolling::web::serve(port),
        Task::App { credentials } => process::exec::raise_descriptors().and_then(|_| app::serve(&credentials)),
        Task::Storm { server } => load::storm::rage(server),
        Task::Relay { listen, app } => relay::serve(listen, app),
        Task::Exec { parent, cpu, program } => {
            process::exec::become_program(parent, cpu, &program).map(|never| match never {})
        }
    }
}

/// A runtime on the calling thread. One thread each for client, app and relay: they are not to be moved about.
///
/// # Errors
/// The kernel grants no more descriptors.
fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot make a runtime")
}
