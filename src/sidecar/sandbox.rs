//! The moment in which the process gives up what it does not need, and who starts programs from then on.

use std::ffi::OsString;
use std::sync::Arc;

use super::open::Sidecar;
use super::rotation_hook::LIMIT;
use super::workers::runtime;
use crate::config::{RotationHook, SandboxMode};
use crate::exit::{Exit, Fault};
use crate::sandbox::{Access, EarlyThread, SandboxReport, enter};
use crate::secrets::Plan;
use crate::supervisor::{AppCommand, AppLauncher, HookLauncher, LaunchJob, launch_app, launch_hooks, proxy_socket};
use crate::telemetry;

impl Sidecar {
    /// Gives up what `--sandbox` says, once the app is there; `later` is an app that is started within, when its secrets are resolved: by
    /// a process that is outside. To be called before the network is read, and while there is one thread, apart from `early`.
    /// The thread that writes the log is started by this.
    ///
    /// # Errors
    /// [`Exit::Unavailable`]: the kernel does not let us, and `strict` was asked for. [`Exit::Internal`]: there is no room for another process.
    pub fn enter_sandbox(
        &mut self,
        later: Option<(&mut AppCommand, &Plan)>,
        early: Option<EarlyThread>,
    ) -> Result<(), Fault> {
        let mode = self.config.sandbox;
        if mode == SandboxMode::Off {
            return Ok(());
        }
        if let Some(RotationHook::Exec { program, args }) = &self.config.app_files.on_rotation {
            self.launchers.hook = Some(HookLauncher::start(program, args)?);
        }
        let plan = match later {
            Some((command, plan)) => {
                command.env_set.extend(self.app_environment());
                self.launchers.app = Some(AppLauncher::start(command)?);
                Some(plan)
            }
            None => None,
        };
        let access = Access::of(&self.config, self.listeners.iter().map(|listener| &listener.config.app), plan);
        let report = enter(mode, &access, early)?;
        telemetry::start_log_thread(&self.config.log);
        log(&report, &access);
        self.sandbox = Arc::new(report);
        Ok(())
    }
}

fn log(report: &SandboxReport, access: &Access) {
    let applied: Vec<_> = report.applied().map(|protection| protection.as_str()).collect();
    let missing: Vec<_> = report.missing().map(|(which, why)| format!("{}: {why}", which.as_str())).collect();
    let (mode, applied) = (report.mode.as_str(), applied.join(","));
    match missing.is_empty() {
        true => tracing::info!(mode, applied, "sandbox entered"),
        false => tracing::warn!(mode, applied, missing = missing.join("; "), "sandbox entered, but not all of it"),
    }
    for path in access.wide() {
        tracing::warn!(path = %path.display(), "no folder of this path is there yet, so the sandbox leaves the whole file system open for it; make its folder before the start");
    }
}

/// Starts programs for another process of ours, which is in a sandbox, until that ends. Nobody types this.
///
/// # Errors
/// [`Exit::Usage`]: somebody has.
pub fn launch(job: LaunchJob, words: &[OsString]) -> Result<Exit, Fault> {
    let socket = proxy_socket().map_err(|error| {
        Fault::new(Exit::Usage, format!("this command is for processes of ours alone ({error})"))
            .with_help("see --sandbox")
    })?;
    let done = match job {
        LaunchJob::App => launch_app(socket, words),
        LaunchJob::Hook => runtime(1)?.block_on(launch_hooks(socket, words, LIMIT)),
    };
    // A proxy that is gone is how it ends, and nobody is there to be told.
    Ok(if done.is_ok() { Exit::Success } else { Exit::Internal })
}
