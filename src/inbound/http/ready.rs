//! A client whose requests may reach the app, and what is left of its connection once they have come to an end.

use super::client_stream::ClientStream;
use super::upgrade::UpgradedApp;
use crate::budget::Reservation;
use crate::identity::Client;
use crate::inbound::relay_session::AuthorizedClient;
use crate::io::AppStream;
use crate::policy::Permit;
use crate::telemetry::{AccessLogEntry, CloseReason};

/// A client whose requests may reach the app.
#[derive(Debug)]
pub(super) struct ReadyToServe {
    pub(super) stream: ClientStream,
    pub(super) permit: Permit,
    pub(super) client: Client,
    pub(super) authorization: Option<AuthorizedClient>,
    /// Dialled already.
    pub(super) app: Option<AppStream>,
    /// What the app is told on each connection in front of the requests.
    pub(super) proxy_header: Vec<u8>,
    pub(super) protocol: ClientProtocol,
    /// The memory that the session goes on to hold.
    pub(super) reservation: Reservation,
    pub(super) entry: AccessLogEntry,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientProtocol {
    Http1,
    Http2,
    /// Its first bytes will tell: without TLS nothing else does.
    Unsaid,
}

/// How the requests of a connection ended, with what is left of it.
#[derive(Debug)]
pub(super) enum ServeResult {
    /// It is over. `is_cut`: not all that was promised was sent.
    Over { stream: ClientStream, reason: CloseReason, is_cut: bool },
    /// It is over, and nothing is left.
    Gone { reason: CloseReason },
    /// It speaks another protocol from here on, of which the client has sent `first` already.
    Upgraded { stream: ClientStream, first: Vec<u8>, app: Box<UpgradedApp> },
}

impl ServeResult {
    /// `stream` had to make room for others: the kernel is not to keep what its client does not take either.
    pub(super) fn evicted(stream: &ClientStream) -> Self {
        // When the option cannot be set the socket is closed all the same.
        let _ = stream.tcp().set_zero_linger();
        Self::Gone { reason: CloseReason::Overloaded }
    }
}
