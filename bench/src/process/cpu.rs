//! CPU time from the kernel's own accounting, in nanoseconds.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// User and system time of all threads of `pid`, of those too that have ended: a server with a thread for each connection would look
/// free of charge otherwise. `/proc/PID/stat` says the same in hundredths of a second.
///
/// # Errors
/// There is no such process.
pub(crate) fn of_process(pid: i32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    let time = clock
        .and_then(ClockId::now)
        .with_context(|| format!("process {pid} has ended before its CPU time was read"))?;
    Ok(Duration::from(time))
}

/// CPU time of the calling thread.
///
/// # Errors
/// The kernel has no such clock.
pub(crate) fn of_thread() -> Result<Duration> {
    Ok(Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?))
}
