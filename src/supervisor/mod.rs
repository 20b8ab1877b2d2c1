//! The app as our child: started with a clean signal state, told of every signal, waited for exactly once.
//!
//! ```text
//! Signals::for_run(&map)  →  App::spawn(&command)  →  Reaper::run (a task)  →  Signals::next_request / App::signal  →  App::exited
//! ```
//!
//! The order matters. The handlers come first, so that a signal that arrives while the app starts is not lost;
//! the kernel resets them in the child. [`Reaper`] is the one waiter of the process: it takes the status of
//! every child there is, so nobody else may start one while it runs, but by [`Programs`].
//!
//! Invariant: the app's number is used for a signal only while the app has not been reaped (`Child::ended`), so
//! a signal never reaches a stranger that was given the same number later. What is left of its process group is told
//! to stop in the moment it is reaped.

mod command;
mod exit;
mod hide;
mod launcher;
mod programs;
mod reap;
mod signals;
mod terminal;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, getpgid, kill_process, kill_process_group, test_kill_process_group, waitpid};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

pub use command::{AppCommand, PROXY_VARIABLE};
pub use exit::AppExitStatus;
pub use hide::{HiddenPort, INSTANCE_PORTS};
pub use launcher::{AppLauncher, HookLauncher, HookRequest, LAUNCH, LaunchJob, launch_app, launch_hooks, proxy_socket};
pub use programs::{Program, ProgramOutcome, Programs};
pub use reap::Reaper;
pub use signals::Signals;

use crate::exit::Fault;
use crate::signal::{Signal, SignalMap, SignalScope};
use terminal::Terminal;

/// How often what is left of the app's group is looked at.
const GROUP_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// For an app to end that lives when we panic.
const PANIC_GRACE: Duration = Duration::from_secs(2);

/// The app, from its start to its end. Cheap to clone; all clones are the same app.
#[derive(Debug, Clone)]
pub struct App {
    child: Arc<Child>,
}

/// What [`App`] and [`Reaper`] know together.
#[derive(Debug)]
struct Child {
    pid: Pid,
    scope: SignalScope,
    map: SignalMap,
    /// Whether the app has been reaped. Held while a signal is sent and while a status is taken.
    ended: Mutex<bool>,
    /// It has been sent KILL: there is nothing more that could be done to it.
    killed: AtomicBool,
    status: watch::Sender<Option<AppExitStatus>>,
    /// `None` without a controlling terminal.
    terminal: Option<Terminal>,
}

impl App {
    /// Starts the app, and makes this process the one that orphans fall to.
    ///
    /// The app inherits stdin, stdout, stderr, limits, umask and nice value, leads a process group of its own, has no
    /// signal blocked and SIGPIPE at its default. [`Reaper::run`] has to be running for its end to be noticed; a status
    /// that comes before that is not lost. Must be called within a runtime, once.
    ///
    /// # Errors
    /// [`Exit::App`](crate::exit::Exit::App) 127 or 126 as a shell, with the program's name and the remedy;
    /// [`Exit::Internal`](crate::exit::Exit::Internal) when the system has no room for another process.
    pub fn spawn(command: &AppCommand) -> Result<(Self, Reaper), Fault> {
        Self::started_by(command, || command.start())
    }

    /// The same by `launcher`, which was started with `command` before its secrets were known: the app is outside of whatever
    /// fences this process in by now.
    ///
    /// # Errors
    /// As [`App::spawn`].
    pub fn launch(launcher: AppLauncher, command: &AppCommand) -> Result<(Self, Reaper), Fault> {
        Self::started_by(command, || launcher.launch(command))
    }

    fn started_by(command: &AppCommand, start: impl FnOnce() -> Result<Pid, Fault>) -> Result<(Self, Reaper), Fault> {
        // Before the start: an app that ends at once must not end unnoticed.
        let changes = Reaper::prepare()?;
        let child = Arc::new(Child {
            pid: start()?,
            scope: command.scope,
            map: command.map.clone(),
            ended: Mutex::new(false),
            killed: AtomicBool::new(false),
            status: watch::Sender::new(None),
            terminal: Terminal::open(),
        });
        Ok((Self { child: Arc::clone(&child) }, Reaper::new(changes, child)))
    }

    /// The app's process number.
    pub fn id(&self) -> u32 {
        self.child.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends `signal`, as the [`SignalMap`] rewrites it, and gives what was sent; `None` where the map drops it. Does nothing once the app has ended.
    pub fn signal(&self, signal: Signal) -> Option<Signal> {
        let signal = self.child.map.rewrite(signal)?;
        self.child.signal(signal);
        Some(signal)
    }

    /// Sends `signal` as it is, to whom signals go. Does nothing once the app has ended.
    pub fn signal_unmapped(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Asks the app to stop by TERM, as the [`SignalMap`] rewrites it. An app that is stopped (SIGSTOP) would not see it,
    /// so it is told to go on.
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// What [`App::stop`] sends in place of TERM; `None` where the [`SignalMap`] drops it.
    pub fn stop_signal(&self) -> Option<Signal> {
        self.child.map.rewrite(Signal::TERM)
    }

    /// Ends the app at once, and in [`SignalScope::Group`] whatever is left in its group. Does nothing once the app
    /// has ended.
    pub fn kill(&self) {
        self.child.killed.store(true, Ordering::Relaxed);
        self.child.signal(Signal::KILL);
    }

    /// Waits until nothing is left of the app's process group, which was told to stop when the app ended; kills what is
    /// left at `deadline`. Does nothing in [`SignalScope::App`]. To be called after the app has ended.
    pub async fn wait_or_kill_process_group(&self, deadline: Instant) {
        while self.child.scope == SignalScope::Group && test_kill_process_group(self.child.pid).is_ok() {
            if Instant::now() >= deadline {
                tracing::warn!("app's process group did not exit in time; killing it");
                self.child.signal_rest(Signal::KILL);
                return;
            }
            sleep(GROUP_POLL_INTERVAL).await;
        }
    }

    /// How the app ended, if it has.
    pub fn status(&self) -> Option<AppExitStatus> {
        *self.child.status.borrow()
    }

    /// Waits for the app to end. May be called any number of times, before and after; cancel safe.
    pub async fn exited(&self) -> AppExitStatus {
        let mut status = self.child.status.subscribe();
        loop {
            if let Some(status) = *status.borrow_and_update() {
                return status;
            }
            if status.changed().await.is_err() {
                // Unreachable: `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Reached with an app that lives only when a panic unwinds us: nobody else would end it then.
impl Drop for Child {
    fn drop(&mut self) {
        if self.killed.load(Ordering::Relaxed) {
            // One that hangs in the kernel is waited for no longer.
            return;
        }
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        let deadline = std::time::Instant::now() + PANIC_GRACE;
        while !*self.ended() {
            if std::time::Instant::now() >= deadline {
                self.signal(Signal::KILL);
                return;
            }
            // Whatever the answer, there is nothing to wait for any more.
            if !matches!(waitpid(Some(self.pid), WaitOptions::NOHANG), Ok(None)) {
                return;
            }
            std::thread::sleep(GROUP_POLL_INTERVAL);
        }
    }
}

impl Child {
    fn ended(&self) -> MutexGuard<'_, bool> {
        // A flag cannot be left half-written.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) {
        let ended = self.ended();
        if *ended {
            return;
        }
        if signal == Signal::CONT
            && let Some(terminal) = &self.terminal
        {
            terminal.give_again_to(self.pid);
        }
        self.send(signal);
    }

    /// Sends `signal` to what is left of the app's group after the app was reaped.
    ///
    /// While a member lives the kernel gives the group's number to nobody else; without one, it gives out all other
    /// numbers before this one again.
    fn signal_rest(&self, signal: Signal) {
        if self.scope == SignalScope::Group {
            // ESRCH: nothing is left.
            let _ = kill_process_group(self.pid, signal.kernel());
        }
    }

    /// Sends `signal`. The caller holds [`Child::ended`] and has found it false.
    fn send(&self, signal: Signal) {
        let sent = match self.scope {
            SignalScope::App => kill_process(self.pid, signal.kernel()),
            SignalScope::Group => {
                let group = kill_process_group(self.pid, signal.kernel());
                if getpgid(Some(self.pid)) == Ok(self.pid) {
                    group
                } else {
                    // It went into another group, perhaps a session of its own, and may have left others behind.
                    kill_process(self.pid, signal.kernel())
                }
            }
        };
        // ESRCH: it has ended, and the reaper is about to learn it.
        if let Err(error) = sent
            && error != Errno::SRCH
        {
            tracing::warn!(%signal, pid = self.pid.as_raw_nonzero().get(), %error,
                "the app cannot be signalled; it must run under our user");
        }
    }
}
