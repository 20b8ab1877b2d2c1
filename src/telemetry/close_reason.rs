//! The closed set of reasons for which connections end.

/// Why a connection closed, as the access log and counters name it. A closed set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
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

impl CloseReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 25] = [
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
        Self::ClientStalled,
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

    /// The name in the access log and in metrics.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// What happened, for the manual.
    pub fn meaning(self) -> &'static str {
        self.row().1
    }

    /// Whose matter it is, for the manual; empty if nobody's.
    pub fn concern(self) -> &'static str {
        self.row().2
    }

    /// Name, meaning and concern.
    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Completed => ("completed", "Both sides were done", ""),
            Self::Probe => ("probe", "Connected and closed without a byte", "health checks"),
            Self::HelloIncomplete => ("hello_incomplete", "The ClientHello was cut off", "client, network"),
            Self::NotTls => ("not_tls", "The first bytes were not TLS", "client: plain HTTP to a TLS port, a scanner"),
            Self::ProxyHeader => (
                "proxy_header",
                "A load balancer's connection did not begin with a PROXY header",
                "load balancer, `--accept-proxy-protocol`",
            ),
            Self::HandshakeTimeout => ("handshake_timeout", "The handshake was not done in time", "client, network"),
            Self::HandshakeFailed => (
                "handshake_failed",
                "The handshake failed; `detail` says why and whose alert it was",
                "client or certificate",
            ),
            Self::Denied => ("denied", "The client may not come in; `denial_reason` says why", "client, rules"),
            Self::AppRefused => (
                "app_refused",
                "The app refused the connection, or its socket file is not there",
                "app: not started yet, gone, or on another port",
            ),
            Self::AppTimeout => {
                ("app_timeout", "The app did not accept within `--connect-timeout`", "app: its accept queue is full")
            }
            Self::AppUnreachable => (
                "app_unreachable",
                "The app could not be reached for another reason; `detail` has it",
                "configuration, or no descriptors left",
            ),
            Self::NoCredential => ("no_credential", "No pair had been loaded yet", "platform"),
            Self::Overloaded => {
                ("overloaded", "A limit on connections, handshakes or memory was reached; `detail` names it", "limits")
            }
            Self::ClientTruncated => ("client_truncated", "The client's TCP ended without close_notify", "client"),
            Self::ClientReset => ("client_reset", "The client reset the connection", "client"),
            Self::ClientStalled => (
                "client_stalled",
                "The app was done, and the client took no more of what it was sent; `bytes_down` is without the rest",
                "client",
            ),
            Self::ClientViolation => {
                ("client_violation", "The client broke the TLS protocol after the handshake", "client")
            }
            Self::AppReset => ("app_reset", "The app reset the connection", "app"),
            Self::IdleTimeout => ("idle_timeout", "Silent for longer than `--idle-timeout`", "configuration"),
            Self::MaxAge => ("max_age", "Older than `--max-age`", "configuration"),
            Self::PeerExpired => ("peer_expired", "The client's certificate expired while it was connected", "client"),
            Self::PolicyChanged => (
                "policy_changed",
                "The rules, the client CAs or a CRL changed, and do not admit the client any more",
                "rules",
            ),
            Self::ClosedIdle => ("closed_idle", "Idle while the instance retired or drained", "platform"),
            Self::DrainTimeout => {
                ("drain_timeout", "Still busy when `--drain-timeout` was over", "app, or too short a time")
            }
            Self::Internal => ("internal", "A fault of the proxy ended it", "please report it"),
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

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        let names: HashSet<_> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
        for (number, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
    }
}
