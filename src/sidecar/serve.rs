//! The serving, until something ends it, and an end for each of the causes.

use std::sync::Arc;

use tokio::time::Instant;

use super::app_files::FilesAndHooks;
use super::leases::next_lease_event;
use super::running::{Running, ended};
use super::shutdown::GROUP_GRACE;
use crate::exit::{Exit, Fault};
use crate::lifecycle::{ControlRequest, Tasks};
use crate::supervisor::AppExitStatus;
use crate::telemetry::CloseReason;

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
                tracing::warn!("stopping: a secret of the app expires soon");
                self.drain().await;
                Err(fault)
            }
            StopCause::AppEnded(status) => {
                tracing::info!(%status, "app exited");
                let mut remaining = self.close_listeners("app exited").await;
                self.drain_until(&mut remaining, Instant::now() + self.config.drain.timeout).await;
                self.kill_process_group(Instant::now() + GROUP_GRACE).await;
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
                    ControlRequest::Reload => {
                        // What comes of it has lines of its own; where nothing has changed there is none.
                        tracing::info!("reload requested");
                        self.reload.notify_one();
                    }
                },
                status = ended(app.as_ref()) => return StopCause::AppEnded(status),
                loaded = &mut first, if waiting => match loaded {
                    Ok(()) => {
                        waiting = false;
                        self.readiness.set_loaded();
                    }
                    Err(error) => return StopCause::Broken(self.log_initial_load_error(&error)),
                },
                event = next_lease_event(&mut self.lease_events) => if let Some(fault) = self.on_lease_event(event) {
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

    fn log_exit(&self, code: u8) {
        let (bytes_up, bytes_down) = self.shared.counters.bytes();
        let outbound = self.outbound.overview.totals();
        tracing::info!(
            code,
            connections = self.shared.counters.connections(),
            probes = self.shared.counters.count(CloseReason::Probe),
            denied = self.shared.counters.count(CloseReason::Denied),
            bytes_up,
            bytes_down,
            outbound_connections = outbound.map(|totals| totals.connections),
            outbound_requests = outbound.map(|totals| totals.requests),
            outbound_bytes_up = outbound.map(|totals| totals.bytes.0),
            outbound_bytes_down = outbound.map(|totals| totals.bytes.1),
            "exited"
        );
    }
}
