//! The one waiter: every child's status is taken here; the app's, and those of programs beside it, are handed on.

use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal::StopResponse;
use super::{AppExitStatus, Child, Programs, programs};
use crate::exit::{Exit, Fault};
use crate::signal::Signal;

/// How many statuses are taken before other tasks of this thread get a turn.
const SWEEP: usize = 256;

/// Takes the status of every child and orphan, and hands on the app's and those of programs beside it.
#[derive(Debug)]
pub struct Reaper {
    changes: tokio::signal::unix::Signal,
    /// `None`: there are only programs.
    app: Option<Arc<Child>>,
    programs: Programs,
}

impl Reaper {
    /// One where there is no app of ours, for the programs that are run. Orphans fall to whoever they fell to before. To be called before
    /// the first of them is started, within a runtime.
    ///
    /// # Errors
    /// The kernel's or the runtime's, when the handler cannot be set.
    pub fn without_app() -> Result<Self, Fault> {
        Ok(Self { changes: changes()?, app: None, programs: Programs::default() })
    }

    /// Starts to listen for SIGCHLD, and makes orphans fall to this process where they do not already (PID 1).
    pub(super) fn prepare() -> Result<tokio::signal::unix::Signal, Fault> {
        let me = getpid();
        if !me.is_init()
            && let Err(error) = set_child_subreaper(Some(me))
        {
            tracing::warn!(%error, "cannot become child subreaper (PR_SET_CHILD_SUBREAPER); start it as PID 1 or with a kernel from 3.4");
        }
        changes()
    }

    pub(super) fn new(changes: tokio::signal::unix::Signal, app: Arc<Child>) -> Self {
        Self { changes, app: Some(app), programs: Programs::default() }
    }

    /// What starts programs whose statuses this takes.
    pub fn programs(&self) -> Programs {
        self.programs.clone()
    }

    /// Reaps for as long as it is polled. Goes on after the app has ended: orphans may outlive it.
    pub async fn run(mut self) {
        loop {
            // One SIGCHLD may stand for any number of children, so each one empties the queue.
            while self.sweep() {
                tokio::task::yield_now().await;
            }
            tokio::select! {
                change = self.changes.recv() => if change.is_none() {
                    return;
                },
                () = self.programs.again() => {}
            }
        }
    }

    /// Takes up to [`SWEEP`] statuses; whether there may be more.
    fn sweep(&self) -> bool {
        (0..SWEEP).all(|_| self.take_one())
    }

    /// Takes one status; whether there was one.
    fn take_one(&self) -> bool {
        // Whoever holds it starts a program, and has us look again.
        let Some(mut running) = self.programs.try_lock() else { return false };
        let Some(child) = &self.app else {
            return self.wait(|pid, status| programs::hand_on(&mut running, pid, status));
        };
        let mut ended = child.ended();
        if let Some(terminal) = &child.terminal
            && !*ended
        {
            terminal.take_back_from(child.pid);
        }
        self.wait(|pid, status| {
            if pid == child.pid && !*ended {
                *ended = note(child, status);
            } else {
                programs::hand_on(&mut running, pid, status);
            }
        })
    }

    /// Waits for whoever has ended by now, and tells `then` of it; whether there was one.
    fn wait(&self, then: impl FnOnce(Pid, WaitStatus)) -> bool {
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) => {
                then(pid, status);
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
}

fn changes() -> Result<tokio::signal::unix::Signal, Fault> {
    signal(SignalKind::child())
        .map_err(|error| Fault::new(Exit::Internal, format!("cannot listen for the end of the app: {error}")))
}

/// Notes what has become of the app; whether it has ended.
fn note(child: &Child, status: WaitStatus) -> bool {
    if let Some(signal) = status.stopping_signal() {
        stopped(child, signal);
        return false;
    }
    let ended = AppExitStatus::of(status);
    if ended.is_some() {
        child.signal_rest(Signal::TERM);
        child.signal_rest(Signal::CONT);
        child.status.send_replace(ended);
    }
    ended.is_some()
}

fn stopped(child: &Child, signal: i32) {
    let Some(terminal) = &child.terminal else { return };
    match terminal.stopped(child.pid, signal) {
        StopResponse::Continue => child.send(Signal::CONT),
        StopResponse::StayStopped => {}
    }
}
