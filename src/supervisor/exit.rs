//! How the app, or a program beside it, ended, in a shell's numbers. Pure.

use std::ffi::OsStr;
use std::path::Path;
use std::{fmt, io};

use rustix::io::Errno;
use rustix::process::WaitStatus;

use crate::diagnostics::redact::quote_path;
use crate::exit::{Exit, Fault};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppExitStatus {
    /// It returned this code.
    Exited(u8),
    /// This signal ended it (1 to 64).
    Killed(u8),
}

impl AppExitStatus {
    /// What the kernel says; `None` for a process that was only stopped.
    pub(super) fn of(status: WaitStatus) -> Option<Self> {
        let narrow = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        let code = status.exit_status().map(|code| Self::Exited(narrow(code)));
        code.or_else(|| status.terminating_signal().map(|signal| Self::Killed(narrow(signal))))
    }

    /// The number a shell reports: the code, or 128 and the signal's number.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        }
    }
}

impl From<AppExitStatus> for Exit {
    fn from(status: AppExitStatus) -> Self {
        Self::App(status.code())
    }
}

impl fmt::Display for AppExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Killed(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// Why `program` could not be started, with the status a POSIX shell gives for it: 127 when there is no such program,
/// 126 when there is one that cannot be executed. A system that has no room for another process is neither: 70.
pub(super) fn spawn_fault(program: &OsStr, error: &io::Error) -> Fault {
    use io::ErrorKind::{
        ArgumentListTooLong, ExecutableFileBusy, InvalidFilename, NotADirectory, NotFound, OutOfMemory,
        PermissionDenied, WouldBlock,
    };

    let is_path = program.as_encoded_bytes().contains(&b'/');
    let (exit, help) = match error.kind() {
        NotFound if is_path => (
            Exit::App(127),
            "check the path; if the file is there, the interpreter in its first line or its dynamic loader is missing",
        ),
        NotFound => (Exit::App(127), "check the spelling, install it, or give its path; PATH was searched"),
        NotADirectory | InvalidFilename => (Exit::App(127), "check the path"),
        PermissionDenied => {
            (Exit::App(126), "it must be a file with the execute bit (chmod +x) on a file system that is not noexec")
        }
        ExecutableFileBusy => (Exit::App(126), "something still has it open for writing; close it first"),
        ArgumentListTooLong => (Exit::App(126), "its arguments and environment are too large; shorten them"),
        _ if is_out_of_descriptors(error) => (Exit::Internal, "raise the limit of descriptors (ulimit -n)"),
        WouldBlock | OutOfMemory => (Exit::Internal, "raise the limit of processes or memory (pids.max, memory.max)"),
        _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            (Exit::App(126), "it was built for another machine, or it is a script without a #! line")
        }
        _ => (Exit::App(126), "it must be a program for this machine"),
    };
    let program = quote_path(Path::new(program));
    Fault::new(exit, format!("cannot start the app {program}: {error}")).with_help(help)
}

/// Whether this process, or the system, has no room for one more (EMFILE, ENFILE).
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(raw) if [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).contains(&raw))
}

#[cfg(test)]
mod tests {

    use super::*;

    fn refused(program: &str, errno: Errno) -> Fault {
        spawn_fault(OsStr::new(program), &io::Error::from(errno))
    }

    #[test]
    fn a_code_is_its_own_status_and_a_signal_counts_from_128() {
        for code in 0..=255 {
            assert_eq!(Exit::from(AppExitStatus::Exited(code)).code(), code);
        }
        for signal in 1..=64 {
            assert_eq!(Exit::from(AppExitStatus::Killed(signal)).code(), 128 + signal);
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_is_126() {
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::NAMETOOLONG] {
            assert_eq!(refused("./app", errno).exit, Exit::App(127), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM, Errno::NOEXEC, Errno::TXTBSY, Errno::TOOBIG, Errno::IO] {
            assert_eq!(refused("./app", errno).exit, Exit::App(126), "{errno}");
        }
    }

    #[test]
    fn a_system_that_is_full_is_not_the_apps_fault() {
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert_eq!(refused("./app", errno).exit, Exit::Internal, "{errno}");
        }
    }

    #[test]
    fn a_refusal_names_the_program_the_error_and_the_help() {
        let message = refused("gunicron", Errno::NOENT).message();
        assert!(message.contains("\"gunicron\""), "{message}");
        assert!(message.contains("No such file"), "{message}");
        assert!(message.contains("PATH was searched"), "{message}");
        assert!(refused("./app", Errno::ACCESS).message().contains("chmod +x"));
        assert!(refused("./app", Errno::NOENT).message().contains("interpreter"));
    }
}
