//! `vestibule run` and `vestibule proxy`.

use std::panic;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use tokio::runtime::Runtime;
use tracing::Level;

use crate::config::{Config, SandboxMode};
use crate::exit::{Exit, Fault};
use crate::sandbox::EarlyThread;
use crate::secrets::Plan;
use crate::sidecar::{Sidecar, Workers, runtime};
use crate::supervisor::{AppCommand, Signals};
use crate::sys::limits;
use crate::telemetry;
use crate::telemetry::log_writer;

/// For the connections that are dropped at the end.
const DROP_GRACE: Duration = Duration::from_millis(250);

/// For the last lines of the log to be read by whoever reads them.
const FLUSH_GRACE: Duration = Duration::from_millis(250);

/// Fewer descriptors are not enough for a start, and some of those who find none have no other way out than to panic.
const FEWEST_DESCRIPTORS: u64 = 16;

/// The app that is ours to start, and what its environment refers to; without a plan nothing is resolved.
pub(super) struct OwnApp {
    pub(super) command: AppCommand,
    pub(super) secrets: Option<Plan>,
}

/// Serves as `config` says, with `app` as a child if there is one, until something ends it. `warnings` are
/// the first words of the log.
///
/// A fault is a log line, so that the log stays of one form; its status is given.
pub(super) fn serve(config: Config, app: Option<OwnApp>, warnings: &[String], early: Option<EarlyThread>) -> Exit {
    Signals::unblock();
    match config.sandbox {
        SandboxMode::Off => telemetry::start_logging(&config.log),
        // The thread that writes it is to be within.
        SandboxMode::BestEffort | SandboxMode::Strict => telemetry::start_logging_without_thread(&config.log),
    }
    for warning in warnings {
        tracing::warn!(detail = %warning, "configuration warning");
    }
    Signals::log_ignored();
    let served = panic::catch_unwind(AssertUnwindSafe(|| {
        check_descriptors().inspect_err(log_failed_start)?;
        let command = match app {
            Some(OwnApp { command, secrets: Some(plan) }) => {
                return resolve_and_run(config, command, plan, early);
            }
            app => app.map(|app| app.command),
        };
        let (runtime, sidecar) = start(config, command, early).inspect_err(log_failed_start)?;
        let served = runtime.block_on(Box::pin(sidecar.run()));
        // Connections whose time is over write their access log entries when they are dropped.
        runtime.shutdown_timeout(DROP_GRACE);
        served
    }))
    .unwrap_or_else(|_| {
        // Of the runtime's or of ours; its message is on stderr by now.
        let fault = Fault::new(Exit::Internal, "vestibule has panicked; this is a fault of ours, please report it");
        fault.log();
        Err(fault)
    });
    let exit = served.unwrap_or_else(|fault| {
        if !tracing::enabled!(Level::ERROR) {
            log_writer::write(format!("{fault}\n").as_bytes());
        }
        fault.exit
    });
    log_writer::flush(FLUSH_GRACE);
    exit
}

/// Opens the listeners, resolves what `plan` has, starts the app and then the worker threads, and serves until something ends it.
///
/// Not inlined: who has no secrets would have its stack too, for weeks.
#[inline(never)]
fn resolve_and_run(
    config: Config,
    mut command: AppCommand,
    plan: Plan,
    early: Option<EarlyThread>,
) -> Result<Exit, Fault> {
    let mut workers = Workers::new(config.threads);
    let opened = runtime(1).and_then(|runtime| {
        let mut sidecar = Sidecar::open(config)?;
        sidecar.enter_sandbox(Some((&mut command, &plan)), early)?;
        Ok((runtime, sidecar))
    });
    let (runtime, sidecar) = opened.inspect_err(log_failed_start)?;
    let served = runtime.block_on(Box::pin(sidecar.resolve_and_run(command, plan, &mut workers)));
    // Connections whose time is over write their access log entries when they are dropped.
    workers.shut_down(DROP_GRACE);
    runtime.shutdown_timeout(DROP_GRACE);
    served
}

/// Each error, and the end.
fn log_failed_start(fault: &Fault) {
    fault.log();
    tracing::info!(code = fault.exit.code(), "exited");
}

/// Whether there are as many descriptors as a start takes.
///
/// # Errors
/// [`Exit::Internal`]: there are not.
fn check_descriptors() -> Result<(), Fault> {
    let limit = limits::descriptor_limit();
    if limit >= FEWEST_DESCRIPTORS {
        return Ok(());
    }
    let what = format!("the limit of open descriptors is {limit}, and a start takes {FEWEST_DESCRIPTORS}");
    Err(Fault::new(Exit::Internal, what).with_help("raise the limit of descriptors (ulimit -n)"))
}

/// Opens the listeners, starts the app, and enters the sandbox before the worker threads are there.
///
/// # Errors
/// An address cannot be opened, the app cannot be started, or the kernel grants no more descriptors or threads.
fn start(config: Config, command: Option<AppCommand>, early: Option<EarlyThread>) -> Result<(Runtime, Sidecar), Fault> {
    let threads = config.threads;
    // One without threads of its own, in which the app is started.
    let starting = runtime(1)?;
    let mut sidecar = Sidecar::open(config)?;
    if let Some(command) = command {
        starting.block_on(async { sidecar.start_app(command) })?;
    }
    sidecar.enter_sandbox(None, early)?;
    if threads == 1 {
        return Ok((starting, sidecar));
    }
    drop(starting);
    Ok((runtime(threads)?, sidecar))
}
