//! rustls's question about a server, answered by a [`ServerAuthenticator`].

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use crate::trust::{ServerAuthenticator, ServerDenial};

/// Answers rustls for one generation. rustls resumes a session only under the verifier that it was begun with.
#[derive(Debug)]
pub(super) struct ServerVerifier(ServerAuthenticator);

impl ServerVerifier {
    pub(super) fn new(authenticator: ServerAuthenticator) -> Self {
        Self(authenticator)
    }
}

/// The denial that ended a handshake; `None`: something else did.
pub fn denial_of(error: &rustls::Error) -> Option<&ServerDenial> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => cause.downcast_ref(),
        _ => None,
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        match self.0.authorize(&chain, server_name, now) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(denial) => Err(CertificateError::Other(OtherError(Arc::new(denial))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, self.0.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, self.0.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms().supported_schemes()
    }
}
