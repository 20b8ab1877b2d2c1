//! What a handshake is answered with.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::config::TlsSettings;
use crate::config::TlsVersion;
use crate::tls::Hello;
use crate::tls::provider;

/// One ticket lets a client resume once, and its resumption brings the next: more would be encrypted for nothing.
const TICKETS_PER_HANDSHAKE: usize = 1;

/// One pair under one set of TLS settings, ready to answer a ClientHello.
///
/// Its ticket keys are its own: a ticket from another offer resumes nothing, so a rotation makes old tickets worthless.
#[derive(Debug)]
pub struct Offer {
    /// With the listener's protocols; absent where ALPN is not spoken at all.
    with_alpn: Option<Arc<ServerConfig>>,
    without_alpn: Arc<ServerConfig>,
}

impl Offer {
    /// An offer of `pair`, with fresh ticket keys.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn new(pair: Arc<CertifiedKey>, settings: &TlsSettings) -> Result<Self, rustls::Error> {
        let tickets = Ticketer::new()?;
        let without_alpn = server_config(pair, settings.min_version, tickets)?;
        let with_alpn = (!settings.alpn.is_empty()).then(|| {
            let mut config = without_alpn.clone();
            config.alpn_protocols = settings.alpn.clone();
            Arc::new(config)
        });
        Ok(Self { with_alpn, without_alpn: Arc::new(without_alpn) })
    }

    /// The configuration that answers `hello`.
    ///
    /// rustls ends a handshake in which no protocol overlaps with the alert `no_application_protocol` (RFC 7301 allows
    /// both); gorouter and curl rely on going on without ALPN, as Envoy does.
    pub fn answer(&self, hello: &Hello) -> Arc<ServerConfig> {
        match &self.with_alpn {
            Some(config) if hello.offers_any(&config.alpn_protocols) => Arc::clone(config),
            _ => Arc::clone(&self.without_alpn),
        }
    }
}

fn server_config(
    pair: Arc<CertifiedKey>,
    min_version: TlsVersion,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.ticketer = tickets;
    config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    // Tickets carry the session; a cache would hold memory for clients that never come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // 0-RTT can be replayed, and the app cannot tell.
    config.max_early_data_size = 0;
    Ok(config)
}
