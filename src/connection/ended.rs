//! Why a connection ended before its bytes could be carried.

use std::time::Duration;

use crate::announce::HeaderError;
use crate::budget::Exhausted;
use crate::connection::Reason;
use crate::policy::Denial;
use crate::tls::Established;
use crate::tls::HandshakeError;
use crate::tls::HelloError;
use crate::upstream::DialError;

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
    /// There was no memory left for another client.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
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
            Self::Overloaded { .. }
            | Self::Exhausted(_)
            | Self::Hello(HelloError::Exhausted(_))
            | Self::Handshake(HandshakeError::Exhausted(_)) => Reason::Overloaded,
            Self::Header(_) => Reason::ProxyHeader,
            Self::Hello(HelloError::Incomplete | HelloError::Io(_)) => Reason::HelloIncomplete,
            Self::Hello(HelloError::NotTls { .. }) => Reason::NotTls,
            Self::Hello(HelloError::Malformed { .. } | HelloError::TooLong { .. }) | Self::Handshake(_) => {
                Reason::HandshakeFailed
            }
            Self::NoCredential => Reason::NoCredential,
            Self::Denied(_) | Self::DeniedLate(..) => Reason::Denied,
            Self::App(DialError::Refused) | Self::AppLate(DialError::Refused) => Reason::AppRefused,
            Self::App(DialError::TimedOut(_)) | Self::AppLate(DialError::TimedOut(_)) => Reason::AppTimeout,
            Self::App(DialError::Failed(_)) | Self::AppLate(DialError::Failed(_)) => Reason::AppUnreachable,
            Self::App(DialError::Reset) | Self::AppLate(DialError::Reset) => Reason::AppReset,
            Self::HandshakeTimeout(_) => Reason::HandshakeTimeout,
        }
    }
}
