//! The closed set of reasons for which outbound connections end.

use strum::{EnumCount, EnumMessage, IntoStaticStr, VariantArray};

/// Why an outbound connection closed, or a request ended, as the access log and counters name it. A closed set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, EnumMessage, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum OutboundCloseReason {
    /// Both sides were done.
    Completed,
    /// The name has no address (NODATA or NXDOMAIN).
    #[strum(message = "the route, or the server is stopped")]
    NoEndpoint,
    /// The name could not be looked up, and never was before.
    #[strum(message = "DNS")]
    ResolveFailed,
    /// No endpoint accepts.
    #[strum(
        message = "nobody listens there, or the platform does not let us: `cf add-network-policy THIS_APP ITS_APP --protocol tcp --port 61443`"
    )]
    ConnectRefused,
    /// No endpoint has accepted in time.
    #[strum(message = "server, network")]
    ConnectTimeout,
    /// No endpoint could be reached for another reason; `detail` has it.
    #[strum(message = "network")]
    ConnectFailed,
    /// The handshake was not done in `--outbound-handshake-timeout`.
    #[strum(message = "server")]
    HandshakeTimeout,
    /// The handshake failed; `detail` says why.
    #[strum(message = "server: no TLS, or nothing in common")]
    HandshakeFailed,
    /// None of `--outbound-ca` vouches for whoever has answered.
    #[strum(message = "server, `--outbound-ca`")]
    Untrusted,
    /// The certificate of whoever has answered is not valid now.
    #[strum(message = "server, clock")]
    CertificateExpired,
    /// The certificate of whoever has answered does not have the name.
    #[strum(message = "`--outbound-server-name`")]
    NameMismatch,
    /// Somebody else has answered than `--outbound-expect`, the key `expect` or `--forward-proxy-to PATTERN=RULE` says; `detail` names both.
    #[strum(message = "route, rules")]
    UnexpectedIdentity,
    /// The server does not accept our certificate; `detail` has its alert.
    #[strum(message = "the server's rules")]
    ClientCertificateRejected,
    /// No pair of ours, or no CA of `--outbound-ca`, was loaded yet.
    #[strum(message = "platform, `--outbound-ca`")]
    NoCredentials,
    /// A limit was reached: on connections, or this machine's on ports, descriptors or memory; or memory is short and the connection was stuck; `detail` names it.
    #[strum(message = "limits")]
    Overloaded,
    /// The endpoint's TCP ended without close_notify, and the app had not ended its side before, or an answer was not whole; the app saw a reset.
    #[strum(message = "server")]
    EndpointTruncated,
    /// The endpoint reset the connection.
    #[strum(message = "server")]
    EndpointReset,
    /// The endpoint broke the TLS protocol, or ended it by an alert.
    #[strum(message = "server")]
    EndpointViolation,
    /// The server closed the connection before its response was whole.
    #[strum(message = "server")]
    NoResponse,
    /// What the server sent is no HTTP/1.1 response; `detail` says why.
    #[strum(message = "server")]
    BadResponse,
    /// What the app sent is no request that can be sent on; `detail` says why.
    #[strum(message = "app")]
    BadRequest,
    /// The forward proxy is not for the server that the request names.
    #[strum(message = "`--forward-proxy-to`")]
    NotListed,
    /// The server that the request names is this machine, one of its link, or a metadata service, or that of a listener is one of our own; `detail` has the address.
    #[strum(message = "`--forward-proxy-allow-address`, or whoever makes the app ask for it")]
    AddressNotAllowed,
    /// The app has not shown the password that is in the announced URL.
    #[strum(message = "the client's proxy settings")]
    AuthenticationRequired,
    /// The app reset the connection.
    #[strum(message = "app")]
    AppReset,
    /// Silent for longer than `--outbound-idle-timeout`.
    #[strum(message = "configuration")]
    IdleTimeout,
    /// Older than `--outbound-max-age`, and closed behind an answer, in a pause, or 30 s later.
    #[strum(message = "configuration")]
    MaxAge,
    /// Closed behind an answer or while it was silent, as the pair with which it was made was rotated, or was about to end.
    CredentialRotated,
    /// The pair with which it was made came to its end.
    #[strum(message = "a connection that never pauses")]
    CredentialExpired,
    /// Whoever has answered is not believed any more: a CA or our identity changed.
    #[strum(message = "CAs")]
    PolicyChanged,
    /// Still open when the process ended.
    #[strum(message = "app")]
    DrainTimeout,
    /// A fault of the proxy ended it.
    #[strum(message = "please report it")]
    Internal,
}

impl OutboundCloseReason {
    /// The name in the access log and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What happened, for the manual: what is said of the variant above.
    pub fn meaning(self) -> &'static str {
        self.get_documentation().unwrap_or_default().trim_end_matches('.')
    }

    /// Whose matter it is, or what helps, for the manual; empty if nobody's.
    pub fn concern(self) -> &'static str {
        self.get_message().unwrap_or_default()
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
