//! The closed set of reasons for which connections end.

use strum::{EnumCount, EnumMessage, IntoStaticStr, VariantArray};

/// Why a connection closed, as the access log and counters name it. A closed set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, EnumMessage, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CloseReason {
    /// Both sides were done.
    Completed,
    /// Connected and closed without a byte.
    #[strum(message = "health checks")]
    Probe,
    /// The ClientHello was cut off.
    #[strum(message = "client, network")]
    HelloIncomplete,
    /// Without TLS, the client came from an address that `--from` does not name; nothing was read.
    #[strum(message = "another machine, or a platform that reaches the app past its own proxy")]
    NotFrom,
    /// The first bytes were not TLS.
    #[strum(message = "client: plain HTTP to a TLS port, a scanner")]
    NotTls,
    /// A load balancer's connection did not begin with a PROXY header.
    #[strum(message = "load balancer, `--accept-proxy-protocol`")]
    ProxyHeader,
    /// The handshake was not done in time.
    #[strum(message = "client, network")]
    HandshakeTimeout,
    /// The handshake failed; `detail` says why and whose alert it was.
    #[strum(message = "client or certificate")]
    HandshakeFailed,
    /// The client may not come in; `denial_reason` says why.
    #[strum(message = "client, rules")]
    Denied,
    /// The app refused the connection, or its socket file is not there.
    #[strum(message = "app: not started yet, gone, or on another port")]
    AppRefused,
    /// The app did not accept within `--connect-timeout`.
    #[strum(message = "app: its accept queue is full")]
    AppTimeout,
    /// The app could not be reached for another reason; `detail` has it.
    #[strum(message = "configuration, or no descriptors left")]
    AppUnreachable,
    /// No pair had been loaded yet.
    #[strum(message = "platform")]
    NoCredential,
    /// A limit on connections, handshakes or memory was reached; `detail` names it.
    #[strum(message = "limits")]
    Overloaded,
    /// The client's TCP ended without close_notify.
    #[strum(message = "client")]
    ClientTruncated,
    /// The client reset the connection.
    #[strum(message = "client")]
    ClientReset,
    /// The app was done, and the client took no more of what it was sent; `bytes_down` is without the rest.
    #[strum(message = "client")]
    ClientStalled,
    /// The client broke the TLS protocol after the handshake, or HTTP/2's.
    #[strum(message = "client")]
    ClientViolation,
    /// The app reset the connection.
    #[strum(message = "app")]
    AppReset,
    /// Silent for longer than `--idle-timeout`; or HTTP/2, and idle while the memory for such connections was short.
    #[strum(message = "configuration")]
    IdleTimeout,
    /// Older than `--max-age`.
    #[strum(message = "configuration")]
    MaxAge,
    /// The client's certificate expired while it was connected.
    #[strum(message = "client")]
    PeerExpired,
    /// The rules, the client CAs or a CRL changed, and do not admit the client any more.
    #[strum(message = "rules")]
    PolicyChanged,
    /// Idle while the instance retired or drained.
    #[strum(message = "platform")]
    ClosedIdle,
    /// Still busy when `--drain-timeout` was over.
    #[strum(message = "app, or too short a time")]
    DrainTimeout,
    /// A fault of the proxy ended it.
    #[strum(message = "please report it")]
    Internal,
}

impl CloseReason {
    /// The name in the access log and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether its client is none any more that may come in.
    pub fn is_denial(self) -> bool {
        matches!(self, Self::PolicyChanged | Self::PeerExpired)
    }

    /// What happened, for the manual: what is said of the variant above.
    pub fn meaning(self) -> &'static str {
        self.get_documentation().unwrap_or_default().trim_end_matches('.')
    }

    /// Whose matter it is, or what helps, for the manual; empty if nobody's.
    pub fn concern(self) -> &'static str {
        self.get_message().unwrap_or_default()
    }

    /// Whether a client did not get as far as a handshake by a fault that scanners have as well: enough to hear of now and then.
    pub fn is_failed_attempt(self) -> bool {
        matches!(self, Self::NotTls | Self::HandshakeFailed)
    }

    /// Whether a client was turned away that might have been served: what an operator wants to hear of.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::NotFrom
                | Self::ProxyHeader
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
