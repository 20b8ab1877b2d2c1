//! The proxy while it serves: what it is made of.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Notify, mpsc, watch};

use super::app_files::FilesAndHooks;
use super::inbound::Inbound;
use super::outbound::Outbounds;
use super::platform_pair::PlatformPair;
use super::rotation_hook::ProgramStarter;
use super::shared::Shared;
use crate::admin::{AdminState, Envoy, StatusSources};
use crate::config::Config;
use crate::credentials::{Rotator, ServedCertificate};
use crate::exit::Fault;
use crate::lifecycle::{ControlRequest, Readiness, Tasks};
use crate::metrics::{Metrics, MetricsSources};
use crate::sandbox::SandboxReport;
use crate::secrets::SecretsFolder;
use crate::secrets::vault::{LeaseEvent, VaultSession};
use crate::supervisor::{App, AppExitStatus, HookLauncher, Programs, Signals};

/// A proxy that serves.
pub(super) struct Running {
    pub(super) config: Config,
    pub(super) signals: Signals,
    pub(super) app: Option<App>,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbounds,
    /// If there are any.
    pub(super) app_files: Option<FilesAndHooks>,
    pub(super) rotator: Arc<Rotator>,
    pub(super) served: watch::Receiver<Vec<ServedCertificate>>,
    pub(super) reload: Arc<Notify>,
    pub(super) shared: Shared,
    pub(super) readiness: Arc<Readiness>,
    /// What the process has given up.
    pub(super) sandbox: Arc<SandboxReport>,
    /// What starts the program of a hook, outside of the sandbox, until the hook has it.
    pub(super) hook_launcher: Option<HookLauncher>,
    /// The pairs that were spoken of.
    pub(super) logged: Vec<ServedCertificate>,
    /// One of them is the platform's sign that the instance is to go.
    pub(super) own_retires: bool,
    pub(super) platform_pair: PlatformPair,
    /// It is that sign.
    pub(super) platform_retires: bool,
    /// What the app has as files; goes with this, which is when the app is gone.
    pub(super) secrets_folder: Option<Arc<SecretsFolder>>,
    /// The session with Vault, as long as it has a token.
    pub(super) vault: Option<Arc<VaultSession>>,
    /// What becomes of secrets that end.
    pub(super) lease_events: Option<mpsc::Receiver<LeaseEvent>>,
}

impl Running {
    /// What the admin listener's answers are made of.
    pub(super) fn admin_state(&self) -> AdminState {
        let Shared { phase, capacity, counters, .. } = &self.shared;
        let (readiness, listeners) = (Arc::clone(&self.readiness), self.inbound.listeners.clone());
        let app_files = self.app_files.as_ref().map(|files| Arc::clone(&files.counters));
        let metrics = Metrics::new(MetricsSources {
            counters: Arc::clone(counters),
            budgets: Arc::clone(&capacity.budgets),
            rotations: self.rotator.stats(),
            readiness: Arc::clone(&readiness),
            outbound: self.outbound.overview.clone(),
            app_files: app_files.clone(),
            sandbox: Arc::clone(&self.sandbox),
            max_connections: capacity.connections,
        });
        let snapshots = listeners.iter().map(|info| (info.listener, info.snapshots.clone())).collect();
        let envoy = self.config.envoy.as_ref();
        let envoy = envoy.map(|compat| Envoy::new(compat, &self.config, snapshots, self.served.clone()));
        let status_sources = StatusSources {
            counters: Arc::clone(counters),
            rotation_stats: self.rotator.stats(),
            served: self.served.clone(),
            phase: phase.subscribe(),
            listeners,
            outbound: self.outbound.overview.clone(),
            app_files,
            sandbox: Arc::clone(&self.sandbox),
            started: SystemTime::now(),
        };
        AdminState { readiness, metrics, status_sources, envoy }
    }

    /// The app, if it is ours, is there: what follows a rotation may begin.
    pub(super) fn start_hook(&mut self, app: Option<App>, programs: Option<Programs>, tasks: &mut Tasks) {
        let launcher = self.hook_launcher.take().map(ProgramStarter::Launcher);
        let starter = launcher.or(programs.map(ProgramStarter::Ours));
        if let Some(files) = &mut self.app_files {
            files.start_hook(app, starter, tasks);
        }
    }

    /// Has every listener accept, in the runtime that is entered.
    pub(super) fn accept(&mut self) -> Result<(), Fault> {
        self.inbound.accept(&self.shared)?;
        self.outbound.accept()
    }

    /// Waits for a TERM or INT that comes while we are going already.
    pub(super) async fn next_stop(&mut self) {
        loop {
            if let ControlRequest::Stop = self.signals.next_request(self.app.as_ref()).await {
                return;
            }
        }
    }
}

/// Waits for the app to end; for ever without one.
pub(super) async fn ended(app: Option<&App>) -> AppExitStatus {
    match app {
        Some(app) => app.exited().await,
        None => std::future::pending().await,
    }
}
