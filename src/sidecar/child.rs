//! The start of the app, by us or by a process of ours that is outside of the sandbox.

use std::io;

use crate::exit::{Exit, Fault};
use crate::supervisor::{App, AppCommand, AppLauncher, HookLauncher, Reaper};

/// What starts programs outside of the sandbox; nothing does where there is none, or no program is to be started.
#[derive(Debug, Default)]
pub(super) struct Launchers {
    pub(super) app: Option<AppLauncher>,
    pub(super) hook: Option<HookLauncher>,
}

/// Starts the app, by `launcher` where there is one, and says so.
pub(super) fn start_child(command: &AppCommand, launcher: Option<AppLauncher>) -> Result<(App, Reaper), Fault> {
    let (app, reaper) = match launcher {
        Some(launcher) => App::launch(launcher, command)?,
        None => App::spawn(command)?,
    };
    tracing::info!(pid = app.id(), program = %command.program.to_string_lossy(), "app started");
    Ok((app, reaper))
}

/// `error` is why.
pub(super) fn signal_handler_fault(error: &io::Error) -> Fault {
    Fault::new(Exit::Internal, format!("cannot listen for signals: {error}"))
}
