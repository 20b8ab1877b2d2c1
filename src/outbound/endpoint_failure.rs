//! What an endpoint has failed with, for people: the last failure of each, and what the log says of it.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::error::AttemptError;
use crate::diagnostics::{LONGEST_FIELD, bounded};
use crate::telemetry::OutboundCloseReason;

/// That somebody else is at an endpoint is said so often at most, of all endpoints of one outbound: many may be somebody else's at once.
const MIN_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Why an endpoint was of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFailure {
    /// The reason, as access log entries name it; `None`: it has answered with an error of its own.
    pub reason: Option<OutboundCloseReason>,
    /// What was wrong, and what helps where that is known.
    pub error: String,
    /// When.
    pub at: SystemTime,
}

impl EndpointFailure {
    /// One for `reason`, of which `error` says more.
    pub(super) fn new(reason: OutboundCloseReason, error: &str) -> Self {
        Self { reason: Some(reason), error: bounded(LONGEST_FIELD, format_args!("{error}")), at: SystemTime::now() }
    }

    /// That of an attempt.
    pub(super) fn of(error: &AttemptError) -> Self {
        Self::new(error.reason(), &error.with_remedy())
    }

    /// It has answered with `status`, which counts as a failure.
    pub(super) fn of_status(status: hyper::StatusCode) -> Self {
        let error = format!("the server has answered {}; see its log", status.as_u16());
        Self { reason: None, error, at: SystemTime::now() }
    }

    /// Whether somebody else is there than is expected: an address that is used again, a route that leads elsewhere.
    fn is_of_identity(&self) -> bool {
        use OutboundCloseReason as Reason;
        matches!(self.reason, Some(Reason::Untrusted | Reason::NameMismatch | Reason::UnexpectedIdentity))
    }
}

/// What there is to say of one endpoint's failures.
#[derive(Debug, Default)]
pub(super) struct FailureNotes {
    last: Option<EndpointFailure>,
    /// That somebody else is there was said, and it has not been well since.
    is_reported: bool,
}

impl FailureNotes {
    pub(super) fn last(&self) -> Option<EndpointFailure> {
        self.last.clone()
    }

    /// The endpoint is well: the next time that it is somebody else's is said.
    pub(super) fn forget_report(&mut self) {
        self.is_reported = false;
    }

    /// It has failed with `failure`; `ejected`: and is left alone for so long from now on. What an operator has to hear of is given to `report`,
    /// which says whether it was told: an ejection, and somebody else at the endpoint, the first time since it was well, though others may do in
    /// its place.
    pub(super) fn note(
        &mut self,
        failure: EndpointFailure,
        ejected: Option<Duration>,
        report: impl FnOnce(&EndpointFailure) -> bool,
    ) {
        if ejected.is_some() || (failure.is_of_identity() && !self.is_reported) {
            self.is_reported = report(&failure);
        }
        self.last = Some(failure);
    }
}

/// Tells the log of the failures of one outbound's endpoints.
#[derive(Debug, Default)]
pub(super) struct FailureReporter {
    /// When it was last said that somebody else is at an endpoint.
    identity: Mutex<Option<Instant>>,
}

impl FailureReporter {
    /// Says that the endpoint of `to` at `addr` has failed; `ejected`: and is left alone for so long; `has_others`: others may be tried in its
    /// place. Whether it was said.
    pub(super) fn report(
        &self,
        to: &str,
        (addr, has_others): (SocketAddr, bool),
        failure: &EndpointFailure,
        ejected: Option<Duration>,
        now: Instant,
    ) -> bool {
        let EndpointFailure { reason, error, .. } = failure;
        let reason = reason.map(OutboundCloseReason::as_str);
        if let Some(ejected) = ejected {
            let seconds = ejected.as_secs_f64().round();
            tracing::warn!(to, endpoint_addr = %addr, reason, error, seconds, "endpoint ejected: it has failed several times in a row, and gets no connections for so many seconds");
            return true;
        }
        // Nothing in it can be left half-written.
        let mut last = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < MIN_REPORT_INTERVAL) {
            return false;
        }
        *last = Some(now);
        match has_others {
            true => {
                tracing::warn!(to, endpoint_addr = %addr, reason, error, "endpoint denied: the certificate of whoever has answered is not authorized; other endpoints are tried");
            }
            false => {
                tracing::warn!(to, endpoint_addr = %addr, reason, error, "endpoint denied: the certificate of whoever has answered is not authorized");
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: OutboundCloseReason) -> EndpointFailure {
        EndpointFailure::new(reason, "why")
    }

    #[test]
    fn somebody_else_is_told_of_once_until_the_endpoint_is_well() {
        let mut notes = FailureNotes::default();
        let told = |notes: &mut FailureNotes, reason, ejected| {
            let mut told = false;
            notes.note(failure(reason), ejected, |_| {
                told = true;
                true
            });
            told
        };
        let identity = OutboundCloseReason::UnexpectedIdentity;
        assert!(!told(&mut notes, OutboundCloseReason::ConnectRefused, None), "that says the ejection");
        assert!(told(&mut notes, identity, None) && !told(&mut notes, identity, None));
        notes.forget_report();
        assert!(told(&mut notes, identity, None));
        assert!(told(&mut notes, identity, Some(Duration::from_secs(5))) && !told(&mut notes, identity, None));
        assert_eq!(notes.last().unwrap().reason, Some(identity));
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_are_somebody_elses_one_in_a_while_is_told() {
        let reporter = FailureReporter::default();
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let told =
            |now| reporter.report("backend:1", (addr, true), &failure(OutboundCloseReason::Untrusted), None, now);
        let now = Instant::now();
        assert!(told(now) && !told(now) && told(now + MIN_REPORT_INTERVAL));
    }
}
