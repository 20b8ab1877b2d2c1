//! Which CPU each process runs on.

use std::fmt;

use anyhow::Context;
use anyhow::Result;
use nix::sched::CpuSet;
use nix::sched::sched_getaffinity;
use nix::sched::sched_setaffinity;
use nix::unistd::Pid;

/// The CPUs of one run. What is measured has one to itself, so that it is never moved and never shares its caches with the client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    /// Of the process that is measured.
    pub(crate) peer: Option<usize>,
    /// Of the client, which is the driver.
    pub(crate) client: Option<usize>,
    /// Of the app: the client's, where there are only two.
    pub(crate) app: Option<usize>,
}

impl Places {
    /// Shares out the CPUs that we may use; with only one of them, nobody is given a place.
    ///
    /// # Errors
    /// The kernel does not say which those are.
    pub(crate) fn share_out() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("cannot tell which CPUs may be used")?;
        let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        Ok(match cpus[..] {
            [] | [_] => Self::default(),
            [peer, both] => Self { peer: Some(peer), client: Some(both), app: Some(both) },
            [peer, client, app, ..] => Self { peer: Some(peer), client: Some(client), app: Some(app) },
        })
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.peer, self.client, self.app) {
            (Some(peer), Some(client), Some(app)) if client == app => {
                write!(f, "measured process on CPU {peer}, client and app on CPU {client}")
            }
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
