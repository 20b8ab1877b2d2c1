//! A connection whose bytes are carried: what ends it from outside, and on what ground its client may stay.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::credentials::Snapshot;
use crate::identity::Client;
use crate::inbound::deadline::Deadline;
use crate::inbound::service::InboundService;
use crate::lifecycle::Phase;
use crate::policy;
use crate::relay::{NoBacklogProgress, Relay, RelayEnd};
use crate::sys::socket::has_input;
use crate::telemetry::{AccessLogEntry, CloseReason};

/// While the instance goes, a connection that has been idle for this long is closed: long enough for the pause between
/// two parts of one answer, short enough for routers to let go of it before the app hears that it must stop.
pub(super) const DRAIN_IDLE_TIMEOUT: Duration = Duration::from_millis(50);

/// What a connection holds while bytes are carried, for as long as it may be idle. All else is in boxes that are gone by
/// then, or not made yet.
pub(super) struct ActiveConnection {
    pub(super) relay: Relay,
    pub(super) authorization: Option<AuthorizedClient>,
    pub(super) entry: AccessLogEntry,
}

/// On what ground a client with a certificate was let in, so that it can be asked again whether it may stay.
#[derive(Debug)]
pub(super) struct AuthorizedClient {
    pub(super) client: Client,
    pub(super) snapshot: Arc<Snapshot>,
}

impl AuthorizedClient {
    /// The end of the validity of its certificate.
    pub(super) fn not_after(&self) -> Option<SystemTime> {
        self.client.certificate().map(|holder| holder.not_after)
    }
}

/// A relay whose bytes get in the access log entry however it ends: the task may be cancelled in the middle of it, or panic.
pub(super) struct ByteCountGuard<'a> {
    pub(super) relay: &'a mut Relay,
    pub(super) entry: &'a mut AccessLogEntry,
}

impl Drop for ByteCountGuard<'_> {
    fn drop(&mut self) {
        self.entry.fields.transferred = self.relay.transferred();
    }
}

/// relay, until one side, a limit, the policy or the process ends it
///
/// `LEAVES_IDLE`: one that is silent while the instance goes stays until the drain is over, and is not closed after a moment.
pub(super) async fn relay_until_closed<const LEAVES_IDLE: bool>(
    active: &mut ActiveConnection,
    service: &InboundService,
) -> CloseReason {
    let ActiveConnection { relay, authorization, entry } = active;
    let counted = ByteCountGuard { relay, entry };
    if let Some(limit) = service.timeouts.idle {
        counted.relay.set_idle_timeout(limit);
    }
    let mut deadline =
        Deadline::first_of(authorization.as_ref().and_then(AuthorizedClient::not_after), service.timeouts.max_age);
    let (mut phase, mut generations) = (service.phase.clone(), service.snapshots.generations());
    loop {
        generations.borrow_and_update();
        if let Some(reason) = reauthorize(authorization, counted.entry, service) {
            return reason;
        }
        let here = *phase.borrow_and_update();
        match here {
            Phase::Running => {}
            Phase::Retiring | Phase::Draining if LEAVES_IDLE => counted.relay.end_web_socket(),
            Phase::Retiring | Phase::Draining => {
                counted.relay.set_drain_idle_timeout(DRAIN_IDLE_TIMEOUT);
                if service.drain_http {
                    counted.relay.end_keep_alive();
                }
            }
            Phase::Delivering => counted.relay.end_after_backlog(),
            Phase::Closing => return CloseReason::DrainTimeout,
        }
        tokio::select! {
            // No dice are thrown for who is asked first: this is on the path of every byte.
            biased;
            end = &mut *counted.relay => return match end {
                // A request that has come and was not noticed yet would be lost: the loop sets the timer anew.
                RelayEnd::Idle if *service.phase.borrow() >= Phase::Retiring && has_input(counted.relay.client()) => {
                    continue;
                }
                RelayEnd::Idle if *service.phase.borrow() >= Phase::Retiring => CloseReason::ClosedIdle,
                RelayEnd::BacklogEvicted => {
                    counted.entry.set_error(&NoBacklogProgress);
                    CloseReason::Overloaded
                }
                RelayEnd::ClientViolation(violation) => {
                    counted.entry.set_error(&violation);
                    CloseReason::ClientViolation
                }
                end => end.into(),
            },
            Ok(()) = phase.changed() => {}
            Ok(()) = generations.changed(), if authorization.is_some() => {}
            over = &mut deadline => return over,
        }
    }
}

/// Why the client may not stay, if what is served now is another snapshot than the one by which it may.
pub(super) fn reauthorize(
    authorization: &mut Option<AuthorizedClient>,
    entry: &mut AccessLogEntry,
    service: &InboundService,
) -> Option<CloseReason> {
    let AuthorizedClient { client, snapshot } = authorization.as_mut()?;
    let served = service.snapshots.load().filter(|served| served.generation != snapshot.generation)?;
    match served.client_auth.reauthorize(client, &snapshot.client_auth, SystemTime::now()) {
        Ok(_) => {
            *snapshot = served;
            None
        }
        Err(denial) => {
            let reason = match denial.reason() {
                policy::DenialReason::Expired => CloseReason::PeerExpired,
                _ => CloseReason::PolicyChanged,
            };
            entry.set_verdict(Err(denial));
            Some(reason)
        }
    }
}
