//! What follows a rotation once all files are in place: the app is signalled, or a program is run.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::app_files::InstalledGeneration;
use crate::config::RotationHook;
use crate::credentials::run_blocking;
use crate::supervisor::{App, AppExitStatus, Programs};
use crate::telemetry::{AppFileCounters, HookResult};

/// How long a program may run.
const LIMIT: Duration = Duration::from_secs(30);

/// The hook of a configuration, and what it takes to run it.
#[derive(Debug)]
pub(super) struct HookRunner {
    pub(super) hook: RotationHook,
    /// Generations whose files are in place.
    pub(super) in_place: watch::Receiver<Option<InstalledGeneration>>,
    /// The process is about to end: nobody need learn of a pair.
    pub(super) is_stopping: Arc<AtomicBool>,
    /// Who is signalled; `None`: the app is not ours.
    pub(super) app: Option<App>,
    /// What starts programs; `None` where none is run.
    pub(super) programs: Option<Programs>,
    pub(super) counters: Arc<AppFileCounters>,
}

impl HookRunner {
    /// Runs the hook for each generation but the first, one at a time; of those that come while one runs, for the newest. For ever.
    pub(super) async fn run(mut self) {
        while self.in_place.changed().await.is_ok() {
            let newest = *self.in_place.borrow_and_update();
            let Some(newest) = newest.filter(|newest| !newest.is_first) else { continue };
            if self.is_stopping.load(Ordering::Relaxed) {
                continue;
            }
            let (result, detail) = self.fire(newest).await;
            self.counters.count_hook(result);
            let (generation, hook, result) = (newest.generation, self.hook.to_string(), result.as_str());
            match detail {
                None => tracing::info!(generation, hook, result, "rotation hook ended"),
                Some(detail) => tracing::warn!(generation, hook, result, detail, "rotation hook ended"),
            }
        }
        // The writer is gone, and so are we in a moment.
        std::future::pending().await
    }

    /// What came of it, and what is to be said of a failure.
    async fn fire(&self, newest: InstalledGeneration) -> (HookResult, Option<String>) {
        match &self.hook {
            RotationHook::Signal(signal) => match self.app.as_ref().filter(|app| app.status().is_none()) {
                Some(app) => {
                    app.signal_unmapped(*signal);
                    (HookResult::Success, None)
                }
                None => (HookResult::NotStarted, Some("the app has exited".to_owned())),
            },
            RotationHook::Exec { program, args } => {
                let mut command = Command::new(program);
                // Nobody types for it; what it says goes where the app's words go.
                command.args(args).stdin(Stdio::null()).env("INSTANCE_GENERATION", newest.generation.to_string());
                if let Ok(end) = jiff::Timestamp::try_from(newest.not_after) {
                    command.env("INSTANCE_NOT_AFTER", format!("{end:.0}"));
                }
                self.exec(command).await
            }
        }
    }

    async fn exec(&self, mut command: Command) -> (HookResult, Option<String>) {
        let Some(programs) = self.programs.clone() else { return (HookResult::NotStarted, None) };
        let mut program = match run_blocking(move || programs.start(&mut command)).await {
            Ok(Ok(program)) => program,
            Ok(Err(error)) => {
                let detail = format!("{error}; it must be there and executable");
                return (HookResult::NotStarted, Some(detail));
            }
            Err(_) => return (HookResult::NotStarted, Some("an internal error; please report this".to_owned())),
        };
        match timeout(LIMIT, program.exited()).await {
            Ok(AppExitStatus::Exited(0)) => (HookResult::Success, None),
            Ok(status) => (HookResult::Failed, Some(status.to_string())),
            Err(_) => {
                program.kill();
                program.exited().await;
                (HookResult::Timeout, Some(format!("not done after {LIMIT:?}; killed, with its process group")))
            }
        }
    }
}
