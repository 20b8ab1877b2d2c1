//! Parse, do it, exit status.

use std::process::ExitCode;

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

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => match commands::execute(command) {
            Ok(exit) => exit.into(),
            Err(fault) => fault.report(),
        },
        Err(stop) => stop.report(),
    }
}
