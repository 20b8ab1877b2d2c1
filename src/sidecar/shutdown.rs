//! From "stop" to "gone": the steps by which a proxy that serves comes to its end, each of them visible in the log and in
//! `/readyz`.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::running::{Running, ended};
use crate::exit::Exit;
use crate::lifecycle::{OpenGuards, Phase};
use crate::supervisor::AppExitStatus;

/// From the closing of the listeners to the app's TERM, at most: for clients to let go of idle connections.
const IDLE_CLOSE_LEAD: Duration = Duration::from_secs(1);

/// For what the app has left behind to end.
pub(super) const GROUP_GRACE: Duration = Duration::from_secs(1);

/// For what was killed to be gone.
const KILL_GRACE: Duration = Duration::from_millis(150);

/// After the drain's time is over: for the last access log entries to be written.
const FLUSH_GRACE: Duration = Duration::from_millis(250);

impl Running {
    /// From "stop" to "gone": no new work, finish what runs. A second signal skips ahead.
    pub(super) async fn drain(&mut self) -> Exit {
        let drain = self.config.drain.clone();
        let deadline = Instant::now() + drain.timeout;
        let delay = (!drain.delay.is_zero()).then_some(drain.delay).map(tracing::field::debug);
        tracing::info!(delay, timeout = ?drain.timeout, active = self.shared.counters.active(), "draining");
        self.readiness.set_drain_step("drain delay; new connections are accepted");
        let _ = timeout(drain.delay, self.next_stop()).await;
        let mut remaining = self.close_listeners("listeners closed").await;
        let mut skipped = false;
        if self.app.is_some() {
            // Clients let go of connections that we end, and take their next request elsewhere. An app may end them, or
            // itself, in the middle of one.
            let lead = ((deadline - Instant::now()) / 4).min(IDLE_CLOSE_LEAD);
            skipped = self.wait_for(&mut remaining, Instant::now() + lead).await;
            self.signal_app_stop();
        }
        let skipped = skipped || self.wait_for(&mut remaining, deadline).await;
        self.close_remaining(&mut remaining, skipped).await;
        let deadline = if skipped { Instant::now() } else { deadline };
        let status = self.wait_or_kill_app(deadline).await;
        // The app may have dialled others to the last, also in its own shutdown.
        self.close_outbounds(if status.is_some() { Instant::now() } else { deadline }).await;
        status.map_or(Exit::Success, Exit::from)
    }

    /// From here on the kernel refuses new connections; what it had queued is served. Gives what is left to be waited for.
    pub(super) async fn close_listeners(&mut self, step: &'static str) -> OpenGuards {
        self.readiness.set_drain_step(step);
        self.shared.phase.send_replace(Phase::Draining);
        self.inbound.upstreams.iter().for_each(|upstream| upstream.health().stop_holding());
        self.inbound.close();
        while self.inbound.accepting.join_next().await.is_some() {}
        self.readiness.set_closed();
        tracing::info!(active = self.shared.counters.active(), "listeners closed");
        std::mem::take(&mut self.shared.guards).close()
    }

    /// The app is gone, or was given up: nobody is left to dial for. Whoever still speaks is waited for until `deadline`, and for a moment
    /// at least.
    pub(super) async fn close_outbounds(&mut self, deadline: Instant) {
        if self.outbound.accepting.is_empty() {
            return;
        }
        self.outbound.phase.send_replace(Phase::Draining);
        while self.outbound.accepting.join_next().await.is_some() {}
        if let Some(http) = &self.outbound.http {
            http.end();
        }
        let mut remaining = std::mem::take(&mut self.outbound.guards).close();
        if timeout_at(deadline.max(Instant::now() + FLUSH_GRACE), remaining.gone()).await.is_err() {
            self.outbound.phase.send_replace(Phase::Closing);
            let _ = timeout(FLUSH_GRACE, remaining.gone()).await;
        }
    }

    pub(super) fn signal_app_stop(&self) {
        if let Some(app) = self.app.as_ref().filter(|app| app.status().is_none()) {
            app.stop();
            let active = self.shared.counters.active();
            match app.stop_signal() {
                Some(signal) => {
                    self.readiness.set_drain_step(format!("SIG{signal} sent to app"));
                    tracing::info!(%signal, active, "stop signal sent to app");
                }
                None => {
                    self.readiness.set_drain_step("waiting for the app to exit; --signal-map drops TERM");
                    tracing::info!(active, "stop signal not sent to app; --signal-map drops TERM");
                }
            }
        }
    }

    /// Waits for the connections to end, until `deadline`, and closes what is left then.
    pub(super) async fn drain_until(&mut self, remaining: &mut OpenGuards, deadline: Instant) {
        let skipped = self.wait_for(remaining, deadline).await;
        self.close_remaining(remaining, skipped).await;
    }

    /// Waits for the connections to end, until `deadline` or a signal. Whether it was a signal.
    pub(super) async fn wait_for(&mut self, remaining: &mut OpenGuards, deadline: Instant) -> bool {
        let app = self.app.clone();
        let mut delivering = false;
        loop {
            tokio::select! {
                _ = timeout_at(deadline, remaining.gone()) => return false,
                () = self.next_stop() => return true,
                _ = ended(app.as_ref()), if !delivering => {
                    delivering = true;
                    self.shared.phase.send_replace(Phase::Delivering);
                }
            }
        }
    }

    pub(super) async fn close_remaining(&self, remaining: &mut OpenGuards, skipped: bool) {
        let left = self.shared.counters.active();
        if left > 0 {
            tracing::warn!(left, skipped, "closing remaining connections");
            self.readiness.set_drain_step("closing remaining connections");
        }
        self.shared.phase.send_replace(Phase::Closing);
        let _ = timeout(FLUSH_GRACE, remaining.gone()).await;
    }

    /// Waits for the app to end, until `deadline` or a signal; kills it then. `None` without an app.
    pub(super) async fn wait_or_kill_app(&mut self, deadline: Instant) -> Option<AppExitStatus> {
        let app = self.app.clone()?;
        let ended = tokio::select! {
            ended = timeout_at(deadline, app.exited()) => ended.ok(),
            () = self.next_stop() => None,
        };
        if let Some(status) = ended {
            tracing::info!(%status, "app exited");
            self.kill_process_group(deadline.max(Instant::now() + KILL_GRACE)).await;
            return Some(status);
        }
        tracing::warn!("app did not exit within the drain timeout; killing it");
        app.kill();
        // One that hangs in the kernel does not end even then.
        let status = timeout(KILL_GRACE, app.exited()).await.unwrap_or(AppExitStatus::Killed(9));
        self.kill_process_group(Instant::now() + KILL_GRACE).await;
        Some(status)
    }

    /// What the app has left behind in its process group was told to stop when the app ended; it has until `deadline`, and
    /// [`GROUP_GRACE`] at most.
    pub(super) async fn kill_process_group(&self, deadline: Instant) {
        if let Some(app) = &self.app {
            app.wait_or_kill_process_group(deadline.min(Instant::now() + GROUP_GRACE)).await;
        }
    }
}
