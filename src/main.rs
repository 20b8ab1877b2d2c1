//! Parse, do it, exit status.

use std::process::ExitCode;

use vestibule::sandbox::EarlyThread;
use vestibule::{cli, commands};
// For its symbols, which the linker takes in the place of the C library's.
#[cfg(all(target_env = "musl", target_arch = "x86_64"))]
use vestibule_memcpy as _;

/// Gives memory back by itself after a burst of connections, which the C library's does not: 2,000 connections opened and
/// closed leave 13 MiB there, and 1.3 MiB here. It serves aws-lc as well. `.cargo/config.toml` sets it up: one arena, since
/// we have two threads at most, small caches for them, and a thread of its own that returns what has been free for half a
/// second. `docs/performance.md` has the figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The thread that returns what has been free; it is there before `main`.
const ALLOCATORS: EarlyThread =
    EarlyThread { stop: || set_background_thread(false), start: || set_background_thread(true) };

fn set_background_thread(runs: bool) {
    // Without it memory is returned by whoever frees some more.
    let _ = tikv_jemalloc_ctl::background_thread::write(runs);
}

fn main() -> ExitCode {
    commands::keep_memory_private();
    commands::outlive_limits();
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => match commands::execute(command, Some(ALLOCATORS)) {
            Ok(exit) => exit.into(),
            Err(fault) => fault.report(),
        },
        Err(stop) => stop.report(),
    }
}
