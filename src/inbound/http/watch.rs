//! What may end a connection from outside: the process, the rules, its age.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Sleep;

use crate::inbound::deadline::Deadline;
use crate::inbound::relay_session::{AuthorizedClient, reauthorize};
use crate::inbound::service::InboundService;
use crate::lifecycle::Phase;
use crate::telemetry::{AccessLogEntry, CloseReason, RequestReason};

/// Where a connection stands, as far as others have a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// It goes on.
    Serving,
    /// Each next answer is the last one, and a connection that is idle for a moment is closed, for this reason: the instance goes, or the
    /// connection has had its time.
    Draining(CloseReason),
    /// What is under way comes to its end, and nothing else: the app is gone, or the client may not come in any more. In the second case
    /// it has little time for that.
    Closing(CloseReason),
    /// It is cut off.
    Aborted,
}

/// Waits for the end of a time, if one was set, and else for ever. Cancel safe.
pub(super) async fn end_of(time: &mut Option<Pin<Box<Sleep>>>) {
    match time {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Why requests have no answer whose connection was cut off while it was about to end for the reason `ending`, or not to end at all.
pub(super) fn reason_of_cut(ending: Option<CloseReason>) -> RequestReason {
    if ending.is_some_and(CloseReason::is_denial) { RequestReason::Denied } else { RequestReason::DrainTimeout }
}

/// Watches over one connection.
#[derive(Debug)]
pub(super) struct ConnectionWatch {
    service: Arc<InboundService>,
    authorization: Option<AuthorizedClient>,
    phase: watch::Receiver<Phase>,
    generations: watch::Receiver<u64>,
    deadline: Deadline,
    /// Why it ends, once that is known.
    ending: Option<CloseReason>,
}

impl ConnectionWatch {
    /// Watches a connection that came in by `authorization`, where a certificate was asked for.
    pub(super) fn new(service: Arc<InboundService>, authorization: Option<AuthorizedClient>) -> Self {
        let (phase, generations) = (service.phase.clone(), service.snapshots.generations());
        let not_after = authorization.as_ref().and_then(AuthorizedClient::not_after);
        let deadline = Deadline::first_of(not_after, service.timeouts.max_age);
        Self { service, authorization, phase, generations, deadline, ending: None }
    }

    /// On what ground its client was let in.
    pub(super) fn into_authorization(self) -> Option<AuthorizedClient> {
        self.authorization
    }

    /// Where it stands now; what is decided of its client is noted in `entry`.
    pub(super) fn state(&mut self, entry: &mut AccessLogEntry) -> ConnectionState {
        let phase = *self.phase.borrow_and_update();
        self.generations.borrow_and_update();
        if !self.is_denied() {
            // Whatever else ends it may give it some time yet.
            self.ending = reauthorize(&mut self.authorization, entry, &self.service).or(self.ending);
        }
        match (phase, self.ending) {
            (Phase::Closing, _) => ConnectionState::Aborted,
            (_, Some(reason)) if reason.is_denial() => ConnectionState::Closing(reason),
            (Phase::Delivering, ending) => ConnectionState::Closing(ending.unwrap_or(CloseReason::Completed)),
            (_, Some(reason)) => ConnectionState::Draining(reason),
            (Phase::Retiring | Phase::Draining, None) => ConnectionState::Draining(CloseReason::ClosedIdle),
            (Phase::Running, None) => ConnectionState::Serving,
        }
    }

    /// Waits until it may stand elsewhere. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let has_certificate = self.authorization.is_some();
        tokio::select! {
            biased;
            Ok(()) = self.phase.changed() => {}
            Ok(()) = self.generations.changed(), if has_certificate => {}
            over = &mut self.deadline, if !self.is_denied() => self.ending = Some(over),
        }
    }

    fn is_denied(&self) -> bool {
        self.ending.is_some_and(CloseReason::is_denial)
    }
}
