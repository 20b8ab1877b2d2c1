//! Why a connection closed before its bytes could be carried.

use std::time::Duration;

use crate::budget::BudgetExceeded;
use crate::policy::Denial;
use crate::proxy_protocol::HeaderError;
use crate::relay::RelayEnd;
use crate::telemetry::CloseReason;
use crate::tls::{Established, HandshakeError, HelloError};
use crate::upstream::DialError;

/// There are more than fit.
pub(super) const TOO_MANY_CONNECTIONS: ConnectionError = ConnectionError::Overloaded {
    what: "connections",
    option: "--max-connections, or the memory or descriptor limit that it follows from,",
};

/// Why a connection closed before its bytes could be carried.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It came from elsewhere, and nothing of it was read.
    #[error("without TLS none may connect from there; networks of proxies are named by --from")]
    NotFrom,
    /// There was no PROXY header where one must be.
    #[error(transparent)]
    ProxyHeader(#[from] HeaderError),
    /// There was no ClientHello.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// No pair had been loaded yet.
    #[error("no usable certificate, key, client CAs and rules have been loaded yet")]
    NoCredential,
    /// A limit was reached.
    #[error("the limit on {what} is reached; raise {option} or add instances")]
    Overloaded {
        /// What there are too many of.
        what: &'static str,
        /// The option that sets the limit.
        option: &'static str,
    },
    /// There was no memory left for another client.
    #[error(transparent)]
    MemoryExhausted(#[from] BudgetExceeded),
    /// The app did not accept.
    #[error(transparent)]
    Upstream(#[from] DialError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The client may not come in, and has been told by an alert.
    #[error("the client may not come in")]
    Denied(#[source] Denial),
    /// The client may not come in, and the handshake was done: a resumed session that has lost its ground.
    #[error("the client may not come in any more")]
    DeniedAfterHandshake(#[source] Denial, Box<Established>),
    /// There was no memory left for the client's chain, and the handshake was done.
    #[error("{0}; the client's chain of certificates is long")]
    ExhaustedAfterHandshake(#[source] BudgetExceeded, Box<Established>),
    /// The app did not accept, and the handshake was done.
    #[error(transparent)]
    UpstreamAfterHandshake(DialError),
    /// The handshake was not done in time.
    #[error("the handshake was not done within {0:?}")]
    HandshakeTimeout(Duration),
}

impl ConnectionError {
    /// Why the client was denied, if that is how it ended.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Denied(denial) | Self::DeniedAfterHandshake(denial, _) => Some(denial),
            _ => None,
        }
    }

    /// The name of this end.
    pub fn reason(&self) -> CloseReason {
        match self {
            Self::ProxyHeader(HeaderError::Probe) | Self::Hello(HelloError::Probe) => CloseReason::Probe,
            Self::Overloaded { .. }
            | Self::MemoryExhausted(_)
            | Self::ExhaustedAfterHandshake(..)
            | Self::Hello(HelloError::Exhausted(_))
            | Self::Handshake(HandshakeError::Exhausted(_)) => CloseReason::Overloaded,
            Self::ProxyHeader(_) => CloseReason::ProxyHeader,
            Self::Hello(HelloError::Incomplete | HelloError::Io(_)) => CloseReason::HelloIncomplete,
            Self::Hello(HelloError::NotTls { .. } | HelloError::PlainHttp) => CloseReason::NotTls,
            Self::Hello(
                HelloError::Malformed { .. }
                | HelloError::Forbidden { .. }
                | HelloError::TooLong { .. }
                | HelloError::OldTls(_),
            )
            | Self::Handshake(_) => CloseReason::HandshakeFailed,
            Self::NotFrom => CloseReason::NotFrom,
            Self::NoCredential => CloseReason::NoCredential,
            Self::Denied(_) | Self::DeniedAfterHandshake(..) => CloseReason::Denied,
            Self::Upstream(DialError::Refused) | Self::UpstreamAfterHandshake(DialError::Refused) => {
                CloseReason::AppRefused
            }
            Self::Upstream(DialError::TimedOut(_)) | Self::UpstreamAfterHandshake(DialError::TimedOut(_)) => {
                CloseReason::AppTimeout
            }
            Self::Upstream(DialError::Failed(_)) | Self::UpstreamAfterHandshake(DialError::Failed(_)) => {
                CloseReason::AppUnreachable
            }
            Self::Upstream(DialError::Reset) | Self::UpstreamAfterHandshake(DialError::Reset) => CloseReason::AppReset,
            Self::HandshakeTimeout(_) => CloseReason::HandshakeTimeout,
        }
    }
}

impl From<RelayEnd> for CloseReason {
    fn from(end: RelayEnd) -> Self {
        match end {
            RelayEnd::Complete => Self::Completed,
            RelayEnd::ClientTruncated => Self::ClientTruncated,
            RelayEnd::ClientReset => Self::ClientReset,
            RelayEnd::ClientViolation(_) => Self::ClientViolation,
            RelayEnd::AppReset => Self::AppReset,
            RelayEnd::Idle => Self::IdleTimeout,
            RelayEnd::KeepAliveEnded => Self::ClosedIdle,
            RelayEnd::BacklogEvicted => Self::Overloaded,
        }
    }
}
