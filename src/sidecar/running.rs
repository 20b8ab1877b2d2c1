//! The proxy while it serves, until something ends it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::app_files::FilesAndHooks;
use super::inbound::Inbound;
use super::outbound::Outbounds;
use super::platform_pair::PlatformPair;
use super::rotation_hook::ProgramStarter;
use super::shared::Shared;
use super::{secrets, shutdown};
use crate::admin::{AdminState, Envoy, StatusSources};
use crate::config::Config;
use crate::credentials::{Rotator, ServedCertificate};
use crate::exit::{Exit, Fault};
use crate::lifecycle::{ControlRequest, Readiness, Tasks};
use crate::metrics::{Metrics, MetricsSources};
use crate::sandbox::SandboxReport;
use crate::secrets::SecretsFolder;
use crate::secrets::vault::{LeaseEvent, VaultSession};
use crate::supervisor::{App, AppExitStatus, HookLauncher, Programs, Signals};
use crate::telemetry::CloseReason;

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

/// What ends the serving.
pub(super) enum StopCause {
    /// TERM or INT.
    Requested,
    /// The app has ended by itself.
    AppEnded(AppExitStatus),
    /// What the app was given is about to be good for nothing.
    SecretsExpired(Fault),
    /// We cannot go on.
    Broken(Fault),
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

    pub(super) async fn serve(mut self, mut tasks: Tasks) -> Result<Exit, Fault> {
        let cause = self.run_until_stopped(&mut tasks).await;
        // What only an end needs takes no room until then; so elsewhere.
        Box::pin(self.finish(cause)).await
    }

    /// The end, for this cause.
    pub(super) async fn finish(mut self, cause: StopCause) -> Result<Exit, Fault> {
        self.app_files.iter().for_each(FilesAndHooks::stop_hooks);
        let exit = match cause {
            StopCause::Requested => Ok(self.drain().await),
            StopCause::SecretsExpired(fault) => {
                tracing::warn!("stopping: a secret of the app is about to end");
                self.drain().await;
                Err(fault)
            }
            StopCause::AppEnded(status) => {
                tracing::info!(%status, "app exited");
                let mut remaining = self.close_listeners("app exited").await;
                self.drain_until(&mut remaining, Instant::now() + self.config.drain.timeout).await;
                self.kill_process_group(Instant::now() + shutdown::GROUP_GRACE).await;
                self.close_outbounds(Instant::now()).await;
                Ok(status.into())
            }
            StopCause::Broken(fault) => {
                self.close_listeners("shutting down after a fault").await;
                self.signal_app_stop();
                self.wait_or_kill_app(Instant::now() + self.config.drain.timeout).await;
                self.close_outbounds(Instant::now()).await;
                Err(fault)
            }
        };
        self.revoke_secrets().await;
        let code = exit.as_ref().map_or_else(|fault| fault.exit, |exit| *exit).code();
        if let Err(fault) = &exit {
            fault.log();
        }
        self.log_exit(code);
        exit
    }

    /// Serves until something ends it.
    pub(super) async fn run_until_stopped(&mut self, tasks: &mut Tasks) -> StopCause {
        let rotator = Arc::clone(&self.rotator);
        let mut first = std::pin::pin!(rotator.wait_for_initial_load(self.config.credential_timeout));
        let mut waiting = true;
        let app = self.app.clone();
        loop {
            tokio::select! {
                fault = tasks.ended_early() => return StopCause::Broken(fault),
                request = self.signals.next_request(app.as_ref()) => match request {
                    ControlRequest::Stop => return StopCause::Requested,
                    ControlRequest::Reload => self.reload.notify_one(),
                },
                status = ended(app.as_ref()) => return StopCause::AppEnded(status),
                loaded = &mut first, if waiting => match loaded {
                    Ok(()) => {
                        waiting = false;
                        self.readiness.set_loaded();
                    }
                    Err(error) => return StopCause::Broken(self.log_initial_load_error(&error)),
                },
                event = secrets::next_lease_event(&mut self.lease_events) => if let Some(fault) = self.on_lease_event(event) {
                    return StopCause::SecretsExpired(fault);
                },
                Ok(()) = self.served.changed() => {
                    let served = self.served.borrow_and_update().clone();
                    let logged = std::mem::replace(&mut self.logged, served);
                    self.on_served_certificates(&logged);
                }
                retires = self.platform_pair.changed() => self.on_platform_pair(retires),
            }
        }
    }

    /// Waits for a TERM or INT that comes while we are going already.
    pub(super) async fn next_stop(&mut self) {
        loop {
            if let ControlRequest::Stop = self.signals.next_request(self.app.as_ref()).await {
                return;
            }
        }
    }

    fn log_exit(&self, code: u8) {
        let (bytes_up, bytes_down) = self.shared.counters.bytes();
        tracing::info!(
            code,
            connections = self.shared.counters.connections(),
            probes = self.shared.counters.count(CloseReason::Probe),
            denied = self.shared.counters.count(CloseReason::Denied),
            bytes_up,
            bytes_down,
            "exited"
        );
    }
}

/// Waits for the app to end; for ever without one.
pub(super) async fn ended(app: Option<&App>) -> AppExitStatus {
    match app {
        Some(app) => app.exited().await,
        None => std::future::pending().await,
    }
}
