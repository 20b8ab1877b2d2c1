//! What a process does between its start and becoming the program that it is for.
//!
//! Both settings below outlast `exec`. Doing them in a process of our own needs no unsafe code between fork and exec.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::place;

/// `command`, started by way of [`become_program`].
///
/// # Errors
/// We do not know our own path.
pub(crate) fn wrapped(command: &Command, cpu: Option<usize>) -> Result<Command> {
    let mut outer = Command::new(std::env::current_exe().context("cannot tell the path of this program")?);
    outer.arg("exec").arg("--parent").arg(std::process::id().to_string());
    if let Some(cpu) = cpu {
        outer.arg("--cpu").arg(cpu.to_string());
    }
    outer.arg("--").arg(command.get_program()).args(command.get_args());
    Ok(outer)
}

/// Becomes `program`, which gets TERM when `parent` ends and stays on `cpu`. TERM, since a master process ends its workers then.
///
/// # Errors
/// The program cannot be started, or the parent is gone.
pub(crate) fn become_program(parent: i32, cpu: Option<usize>, program: &[OsString]) -> Result<Infallible> {
    let Some((path, args)) = program.split_first() else { bail!("no program is named") };
    set_pdeathsig(Signal::SIGTERM).context("cannot ask for a signal at the parent's end")?;
    if getppid().as_raw() != parent {
        bail!("the parent has ended");
    }
    if let Some(cpu) = cpu {
        place::stay_on(cpu)?;
    }
    let error = Command::new(path).args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", path.display()))
}

/// Raises the number of descriptors to the hard limit, for us and for what we start, and returns it.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn raise_descriptors() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of descriptors")?;
    Ok(hard)
}
