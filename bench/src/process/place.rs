//! Which CPU each process runs on.

use std::fmt;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs of one run. What is measured has one to itself, so that it is never moved and never shares its caches with the client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    /// Of the process that is measured.
    pub(crate) peer: Option<usize>,
    /// Of the client, which is the driver.
    pub(crate) client: Option<usize>,
    /// Of the app.
    pub(crate) app: Option<usize>,
}

impl Places {
    /// Shares out the CPUs that we may use. With fewer than three, nobody is given a place: beside a client and an app that share one, a
    /// proxy with a CPU to itself would sleep between any two requests, and what is measured would be its waking up.
    ///
    /// # Errors
    /// The kernel does not say which those are.
    pub(crate) fn share_out() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("cannot tell which CPUs may be used")?;
        let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        Ok(match cpus[..] {
            [peer, client, app, ..] => Self { peer: Some(peer), client: Some(client), app: Some(app) },
            _ => Self::default(),
        })
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.peer, self.client, self.app) {
            (Some(peer), Some(client), Some(app)) => {
                write!(f, "measured process on CPU {peer}, client on CPU {client}, app on CPU {app}")
            }
            _ => write!(f, "no process is pinned to a CPU"),
        }
    }
}

/// Keeps the calling thread, and what it starts from now on, on `cpu`.
///
/// # Errors
/// That CPU may not be used.
pub(crate) fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("cannot stay on CPU {cpu}"))
}
