//! What we dial servers with: one configuration for each generation.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

use super::server_verifier::ServerVerifier;
use crate::crypto::provider;
use crate::trust::ServerAuthenticator;

/// Server names whose sessions are kept: an outbound dials one, or a few.
const MAX_SESSIONS: usize = 8;

/// The configuration that shows `pair`, or no certificate, to servers that `authenticator` believes. Its verifier, its certificate and
/// its sessions are its own: a session of another generation is never resumed, so none goes on under an identity that was rotated.
///
/// # Errors
/// rustls does not take our suites with these versions.
pub fn client_config(
    pair: Option<Arc<CertifiedKey>>,
    authenticator: ServerAuthenticator,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(authenticator)));
    let mut config = match pair {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
        None => builder.with_no_client_auth(),
    };
    // Our session takes over from rustls's connection.
    config.enable_secret_extraction = true;
    config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
    Ok(Arc::new(config))
}
