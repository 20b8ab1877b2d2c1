//! Why a connection ended.

use std::time::Duration;

use crate::announce::HeaderError;
use crate::policy::Denial;
use crate::relay::End;
use crate::tls::Established;
use crate::tls::HandshakeError;
use crate::tls::HelloError;
use crate::upstream::DialError;

/// Why a connection ended, as records and counters name it. A closed set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Both sides were done.
    Completed,
    /// Connected and closed without a byte, as health checks do.
    Probe,
    /// The ClientHello was cut off.
    HelloIncomplete,
    /// The first bytes were not TLS.
    NotTls,
    /// A load balancer's connection did not begin with a PROXY header.
    ProxyHeader,
    /// The handshake was not done in time.
    HandshakeTimeout,
    /// The handshake failed; `detail` says why and whose alert it was.
    HandshakeFailed,
    /// The client may not come in; `denial` says why.
    Denied,
    /// The app refused the connection.
    AppRefused,
    /// The app did not accept in time.
    AppTimeout,
    /// The app could not be reached for another reason.
    AppUnreachable,
    /// No pair had been loaded yet.
    NoCredential,
    /// A limit on connections or handshakes was reached.
    Overloaded,
    /// The client's TCP ended without close_notify.
    ClientTruncated,
    /// The client reset the connection.
    ClientReset,
    /// The client broke the TLS protocol after the handshake.
    ClientViolation,
    /// The app reset the connection.
    AppReset,
    /// Silent for longer than `--idle-timeout`.
    IdleTimeout,
    /// Older than `--max-age`.
    MaxAge,
    /// The client's certificate expired while it was connected.
    PeerExpired,
    /// The rules, the roots or a CRL changed, and do not admit the client any more.
    PolicyChanged,
    /// Idle while the instance retired or drained.
    ClosedIdle,
    /// Still busy when `--drain-timeout` was over.
    DrainTimeout,
    /// A fault of ours ended it.
    Internal,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 24] = [
        Self::Completed,
        Self::Probe,
        Self::HelloIncomplete,
        Self::NotTls,
        Self::ProxyHeader,
        Self::HandshakeTimeout,
        Self::HandshakeFailed,
        Self::Denied,
        Self::AppRefused,
        Self::AppTimeout,
        Self::AppUnreachable,
        Self::NoCredential,
        Self::Overloaded,
        Self::ClientTruncated,
        Self::ClientReset,
        Self::ClientViolation,
        Self::AppReset,
        Self::IdleTimeout,
        Self::MaxAge,
        Self::PeerExpired,
        Self::PolicyChanged,
        Self::ClosedIdle,
        Self::DrainTimeout,
        Self::Internal,
    ];

    /// The name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Probe => "probe",
            Self::HelloIncomplete => "hello_incomplete",
            Self::NotTls => "not_tls",
            Self::ProxyHeader => "proxy_header",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeFailed => "handshake_failed",
            Self::Denied => "denied",
            Self::AppRefused => "app_refused",
            Self::AppTimeout => "app_timeout",
            Self::AppUnreachable => "app_unreachable",
            Self::NoCredential => "no_credential",
            Self::Overloaded => "overloaded",
            Self::ClientTruncated => "client_truncated",
            Self::ClientReset => "client_reset",
            Self::ClientViolation => "client_violation",
            Self::AppReset => "app_reset",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxAge => "max_age",
            Self::PeerExpired => "peer_expired",
            Self::PolicyChanged => "policy_changed",
            Self::ClosedIdle => "closed_idle",
            Self::DrainTimeout => "drain_timeout",
            Self::Internal => "internal",
        }
    }

    /// Whether a client was turned away that might have been served: what an operator wants to hear of.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::ProxyHeader
                | Self::Denied
                | Self::AppRefused
                | Self::AppTimeout
                | Self::AppUnreachable
                | Self::NoCredential
                | Self::Overloaded
                | Self::PeerExpired
                | Self::PolicyChanged
        )
    }
}

/// Why a connection ended before its bytes could be carried.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// There was no PROXY header where one must be.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// There was no ClientHello.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// No pair had been loaded yet.
    #[error("no certificate and key have been loaded yet")]
    NoCredential,
    /// A limit was reached.
    #[error("the limit on {what} is reached; raise {option} or add instances")]
    Overloaded {
        /// What there are too many of.
        what: &'static str,
        /// The option that sets the limit.
        option: &'static str,
    },
    /// The app did not accept.
    #[error(transparent)]
    App(#[from] DialError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The client may not come in, and has been told by an alert.
    #[error("the client may not come in")]
    Denied(#[source] Denial),
    /// The client may not come in, and the handshake was done: a resumed session that has lost its ground.
    #[error("the client may not come in any more")]
    DeniedLate(#[source] Denial, Box<Established>),
    /// The app did not accept, and the handshake was done.
    #[error(transparent)]
    AppLate(DialError),
    /// The handshake was not done in time.
    #[error("the handshake was not done within {0:?}")]
    HandshakeTimeout(Duration),
}

impl Ended {
    /// Why the client was denied, if that is how it ended.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Denied(denial) | Self::DeniedLate(denial, _) => Some(denial),
            _ => None,
        }
    }

    /// The name of this end.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Header(HeaderError::Probe) | Self::Hello(HelloError::Probe) => Reason::Probe,
            Self::Header(_) => Reason::ProxyHeader,
            Self::Hello(HelloError::Incomplete | HelloError::Io(_)) => Reason::HelloIncomplete,
            Self::Hello(HelloError::NotTls { .. }) => Reason::NotTls,
            Self::Hello(HelloError::Malformed { .. }) | Self::Handshake(_) => Reason::HandshakeFailed,
            Self::NoCredential => Reason::NoCredential,
            Self::Overloaded { .. } => Reason::Overloaded,
            Self::Denied(_) | Self::DeniedLate(..) => Reason::Denied,
            Self::App(DialError::Refused) | Self::AppLate(DialError::Refused) => Reason::AppRefused,
            Self::App(DialError::TimedOut(_)) | Self::AppLate(DialError::TimedOut(_)) => Reason::AppTimeout,
            Self::App(DialError::Failed(_)) | Self::AppLate(DialError::Failed(_)) => Reason::AppUnreachable,
            Self::HandshakeTimeout(_) => Reason::HandshakeTimeout,
        }
    }
}

impl From<End> for Reason {
    fn from(end: End) -> Self {
        match end {
            End::Complete => Self::Completed,
            End::ClientTruncated => Self::ClientTruncated,
            End::ClientReset => Self::ClientReset,
            End::ClientViolation => Self::ClientViolation,
            End::AppReset => Self::AppReset,
            End::Quiet => Self::IdleTimeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
    }
}
