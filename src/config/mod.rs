//! What we were told: the parsed truth.
//!
//! Pure: nothing here opens a socket, reads a clock or knows how a value was typed. Flags, variables and the file
//! become a [`Config`] in [`resolve`], which reports every error at once.

mod addresses;
mod admin;
pub mod app_files;
mod clients;
pub mod envoy;
mod file;
pub mod forward_proxy;
mod http;
pub mod identity_endpoint;
mod listeners;
mod log;
pub mod options;
pub mod outbound;
mod pair;
mod plaintext;
mod process;
pub mod raw_value;
mod reader;
pub mod resolve;
mod sandbox;
pub mod secrets;
pub mod sources;
mod tls;
pub mod values;
pub mod vault;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use crate::policy::{PolicyMode, Route, RoutePath, Rule};
use crate::signal::{SignalMap, SignalScope};

pub use addresses::{AppAddr, Listen};
pub use admin::{Admin, AdminAction, AdminAddr};
pub use app_files::{AppFiles, CredentialFile, CredentialForm, RotationHook, TokenFile};
pub use forward_proxy::{ForwardProxy, ListedHosts, PortMapping, ProxyEnvironment, TlsTunnel, Unlisted};
pub use http::{AppProtocol, ForwardedFor, HttpConfig, RouterXfcc, UpgradeDrain, XfccAbsent, XfccMode, XfccVerify};
pub use identity_endpoint::{IdentityEndpoint, TokenVerification};
pub use log::{AccessLogFilter, Log, LogFormat, LogLevel};
pub use outbound::{
    Balance, EjectOn, ExpectedName, Host, HostPattern, HttpProxy, IdentityUse, Outbound, OutboundCa, OutboundListen,
    OutboundSettings, OutboundTimeouts, Protocol, SettingDoubt, SettingsPlace, Target,
};
pub use pair::{PLATFORM_PAIR, PairFiles, PairSource, SdsSecretRef};
pub use plaintext::AdmittedPeers;
pub use sandbox::SandboxMode;
pub use secrets::{CredHubConfig, OnSecretExpiry, SecretSource, Secrets};
pub use tls::{DenialAlert, Tls12Suite, TlsSettings, TlsVersion};
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
    /// How our own process is fenced in; the app never is.
    pub sandbox: SandboxMode,
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
    Files(ClientAuthSettings),
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

    /// Whether no rule is enforced, as far as the configuration says.
    pub(crate) fn is_audited(&self) -> bool {
        matches!(self, Self::Files(files) if files.mode == Some(PolicyMode::Audit))
    }
}

/// Client authentication by a validation context of Envoy: trust anchors and names in one document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValidationContextConfig {
    /// A client without a certificate cannot complete the handshake.
    pub required: bool,
    /// Where the trust anchors and the names are.
    pub secret: SdsSecretRef,
}

/// Where the trust anchors are, and who is admitted under them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientAuthSettings {
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
    /// Rules for routers, which may forward who has called them (`--xfcc-forward-from`). Callers are not admitted by them.
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

impl ClientAuthSettings {
    /// Whoever has a certificate of one of `ca` that is in none of `crl`, as those who sign tokens are judged.
    pub fn of_signers(ca: Vec<PathBuf>, crl: Vec<PathBuf>) -> Self {
        Self {
            required: true,
            ca,
            issuer_of: None,
            crl,
            allow: vec![Rule::Any],
            deny: Vec::new(),
            forward_from: Vec::new(),
            any_implied: false,
            policy: None,
            mode: None,
            routes: None,
            health: None,
        }
    }
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
        self.listeners.iter().any(|listener| addresses::is_apps(Listen::At(addr), listener))
    }

    /// The files of the pair that every listener shows; `None` if the pairs are found elsewhere.
    pub fn pair_files(&self) -> Option<&PairFiles> {
        self.listeners.first().and_then(|listener| match &listener.pair {
            PairSource::Files(files) => Some(files),
            PairSource::Secret(_) => None,
        })
    }
}
