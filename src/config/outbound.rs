//! Outbound listeners: where the app dials us in plaintext, and whom we dial for it in mutual TLS.

mod doubts;
mod reading;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

pub use doubts::SettingDoubt;
pub(super) use reading::{is_deliberate, names_somebody};

use super::Network;
use crate::policy::Rule;

/// An outbound listener and whom it dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Where the app dials us.
    pub listen: OutboundListen,
    /// Whom we dial: one balanced set. Invariant: never empty.
    pub to: Vec<Target>,
    /// How.
    pub settings: OutboundSettings,
}

/// How servers are dialled, and who may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundSettings {
    /// The HTTP proxy on the way; `None`: servers are dialled themselves.
    pub proxy: Option<HttpProxy>,
    /// Who is dialled without it.
    pub no_proxy: Vec<HostPattern>,
    /// Who may answer; empty: whoever has the name.
    pub expect: Vec<Rule>,
    /// The name in SNI, which the server's certificate must have.
    pub server_name: ExpectedName,
    /// Who vouches for servers. Invariant: never empty.
    pub ca: Vec<OutboundCa>,
    /// The platform's folder of CAs, in which a successor of our own issuer is looked for.
    pub platform_cas: Option<PathBuf>,
    /// Whether servers are shown our certificate.
    pub identity: IdentityUse,
    /// Which endpoint is dialled.
    pub balance: Balance,
    /// What the app speaks.
    pub protocol: Protocol,
    /// Requests keep the Host that the app has written.
    pub preserve_host: bool,
    /// What counts as a failure of an endpoint.
    pub eject_on: EjectOn,
    /// The instance is not ready while no endpoint is known.
    pub required: bool,
    /// How long each step may take, and a connection may last.
    pub timeouts: OutboundTimeouts,
    /// Endpoints that are tried for one connection; at least 1.
    pub attempts: usize,
    /// Failures in a row after which an endpoint is ejected; `None`: never.
    pub eject: Option<u32>,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections at a time that wait for an endpoint.
    pub max_pending: usize,
    /// The longest time between two lookups.
    pub refresh: Duration,
    /// What of it has no effect, though it was said.
    pub doubts: Vec<SettingDoubt>,
    /// Where it stands, so that what is wrong is corrected there.
    pub place: SettingsPlace,
}

/// Where the settings stand by which servers are dialled and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsPlace {
    /// `--outbound-...`, by flags, variables or keys of the file: what holds for all.
    Options,
    /// A table `[[outbound]]`.
    Table {
        /// It says itself who may answer.
        expects: bool,
    },
    /// `--forward-proxy-to PATTERN`.
    Pattern {
        /// `*.apps.internal:61443`
        pattern: String,
        /// A rule behind it says who may answer.
        expects: bool,
    },
}

/// The name that a server's certificate must have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExpectedName {
    /// The host that is dialled. Where that is an address, it need not be in the certificate, for `expect` says who answers.
    Target,
    /// This one, whatever is dialled.
    Given(Host),
    /// None: `expect` says who answers. Invariant: then it says somebody by identity.
    Unchecked,
}

/// Where the app dials us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OutboundListen {
    /// `9000`: 127.0.0.1 and, where there is IPv6, ::1.
    Loopback(u16),
    /// Exactly this address.
    At(SocketAddr),
    /// A socket file, for our own user alone.
    Unix(PathBuf),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// What is dialled.
    pub host: Host,
    /// Its port; never 0.
    pub port: u16,
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name in lower case; with a dot at its end it is absolute.
    Name(String),
    /// An address; never an IPv4-mapped one.
    Ip(IpAddr),
}

/// An HTTP proxy, which is asked to CONNECT (RFC 9110, 9.3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// Where it is.
    pub host: Host,
    /// Its port; never 0.
    pub port: u16,
    /// What is sent as `Proxy-Authorization`: a secret.
    pub authorization: Option<String>,
}

/// Hosts that are meant together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// `backend.example`
    Host(Host),
    /// `.example`: all names below it, with the dot, in lower case.
    Below(String),
    /// `10.0.0.0/8`
    Network(Network),
}

/// Who vouches for servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OutboundCa {
    /// Whoever has issued our own certificate.
    OwnIssuer,
    /// The CAs of this system.
    System,
    /// CAs in a file or a folder.
    Path(PathBuf),
}

/// As `--outbound-ca` has it.
impl fmt::Display for OutboundCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnIssuer => f.write_str("own-issuer"),
            Self::System => f.write_str("system"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Whether servers are shown our certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum IdentityUse {
    /// Whoever asks for one gets it.
    Always,
    /// TLS without a certificate of ours.
    Never,
}

/// Which of several endpoints is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Balance {
    /// Of two that are drawn at random, the one with fewer connections.
    LeastConnections,
    /// One after the other.
    RoundRobin,
    /// The first that works.
    First,
}

/// What the app speaks on an outbound listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Protocol {
    /// Anything: bytes are carried as they are, on a connection to an endpoint for each of the app's.
    Tcp,
    /// HTTP/1.1: each request is sent to an endpoint of its own.
    Http1,
}

/// What counts as a failure of an endpoint, beside connections to it that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
pub enum EjectOn {
    /// Nothing.
    #[strum(serialize = "connect")]
    Connect,
    /// Answers with a status of 500 and above.
    #[strum(serialize = "5xx")]
    ServerErrors,
}

/// Deadlines of an outbound connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundTimeouts {
    /// For one endpoint to accept.
    pub connect: Duration,
    /// For the handshake with one endpoint.
    pub handshake: Duration,
    /// For the lookup and all attempts together.
    pub total: Duration,
    /// A connection that is silent both ways for this long is closed; `None` means never.
    pub idle: Option<Duration>,
    /// A connection that waits this long for the next request is closed; `None` means never.
    pub pool_idle: Option<Duration>,
    /// A connection older than this is closed; `None` means never.
    pub max_age: Option<Duration>,
}

impl Outbound {
    /// Whom it dials, as the log, metrics and the status page name it.
    pub fn name(&self) -> String {
        self.to.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl OutboundSettings {
    /// Whether everybody who has the name may answer.
    pub fn expects_anybody(&self) -> bool {
        self.expect.is_empty() || self.expect.contains(&Rule::Any)
    }

    /// Whether a rule speaks of Cloud Foundry identities, which our own issuer vouches for.
    pub fn expects_cloud_foundry(&self) -> bool {
        self.expect.iter().any(Rule::is_cloud_foundry)
    }

    /// The proxy by which `host` is reached; `None`: it is dialled itself.
    pub fn proxy_for(&self, host: &Host) -> Option<&HttpProxy> {
        self.proxy.as_ref().filter(|_| !self.no_proxy.iter().any(|pattern| pattern.matches(host)))
    }
}

impl HostPattern {
    /// Whether `host` is one of them. A dot at its end says nothing.
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Host(Host::Name(pattern)), Host::Name(name)) => {
                pattern.trim_end_matches('.') == name.trim_end_matches('.')
            }
            (Self::Host(pattern), host) => pattern == host,
            (Self::Below(domain), Host::Name(name)) => name.trim_end_matches('.').ends_with(domain.as_str()),
            (Self::Network(network), Host::Ip(ip)) => network.contains(*ip),
            (Self::Below(_), Host::Ip(_)) | (Self::Network(_), Host::Name(_)) => false,
        }
    }
}

/// Without the secret.
impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProxy").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Target { host: self.host.clone(), port: self.port })
    }
}

impl OutboundListen {
    /// The TCP addresses that are listened on; empty for a Unix socket.
    pub fn tcp(&self) -> Vec<SocketAddr> {
        match self {
            Self::Loopback(port) => vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()],
            Self::At(addr) => vec![*addr],
            Self::Unix(_) => Vec::new(),
        }
    }
}

impl fmt::Display for OutboundListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(port) => write!(f, "127.0.0.1:{port}"),
            Self::At(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

#[cfg(test)]
mod tests;
