//! Programs that are run beside the app for a moment. The one waiter takes their statuses too, and hands them on.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rustix::process::{Pid, Signal as Kernel, WaitStatus, kill_process_group};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::AppExitStatus;

/// Starts programs, whose ends the reaper tells. Cheap to clone.
///
/// Invariant: a number is in the list from the program's start until its status is taken, and both happen under the list's lock. So no status
/// is taken that nobody would know, and no stranger is killed that was given the same number later.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    running: Arc<Mutex<RunningPrograms>>,
    /// The reaper may have found the list locked.
    again: Arc<Notify>,
}

type RunningPrograms = HashMap<Pid, oneshot::Sender<AppExitStatus>>;

/// A program that runs, in a process group of its own. Whatever is left of the group is killed when this is dropped before the program has ended.
#[derive(Debug)]
pub struct Program {
    pid: Pid,
    status: oneshot::Receiver<AppExitStatus>,
    programs: Programs,
}

/// What became of a program that had so much time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramOutcome {
    /// It ended.
    Ended(AppExitStatus),
    /// It did not end in time, and was killed with its process group.
    TimedOut,
    /// It could not be started, and why.
    NotStarted(String),
}

impl Programs {
    /// Starts `command` as the leader of a process group. It blocks until the program was started.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(&self, command: &mut Command) -> io::Result<Program> {
        command.process_group(0);
        let (sender, status) = oneshot::channel();
        let started = {
            // The standard library waits by itself for one that could not be started: the reaper must not be faster.
            let mut running = self.lock();
            command.spawn().map(|child| {
                // Dropping the handle neither waits nor kills.
                let pid = Pid::from_child(&child);
                running.insert(pid, sender);
                pid
            })
        };
        self.again.notify_one();
        Ok(Program { pid: started?, status, programs: self.clone() })
    }

    /// Waits until a status may be there that could not be taken, as a program was about to be started. Cancel safe.
    pub(super) async fn again(&self) {
        self.again.notified().await;
    }

    /// The list, for as long as a status is taken; `None` while a program is started, which may take its time.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, RunningPrograms>> {
        match self.running.try_lock() {
            Ok(running) => Some(running),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, RunningPrograms> {
        // An entry is added or taken whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands the status of `pid` on, if it is that of a program that has ended.
pub(super) fn hand_on(running: &mut RunningPrograms, pid: Pid, status: WaitStatus) {
    if let Some(status) = AppExitStatus::of(status)
        && let Some(sender) = running.remove(&pid)
    {
        // Nobody waits any more for one that was given up.
        let _ = sender.send(status);
    }
}

impl Program {
    /// Waits for the program itself to end; what it has started may go on. Cancel safe; to be asked until it has answered once.
    pub async fn exited(&mut self) -> AppExitStatus {
        match (&mut self.status).await {
            Ok(status) => status,
            // The reaper is gone, and so are we in a moment.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for the program to end, for `limit` at most; then it is killed, with its process group.
    pub async fn outcome(mut self, limit: Duration) -> ProgramOutcome {
        match timeout(limit, self.exited()).await {
            Ok(status) => ProgramOutcome::Ended(status),
            Err(_) => {
                self.kill();
                self.exited().await;
                ProgramOutcome::TimedOut
            }
        }
    }

    /// Kills the program and whatever is in its group. Does nothing once it has ended.
    pub fn kill(&self) {
        let running = self.programs.lock();
        if running.contains_key(&self.pid) {
            // ESRCH: it has ended, and the reaper is about to learn it.
            let _ = kill_process_group(self.pid, Kernel::KILL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
