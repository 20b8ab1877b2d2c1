//! What we were told: the parsed truth.
//!
//! Pure: nothing here opens a socket, reads a clock or knows how a value was typed. Flags, variables and the file
//! become a [`Config`] in [`resolve`], which reports every mistake at once.

pub mod app_files;
mod clients;
pub mod envoy;
mod file;
pub mod forward_proxy;
mod http;
pub mod identity_endpoint;
mod log;
pub mod options;
pub mod outbound;
mod plaintext;
mod process;
mod reader;
pub mod resolve;
pub mod secrets;
pub mod sources;
pub mod values;
pub mod vault;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use crate::policy::{PolicyMode, Route, RoutePath, Rule};
use crate::signal::{SignalMap, SignalScope};

pub use app_files::{AppFiles, CredentialFile, CredentialForm, RotationHook, TokenFile};
pub use forward_proxy::{Announce, ForwardProxy, ListedHosts, PortMapping, TlsTunnel, Unlisted};
pub use http::{AppProtocol, ForwardedFor, HttpConfig, RouterXfcc, UpgradeDrain, XfccAbsent, XfccMode, XfccVerify};
pub use identity_endpoint::{IdentityEndpoint, TokenVerification};
pub use log::{AccessLogFilter, Log, LogFormat, LogLevel};
pub use outbound::{
    Balance, EjectOn, ExpectedName, Host, HostPattern, HttpProxy, IdentityUse, Outbound, OutboundCa, OutboundListen,
    OutboundSettings, OutboundTimeouts, Protocol, Target,
};
pub use plaintext::AdmittedPeers;
pub use secrets::{CredHubConfig, OnSecretExpiry, SecretSource, Secrets};
pub use values::{ApiUrl, FileMode, Network};
pub use vault::{Vault, VaultLogin, VaultMethod, VaultParts};

/// Everything the proxy was told, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What to open. Invariant: never empty, no address twice.
    pub listeners: Vec<Listener>,
    /// Where the app dials us, and whom we dial for it; mostly empty.
    pub outbounds: Vec<Outbound>,
    /// The proxy for the app's own HTTP clients; `None`: there is none.
    pub forward_proxy: Option<ForwardProxy>,
    /// What is written for the app, and how it learns of a rotation; mostly nothing.
    pub app_files: AppFiles,
    /// Where the app asks for tokens; `None`: nowhere.
    pub identity_endpoint: Option<IdentityEndpoint>,
    /// What is resolved before the app starts; `None`: nothing.
    pub secrets: Option<Secrets>,
    /// How the app is started, signalled and waited for.
    pub app: AppConfig,
    /// How long a start waits for usable pairs, client CAs and rules; `None` means for ever.
    pub credential_timeout: Option<Duration>,
    /// How long each stage of a connection may take.
    pub timeouts: Timeouts,
    /// Drain delay and drain timeout.
    pub drain: Drain,
    /// Where health is asked for; `None` means nowhere.
    pub admin: Option<Admin>,
    /// Where scrapers find the metrics, and nothing that operators alone should see; `None` means nowhere.
    pub metrics: Option<Listen>,
    /// What is written to stderr.
    pub log: Log,
    /// Worker threads of the runtime; at least 1.
    pub threads: usize,
    /// Upper bounds; `None` means derived from the descriptor and memory limits.
    pub limits: Limits,
    /// What Envoy was told in whose place we serve; `None`: we were started as ourselves.
    pub envoy: Option<Arc<envoy::EnvoyCompat>>,
}

/// One listening address together with the app address behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where clients dial us.
    pub listen: Listen,
    /// Where the app is reached.
    pub app: AppAddr,
    /// Timeout for connecting to the app.
    pub connect_timeout: Duration,
    /// Where the pair is found that it shows; without TLS, the one that says who we are, if it is there.
    pub pair: PairSource,
    /// TLS as this listener speaks it, if it does.
    pub tls: TlsSettings,
    /// TLS is off, and these may connect; `None`: TLS is on. Invariant: without TLS requests are served, and rules judge who calls.
    pub plaintext: Option<AdmittedPeers>,
    /// Which clients may come in.
    pub clients: ClientAuthConfig,
    /// When the app is dialled.
    pub dial: Dial,
    /// What the app is told of each client in front of its bytes; `None`: nothing.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who in front of us tells of each client in front of its bytes, and must; empty: nobody.
    pub accept_proxy_protocol: Vec<Network>,
    /// How requests are served; `None`: bytes are carried as they are.
    pub http: Option<Arc<HttpConfig>>,
}

/// The two versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ProxyProtocol {
    /// A line of text: the addresses.
    V1,
    /// Binary: the addresses, TLS, and the client's certificate.
    V2,
}

/// Which clients may come in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientAuthConfig {
    /// Everybody; no certificate is asked for.
    None,
    /// Those whom the trust anchors vouch for and the rules admit.
    Files(ClientAuthFiles),
    /// Those whom a document trusts and names.
    ValidationContext(ValidationContextConfig),
}

impl ClientAuthConfig {
    /// Whether there are routes, or may be as soon as a file says so.
    pub(crate) fn may_have_routes(&self) -> bool {
        match self {
            Self::Files(files) => {
                files.policy.is_some() || files.routes.as_ref().is_some_and(|routes| !routes.is_empty())
            }
            Self::None | Self::ValidationContext(_) => false,
        }
    }
}

/// Roots and names that stand in a document together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValidationContextConfig {
    /// A client without a certificate cannot complete the handshake.
    pub required: bool,
    /// Where the trust anchors and the names are.
    pub secret: SecretFile,
}

/// Where the trust anchors are, and who is admitted under them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientAuthFiles {
    /// A client without a certificate cannot complete the handshake.
    pub required: bool,
    /// Files and folders of CAs, PEM. Invariant: never empty where there is a handshake; without one nobody may vouch.
    pub ca: Vec<PathBuf>,
    /// Where no CAs are named: a chain of certificates, of which those behind the first vouch.
    pub issuer_of: Option<PathBuf>,
    /// Files and folders of CRLs, PEM or DER.
    pub crl: Vec<PathBuf>,
    /// Rules that admit, beside those of the policy file.
    pub allow: Vec<Rule>,
    /// Rules that deny, beside those of the policy file.
    pub deny: Vec<Rule>,
    /// Rules for clients that come in to forward who has called them. Callers are not admitted by them.
    pub forward_from: Vec<Rule>,
    /// Nobody has given a rule, so `allow` is the rule `any` alone; the start says so.
    pub any_implied: bool,
    /// A file with more rules.
    pub policy: Option<PathBuf>,
    /// `None`: as the policy file says, else enforce.
    pub mode: Option<PolicyMode>,
    /// Who may ask for what, beside the routes of the policy file; `None`: no request is read, and neither has any.
    pub routes: Option<Vec<Route>>,
    /// Where callers without identity may ask for health.
    pub health: Option<RoutePath>,
}

/// When the app is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Dial {
    /// As soon as the ClientHello is complete: an app that does not accept becomes a reset, and a router tries elsewhere.
    BeforeHandshake,
    /// After the permit: a denied client never reaches the app.
    AfterAuthorization,
}

/// A listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `8443` or `[::]:8443`: every address of the machine, IPv6 and IPv4 (IPv4 alone where the kernel has no IPv6).
    EveryAddress(u16),
    /// Exactly this address.
    At(SocketAddr),
}

/// Where the app accepts plaintext.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AppAddr {
    /// `127.0.0.1:8080`
    Tcp(SocketAddr),
    /// `localhost:8080`: 127.0.0.1 or ::1, whichever the app has chosen.
    Localhost(u16),
    /// `unix:/run/app.sock`
    Unix(PathBuf),
}

impl AdminAddr {
    /// The address, if it is one of TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }
}

impl AppAddr {
    /// Where it is dialled, in this order; empty for a Unix socket.
    pub fn tcp(&self) -> Vec<SocketAddr> {
        match self {
            Self::Tcp(addr) => vec![*addr],
            Self::Localhost(port) => vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()],
            Self::Unix(_) => Vec::new(),
        }
    }
}

/// How the app is treated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppConfig {
    /// Whom signals go to.
    pub scope: SignalScope,
    /// Which signals are rewritten on their way.
    pub map: SignalMap,
    /// The app gets another `PORT` than the one that was given. Invariant: then every listener leads to that one, on 127.0.0.1.
    pub hide_port: bool,
    /// The app is not told where the key is.
    pub hide_key: bool,
    /// What "the app accepts" means.
    pub ready: AppReady,
    /// How long clients wait for an app that has not been ready yet; `None` means not at all.
    pub hold_until_ready: Option<Duration>,
}

/// What "the app accepts" means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AppReady {
    /// It is never asked; what clients' connections find is all that is known.
    Off,
    /// The app is ready when it accepts a TCP connection.
    #[default]
    Tcp,
    /// It answers a GET for this path with a status below 400.
    Http(String),
}

/// Where health is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen.
    pub addr: AdminAddr,
    /// Whether somebody asked for this address, so that it must open.
    pub explicit: bool,
    /// What may be done there, beside asking; empty: nothing.
    pub actions: Vec<AdminAction>,
    /// Host names by which it may be asked, beside `localhost`, in lower case.
    pub hosts: Vec<String>,
}

/// Something that the admin listener does when it is asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum AdminAction {
    /// As TERM.
    Drain,
    /// As HUP.
    Reload,
    /// Another level for the lines on stderr.
    LogLevel,
}

/// An address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddr {
    /// `127.0.0.1:9901`
    Tcp(SocketAddr),
    /// `unix:/run/vestibule.sock`
    Unix(PathBuf),
}

/// What is negotiable in a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// ALPN protocols in order of preference; empty means that ALPN is not spoken.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
    /// The newest version that is accepted; not older than `min_version`.
    pub max_version: TlsVersion,
    /// The TLS 1.2 suites that are accepted, in our order of preference; empty means all that we speak, in the client's.
    pub tls12_suites: Vec<Tls12Suite>,
    /// What a client is told that may not come in.
    pub denial_alert: DenialAlert,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            alpn: Vec::new(),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            tls12_suites: Vec::new(),
            denial_alert: DenialAlert::AccessDenied,
        }
    }
}

/// A suite of TLS 1.2 that we speak, all of them ECDHE and AEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls12Suite {
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`
    EcdsaAes128,
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`
    EcdsaAes256,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`
    EcdsaChacha20,
    /// `ECDHE-RSA-AES128-GCM-SHA256`
    RsaAes128,
    /// `ECDHE-RSA-AES256-GCM-SHA384`
    RsaAes256,
    /// `ECDHE-RSA-CHACHA20-POLY1305`
    RsaChacha20,
}

/// What a client is told whose certificate is good, and who may not come in by the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialAlert {
    /// 49, `access_denied`: what RFC 8446 (6.2) has for it.
    AccessDenied,
    /// 42, `bad_certificate`: what gorouter takes for a client certificate that was refused (its answer is 496).
    BadCertificate,
}

/// A protocol version we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray, IntoStaticStr)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with ECDHE and AEAD only.
    #[strum(serialize = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[strum(serialize = "1.3")]
    Tls13,
}

/// Where a pair is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PairSource {
    /// In two files.
    Files(PairFiles),
    /// In a document of secrets.
    Secret(SecretFile),
}

/// A secret in a document as Envoy's discovery service (SDS) has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretFile {
    /// Its name in the document.
    pub name: String,
    /// The document.
    pub path: PathBuf,
}

/// The two files of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PairFiles {
    /// PEM, leaf first.
    pub cert: PathBuf,
    /// PEM: PKCS#1, PKCS#8 or SEC1.
    pub key: PathBuf,
}

/// Deadlines of a connection's stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to our Finished being acknowledged by the client's.
    pub handshake: Duration,
    /// A relay silent both ways for this long is closed; `None` means never.
    pub idle: Option<Duration>,
    /// A connection older than this is closed; `None` means never.
    pub max_age: Option<Duration>,
}

/// From "stop" to "gone".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Still accepting, readiness already false. Never longer than `timeout`, of which it is a part.
    pub delay: Duration,
    /// From the signal on; after this the connections that are left are closed and the app is killed.
    pub timeout: Duration,
    /// Whether answers in HTTP/1.1 tell clients, in the app's place, to let go of their connections.
    pub http: bool,
}

/// Upper bounds on what runs at once; `None` means derived from the descriptor and memory limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections, in whatever stage.
    pub connections: Option<usize>,
    /// Connections that have not finished their handshake.
    pub handshakes: Option<usize>,
    /// Memory that the process and the app share, in bytes.
    pub memory: Option<u64>,
}

impl Config {
    /// Whether `addr`, an address of ours, is where an app is dialled.
    pub fn is_where_an_app_listens(&self, addr: SocketAddr) -> bool {
        self.listeners.iter().any(|listener| resolve::is_apps(Listen::At(addr), listener))
    }

    /// The files of the pair that every listener shows; `None` if the pairs are found elsewhere.
    pub fn pair_files(&self) -> Option<&PairFiles> {
        self.listeners.first().and_then(|listener| match &listener.pair {
            PairSource::Files(files) => Some(files),
            PairSource::Secret(_) => None,
        })
    }
}

impl AdminAction {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// As log lines name a pair among several: the secret's name, or the certificate's file.
impl fmt::Display for PairSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(PairFiles { cert, .. }) => write!(f, "{}", cert.display()),
            Self::Secret(SecretFile { name, .. }) => f.write_str(name),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryAddress(port) => write!(f, "[::]:{port}"),
            Self::At(addr) => write!(f, "{addr}"),
        }
    }
}

impl fmt::Display for AppAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
