//! Files for the app, and what follows a rotation: started where they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::rotation_hook::{HookRunner, ProgramStarter};
use crate::app_files::{AppFileWriter, WrittenGeneration};
use crate::config::{AppFiles, RotationHook};
use crate::credentials::ServedCertificate;
use crate::lifecycle::Tasks;
use crate::supervisor::App;
use crate::telemetry::AppFileCounters;

/// Files for the app, and hooks.
#[derive(Debug)]
pub(super) struct FilesAndHooks {
    /// What is counted of them.
    pub(super) counters: Arc<AppFileCounters>,
    is_stopping: Arc<AtomicBool>,
    /// Not running yet.
    hook: Option<(RotationHook, watch::Receiver<Option<WrittenGeneration>>)>,
}

impl FilesAndHooks {
    /// From now on the hook follows each rotation: the app is there, if it is ours, and `starter` starts programs.
    pub(super) fn start_hook(&mut self, app: Option<App>, starter: Option<ProgramStarter>, tasks: &mut Tasks) {
        let Some((hook, mut in_place)) = self.hook.take() else { return };
        // The app was started with what is there by now.
        in_place.mark_unchanged();
        let (is_stopping, counters) = (Arc::clone(&self.is_stopping), Arc::clone(&self.counters));
        let hook = HookRunner { hook, in_place, is_stopping, app, starter, counters };
        tasks.start("rotation hook", hook.run());
    }

    /// No hook begins any more. Files are kept fresh to the end: the app may need them to the last.
    pub(super) fn stop_hooks(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// Starts what `config` asks for, but for the hook; `None` where that is nothing.
pub(super) fn start(
    config: &AppFiles,
    served: watch::Receiver<Vec<ServedCertificate>>,
    tasks: &mut Tasks,
) -> Option<FilesAndHooks> {
    if config.is_empty() {
        return None;
    }
    let counters = Arc::new(AppFileCounters::new(config));
    let is_stopping = Arc::new(AtomicBool::new(false));
    let writer = AppFileWriter::new(config, served, Arc::clone(&counters));
    let hook = config.on_rotation.clone().map(|hook| (hook, writer.in_place()));
    tasks.start("files for the app", writer.run());
    Some(FilesAndHooks { counters, is_stopping, hook })
}
