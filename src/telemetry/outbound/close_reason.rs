//! The closed set of reasons for which outbound connections end.

use strum::{EnumCount, IntoStaticStr, VariantArray};

/// Why an outbound connection closed, or a request ended, as the access log and counters name it. A closed set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum OutboundCloseReason {
    /// Both sides were done.
    Completed,
    /// The name has no address.
    NoEndpoint,
    /// The name could not be looked up, and never was.
    ResolveFailed,
    /// No endpoint accepts.
    ConnectRefused,
    /// No endpoint has accepted in time.
    ConnectTimeout,
    /// No endpoint could be reached, for another reason.
    ConnectFailed,
    /// The handshake was not done in time.
    HandshakeTimeout,
    /// The handshake failed.
    HandshakeFailed,
    /// No trust anchor vouches for whoever has answered.
    Untrusted,
    /// The certificate of whoever has answered is not valid now.
    CertificateExpired,
    /// The certificate of whoever has answered does not have the name.
    NameMismatch,
    /// Somebody else has answered than is expected.
    UnexpectedIdentity,
    /// The server does not accept our certificate.
    ClientCertificateRejected,
    /// No pair of ours, or nobody who vouches for servers, was loaded yet.
    NoCredentials,
    /// A limit was reached.
    Overloaded,
    /// The endpoint's TCP ended without close_notify.
    EndpointTruncated,
    /// The endpoint reset the connection.
    EndpointReset,
    /// The endpoint broke the TLS protocol.
    EndpointViolation,
    /// The server closed the connection before its response was whole.
    NoResponse,
    /// What the server sent is no HTTP/1.1 response.
    BadResponse,
    /// What the app sent is no request that can be sent on.
    BadRequest,
    /// The forward proxy is not for the server that the request names.
    NotListed,
    /// The server that the request names has no address that may be dialled.
    AddressNotAllowed,
    /// The app has not shown the forward proxy's password.
    AuthenticationRequired,
    /// The app reset the connection.
    AppReset,
    /// Silent for too long.
    IdleTimeout,
    /// Open for too long.
    MaxAge,
    /// Closed behind an answer or while it was silent, as it had been made with a pair that is no longer in service, or is about to end.
    CredentialRotated,
    /// The pair with which it was made has come to its end.
    CredentialExpired,
    /// Whoever has answered is not believed any more.
    PolicyChanged,
    /// Still open when the process ended.
    DrainTimeout,
    /// A fault of ours ended it.
    Internal,
}

impl OutboundCloseReason {
    /// The name in the access log and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What happened, for the manual.
    pub fn meaning(self) -> &'static str {
        self.row().0
    }

    /// Whose matter it is, or what helps, for the manual; empty if nobody's.
    pub fn concern(self) -> &'static str {
        self.row().1
    }

    /// Meaning and concern.
    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Completed => ("Both sides were done", ""),
            Self::NoEndpoint => ("The name has no address (NODATA or NXDOMAIN)", "the route, or the server is stopped"),
            Self::ResolveFailed => ("The name could not be looked up, and never was before", "DNS"),
            Self::ConnectRefused => (
                "No endpoint accepts",
                "nobody listens there, or the platform does not let us: `cf add-network-policy A B --protocol tcp --port 61443`",
            ),
            Self::ConnectTimeout => ("No endpoint has accepted in time", "server, network"),
            Self::ConnectFailed => ("No endpoint could be reached for another reason; `detail` has it", "network"),
            Self::HandshakeTimeout => ("The handshake was not done in `--outbound-handshake-timeout`", "server"),
            Self::HandshakeFailed => {
                ("The handshake failed; `detail` says why", "server: no TLS, or nothing in common")
            }
            Self::Untrusted => ("None of `--outbound-ca` vouches for whoever has answered", "server, `--outbound-ca`"),
            Self::CertificateExpired => ("The certificate of whoever has answered is not valid now", "server, clock"),
            Self::NameMismatch => {
                ("The certificate of whoever has answered does not have the name", "`--outbound-server-name`")
            }
            Self::UnexpectedIdentity => {
                ("Somebody else has answered than `--outbound-expect` says; `detail` names both", "route, rules")
            }
            Self::ClientCertificateRejected => {
                ("The server does not accept our certificate; `detail` has its alert", "the server's rules")
            }
            Self::NoCredentials => {
                ("No pair of ours, or no CA of `--outbound-ca`, was loaded yet", "platform, `--outbound-ca`")
            }
            Self::Overloaded => (
                "A limit was reached: on connections, or this machine's on ports, descriptors or memory; or memory is short and the connection was stuck; `detail` names it",
                "limits",
            ),
            Self::EndpointTruncated => (
                "The endpoint's TCP ended without close_notify, and the app had not ended its side before, or an answer was not whole; the app saw a reset",
                "server",
            ),
            Self::EndpointReset => ("The endpoint reset the connection", "server"),
            Self::EndpointViolation => ("The endpoint broke the TLS protocol, or ended it by an alert", "server"),
            Self::NoResponse => ("The server closed the connection before its response was whole", "server"),
            Self::BadResponse => ("What the server sent is no HTTP/1.1 response; `detail` says why", "server"),
            Self::BadRequest => ("What the app sent is no request that can be sent on; `detail` says why", "app"),
            Self::NotListed => {
                ("The forward proxy is not for the server that the request names", "`--forward-proxy-to`")
            }
            Self::AddressNotAllowed => (
                "The server that the request names is this machine, one of its link, or a metadata service, or that of a listener is one of our own; `detail` has the address",
                "`--forward-proxy-allow-address`, or whoever makes the app ask for it",
            ),
            Self::AuthenticationRequired => {
                ("The app has not shown the password that is in the announced URL", "the client's proxy settings")
            }
            Self::AppReset => ("The app reset the connection", "app"),
            Self::IdleTimeout => ("Silent for longer than `--outbound-idle-timeout`", "configuration"),
            Self::MaxAge => (
                "Older than `--outbound-max-age`, and closed behind an answer, in a pause, or 30 s later",
                "configuration",
            ),
            Self::CredentialRotated => (
                "Closed behind an answer or while it was silent, as the pair with which it was made was rotated, or was about to end",
                "",
            ),
            Self::CredentialExpired => {
                ("The pair with which it was made came to its end", "a connection that never pauses")
            }
            Self::PolicyChanged => {
                ("Whoever has answered is not believed any more: a CA or our identity changed", "CAs")
            }
            Self::DrainTimeout => ("Still open when the process ended", "app"),
            Self::Internal => ("A fault of the proxy ended it", "please report it"),
        }
    }

    /// Whether it is the endpoint that has broken off what went on behind the handshake.
    pub fn is_endpoint_fault(self) -> bool {
        matches!(
            self,
            Self::ClientCertificateRejected
                | Self::EndpointTruncated
                | Self::EndpointReset
                | Self::EndpointViolation
                | Self::NoResponse
                | Self::BadResponse
        )
    }

    /// Whether the app did not get what it wanted: what an operator wants to hear of.
    pub fn is_failure(self) -> bool {
        !matches!(
            self,
            Self::Completed
                | Self::AppReset
                | Self::IdleTimeout
                | Self::MaxAge
                | Self::CredentialRotated
                | Self::DrainTimeout
        )
    }
}
