//! The sandbox: rights that the proxy's own process gives up before it reads the network, so that whoever takes it over has no more than it needs.
//!
//! ```text
//! configuration → Access (which folders and ports are still needed) → enter: no_new_privs, capabilities, Landlock, seccomp → SandboxReport
//! ```
//! What is given up here is given up by one thread, and by those that it starts afterwards. So it happens once the app was started and
//! before there is any other thread; what starts programs later is a process of its own, which is there before
//! (`supervisor::launcher`).

mod access;
mod capabilities;
mod landlock;
mod seccomp;
mod system_calls;

use std::{io, thread};

use strum::{IntoStaticStr, VariantArray};

pub use self::access::Access;
use crate::config::SandboxMode;
use crate::exit::{Exit, Fault};

/// A thread that is there before `main`, as the allocator's own: it would stay outside of the sandbox. It is stopped for the moment in which
/// that is closed, and started again within.
#[derive(Debug, Clone, Copy)]
pub struct EarlyThread {
    /// Ends it, and waits for its end.
    pub stop: fn(),
    /// Starts it again.
    pub start: fn(),
}

/// One way in which a process is fenced in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Protection {
    /// No program gives this process more rights than it has: `PR_SET_NO_NEW_PRIVS` (prctl(2)).
    NoNewPrivs,
    /// Of root's capabilities only those that are needed: capabilities(7).
    Capabilities,
    /// Only listed system calls: seccomp(2).
    Seccomp,
    /// Only the folders that are needed: landlock(7), from Linux 5.13.
    LandlockFiles,
    /// TCP only to the ports that are dialled, and no TCP port is bound: landlock(7), from Linux 6.7.
    LandlockTcp,
    /// No abstract Unix sockets of others: landlock(7), from Linux 6.12.
    LandlockUnix,
}

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectionStatus {
    /// Which.
    pub protection: Protection,
    /// Why it does not hold, in words for people; `None`: it holds.
    pub missing: Option<String>,
}

/// What was asked for, and what holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxReport {
    /// What was asked for.
    pub mode: SandboxMode,
    /// Every protection, in their order.
    pub protections: Vec<ProtectionStatus>,
}

/// For what the restriction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RestrictScope {
    /// The whole process.
    Process,
    /// A thread that ends.
    Trial,
}

impl Protection {
    /// The word for it, in logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether there is no start without it in [`SandboxMode::Strict`]. The rest depends on how new the kernel is.
    pub fn is_essential(self) -> bool {
        matches!(self, Self::NoNewPrivs | Self::Capabilities | Self::Seccomp | Self::LandlockFiles)
    }
}

impl ProtectionStatus {
    fn of(protection: Protection, outcome: Result<(), String>) -> Self {
        Self { protection, missing: outcome.err() }
    }
}

impl SandboxReport {
    /// Nothing was given up.
    pub fn none(mode: SandboxMode) -> Self {
        let missing = || Some("not asked for".to_owned());
        let status = |protection: &Protection| ProtectionStatus { protection: *protection, missing: missing() };
        Self { mode, protections: Protection::VARIANTS.iter().map(status).collect() }
    }

    /// Those that hold.
    pub fn applied(&self) -> impl Iterator<Item = Protection> {
        self.protections.iter().filter(|status| status.missing.is_none()).map(|status| status.protection)
    }

    /// Those that do not hold, and why.
    pub fn missing(&self) -> impl Iterator<Item = (Protection, &str)> {
        self.protections.iter().filter_map(|status| Some((status.protection, status.missing.as_deref()?)))
    }

    /// What [`SandboxMode::Strict`] cannot do without, where it is missing.
    fn shortfall(&self) -> Option<Fault> {
        let essential = self.missing().filter(|(protection, _)| protection.is_essential());
        let missing: Vec<_> = essential.map(|(protection, why)| format!("{}: {why}", protection.as_str())).collect();
        (!missing.is_empty()).then(|| {
            Fault::new(Exit::Unavailable, format!("--sandbox strict cannot be had here: {}", missing.join("; ")))
                .with_help(
                    "use a kernel and a container that permit it, or --sandbox best-effort, which goes on without",
                )
        })
    }
}

/// What [`enter`] would come to here, tried out on a thread that ends with it: nothing is given up.
///
/// # Errors
/// There is no thread to try it on.
pub fn try_out(mode: SandboxMode, access: &Access) -> io::Result<SandboxReport> {
    let tried = thread::scope(|scope| {
        let trial = thread::Builder::new().name("vestibule-trial".to_owned());
        trial.spawn_scoped(scope, || give_up(mode, access, RestrictScope::Trial)).map(thread::ScopedJoinHandle::join)
    });
    tried?.map_err(|_| io::Error::other("the trial panicked; please report this"))
}

/// Whether `mode` can be had here, before anything is done that would have to be undone.
///
/// # Errors
/// [`Exit::Unavailable`]: what [`SandboxMode::Strict`] cannot do without is missing.
pub fn require(mode: SandboxMode, access: &Access) -> Result<(), Fault> {
    match mode {
        SandboxMode::Strict => match try_out(mode, access) {
            Ok(report) => report.shortfall().map_or(Ok(()), Err),
            // The app shares our limits, and may have used up all threads: then `enter` is the first to know.
            Err(_) => Ok(()),
        },
        SandboxMode::Off | SandboxMode::BestEffort => Ok(()),
    }
}

/// Gives up what `mode` asks for, for good: whatever `access` does not name cannot be reached any more. To be called while there is one thread, apart from
/// `early`; those that it starts later are within.
///
/// # Errors
/// As [`require`].
pub fn enter(mode: SandboxMode, access: &Access, early: Option<EarlyThread>) -> Result<SandboxReport, Fault> {
    if mode == SandboxMode::Off {
        return Ok(SandboxReport::none(mode));
    }
    if let Some(early) = early {
        (early.stop)();
    }
    let report = give_up(mode, access, RestrictScope::Process);
    if let Some(early) = early {
        (early.start)();
    }
    match report.shortfall() {
        Some(fault) if mode == SandboxMode::Strict => Err(fault),
        _ => Ok(report),
    }
}

/// Without no_new_privs the kernel lets only the mighty do the rest, and what follows would forbid the calls that Landlock needs: hence the order.
fn give_up(mode: SandboxMode, access: &Access, extent: RestrictScope) -> SandboxReport {
    let no_new_privs = rustix::thread::set_no_new_privs(true).map_err(|error| format!("the kernel says {error}"));
    let mut protections = vec![ProtectionStatus::of(Protection::NoNewPrivs, no_new_privs)];
    protections.push(ProtectionStatus::of(Protection::Capabilities, capabilities::restrict()));
    let landlock = landlock::restrict(access, extent);
    let seccomp = seccomp::restrict(extent);
    protections.push(ProtectionStatus::of(Protection::Seccomp, seccomp));
    protections.extend(landlock);
    SandboxReport { mode, protections }
}

#[cfg(test)]
mod tests;
