//! Files for the app, and what follows a rotation: started where they are asked for.

use std::sync::Arc;

use tokio::sync::watch;

use super::rotation_hook::HookRunner;
use crate::app_files::AppFileWriter;
use crate::config::AppFiles;
use crate::credentials::ServedCertificate;
use crate::lifecycle::{Phase, Tasks};
use crate::supervisor::{App, Programs};
use crate::telemetry::AppFileCounters;

/// Starts what `config` asks for; what is counted of it, or `None` where that is nothing.
pub(super) fn start(
    config: &AppFiles,
    served: watch::Receiver<Vec<ServedCertificate>>,
    phase: watch::Receiver<Phase>,
    app: Option<App>,
    programs: Option<Programs>,
    tasks: &mut Tasks,
) -> Option<Arc<AppFileCounters>> {
    if config.is_empty() {
        return None;
    }
    let counters = Arc::new(AppFileCounters::new(config));
    let writer = AppFileWriter::new(config, served, Arc::clone(&counters));
    if let Some(hook) = config.on_rotation.clone() {
        let in_place = writer.in_place();
        let hook = HookRunner { hook, in_place, phase, app, programs, counters: Arc::clone(&counters) };
        tasks.start("rotation hook", hook.run());
    }
    tasks.start("files for the app", writer.run());
    Some(counters)
}
