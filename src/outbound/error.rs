//! Why an outbound connection closed before its bytes had been carried.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{CertificateError, InvalidMessage};

use super::address_rules::AddressRejection;
use super::certificate_rejection::{CertificateRejection, rejection};
use super::local_error::LocalError;
use crate::identity::Identity;
use crate::telemetry::{AttemptResult, OutboundCloseReason};
use crate::tls;
use crate::trust::{ServerDenial, ServerDenialReason};

/// What is said of a connection that was cut off, and what helps.
pub(super) const TRUNCATED: &str =
    "the server's TCP connection ended without close_notify; see whether the app behind it runs";

/// Why there is no endpoint to carry the app's bytes to.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The name has no address.
    #[error("{0} has no address")]
    NoEndpoint(String),
    /// Its addresses are not dialled.
    #[error("{}", not_allowed(.name, *.addr, *.why))]
    AddressNotAllowed {
        /// Whom it is of.
        name: String,
        /// One of them.
        addr: SocketAddr,
        /// Why not.
        why: AddressRejection,
    },
    /// The forward proxy has to do with so many servers already.
    #[error("the forward proxy has to do with {0} servers at once, and knows no more")]
    TooManyHosts(usize),
    /// The name could never be looked up.
    #[error("{0}")]
    ResolveFailed(String),
    /// There is no pair to show yet, or nobody who vouches for servers.
    #[error("no usable pair, or no usable CAs of servers, were loaded yet")]
    NoCredentials,
    /// The pair has come to its end.
    #[error("our certificate has expired, and no successor has come")]
    CredentialExpired,
    /// A limit was reached.
    #[error("the limit on {what} is reached")]
    Overloaded {
        /// Connections, those that wait, or requests.
        what: &'static str,
        /// Where it can be raised.
        option: &'static str,
    },
    /// The time for all attempts is over before one of them has failed by itself.
    #[error("no endpoint has answered within {0:?}")]
    TimedOut(Duration),
    /// An HTTP connection could not be begun.
    #[error("{0}")]
    Http(hyper::Error),
    /// The last attempt has failed.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
}

/// Why one attempt at one endpoint has come to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// It does not accept at this port.
    #[error("the endpoint refused the connection")]
    ConnectRefused(u16),
    /// It has not accepted in time.
    #[error("the endpoint did not accept within {0:?}")]
    ConnectTimeout(Duration),
    /// It could not be reached.
    #[error("the endpoint cannot be reached: {0}")]
    ConnectFailed(io::Error),
    /// It was not asked, as this machine lacks something.
    #[error("{0} ({1})")]
    Local(LocalError, io::Error),
    /// The HTTP proxy on the way does not let us through.
    #[error("the proxy on the way answers {0}")]
    ProxyRefused(String),
    /// The proxy on the way could not be reached.
    #[error("{}", proxy_unreachable(.0))]
    ProxyUnreachable(Box<Self>),
    /// The proxy on the way has not said in time whether it lets us through.
    #[error("the proxy on the way has not answered within {0:?}")]
    ProxySilent(Duration),
    /// The proxy on the way has closed the connection, or what it says has no end.
    #[error("the proxy on the way has given no answer: {0}")]
    ProxyBroken(io::Error),
    /// The handshake was not done in time.
    #[error("the handshake was not done within {:?}", in_milliseconds(*.0))]
    HandshakeTimeout(Duration),
    /// It answers, and not in TLS.
    #[error("the handshake failed: the server does not speak TLS there")]
    NotTls,
    /// The handshake failed.
    #[error("{}", handshake_failed(.0))]
    HandshakeFailed(io::Error),
    /// The server has ended it by an alert about our certificate.
    #[error(transparent)]
    Rejected(CertificateRejection),
    /// Whoever has answered may not be given the app's bytes.
    #[error("{}", .0.detail())]
    Denied(Box<ServerDenial>),
}

impl OutboundError {
    /// So many wait for an endpoint already.
    pub(super) fn overloaded_by_pending() -> Self {
        Self::Overloaded { what: "connections that wait for an endpoint", option: "--outbound-max-pending" }
    }

    /// There are so many connections of this outbound already.
    pub(super) fn overloaded_by_connections() -> Self {
        Self::Overloaded { what: "connections of this outbound listener", option: "--outbound-max-connections" }
    }

    /// There are so many connections already, wherever they go.
    pub(super) fn overloaded_by_all() -> Self {
        let option = "--max-connections, or the memory or descriptor limit that it follows from";
        Self::Overloaded { what: "connections", option }
    }

    /// The memory has room for no more requests at a time, and none of those before it has ended.
    pub(super) fn overloaded_by_exchanges() -> Self {
        let option = "the container's memory limit (or --memory-limit), or add instances";
        Self::Overloaded { what: "requests for which there is memory at a time", option }
    }

    /// What helps, where more is known than the reason says.
    pub fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NoEndpoint(_) => "see whether the server is started, and the route mapped".into(),
            Self::TooManyHosts(_) => "close connections to others first".into(),
            Self::ResolveFailed(_) => "see DNS and /etc/resolv.conf".into(),
            Self::NoCredentials => "see vestibule check".into(),
            Self::CredentialExpired => "see whether what rotates the pair still runs".into(),
            Self::Overloaded { option, .. } => format!("raise {option}").into(),
            Self::Attempt(attempt) => attempt.remedy(),
            Self::AddressNotAllowed { why: AddressRejection::Ours | AddressRejection::Nobody, .. } => {
                "name another server".into()
            }
            Self::AddressNotAllowed { .. } => {
                "if it is right, allow the address by --forward-proxy-allow-address".into()
            }
            Self::TimedOut(_) | Self::Http(_) => return None,
        })
    }

    /// What is said of it where nobody else says what helps.
    pub fn with_remedy(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{self}; {remedy}"),
            None => self.to_string(),
        }
    }

    /// Whether it is about a server that it does not name itself.
    pub(super) fn is_of_a_server(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Http(_) | Self::Attempt(_) => true,
            Self::NoEndpoint(_)
            | Self::ResolveFailed(_)
            | Self::AddressNotAllowed { .. }
            | Self::TooManyHosts(_)
            | Self::NoCredentials
            | Self::CredentialExpired
            | Self::Overloaded { .. } => false,
        }
    }

    /// The reason, from the closed set.
    pub fn reason(&self) -> OutboundCloseReason {
        use OutboundCloseReason as Reason;
        match self {
            Self::NoEndpoint(_) => Reason::NoEndpoint,
            Self::AddressNotAllowed { .. } => Reason::AddressNotAllowed,
            Self::ResolveFailed(_) => Reason::ResolveFailed,
            Self::NoCredentials => Reason::NoCredentials,
            Self::CredentialExpired => Reason::CredentialExpired,
            Self::Overloaded { .. } | Self::TooManyHosts(_) => Reason::Overloaded,
            Self::TimedOut(_) => Reason::ConnectTimeout,
            Self::Http(_) => Reason::NoResponse,
            Self::Attempt(attempt) => attempt.reason(),
        }
    }
}

impl AttemptError {
    /// What helps.
    pub fn remedy(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Local(lack, _) => lack.remedy(),
            Self::ProxyUnreachable(error) if error.is_local() => return error.remedy(),
            Self::ConnectRefused(port) => {
                return format!(
                    "start what should listen there (on Cloud Foundry also: cf add-network-policy THIS_APP ITS_APP --protocol tcp --port {port})"
                )
                .into();
            }
            Self::ConnectTimeout(_) | Self::ConnectFailed(_) => {
                "see whether the server runs, and what is on the way to it"
            }
            Self::ProxyRefused(_) | Self::ProxySilent(_) | Self::ProxyBroken(_) => {
                "see --outbound-proxy, and the log of that proxy"
            }
            Self::ProxyUnreachable(_) => "see whether that proxy runs, or correct --outbound-proxy",
            Self::NotTls => "see whether the port is the right one",
            Self::HandshakeFailed(error) if is_cut_off(error) => "see whether the app behind it runs",
            Self::HandshakeFailed(error) if is_of_another_key(error) => {
                "see which certificate and which key the server is configured with: they do not belong together"
            }
            Self::HandshakeTimeout(_) | Self::HandshakeFailed(_) => {
                "see whether TLS is spoken on that port, and the server's log"
            }
            Self::Denied(denial) => return denial.remedy().to_owned().into(),
            Self::Rejected(rejection) => return rejection.remedy(),
        })
    }

    /// What is wrong, and what helps.
    pub fn with_remedy(&self) -> String {
        format!("{self}; {}", self.remedy())
    }

    /// The reason, from the closed set.
    pub fn reason(&self) -> OutboundCloseReason {
        use OutboundCloseReason as Reason;
        match self {
            Self::ConnectRefused(_) => Reason::ConnectRefused,
            Self::ConnectTimeout(_) => Reason::ConnectTimeout,
            Self::ProxySilent(_) => Reason::ConnectTimeout,
            Self::ConnectFailed(_) | Self::ProxyRefused(_) | Self::ProxyBroken(_) => Reason::ConnectFailed,
            Self::Local(LocalError::NotPermitted, _) => Reason::ConnectFailed,
            Self::Local(..) => Reason::Overloaded,
            Self::ProxyUnreachable(error) => error.reason(),
            Self::HandshakeTimeout(_) => Reason::HandshakeTimeout,
            Self::HandshakeFailed(_) | Self::NotTls => Reason::HandshakeFailed,
            Self::Rejected(_) => Reason::ClientCertificateRejected,
            Self::Denied(denial) => match denial.reason {
                ServerDenialReason::Untrusted => Reason::Untrusted,
                ServerDenialReason::CertificateExpired => Reason::CertificateExpired,
                ServerDenialReason::NameMismatch => Reason::NameMismatch,
                ServerDenialReason::UnexpectedIdentity => Reason::UnexpectedIdentity,
            },
        }
    }

    /// How much it says of what is wrong, where several attempts have failed in several ways.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::ConnectRefused(_)
            | Self::ConnectTimeout(_)
            | Self::ConnectFailed(_)
            | Self::Local(..)
            | Self::ProxyUnreachable(_) => 0,
            Self::ProxyRefused(_)
            | Self::ProxySilent(_)
            | Self::ProxyBroken(_)
            | Self::HandshakeTimeout(_)
            | Self::HandshakeFailed(_)
            | Self::NotTls => 1,
            Self::Rejected(_) | Self::Denied(_) => 2,
        }
    }

    /// What is counted.
    pub(super) fn result(&self) -> AttemptResult {
        match self {
            Self::ConnectRefused(_)
            | Self::ConnectTimeout(_)
            | Self::ConnectFailed(_)
            | Self::Local(..)
            | Self::ProxyUnreachable(_)
            | Self::ProxySilent(_)
            | Self::ProxyBroken(_)
            | Self::ProxyRefused(_) => AttemptResult::ConnectFailed,
            Self::HandshakeTimeout(_) | Self::HandshakeFailed(_) | Self::NotTls => AttemptResult::HandshakeFailed,
            Self::Rejected(_) => AttemptResult::Rejected,
            Self::Denied(_) => AttemptResult::Denied,
        }
    }

    /// Whether it says nothing of the endpoint, which was not asked.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Local(..) => true,
            Self::ProxyUnreachable(error) => error.is_local(),
            _ => false,
        }
    }

    /// What a failed dial of `addr` is.
    pub(super) fn of_connect(error: io::Error, addr: SocketAddr, limit: Duration) -> Self {
        if let Some(lack) = LocalError::of(&error, addr) {
            return Self::Local(lack, error);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused(addr.port()),
            io::ErrorKind::TimedOut => Self::ConnectTimeout(limit),
            _ => Self::ConnectFailed(error),
        }
    }

    /// What a failed handshake is, in which we were to be who `own` says: of memory that is short it is ours.
    pub(super) fn of_handshake(error: io::Error, own: Option<&Identity>) -> Self {
        if let Some(alert) = rejection(&error) {
            return Self::Rejected(CertificateRejection::new(alert, own));
        }
        if error.kind() == io::ErrorKind::OutOfMemory {
            return Self::Local(LocalError::NoRoom, error);
        }
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) = cause {
            return Self::NotTls;
        }
        match cause.and_then(tls::denial_of) {
            Some(denial) => Self::Denied(Box::new(denial.clone())),
            None => Self::HandshakeFailed(error),
        }
    }
}

/// What is over was measured, and its nanoseconds say nothing.
fn in_milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn not_allowed(name: &str, addr: SocketAddr, why: AddressRejection) -> String {
    match name == addr.to_string() {
        true => format!("{name} is not dialled: {why}"),
        false => format!("{name} leads to {addr}, which is not dialled: {why}"),
    }
}

fn proxy_unreachable(error: &AttemptError) -> String {
    error.to_string().replacen("the endpoint", "the proxy of --outbound-proxy", 1)
}

fn handshake_failed(error: &io::Error) -> String {
    match is_cut_off(error) {
        true => format!("the server has closed the connection within the handshake ({error})"),
        false => format!("the handshake failed: {error}"),
    }
}

/// Whether the server has closed the connection without a word, as a sidecar does whose app does not accept.
fn is_cut_off(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
}

/// Whether the server could not sign with the key of the certificate that it has shown.
fn is_of_another_key(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature)))
}
