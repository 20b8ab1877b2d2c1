//! What a handshake is answered with.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::config::{TlsSettings, TlsVersion};
use crate::crypto::provider_of;
use crate::tls::{ClientVerifier, Hello, HelloError, server_name};
use crate::trust::{ClientAuth, ClientAuthenticator};

/// One ticket lets a client resume once, and its resumption brings the next: more would be encrypted for nothing.
const TICKETS_PER_HANDSHAKE: usize = 1;

/// One pair under one set of TLS settings, ready to answer a ClientHello.
///
/// Its ticket keys are its own: a ticket from another generation resumes nothing, so a rotation, a change of trust anchors, of CRLs or
/// of rules makes old tickets worthless.
pub struct ServerConfigs {
    template: Template,
    client_auth: ConfigSource,
}

/// What all answers have in common.
struct Template {
    pair: Arc<dyn ResolvesServerCert>,
    provider: Arc<CryptoProvider>,
    settings: TlsSettings,
    tickets: Arc<dyn ProducesTickets>,
}

/// The source of the `ServerConfig`, by whether a client certificate is asked for.
enum ConfigSource {
    /// Nothing: one configuration for each variant serves all.
    Nothing(Vec<(Variant, Arc<ServerConfig>)>),
    /// A certificate. Each connection has a verifier, and so a configuration, of its own.
    Certificate(ClientAuthenticator),
}

/// What of an answer depends on the ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    /// The listener's protocols are spoken. rustls ends a handshake in which no protocol overlaps with the alert
    /// `no_application_protocol` (RFC 7301 allows both); gorouter and curl rely on going on without ALPN, as Envoy does.
    alpn: bool,
    /// The order of suites is ours, and not the client's: in TLS 1.2, where the listener has one.
    our_order: bool,
}

impl Variant {
    fn of(hello: &Hello, settings: &TlsSettings) -> Self {
        let our_order = !settings.tls12_suites.is_empty() && !hello.offers_tls13();
        Self { alpn: hello.offers_any(&settings.alpn), our_order }
    }

    fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|alpn| [false, true].map(|our_order| Self { alpn, our_order }))
    }
}

/// The answer to one ClientHello.
#[derive(Debug)]
pub struct Selected {
    /// For the handshake.
    pub config: Arc<ServerConfig>,
    /// Knows what was said of the client's certificate; `None` where none is asked for.
    pub verifier: Option<Arc<ClientVerifier>>,
}

impl Selected {
    /// Takes `protocol` away (ALPN, RFC 7301), where the client of `hello` offers it and another one that is spoken here; says whether that is so.
    pub fn withhold(&mut self, hello: &Hello, protocol: &[u8]) -> bool {
        let (withheld, others): (Vec<_>, Vec<_>) =
            self.config.alpn_protocols.iter().cloned().partition(|name| name == protocol);
        let is_withheld = hello.offers_any(&withheld) && hello.offers_any(&others);
        if is_withheld {
            Arc::make_mut(&mut self.config).alpn_protocols = others;
        }
        is_withheld
    }
}

impl ServerConfigs {
    /// The configurations of `pair`, with fresh ticket keys, to whom `client_auth` lets in.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn new(
        pair: Arc<CertifiedKey>,
        settings: &TlsSettings,
        client_auth: &ClientAuth,
    ) -> Result<Self, rustls::Error> {
        let template = Template {
            pair: Arc::new(SingleCertAndKey::from(pair)),
            provider: provider_of(&settings.tls12_suites),
            settings: settings.clone(),
            tickets: Ticketer::new()?,
        };
        let client_auth = match client_auth {
            ClientAuth::None => {
                let config = |variant| {
                    let provider = Arc::clone(&template.provider);
                    Ok((variant, template.config(provider, variant, WebPkiClientVerifier::no_client_auth())?))
                };
                ConfigSource::Nothing(Variant::all().map(config).collect::<Result<_, rustls::Error>>()?)
            }
            ClientAuth::Certificate(authenticator) => ConfigSource::Certificate(authenticator.clone()),
        };
        Ok(Self { template, client_auth })
    }

    /// Whether `hello` may be answered at all, under the versions that are spoken.
    ///
    /// # Errors
    /// [`HelloError::Forbidden`].
    pub fn check(&self, hello: &Hello) -> Result<(), HelloError> {
        match self.template.settings.max_version {
            TlsVersion::Tls13 => hello.allowed_with_tls13(),
            TlsVersion::Tls12 => Ok(()),
        }
    }

    /// The answer to `hello`.
    ///
    /// # Errors
    /// rustls refuses the configuration, which it took when they were made.
    pub fn select(&self, hello: &Hello) -> Result<Selected, rustls::Error> {
        let variant = Variant::of(hello, &self.template.settings);
        match &self.client_auth {
            ConfigSource::Nothing(_) if hello.hidden_name.is_some() => {
                let provider = server_name::provider(&self.template.provider);
                let config = self.template.config(provider, variant, WebPkiClientVerifier::no_client_auth())?;
                Ok(Selected { config, verifier: None })
            }
            ConfigSource::Nothing(configs) => {
                let known = configs.iter().find(|(known, _)| *known == variant).map(|(_, config)| Arc::clone(config));
                // There is one for each variant.
                let config =
                    known.ok_or_else(|| rustls::Error::General("no configuration for this variant".to_owned()))?;
                Ok(Selected { config, verifier: None })
            }
            ConfigSource::Certificate(authenticator) => {
                let verifier =
                    Arc::new(ClientVerifier::new(authenticator.clone(), self.template.settings.denial_alert));
                let for_rustls: Arc<dyn ClientCertVerifier> = Arc::<ClientVerifier>::clone(&verifier);
                let provider = match hello.hidden_name {
                    Some(_) => server_name::provider(&self.template.provider),
                    None => Arc::clone(&self.template.provider),
                };
                Ok(Selected { config: self.template.config(provider, variant, for_rustls)?, verifier: Some(verifier) })
            }
        }
    }
}

impl Template {
    fn config(
        &self,
        provider: Arc<CryptoProvider>,
        variant: Variant,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let settings = &self.settings;
        let versions: &[&'static SupportedProtocolVersion] = match (settings.min_version, settings.max_version) {
            (TlsVersion::Tls13, _) => &[&TLS13],
            (TlsVersion::Tls12, TlsVersion::Tls13) => &[&TLS13, &TLS12],
            (TlsVersion::Tls12, TlsVersion::Tls12) => &[&TLS12],
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(&self.pair));
        if variant.alpn {
            config.alpn_protocols = settings.alpn.clone();
        }
        config.ignore_client_order = variant.our_order;
        config.ticketer = Arc::clone(&self.tickets);
        config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        // Tickets carry the session; a cache would hold memory for clients that never come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // The session takes the keys over from rustls.
        config.enable_secret_extraction = true;
        // 0-RTT can be replayed, and the app cannot tell.
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for ServerConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfigs").field("settings", &self.template.settings).finish_non_exhaustive()
    }
}
