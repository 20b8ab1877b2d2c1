//! Files for the app, and what follows a rotation: started where they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::rotation_hook::HookRunner;
use crate::app_files::AppFileWriter;
use crate::config::AppFiles;
use crate::credentials::ServedCertificate;
use crate::lifecycle::Tasks;
use crate::supervisor::{App, Programs};
use crate::telemetry::AppFileCounters;

/// Files for the app, and hooks.
#[derive(Debug)]
pub(super) struct FilesAndHooks {
    /// What is counted of them.
    pub(super) counters: Arc<AppFileCounters>,
    is_stopping: Arc<AtomicBool>,
}

impl FilesAndHooks {
    /// No hook begins any more. Files are kept fresh to the end: the app may need them to the last.
    pub(super) fn stop_hooks(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// Starts what `config` asks for; `None` where that is nothing.
pub(super) fn start(
    config: &AppFiles,
    served: watch::Receiver<Vec<ServedCertificate>>,
    app: Option<App>,
    programs: Option<Programs>,
    tasks: &mut Tasks,
) -> Option<FilesAndHooks> {
    if config.is_empty() {
        return None;
    }
    let counters = Arc::new(AppFileCounters::new(config));
    let is_stopping = Arc::new(AtomicBool::new(false));
    let writer = AppFileWriter::new(config, served, Arc::clone(&counters));
    if let Some(hook) = config.on_rotation.clone() {
        let in_place = writer.in_place();
        let (is_stopping, counters) = (Arc::clone(&is_stopping), Arc::clone(&counters));
        let hook = HookRunner { hook, in_place, is_stopping, app, programs, counters };
        tasks.start("rotation hook", hook.run());
    }
    tasks.start("files for the app", writer.run());
    Some(FilesAndHooks { counters, is_stopping })
}
