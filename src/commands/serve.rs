//! `vestibule run` and `vestibule proxy`.

use std::panic::AssertUnwindSafe;
use std::time::Duration;
use std::{io, panic};

use tokio::runtime::{Builder, Runtime};
use tracing::Level;

use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::sidecar::Sidecar;
use crate::supervisor::{AppCommand, Signals};
use crate::telemetry;
use crate::telemetry::log_writer;

/// For the connections that are dropped at the end.
const LAST_DROPS: Duration = Duration::from_millis(250);

/// For the last lines of the log to be read by whoever reads them.
const LAST_LINES: Duration = Duration::from_millis(250);

/// Serves as `config` says, with the app of `command` as a child if there is one, until something ends it. `warnings` are
/// the first words of the log.
///
/// A fault is a log line, so that the log stays of one form; its status is given.
pub(super) fn serve(config: Config, command: Option<AppCommand>, warnings: &[String]) -> Exit {
    Signals::unblock();
    telemetry::start_logging(&config.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Signals::log_ignored();
    let served = panic::catch_unwind(AssertUnwindSafe(|| {
        let (runtime, sidecar) = start(config, command).inspect_err(Fault::log)?;
        let served = runtime.block_on(sidecar.run());
        // Connections whose time is over write their access log entries when they are dropped.
        runtime.shutdown_timeout(LAST_DROPS);
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
    log_writer::flush(LAST_LINES);
    exit
}

/// Opens the listeners, and starts the app before the worker threads are there.
///
/// # Errors
/// An address cannot be opened, the app cannot be started, or the kernel grants no more descriptors or threads.
fn start(config: Config, command: Option<AppCommand>) -> Result<(Runtime, Sidecar), Fault> {
    let threads = config.threads;
    // One without threads of its own, in which the app is started.
    let starting = runtime(1)?;
    let mut sidecar = Sidecar::open(config)?;
    if let Some(command) = command {
        starting.block_on(async { sidecar.start_app(command) })?;
    }
    if threads == 1 {
        return Ok((starting, sidecar));
    }
    drop(starting);
    Ok((runtime(threads)?, sidecar))
}

/// A runtime with `threads` threads. One thread needs no scheduler that shares work between threads.
///
/// # Errors
/// The kernel grants no more descriptors or threads.
pub(super) fn runtime(threads: usize) -> Result<Runtime, Fault> {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    let internal = |error: io::Error| Fault::new(Exit::Internal, format!("cannot start the runtime: {error}"));
    builder.enable_all().thread_name("vestibule").build().map_err(internal)
}
