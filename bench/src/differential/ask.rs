//! How a client of a case asks.

use std::sync::Arc;

use anyhow::Result;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, NamedGroup, SupportedProtocolVersion};

use crate::credentials::Pair;
use crate::load::tls::SignatureOnly;

/// Both versions, with their names.
pub(super) const VERSIONS: [(&str, &[&SupportedProtocolVersion]); 2] = [("TLS 1.2", &[&TLS12]), ("TLS 1.3", &[&TLS13])];

/// What a client offers; what is `None` or empty is rustls's own default.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask<'a> {
    /// TLS versions.
    pub(super) versions: &'a [&'static SupportedProtocolVersion],
    /// Cipher suites, best first.
    pub(super) suites: &'a [rustls::SupportedCipherSuite],
    /// Groups, best first. rustls sends a share of the first one, and one of X25519 beside that of the hybrid.
    pub(super) groups: &'a [NamedGroup],
    /// Protocols for ALPN, best first.
    pub(super) alpn: &'a [&'a str],
    /// Its certificate.
    pub(super) pair: Option<&'a Pair>,
    /// Keeps tickets and sessions.
    pub(super) resumes: bool,
}

impl Ask<'_> {
    /// The client, with an empty memory for sessions. It takes any certificate; what it was is noted by the case.
    ///
    /// # Errors
    /// A certificate cannot be used, or the offer makes no sense.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>> {
        let mut provider = aws_lc_rs::default_provider();
        if !self.suites.is_empty() {
            provider.cipher_suites = self.suites.to_vec();
        }
        if !self.groups.is_empty() {
            let known = |name: &NamedGroup| aws_lc_rs::ALL_KX_GROUPS.iter().find(|it| it.name() == *name).copied();
            provider.kx_groups = self.groups.iter().filter_map(known).collect();
        }
        let verifier = SignatureOnly::new(&provider);
        let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider));
        let versions = if self.versions.is_empty() { rustls::ALL_VERSIONS } else { self.versions };
        let builder =
            builder.with_protocol_versions(versions)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.pair {
            Some(pair) => builder.with_client_auth_cert(
                CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>()?,
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
            )?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        config.resumption = if self.resumes { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
        Ok(Arc::new(config))
    }
}
