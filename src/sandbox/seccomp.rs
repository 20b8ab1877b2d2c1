//! seccomp: which system calls are left (seccomp(2)).
//!
//! Three filters, of which the kernel obeys the severest. Calls that are not listed are refused with EPERM, as if this user
//! might not. Calls that no code of ours has a use for, and that whoever has taken over a process begins with, end the process.
//! And `clone3`, whose arguments a filter cannot see, is said not to exist: the C library then takes `clone`.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::time::Duration;

use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};

use super::RestrictScope;
use super::system_calls::{ALLOWED, Argument, CONDITIONAL, FATAL};

/// How often threads are waited for that are about to go, and for how long each time.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// Gives up all calls but the listed ones.
///
/// # Errors
/// A sentence: the kernel has no seccomp, or somebody does not let us.
pub(super) fn restrict(extent: RestrictScope) -> Result<(), String> {
    let programs = programs().map_err(|error| format!("there is no list of system calls for {ARCH} ({error})"))?;
    for program in &programs {
        let applied = match extent {
            RestrictScope::Process => apply_to_all(program),
            RestrictScope::Trial => apply_filter(program),
        };
        applied.map_err(|error| format!("the kernel does not take the filter: {error}"))?;
    }
    Ok(())
}

/// To threads that nobody knows of, too. One that was waited for may still be about to go, with a filter of its own.
fn apply_to_all(program: &BpfProgram) -> seccompiler::Result<()> {
    let mut tries = 0;
    loop {
        match apply_filter_all_threads(program) {
            Err(seccompiler::Error::ThreadSync(_)) if tries < TRIES => tries += 1,
            applied => return applied,
        }
        std::thread::sleep(PAUSE);
    }
}

/// The filters in the order of their installation: the last one forbids to install more.
fn programs() -> Result<[BpfProgram; 3], BackendError> {
    let arch = TargetArch::try_from(ARCH)?;
    let program = |rules, mismatched, matched| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(rules, mismatched, matched, arch)?.try_into()
    };
    let errno = |errno: Errno| SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
    let named = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect::<BTreeMap<_, _>>();
    let mut allowed = named(ALLOWED);
    allowed.insert(libc::SYS_clone3, Vec::new());
    for (call, alternatives) in CONDITIONAL {
        let mut rules = Vec::new();
        for arguments in *alternatives {
            rules.extend(rules_of(arguments)?);
        }
        allowed.insert(*call, rules);
    }
    Ok([
        program(named(FATAL), SeccompAction::Allow, SeccompAction::KillProcess)?,
        program(named(&[libc::SYS_clone3]), SeccompAction::Allow, errno(Errno::NOSYS))?,
        program(allowed, errno(Errno::PERM), SeccompAction::Allow)?,
    ])
}

/// One of which has to be met, so that all `arguments` are as they should be.
fn rules_of(arguments: &[Argument]) -> Result<Vec<SeccompRule>, BackendError> {
    let mut rules = vec![Vec::new()];
    for argument in arguments {
        let met = conditions(*argument)?;
        rules = rules
            .iter()
            .flat_map(|rule| met.iter().map(|one| [&rule[..], std::slice::from_ref(one)].concat()))
            .collect();
    }
    rules.into_iter().map(SeccompRule::new).collect()
}

/// One of which has to be met, so that `argument` is as it should be.
fn conditions(argument: Argument) -> Result<Vec<SeccompCondition>, BackendError> {
    let condition =
        |number, compared, value: u32| SeccompCondition::new(number, SeccompCmpArgLen::Dword, compared, value.into());
    match argument {
        Argument::OneOf(number, values) => {
            values.iter().map(|value| condition(number, SeccompCmpOp::Eq, *value)).collect()
        }
        Argument::Masked(number, mask, values) => {
            values.iter().map(|value| condition(number, SeccompCmpOp::MaskedEq(mask.into()), *value)).collect()
        }
        Argument::Without(number, bits) => Ok(vec![condition(number, SeccompCmpOp::MaskedEq(bits.into()), 0)?]),
        Argument::With(number, bits) => Ok(vec![condition(number, SeccompCmpOp::MaskedEq(bits.into()), bits)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_made_and_no_call_is_both_allowed_and_fatal() {
        assert!(programs().unwrap().iter().all(|program| !program.is_empty()));
        for call in FATAL {
            assert!(!ALLOWED.contains(call) && CONDITIONAL.iter().all(|(other, _)| other != call), "{call}");
        }
        for (call, _) in CONDITIONAL {
            assert!(!ALLOWED.contains(call), "{call} is allowed whatever its arguments");
        }
    }
}
