//! What an endpoint has failed with last, for people.

use std::time::SystemTime;

use super::error::AttemptError;
use crate::diagnostics::{LONGEST_FIELD, bounded};
use crate::telemetry::OutboundCloseReason;

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
    pub(super) fn is_of_identity(&self) -> bool {
        use OutboundCloseReason as Reason;
        matches!(self.reason, Some(Reason::Untrusted | Reason::NameMismatch | Reason::UnexpectedIdentity))
    }
}
