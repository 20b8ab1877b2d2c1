//! Processes of ours that start a program for us. They are there before the sandbox, and so outside of it, and what they start is too.
//!
//! Such a process is this very program under the command [`LAUNCH`], which nobody types. What it may start stands on its command line: whoever
//! has taken over the proxy within the sandbox can have that started and nothing else. Its stdin is a socket to the proxy, and it ends with that.

mod app;
mod hook;

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::{env, io};

use rustix::io::Errno;
use rustix::param::linux_execfn;

use crate::exit::{Exit, Fault};

pub use app::{AppLauncher, launch_app};
pub use hook::{HookLauncher, HookRequest, launch_hooks};

/// The command under which this program starts others. It is in no help, for nobody has a use for it.
pub const LAUNCH: &str = "__launch";

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchJob {
    /// The app, once, with the secrets that come over the socket.
    App,
    /// The program of `--on-rotation`, as often as is asked for.
    Hook,
}

impl LaunchJob {
    /// The word for it on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Hook => "hook",
        }
    }

    /// What `word` stands for.
    pub fn from_word(word: &OsStr) -> Option<Self> {
        [Self::App, Self::Hook].into_iter().find(|job| word == job.as_str())
    }
}

/// This program once more, in a process group of its own, to start `words`; with its end of the socket.
fn start(job: LaunchJob, words: &[&OsStr], adjust: impl Fn(&mut Command)) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    let run = |program: &OsStr| {
        let mut command = Command::new(program);
        adjust(&mut command);
        command.arg0(env!("CARGO_PKG_NAME")).arg(LAUNCH).arg(job.as_str()).args(words);
        command.stdin(Stdio::from(theirs.try_clone()?)).process_group(0).spawn()
    };
    let child = match run(OsStr::new("/proc/self/exe")) {
        // Without a /proc, by the name that we were started by.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {
            started_as(linux_execfn(), env::args_os().next()).map_or(Err(error), |name| run(&name))
        }
        started => started,
    };
    Ok((child?, ours))
}

/// The name that the kernel found us by (`AT_EXECFN`, getauxval(3)), or else the `first_word` of our command line, which a shell found us by.
///
/// A static program of musl's is not told the former here: rustix looks for getauxval(3) among the symbols of a running program, and there are none.
fn started_as(found_by: &CStr, first_word: Option<OsString>) -> Option<OsString> {
    let found_by = Some(OsStr::from_bytes(found_by.to_bytes()).to_owned());
    found_by.into_iter().chain(first_word).find(|name| !name.is_empty())
}

/// What is said where the process that starts `what` cannot be started.
fn start_fault(what: &str, error: &io::Error) -> Fault {
    let help = match Errno::from_io_error(error) {
        // It is neither in a /proc nor where it was when it was started.
        Some(Errno::NOENT) => "mount /proc, or start vestibule by its whole path; or try --sandbox off",
        Some(Errno::MFILE | Errno::NFILE) => "raise the limit of descriptors (ulimit -n)",
        _ => "raise the limit of processes or memory (pids.max, memory.max), or try --sandbox off",
    };
    Fault::new(Exit::Internal, format!("cannot start the process that starts {what}: {error}")).with_help(help)
}

/// The socket to the proxy, in a process that was started for it.
///
/// # Errors
/// stdin is no socket: somebody has typed the command.
pub fn proxy_socket() -> io::Result<UnixStream> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::net::sockopt::socket_type(&stdin)?;
    Ok(UnixStream::from(stdin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_started_again_by_the_kernels_name_for_us_or_else_by_the_first_word_of_our_command_line() {
        let started = |found_by, first: Option<&str>| started_as(found_by, first.map(OsString::from));
        assert_eq!(started(c"/bin/one", Some("two")), Some("/bin/one".into()));
        assert_eq!(started(c"", Some("/bin/two")), Some("/bin/two".into()));
        assert_eq!((started(c"", Some("")), started(c"", None)), (None, None));
    }

    #[test]
    fn what_helps_is_about_what_is_wrong() {
        let help = |errno: Errno| start_fault("the app", &errno.into()).errors()[0].help.clone().unwrap();
        assert!(help(Errno::NOENT).contains("/proc") && !help(Errno::NOENT).contains("memory"));
        assert!(help(Errno::AGAIN).contains("pids.max"));
    }
}
