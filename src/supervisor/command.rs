//! What is started, and with what.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, io};

use rustix::io::Errno;
use rustix::process::Pid;

use super::exit;
use crate::exit::Fault;
use crate::secret::SecretValue;
use crate::signal::{SignalMap, SignalScope};
use crate::sys;

/// A variable of ours in which a password may be, by which the app would get past the forward proxy's list: nothing that we start is given it.
pub const PROXY_VARIABLE: &str = "VESTIBULE_OUTBOUND_PROXY";

/// The app's command line, the changes to its environment, and how it is signalled. It is not shown, since there are secrets in it.
#[derive(Default)]
pub struct AppCommand {
    /// A path, or a name that is looked up in PATH.
    pub program: OsString,
    /// What follows the program's name.
    pub args: Vec<OsString>,
    /// Variables that the app gets beside ours, or with another value.
    pub env_set: Vec<(OsString, OsString)>,
    /// The same with values that are secrets: they never come into our own environment, and are wiped with this. What `env_set` has of
    /// the same name comes first.
    pub env_secret: Vec<(OsString, SecretValue)>,
    /// Variables of ours that the app does not get; beats `env_set`.
    pub env_remove: Vec<OsString>,
    /// What it reads; `None`: our own stdin.
    pub stdin: Option<OwnedFd>,
    /// Whom signals go to.
    pub scope: SignalScope,
    /// Which signals are rewritten.
    pub map: SignalMap,
}

impl AppCommand {
    /// `program` with `args`, our environment, and nothing rewritten.
    pub fn new(program: impl Into<OsString>, args: impl IntoIterator<Item = OsString>) -> Self {
        Self { program: program.into(), args: args.into_iter().collect(), ..Self::default() }
    }

    /// Starts it as the leader of its own process group.
    ///
    /// The standard library empties the child's signal mask and puts SIGPIPE, which our own runtime ignores, back to
    /// its default; the kernel resets what we handle; what we were started with as ignored stays ignored.
    pub(super) fn start(&self) -> Result<Pid, Fault> {
        let error = match self.spawn(&self.program, None) {
            Ok(pid) => return Ok(pid),
            Err(error) => error,
        };
        if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
            && let Some(script) = self.script()
            && let Ok(pid) = self.spawn(OsStr::new("/bin/sh"), Some(script))
        {
            return Ok(pid);
        }
        Err(exit::spawn_fault(&self.program, &error))
    }

    fn spawn(&self, program: &OsStr, script: Option<PathBuf>) -> io::Result<Pid> {
        let mut command = Command::new(program);
        command.args(script).args(&self.args).process_group(0);
        command.envs(self.env_secret.iter().map(|(name, value)| (name, value.as_os_str())));
        command.envs(self.env_set.iter().map(|(name, value)| (name, value)));
        for name in &self.env_remove {
            command.env_remove(name);
        }
        if let Some(stdin) = &self.stdin {
            command.stdin(Stdio::from(stdin.try_clone()?));
        }
        // Dropping the handle neither waits nor kills; the reaper is the one waiter.
        Ok(Pid::from_child(&command.spawn()?))
    }

    /// The program's file when it is text: a script without a `#!` line, which execvp(3) and every shell give to `sh`.
    fn script(&self) -> Option<PathBuf> {
        let path = self.locate()?;
        let mut start = [0; 128];
        let length = sys::file::open_regular(&path).ok()??.read(&mut start).ok()?;
        (!start[..length].contains(&0)).then_some(path)
    }

    /// Where the program is found, for one that the kernel has found already.
    fn locate(&self) -> Option<PathBuf> {
        if self.program.as_encoded_bytes().contains(&b'/') {
            return Some(PathBuf::from(&self.program));
        }
        let set = self.env_set.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let path = set.or_else(|| env::var_os("PATH"))?;
        env::split_paths(&path).map(|folder| folder.join(&self.program)).find(|file| file.is_file())
    }
}
