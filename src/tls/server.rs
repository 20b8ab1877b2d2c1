//! What a handshake is answered with.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;
use rustls::server::ResolvesServerCert;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::config::TlsSettings;
use crate::config::TlsVersion;
use crate::credentials::Admitting;
use crate::credentials::Gate;
use crate::tls::Hello;
use crate::tls::Witness;
use crate::tls::provider::provider_of;

/// One ticket lets a client resume once, and its resumption brings the next: more would be encrypted for nothing.
const TICKETS_PER_HANDSHAKE: usize = 1;

/// One pair under one set of TLS settings, ready to answer a ClientHello.
///
/// Its ticket keys are its own: a ticket from another offer resumes nothing, so a rotation, a change of roots, of CRLs or
/// of rules makes old tickets worthless.
pub struct Offer {
    pair: Arc<dyn ResolvesServerCert>,
    provider: Arc<CryptoProvider>,
    settings: TlsSettings,
    tickets: Arc<dyn ProducesTickets>,
    asking: Asking,
}

/// What the client is asked for.
enum Asking {
    /// Nothing: one configuration serves all, with the listener's protocols and without.
    Nothing { with_alpn: Arc<ServerConfig>, without_alpn: Arc<ServerConfig> },
    /// A certificate. Each connection has a verifier, and so a configuration, of its own.
    Certificate(Gate),
}

/// The answer to one ClientHello.
#[derive(Debug)]
pub struct Answer {
    /// For the handshake.
    pub config: Arc<ServerConfig>,
    /// Knows what was said of the client's certificate; `None` where none is asked for.
    pub witness: Option<Arc<Witness>>,
}

impl Offer {
    /// An offer of `pair`, with fresh ticket keys, to whom `admitting` lets in.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn new(pair: Arc<CertifiedKey>, settings: &TlsSettings, admitting: &Admitting) -> Result<Self, rustls::Error> {
        let pair: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair));
        let provider = provider_of(&settings.tls12_suites);
        let tickets = Ticketer::new()?;
        let asking = match admitting {
            Admitting::Everybody => {
                let config = |alpn: &[Vec<u8>]| {
                    let nobody = WebPkiClientVerifier::no_client_auth();
                    let (provider, tickets) = (Arc::clone(&provider), Arc::clone(&tickets));
                    server_config(provider, Arc::clone(&pair), settings, alpn, tickets, nobody).map(Arc::new)
                };
                Asking::Nothing { with_alpn: config(&settings.alpn)?, without_alpn: config(&[])? }
            }
            Admitting::Certified(gate) => Asking::Certificate(gate.clone()),
        };
        Ok(Self { pair, provider, settings: settings.clone(), tickets, asking })
    }

    /// The answer to `hello`.
    ///
    /// rustls ends a handshake in which no protocol overlaps with the alert `no_application_protocol` (RFC 7301 allows
    /// both); gorouter and curl rely on going on without ALPN, as Envoy does.
    ///
    /// # Errors
    /// rustls refuses the configuration, which it took when the offer was made.
    pub fn answer(&self, hello: &Hello) -> Result<Answer, rustls::Error> {
        let overlaps = hello.offers_any(&self.settings.alpn);
        match &self.asking {
            Asking::Nothing { with_alpn, without_alpn } => {
                let config = Arc::clone(if overlaps { with_alpn } else { without_alpn });
                Ok(Answer { config, witness: None })
            }
            Asking::Certificate(gate) => {
                let witness = Arc::new(Witness::new(gate.clone(), self.settings.denial_alert));
                let alpn = if overlaps { &self.settings.alpn[..] } else { &[] };
                let verifier: Arc<dyn ClientCertVerifier> = Arc::<Witness>::clone(&witness);
                let (pair, tickets) = (Arc::clone(&self.pair), Arc::clone(&self.tickets));
                let provider = Arc::clone(&self.provider);
                let config = server_config(provider, pair, &self.settings, alpn, tickets, verifier)?;
                Ok(Answer { config: Arc::new(config), witness: Some(witness) })
            }
        }
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    pair: Arc<dyn ResolvesServerCert>,
    settings: &TlsSettings,
    alpn: &[Vec<u8>],
    tickets: Arc<dyn ProducesTickets>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&'static SupportedProtocolVersion] = match (settings.min_version, settings.max_version) {
        (TlsVersion::Tls13, _) => &[&TLS13],
        (TlsVersion::Tls12, TlsVersion::Tls13) => &[&TLS13, &TLS12],
        (TlsVersion::Tls12, TlsVersion::Tls12) => &[&TLS12],
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(pair);
    config.alpn_protocols = alpn.to_vec();
    config.ignore_client_order = !settings.tls12_suites.is_empty();
    config.ticketer = tickets;
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    // Tickets carry the session; a cache would hold memory for clients that never come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // 0-RTT can be replayed, and the app cannot tell.
    config.max_early_data_size = 0;
    Ok(config)
}
