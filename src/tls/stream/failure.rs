//! How a stream of plaintext fails.

use std::io;

use crate::tls::Violation;

/// How a connection has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamFailure {
    /// The peer has broken the protocol, or ended the session by an alert.
    Violation(Violation),
    /// The connection has ended without close_notify.
    Truncated,
    /// The socket failed.
    Socket(io::ErrorKind),
}

impl StreamFailure {
    pub(super) fn kind(self) -> io::ErrorKind {
        match self {
            Self::Violation(_) => io::ErrorKind::InvalidData,
            Self::Truncated => io::ErrorKind::UnexpectedEof,
            Self::Socket(kind) => kind,
        }
    }

    pub(super) fn violation(self) -> Option<Violation> {
        match self {
            Self::Violation(violation) => Some(violation),
            Self::Truncated | Self::Socket(_) => None,
        }
    }

    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Violation(violation) => io::Error::new(self.kind(), violation),
            Self::Truncated => io::Error::new(self.kind(), "the peer has closed without close_notify"),
            Self::Socket(kind) => kind.into(),
        }
    }
}
