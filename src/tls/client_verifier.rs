//! rustls's question about a client's certificate, answered for one connection and remembered for it.
//!
//! rustls asks whether a certificate is good and takes an error for an answer, no more; who the client is and which rule
//! decided would be lost. So each connection that asks for a certificate gets a verifier of its own, which keeps the
//! verdict: the certificate is read and judged once. The answer is given within the handshake, so that a client
//! that may not come in is told by an alert.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::config::DenialAlert;
use crate::identity::Client;
use crate::identity::critical::WebpkiCertificate;
use crate::policy::{Denial, Permit};
use crate::tls::{alert, server_name};
use crate::trust::{ClientAuthenticator, DeniedPeer};

/// Judges the certificate that one client shows.
///
/// rustls has a verifier of its own for the trust anchors' part; but it takes the first CRL of a name for the only one, so that a CA
/// renewed under its old name would refuse everybody, and it does not look at the dates of the CAs.
pub struct ClientVerifier {
    authenticator: ClientAuthenticator,
    alert: DenialAlert,
    verdict: OnceLock<Result<(Client, Permit), Denial>>,
    denied: OnceLock<DeniedPeer>,
}

impl ClientVerifier {
    /// A verifier that asks `authenticator`, for one connection, that tells those whom the rules refuse by `alert`.
    pub fn new(authenticator: ClientAuthenticator, alert: DenialAlert) -> Self {
        Self { authenticator, alert, verdict: OnceLock::new(), denied: OnceLock::new() }
    }

    /// What was said of the client's certificate; `None` if none was shown in this handshake, as in a resumption.
    pub fn verdict(&self) -> Option<&Result<(Client, Permit), Denial>> {
        self.verdict.get()
    }

    /// Who was denied, as far as the certificate can be read.
    pub fn denied(&self) -> Option<&DeniedPeer> {
        self.denied.get()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.authenticator.is_required()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authenticator.anchors().hints()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(end_entity).chain(intermediates).map(|der| CertificateDer::from(der.as_ref())).collect();
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        match self.verdict.get_or_init(|| self.authenticator.authorize(Some(&chain), now)) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(denial) => {
                if let Some(peer) = self.authenticator.identify(&chain, denial.reason()) {
                    // Asked once in a handshake; should it be twice, the first answer stands.
                    let _ = self.denied.set(peer);
                }
                Err(alert::error(denial.reason(), self.alert))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            &server_name::as_sent(message),
            WebpkiCertificate::new(cert).shown(),
            signed,
            self.authenticator.anchors().algorithms(),
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            WebpkiCertificate::new(cert).shown(),
            signed,
            self.authenticator.anchors().algorithms(),
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authenticator.anchors().algorithms().supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}
