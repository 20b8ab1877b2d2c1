//! The closed set of reasons for which connections end.

use strum::{EnumCount, IntoStaticStr, VariantArray};

/// Why a connection closed, as the access log and counters name it. A closed set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CloseReason {
    /// Both sides were done.
    Completed,
    /// Connected and closed without a byte, as health checks do.
    Probe,
    /// The ClientHello was cut off.
    HelloIncomplete,
    /// The client came from where none may without TLS.
    NotFrom,
    /// The first bytes were not TLS.
    NotTls,
    /// A load balancer's connection did not begin with a PROXY header.
    ProxyHeader,
    /// The handshake was not done in time.
    HandshakeTimeout,
    /// The handshake failed; `detail` says why and whose alert it was.
    HandshakeFailed,
    /// The client may not come in; `denial_reason` says why.
    Denied,
    /// The app refused the connection.
    AppRefused,
    /// The app did not accept in time.
    AppTimeout,
    /// The app could not be reached for another reason.
    AppUnreachable,
    /// No pair was loaded in time at the start.
    NoCredential,
    /// A limit on connections, handshakes or memory was reached; `detail` names it.
    Overloaded,
    /// The client's TCP ended without close_notify.
    ClientTruncated,
    /// The client reset the connection.
    ClientReset,
    /// The client stopped taking what it was sent, after both sides were done.
    ClientStalled,
    /// The client broke the TLS protocol after the handshake, or HTTP/2's.
    ClientViolation,
    /// The app reset the connection.
    AppReset,
    /// Silent for longer than `--idle-timeout`.
    IdleTimeout,
    /// Older than `--max-age`.
    MaxAge,
    /// The client's certificate expired while it was connected.
    PeerExpired,
    /// The rules, the trust anchors or a CRL changed, and do not admit the client any more.
    PolicyChanged,
    /// Idle while the instance retired or drained.
    ClosedIdle,
    /// Still busy when `--drain-timeout` was over.
    DrainTimeout,
    /// A fault of ours ended it.
    Internal,
}

impl CloseReason {
    /// The name in the access log and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What happened, for the manual.
    pub fn meaning(self) -> &'static str {
        self.row().0
    }

    /// Whose matter it is, for the manual; empty if nobody's.
    pub fn concern(self) -> &'static str {
        self.row().1
    }

    /// Meaning and concern.
    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Completed => ("Both sides were done", ""),
            Self::Probe => ("Connected and closed without a byte", "health checks"),
            Self::HelloIncomplete => ("The ClientHello was cut off", "client, network"),
            Self::NotFrom => (
                "Without TLS, the client came from an address that `--from` does not name; nothing was read",
                "another machine, or a platform that reaches the app past its own proxy",
            ),
            Self::NotTls => ("The first bytes were not TLS", "client: plain HTTP to a TLS port, a scanner"),
            Self::ProxyHeader => (
                "A load balancer's connection did not begin with a PROXY header",
                "load balancer, `--accept-proxy-protocol`",
            ),
            Self::HandshakeTimeout => ("The handshake was not done in time", "client, network"),
            Self::HandshakeFailed => {
                ("The handshake failed; `detail` says why and whose alert it was", "client or certificate")
            }
            Self::Denied => ("The client may not come in; `denial_reason` says why", "client, rules"),
            Self::AppRefused => (
                "The app refused the connection, or its socket file is not there",
                "app: not started yet, gone, or on another port",
            ),
            Self::AppTimeout => ("The app did not accept within `--connect-timeout`", "app: its accept queue is full"),
            Self::AppUnreachable => (
                "The app could not be reached for another reason; `detail` has it",
                "configuration, or no descriptors left",
            ),
            Self::NoCredential => ("No pair had been loaded yet", "platform"),
            Self::Overloaded => {
                ("A limit on connections, handshakes or memory was reached; `detail` names it", "limits")
            }
            Self::ClientTruncated => ("The client's TCP ended without close_notify", "client"),
            Self::ClientReset => ("The client reset the connection", "client"),
            Self::ClientStalled => (
                "The app was done, and the client took no more of what it was sent; `bytes_down` is without the rest",
                "client",
            ),
            Self::ClientViolation => ("The client broke the TLS protocol after the handshake, or HTTP/2's", "client"),
            Self::AppReset => ("The app reset the connection", "app"),
            Self::IdleTimeout => ("Silent for longer than `--idle-timeout`", "configuration"),
            Self::MaxAge => ("Older than `--max-age`", "configuration"),
            Self::PeerExpired => ("The client's certificate expired while it was connected", "client"),
            Self::PolicyChanged => {
                ("The rules, the client CAs or a CRL changed, and do not admit the client any more", "rules")
            }
            Self::ClosedIdle => ("Idle while the instance retired or drained", "platform"),
            Self::DrainTimeout => ("Still busy when `--drain-timeout` was over", "app, or too short a time"),
            Self::Internal => ("A fault of the proxy ended it", "please report it"),
        }
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
