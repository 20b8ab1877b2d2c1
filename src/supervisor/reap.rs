//! The one waiter: every child's status is taken here, the app's is handed on.

use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal::Stopped;
use super::{AppExitStatus, Child};
use crate::exit::{Exit, Fault};
use crate::signal::Signal;

/// How many statuses are taken before other tasks of this thread get a turn.
const SWEEP: usize = 256;

/// Takes the status of every child and orphan, and publishes the app's.
#[derive(Debug)]
pub struct Reaper {
    changes: tokio::signal::unix::Signal,
    child: Arc<Child>,
}

impl Reaper {
    /// Starts to listen for SIGCHLD, and makes orphans fall to this process where they do not already (PID 1).
    pub(super) fn prepare() -> Result<tokio::signal::unix::Signal, Fault> {
        let me = getpid();
        if !me.is_init()
            && let Err(error) = set_child_subreaper(Some(me))
        {
            tracing::warn!(%error, "cannot become child subreaper (PR_SET_CHILD_SUBREAPER); start it as PID 1 or with a kernel from 3.4");
        }
        signal(SignalKind::child())
            .map_err(|error| Fault::new(Exit::Internal, format!("cannot listen for the end of the app: {error}")))
    }

    pub(super) fn new(changes: tokio::signal::unix::Signal, child: Arc<Child>) -> Self {
        Self { changes, child }
    }

    /// Reaps for as long as it is polled. Goes on after the app has ended: orphans may outlive it.
    pub async fn run(mut self) {
        loop {
            // One SIGCHLD may stand for any number of children, so each one empties the queue.
            while self.sweep() {
                tokio::task::yield_now().await;
            }
            if self.changes.recv().await.is_none() {
                return;
            }
        }
    }

    /// Takes up to [`SWEEP`] statuses; whether there may be more.
    fn sweep(&self) -> bool {
        (0..SWEEP).all(|_| self.take_one())
    }

    /// Takes one status; whether there was one.
    fn take_one(&self) -> bool {
        let mut ended = self.child.ended();
        if let Some(terminal) = &self.child.terminal
            && !*ended
        {
            terminal.take_back_from(self.child.pid);
        }
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) => {
                if pid == self.child.pid && !*ended {
                    *ended = self.note(status);
                }
                true
            }
            Err(Errno::INTR) => true,
            // ECHILD: there is none at all.
            Ok(None) | Err(Errno::CHILD) => false,
            Err(error) => {
                tracing::error!(%error, "cannot reap child processes (waitpid); please report this");
                false
            }
        }
    }

    /// Notes what has become of the app; whether it has ended.
    fn note(&self, status: WaitStatus) -> bool {
        let narrow = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        if let Some(signal) = status.stopping_signal() {
            self.stopped(signal);
            return false;
        }
        let code = status.exit_status().map(|code| AppExitStatus::Exited(narrow(code)));
        let ended = code.or_else(|| status.terminating_signal().map(|signal| AppExitStatus::Killed(narrow(signal))));
        if ended.is_some() {
            self.child.signal_rest(Signal::TERM);
            self.child.signal_rest(Signal::CONT);
            self.child.status.send_replace(ended);
        }
        ended.is_some()
    }

    fn stopped(&self, signal: i32) {
        let Some(terminal) = &self.child.terminal else { return };
        match terminal.stopped(self.child.pid, signal) {
            Stopped::GoOn => self.child.send(Signal::CONT),
            Stopped::Stay => {}
        }
    }
}
