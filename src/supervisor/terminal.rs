//! Sharing a terminal with the app: who is in its foreground, and what Ctrl-Z means.
//!
//! The app leads its own process group, so the kernel would stop it as soon as it reads from the terminal
//! that we were started on. It gets the terminal at exactly that moment: an app that never
//! touches the terminal never takes it, and then Ctrl-C reaches us and begins an orderly stop; a shell asks for
//! it at once, and then Ctrl-C, Ctrl-Z and the window's size are between the kernel and the shell.
//!
//! SIGTTIN and SIGTTOU keep their default action here (see [`Signals`](super::Signals)): handled, they would make the
//! kernel restart a refused write or `tcsetpgrp` for ever.

use std::fs;
use std::fs::File;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, getpid, kill_current_process_group, setpgid, waitid,
};
use rustix::termios::tcsetpgrp;

/// Our controlling terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    tty: File,
    /// Whether the app has asked for it.
    wanted: AtomicBool,
}

/// What the app needs after it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopResponse {
    /// To be continued at once.
    Continue,
    /// Nothing, until somebody continues us, or it.
    StayStopped,
}

impl Terminal {
    /// The controlling terminal; `None` where there is none.
    pub(super) fn open() -> Option<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty").ok()?;
        Some(Self { tty, wanted: AtomicBool::new(false) })
    }

    /// The app was stopped by the signal of this number: hands over the terminal, or stops ourselves as a whole job, so
    /// that the shell that started us gets its prompt back.
    pub(super) fn stopped(&self, app: Pid, signal: i32) -> StopResponse {
        let asks = [Signal::TTIN, Signal::TTOU].into_iter().find(|ask| ask.as_raw() == signal);
        if asks.is_some() {
            self.wanted.store(true, Relaxed);
            if self.give(app) {
                return StopResponse::Continue;
            }
        }
        if ProcessState::read().is_some_and(|process_state| process_state.has_somebody_to_return_to()) {
            // TSTP is handled, so that it can be forwarded; STOP is what is left to stop with.
            if let Err(error) = kill_current_process_group(asks.unwrap_or(Signal::STOP)) {
                tracing::warn!(%error, "cannot suspend together with the app (SIGSTOP)");
            }
            return StopResponse::StayStopped;
        }
        // Nobody could bring it back with `fg`. Without us the kernel would have ignored the key.
        if signal == Signal::TSTP.as_raw() { StopResponse::Continue } else { StopResponse::StayStopped }
    }

    /// We are about to continue: the app gets the terminal back if it had it, and if we have it now.
    pub(super) fn give_again_to(&self, app: Pid) {
        if self.wanted.load(Relaxed) {
            self.give(app);
        }
    }

    fn give(&self, app: Pid) -> bool {
        // Only from the foreground; from elsewhere the kernel would stop us for it.
        ProcessState::read().is_some_and(|process_state| process_state.in_foreground())
            && getpgid(Some(app)).and_then(|group| tcsetpgrp(&self.tty, group)).is_ok()
    }

    /// If the app has ended with the terminal in its hands, takes it back for whoever comes after us.
    ///
    /// From the background that is refused unless SIGTTOU is blocked; this way needs no change of the mask. The app has not been
    /// reaped yet, so its group still exists: we join it, are in the foreground, and give the terminal to our own group.
    /// A session's leader cannot change its group; there nobody comes after us. To be called with the app's signals
    /// held back, since for a moment they would be ours.
    pub(super) fn take_back_from(&self, app: Pid) {
        if !self.wanted.load(Relaxed) {
            return;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if !matches!(waitid(WaitId::Pid(app), options), Ok(Some(_))) {
            return;
        }
        self.wanted.store(false, Relaxed);
        let Some(process_state) = ProcessState::read() else { return };
        let (Some(ours), Some(front)) = (pid(process_state.group), pid(process_state.foreground)) else { return };
        if ours != front && setpgid(None, Some(front)).is_ok() {
            let taken = tcsetpgrp(&self.tty, ours);
            let back = setpgid(None, Some(ours));
            if let Err(error) = taken.and(back) {
                tracing::warn!(%error, "cannot take the terminal back from the app (tcsetpgrp)");
            }
        }
    }
}

/// Where we are among the terminal's processes, from `/proc/self/stat` (proc_pid_stat(5)).
///
/// Not from getpgrp(2) and the like, since in a PID namespace of our own our group and session may be outside
/// of it: then they are 0, which rustix's `Pid` cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProcessState {
    group: i32,
    session: i32,
    /// The terminal's foreground group; -1 without a terminal.
    foreground: i32,
}

impl ProcessState {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything, parentheses and blanks as well. After it: state, parent, ...
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(2).map(str::parse);
        let mut next = || fields.next()?.ok();
        let (group, session, _terminal, foreground) = (next()?, next()?, next()?, next()?);
        Some(Self { group, session, foreground })
    }

    fn in_foreground(self) -> bool {
        self.group == self.foreground
    }

    /// Whether a shell made this group a job of its own and waits for it. The group that came with the session has
    /// nobody outside who would continue it, and the first process of a container cannot be stopped at all.
    fn has_somebody_to_return_to(self) -> bool {
        self.group != self.session && !getpid().is_init()
    }
}

fn pid(number: i32) -> Option<Pid> {
    (number > 0).then(|| Pid::from_raw(number)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_does_not_confuse_its_standing() {
        let stat = "42 (a) b (c) S 1 40 30 34816 41 4194304 0";
        assert_eq!(ProcessState::parse(stat), Some(ProcessState { group: 40, session: 30, foreground: 41 }));
    }

    #[test]
    fn a_process_without_a_terminal_has_no_foreground() {
        let process_state = ProcessState::parse("42 (app) S 1 42 42 0 -1 4194304 0").unwrap();
        assert_eq!(process_state.foreground, -1);
        assert!(!process_state.in_foreground());
        assert!(!process_state.has_somebody_to_return_to());
    }

    #[test]
    fn a_group_outside_of_our_namespace_can_still_be_in_the_foreground() {
        let process_state = ProcessState::parse("1 (app) S 0 0 0 34816 0 4194304 0").unwrap();
        assert!(process_state.in_foreground());
        assert_eq!(pid(process_state.group), None);
    }

    #[test]
    fn text_that_is_no_stat_is_nothing() {
        for text in ["", "42", "42 (app)", "42 (app) S 1 2 3", "42 (app) S 1 x 3 4 5"] {
            assert_eq!(ProcessState::parse(text), None, "{text}");
        }
    }

    #[test]
    fn our_own_standing_can_be_read() {
        assert!(ProcessState::read().is_some());
    }
}
