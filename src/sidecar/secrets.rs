//! A start at which secrets are resolved: listen → resolve → start the app → the threads that relay.
//!
//! Until the app is started everything shares one thread, the admin listener and whoever connects already included.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::child::{signal_handler_fault, start_child};
use super::open::Sidecar;
use super::running::Running;
use super::serve::StopCause;
use super::workers::Workers;
use crate::admin::BoundAdmin;
use crate::config::Drain;
use crate::exit::{Exit, Fault};
use crate::lifecycle::{SecretsStep, Tasks};
use crate::listener::DescriptorLimit;
use crate::secrets;
use crate::secrets::vault::keep_leases;
use crate::secrets::{LeasedSecret, Plan, Resolved, SecretStores};
use crate::supervisor::{AppCommand, AppLauncher, Signals};

/// What was told and nobody has heard yet.
const LEASE_EVENTS: usize = 16;

impl Sidecar {
    /// As [`Sidecar::run`], with the app of `command`, which is not started before all that `plan` refers to is resolved. Must be called
    /// within a runtime without threads of its own; `workers` are started by this.
    ///
    /// # Errors
    /// [`Exit::Unavailable`]: something could not be resolved, and the app was not started. Else as [`Sidecar::run`].
    pub async fn resolve_and_run(
        mut self,
        mut command: AppCommand,
        plan: Plan,
        workers: &mut Workers,
    ) -> Result<Exit, Fault> {
        let mut tasks = Tasks::default();
        let prepared =
            Signals::for_run(&command.map).map_err(|error| signal_handler_fault(&error)).and_then(|mut signals| {
                if let Some(requests) = self.admin.as_mut().and_then(BoundAdmin::requests) {
                    signals.add_requests(requests);
                }
                let launcher = self.launchers.app.take();
                if launcher.is_none() {
                    command.env_set.extend(self.app_environment());
                }
                let mut running = self.start(&mut tasks, signals, DescriptorLimit::AsGiven)?;
                running.readiness.set_secrets(SecretsStep::Resolving);
                running.inbound.accept_for_now(&running.shared)?;
                Ok((running, launcher))
            });
        let (mut running, launcher) = prepared.inspect_err(Fault::log)?;
        match Box::pin(running.resolve(plan, &mut tasks)).await {
            Ok(resolved) => match running.begin(command, launcher, resolved, &mut tasks, workers) {
                Ok(()) => Box::pin(running.serve(tasks)).await,
                Err(fault) => Box::pin(running.finish(StopCause::Broken(fault))).await,
            },
            Err(cause) => {
                // Nobody is served yet who would have to be waited for.
                running.config.drain = Drain { delay: Duration::ZERO, timeout: Duration::ZERO, ..running.config.drain };
                Box::pin(running.finish(cause)).await
            }
        }
    }
}

impl Running {
    /// What `plan` refers to, or what came first.
    async fn resolve(&mut self, plan: Plan, tasks: &mut Tasks) -> Result<Resolved, StopCause> {
        let Some(config) = self.config.secrets.clone() else { return Ok(Resolved::default()) };
        let sources = SecretStores::open(&config, &plan, &self.served, &self.shared.counters.secrets.vault)
            .map_err(StopCause::Broken)?;
        // From now on its token is revoked, whatever comes.
        self.vault = sources.vault().cloned();
        let counters = Arc::clone(&self.shared.counters.secrets);
        let mut resolving = pin!(secrets::resolve(&plan, &sources, &config, &counters));
        tokio::select! {
            // A stop that comes in the last moment counts.
            biased;
            cause = self.run_until_stopped(tasks) => Err(cause),
            resolved = &mut resolving => resolved.map_err(StopCause::Broken),
        }
    }

    /// Starts the app with what was resolved, and then the threads that relay.
    fn begin(
        &mut self,
        mut command: AppCommand,
        launcher: Option<AppLauncher>,
        resolved: Resolved,
        tasks: &mut Tasks,
        workers: &mut Workers,
    ) -> Result<(), Fault> {
        let Resolved { set, remove, folder, leased } = resolved;
        self.secrets_folder = folder;
        command.env_secret = set;
        command.env_remove.extend(remove);
        let (app, reaper) = start_child(&command, launcher)?;
        // The app has them; here they are wiped.
        drop(command);
        self.start_hook(Some(app.clone()), Some(reaper.programs()), tasks);
        self.app = Some(app);
        tasks.start("reaper", reaper.run());
        self.keep_secrets(leased, tasks);
        self.shared.capacity.raise_descriptor_limit();
        self.readiness.set_secrets(SecretsStep::Resolved);
        let workers = workers.start()?;
        let _entered = workers.as_ref().map(|workers| workers.enter());
        self.accept()
    }

    /// Keeps what ends, and the token that it ends with. Where nothing does, the token has served its turn.
    fn keep_secrets(&mut self, leased: Vec<LeasedSecret>, tasks: &mut Tasks) {
        let Some(session) = self.vault.clone() else { return };
        if leased.is_empty() {
            tasks.start("vault", async move {
                session.revoke().await;
                std::future::pending().await
            });
            return;
        }
        let (events, told) = mpsc::channel(LEASE_EVENTS);
        self.lease_events = Some(told);
        let keeping = keep_leases(Arc::clone(&session), leased, Arc::clone(&self.shared.counters.secrets), events);
        tasks.start("vault", async move { session.run().await });
        tasks.start("leases", keeping);
    }
}
