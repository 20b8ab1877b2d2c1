//! From Envoy's words to ours.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Bootstrap, EnvoyListener};
use crate::config::{
    AccessLogFilter, Admin, AdminAddr, AppAddr, AppConfig, AppFiles, AppReady, ClientAuthConfig, Config, DenialAlert,
    Dial, Drain, Limits, Listen, Listener, Log, LogLevel, PairSource, SandboxMode, Timeouts, TlsSettings,
};

/// gorouter gives up a handshake after as long.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where nobody says how long a drain may take: what `run` and `proxy` have.
const DRAIN: Duration = Duration::from_secs(8);

/// What is said beside the bootstrap: on the command line, and by the machine.
#[derive(Debug, Clone, Copy)]
pub struct Overrides {
    /// How long a drain may take.
    pub drain: Option<Duration>,
    /// The least severe level that is written.
    pub log_level: LogLevel,
    /// How many CPUs are ours by quota.
    pub cpus: usize,
    /// How our own process is fenced in.
    pub sandbox: SandboxMode,
}

/// Where we stand in Envoy's place: what those are told who ask us as they would ask Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyCompat {
    /// The file of the bootstrap.
    pub path: PathBuf,
    /// What it says.
    pub bootstrap: Bootstrap,
}

impl Bootstrap {
    /// Has each secret looked for where `place` says, by its name, rather than where the bootstrap does.
    pub fn redirect(&mut self, place: impl Fn(&str) -> Option<PathBuf>) {
        let secrets = self.listeners.iter_mut().flat_map(|EnvoyListener { pair, clients, .. }| {
            std::iter::once(pair).chain(clients.as_mut().map(|context| &mut context.secret))
        });
        for secret in secrets {
            if let Some(path) = place(&secret.name) {
                secret.path = path;
            }
        }
    }

    /// What the bootstrap means for us.
    ///
    /// The app is dialled before every handshake and never asked otherwise: clients are the platform, whose health checks
    /// must not reach it. A start waits for its pairs for ever: whoever started us takes an exit for a crash of the app.
    /// `path` is the file of the bootstrap.
    pub fn into_config(self, path: PathBuf, overrides: Overrides) -> Config {
        Config {
            outbounds: Vec::new(),
            forward_proxy: None,
            app_files: AppFiles::default(),
            identity_endpoint: None,
            secrets: None,
            listeners: self.listeners.iter().cloned().map(EnvoyListener::into_listener).collect(),
            app: AppConfig { ready: AppReady::Off, ..AppConfig::default() },
            credential_timeout: None,
            timeouts: Timeouts { handshake: HANDSHAKE, idle: None, max_age: None },
            drain: Drain { delay: Duration::ZERO, timeout: overrides.drain.unwrap_or(DRAIN), http: true },
            admin: self.admin.map(|addr| Admin {
                addr: AdminAddr::Tcp(addr),
                explicit: false,
                actions: Vec::new(),
                hosts: Vec::new(),
            }),
            metrics: None,
            log: Log { format: None, level: overrides.log_level, access: AccessLogFilter::Denied },
            threads: overrides.cpus.clamp(1, 2),
            limits: Limits::default(),
            sandbox: overrides.sandbox,
            envoy: Some(Arc::new(EnvoyCompat { path, bootstrap: self })),
        }
    }
}

impl EnvoyListener {
    fn into_listener(self) -> Listener {
        Listener {
            listen: Listen::At(self.listen),
            app: AppAddr::Tcp(self.app),
            connect_timeout: self.connect_timeout,
            pair: PairSource::Secret(self.pair),
            tls: TlsSettings {
                alpn: self.alpn,
                min_version: self.min_version,
                max_version: self.max_version,
                tls12_suites: self.tls12_suites.unwrap_or_default(),
                denial_alert: DenialAlert::BadCertificate,
            },
            clients: self.clients.map_or(ClientAuthConfig::None, ClientAuthConfig::ValidationContext),
            dial: Dial::BeforeHandshake,
            proxy_protocol: None,
            accept_proxy_protocol: Vec::new(),
            http: None,
            plaintext: None,
        }
    }
}
