//! What follows a rotation once all files are in place: the app is signalled, or a program is run.

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::watch;

use crate::app_files::WrittenGeneration;
use crate::config::RotationHook;
use crate::credentials::run_blocking;
use crate::supervisor::{App, AppExitStatus, HookLauncher, HookRequest, ProgramOutcome, Programs};
use crate::telemetry::{AppFileCounters, HookResult};

/// How long a program may run.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// Who starts programs.
#[derive(Debug)]
pub(super) enum ProgramStarter {
    /// We do.
    Ours(Programs),
    /// A process outside of the sandbox.
    Launcher(HookLauncher),
}

/// The hook of a configuration, and what it takes to run it.
#[derive(Debug)]
pub(super) struct HookRunner {
    pub(super) hook: RotationHook,
    /// Generations whose files are in place.
    pub(super) in_place: watch::Receiver<Option<WrittenGeneration>>,
    /// The process is about to end: nobody need learn of a pair.
    pub(super) is_stopping: Arc<AtomicBool>,
    /// Who is signalled; `None`: the app is not ours.
    pub(super) app: Option<App>,
    /// What starts programs; `None` where none is run.
    pub(super) starter: Option<ProgramStarter>,
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
    async fn fire(&self, newest: WrittenGeneration) -> (HookResult, Option<String>) {
        match &self.hook {
            RotationHook::Signal(signal) => match self.app.as_ref().filter(|app| app.status().is_none()) {
                Some(app) => {
                    app.signal_unmapped(*signal);
                    (HookResult::Success, None)
                }
                None => (HookResult::NotStarted, Some("the app has exited".to_owned())),
            },
            RotationHook::Exec { program, args } => {
                let end = newest.not_after.duration_since(UNIX_EPOCH).ok();
                let request = HookRequest { generation: newest.generation, not_after: end.map(|end| end.as_secs()) };
                match &self.starter {
                    None => (HookResult::NotStarted, None),
                    Some(ProgramStarter::Launcher(launcher)) => result_of(launcher.run(&request, LIMIT).await),
                    Some(ProgramStarter::Ours(programs)) => {
                        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
                        result_of(exec(programs.clone(), request.command(OsStr::new(program), &args)).await)
                    }
                }
            }
        }
    }
}

async fn exec(programs: Programs, mut command: Command) -> ProgramOutcome {
    match run_blocking(move || programs.start(&mut command)).await {
        Ok(Ok(program)) => program.outcome(LIMIT).await,
        Ok(Err(error)) => ProgramOutcome::NotStarted(error.to_string()),
        Err(_) => ProgramOutcome::NotStarted("an internal error; please report this".to_owned()),
    }
}

/// What is counted, and what is to be said of a failure.
fn result_of(outcome: ProgramOutcome) -> (HookResult, Option<String>) {
    match outcome {
        ProgramOutcome::Ended(AppExitStatus::Exited(0)) => (HookResult::Success, None),
        ProgramOutcome::Ended(status) => (HookResult::Failed, Some(status.to_string())),
        ProgramOutcome::TimedOut => {
            (HookResult::Timeout, Some(format!("not done after {LIMIT:?}; killed, with its process group")))
        }
        ProgramOutcome::NotStarted(why) => {
            (HookResult::NotStarted, Some(format!("{why}; it must be there and executable")))
        }
    }
}
