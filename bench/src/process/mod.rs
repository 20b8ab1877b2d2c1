//! The processes that the driver starts: each ends with it, and is measured from the kernel's own accounting.

pub(crate) mod cpu;
pub(crate) mod exec;
pub(crate) mod memory;
pub(crate) mod pages;
pub(crate) mod place;
pub(crate) mod port;

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use memory::Memory;

/// A process that we started, with the children that it started itself. Dropped, all of them are killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` on CPU `cpu`, with an environment of nothing but `PATH`; what it writes goes to the file `log`. It gets TERM when the driver ends, however that ends.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn start(command: &Command, cpu: Option<usize>, log: &Path) -> Result<Self> {
        Self::spawn(exec::wrapped(command, cpu)?, log)
    }

    /// Starts `command` itself, with nothing in between that would take time. Should the driver be killed, the process stays.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn start_bare(command: &Command, log: &Path) -> Result<Self> {
        let mut bare = Command::new(command.get_program());
        bare.args(command.get_args());
        Self::spawn(bare, log)
    }

    fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let child = command
            .env_clear()
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The last lines that it wrote, on one line.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(4)..].join(" | ")
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end by itself, and waits for that.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn terminate(&mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).context("cannot send TERM")?;
        self.child.wait().context("cannot wait for it")
    }

    /// Kills it, and waits for that.
    pub(crate) fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn pid(&self) -> i32 {
        // A pid is positive and fits: the kernel's own type is this one.
        self.child.id().cast_signed()
    }

    /// CPU time of all its threads and of all its children's, those that have ended included, since it started.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.tree().into_iter().map(cpu::of_process).sum()
    }

    /// Memory of the process and of its children.
    ///
    /// # Errors
    /// The process has ended, or is another user's.
    pub(crate) fn memory(&self) -> Result<Memory> {
        memory::of_tree(&self.tree())
    }

    /// Memory of the process without its children.
    ///
    /// # Errors
    /// As [`Self::memory`].
    pub(crate) fn memory_alone(&self) -> Result<Memory> {
        memory::of_tree(&[self.pid()])
    }

    /// The process and all below it.
    fn tree(&self) -> Vec<i32> {
        let parents = parents();
        let mut tree = vec![self.pid()];
        let mut at = 0;
        while let Some(&above) = tree.get(at) {
            tree.extend(parents.iter().filter(|(_, parent)| **parent == above).map(|(pid, _)| *pid));
            at += 1;
        }
        tree
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let tree = self.tree();
        // Not TERM: a proxy that drains first would take seconds, and its state is thrown away.
        self.kill();
        for pid in &tree[1..] {
            // It may have ended with its parent.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// Parent by process, of all processes there are.
fn parents() -> HashMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, in parentheses, may hold anything; the state and the parent follow it (proc_pid_stat(5)).
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}
