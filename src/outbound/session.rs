//! A connection of the app and one to an endpoint, from the first byte that is carried to the close of both.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::attempts::Connected;
use super::certificate_rejection::CertificateRejection;
use super::dialler::Dialler;
use super::endpoint::EndpointLease;
use super::endpoint_failure::EndpointFailure;
use super::error::TRUNCATED;
use super::handshake::VerifiedServer;
use super::pair_lifetime::{DrainStep, OptionalTimer, PairLifetime};
use super::relay::{OutboundRelay, OutboundRelayEnd};
use crate::budget::MemoryBudget;
use crate::io::AppStream;
use crate::lifecycle::Phase;
use crate::policy::Permit;
use crate::relay::NoBacklogProgress;
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};

/// A connection that is to be let go is closed once it has been silent for this long: long enough for the pause between two parts of
/// one answer.
const SILENCE: Duration = Duration::from_millis(50);

/// A connection that is too old is closed behind its next answer or in a pause. One that an app keeps for its next request is closed after
/// so long without one; and one that has no pause is cut after as long again.
const PAUSE_WANTED: Duration = Duration::from_secs(15);

/// What a connection holds while bytes are carried. All else is in boxes that are gone by then.
///
/// It has a box of its own: a future has room for a value in each place that it passes through.
pub(super) struct OutboundSession(Box<ActiveOutbound>);

struct ActiveOutbound {
    relay: OutboundRelay,
    entry: OutboundLogEntry,
    verified: Option<VerifiedServer>,
    lease: EndpointLease,
    /// Its place among the requests, where it began as one.
    _permit: Option<OwnedSemaphorePermit>,
}

impl OutboundSession {
    /// Between `app` and whoever was connected to. What it holds for a side that does not take it is of `backlogs`.
    pub(super) fn new(
        app: AppStream,
        connected: Connected,
        mut entry: OutboundLogEntry,
        backlogs: &Arc<MemoryBudget>,
    ) -> Self {
        let Connected { stream, verified, lease } = connected;
        if let Some(VerifiedServer { server, .. }) = &verified {
            entry.fields.rule = server.permit.as_ref().and_then(Permit::rule).cloned();
            entry.fields.server = Some(server.certificate.clone());
        }
        let relay = OutboundRelay::new(app, stream, backlogs.reservation());
        Self(Box::new(ActiveOutbound { relay, entry, verified, lease, _permit: None }))
    }

    /// What was sent before is carried first: the app's bytes `up`, and the endpoint's `down`.
    pub(super) fn with_buffered(mut self, up: Vec<u8>, down: Vec<u8>) -> Self {
        self.0.relay.begin_with(up, down);
        self
    }

    /// They have switched to another protocol.
    pub(super) fn switched(mut self) -> Self {
        self.0.relay.switch_protocol();
        self
    }

    /// It counts as a request as long as it lasts.
    pub(super) fn counted_by(mut self, permit: OwnedSemaphorePermit) -> Self {
        self.0._permit = Some(permit);
        self
    }

    /// Carries bytes until a side, a limit, a rotation or the end of the process ends it, and closes both.
    pub(super) async fn run(mut self, dialler: &Dialler, phase: watch::Receiver<Phase>) {
        let reason = self.0.relay_until_closed(dialler, phase).await;
        let ActiveOutbound { relay, mut entry, .. } = *self.0;
        entry.set_close_reason(reason);
        match reason {
            OutboundCloseReason::Completed
            | OutboundCloseReason::IdleTimeout
            | OutboundCloseReason::MaxAge
            | OutboundCloseReason::CredentialRotated
                if !relay.is_within_an_exchange() =>
            {
                relay.close();
            }
            _ => relay.reset(),
        }
        entry.close(reason);
    }
}

impl ActiveOutbound {
    /// Carries bytes until a side, a limit, a rotation or the end of the process ends it.
    async fn relay_until_closed(
        &mut self,
        dialler: &Dialler,
        mut phase: watch::Receiver<Phase>,
    ) -> OutboundCloseReason {
        let Self { relay, entry, verified, lease, .. } = self;
        let timeouts = &dialler.settings.timeouts;
        if let Some(limit) = timeouts.idle {
            relay.set_idle_timeout(limit);
        }
        let mut lifetime = PairLifetime::of(dialler, verified.as_ref());
        let mut max_age = OptionalTimer::after(timeouts.max_age);
        // How often it was found to be too old.
        let (mut is_draining, mut too_old) = (false, 0_u8);
        let reason = loop {
            match lifetime.check() {
                // An app that waits for an answer, or is about to ask, is not cut off before it has to be.
                Some(DrainStep::LetGo(silence)) => {
                    is_draining = true;
                    relay.drain_when_silent(silence.max(SILENCE), true);
                }
                Some(DrainStep::Hurry) => {
                    is_draining = true;
                    relay.drain_when_silent(SILENCE, false);
                }
                Some(DrainStep::End(reason, detail)) => {
                    entry.fields.detail = detail;
                    break reason;
                }
                None => {}
            }
            match *phase.borrow_and_update() {
                Phase::Running | Phase::Retiring => {}
                Phase::Draining | Phase::Delivering => relay.drain_when_silent(SILENCE, false),
                Phase::Closing => break OutboundCloseReason::DrainTimeout,
            }
            tokio::select! {
                biased;
                end = &mut *relay => break match end {
                    OutboundRelayEnd::Complete => OutboundCloseReason::Completed,
                    OutboundRelayEnd::AppReset => OutboundCloseReason::AppReset,
                    OutboundRelayEnd::EndpointTruncated => {
                        entry.fields.detail = Some(TRUNCATED.to_owned());
                        OutboundCloseReason::EndpointTruncated
                    }
                    OutboundRelayEnd::EndpointReset => OutboundCloseReason::EndpointReset,
                    OutboundRelayEnd::EndpointViolation(error) => {
                        entry.fields.detail = Some(error.to_string());
                        OutboundCloseReason::EndpointViolation
                    }
                    OutboundRelayEnd::Rejected(alert) => {
                        let own = verified.as_ref().and_then(|verified| verified.snapshot.authenticator.own());
                        let rejection = CertificateRejection::new(alert, own);
                        entry.fields.detail = Some(rejection.with_remedy());
                        OutboundCloseReason::ClientCertificateRejected
                    }
                    OutboundRelayEnd::BacklogEvicted => {
                        entry.fields.detail = Some(NoBacklogProgress.to_string());
                        OutboundCloseReason::Overloaded
                    }
                    OutboundRelayEnd::Idle | OutboundRelayEnd::KeepAliveEnded => match () {
                        () if *phase.borrow() >= Phase::Draining => OutboundCloseReason::Completed,
                        () if is_draining => OutboundCloseReason::CredentialRotated,
                        () if too_old > 0 => OutboundCloseReason::MaxAge,
                        () => OutboundCloseReason::IdleTimeout,
                    },
                },
                Ok(()) = phase.changed() => {}
                () = lifetime.changed() => {}
                () = &mut max_age => {
                    too_old += 1;
                    if too_old > 2 {
                        break OutboundCloseReason::MaxAge;
                    }
                    // A rotation has its own time for it.
                    if !is_draining {
                        relay.drain_when_silent(SILENCE, too_old == 1);
                    }
                    max_age = OptionalTimer::after(Some(PAUSE_WANTED));
                }
            }
        };
        entry.fields.transferred = relay.transferred();
        let endpoint = lease.endpoint();
        let is_wordless = entry.fields.transferred.down == 0;
        match reason {
            reason
                if reason == OutboundCloseReason::ClientCertificateRejected
                    || (is_wordless && reason.is_endpoint_fault()) =>
            {
                let detail = entry.fields.detail.as_deref().unwrap_or_else(|| reason.meaning());
                dialler.endpoints.failed_behind_handshake(endpoint, EndpointFailure::new(reason, detail));
            }
            OutboundCloseReason::Completed => dialler.endpoints.answered(endpoint),
            _ if !is_wordless => dialler.endpoints.answered(endpoint),
            _ => {}
        }
        reason
    }
}
