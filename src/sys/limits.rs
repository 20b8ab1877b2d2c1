//! What the kernel lets this process have.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::sys::cgroup;

/// Raises our own limit of open descriptors to the highest we may set, and returns it; `u64::MAX` means no limit.
///
/// To be called after the app has been started: a child inherits the limits of the moment it is born in, and the app
/// has to find those that the container was given (a program that uses `select` breaks on descriptors above 1023).
///
/// # Errors
/// The kernel's, when it refuses; the limit is then what it was.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Our own limit of open descriptors as it is; `u64::MAX` means no limit.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The highest that we may set it to; `u64::MAX` means no limit.
pub(crate) fn highest_descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// The memory that the control groups leave to us and the app together, or that this process may have by itself, if that is less, in bytes;
/// `None` where there is no limit, or none can be seen.
pub(crate) fn memory_limit() -> Option<u64> {
    [cgroup::memory_limit(), process_memory_limit()].into_iter().flatten().min()
}

/// What this process may have by itself, in bytes (`ulimit -v` and `ulimit -d`, setrlimit(2)): an allocation beyond it fails, which ends
/// the process.
pub(crate) fn process_memory_limit() -> Option<u64> {
    [Resource::As, Resource::Data].into_iter().filter_map(|resource| getrlimit(resource).current).min()
}

/// Has the kernel keep our memory, in which keys are, from core dumps and from debuggers of the same user: an app that runs
/// under our user could read them there. What was opened before stays open, so it comes before anything else of the user's can know of us.
///
/// The app's memory is its own business: a program that is executed starts anew.
///
/// # Errors
/// The kernel's, when it refuses.
pub(crate) fn keep_memory_private() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The CPUs that we may use: by affinity, and by the CPU quota of the control group where there is one.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The CPUs that are ours by quota, of those that we may use. One where there is no quota: how many the host has says nothing of
/// how many are meant for us.
pub(crate) fn cpus_by_quota() -> usize {
    cgroup::cpu_quota().map_or(1, |quota| quota.min(cpus()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one_and_is_returned() {
        let before = getrlimit(Resource::Nofile);
        // One less than there is, since other tests of this process live under it meanwhile.
        let low = Rlimit { current: Some(before.maximum.map_or(1 << 20, |most| most - 1)), maximum: before.maximum };
        setrlimit(Resource::Nofile, low).unwrap();

        let raised = raise_descriptor_limit().unwrap();

        let after = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!(after, Rlimit { current: before.maximum, maximum: before.maximum });
        assert_eq!(Some(raised), before.maximum.or(Some(u64::MAX)));
    }
}
