//! How the client speaks TLS: TLS 1.3, X25519 and AES-128-GCM and nothing else, so that every peer does the same work.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::credentials::Pair;

/// What a client is like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Client<'a> {
    /// Its certificate, where it is asked for one.
    pub(crate) pair: Option<&'a Pair>,
    /// Verifies the server against this CA. Without it, only the signature is verified: it is the server that is measured.
    pub(crate) ca: Option<&'a Path>,
    /// Keeps tickets and resumes.
    pub(crate) resumes: bool,
    /// Speaks HTTP/2 and nothing else.
    pub(crate) http2: bool,
}

impl Client<'_> {
    /// Its configuration, with a ticket store of its own.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        });
        let verifier = SignatureOnly::new(&provider);
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = match self.ca {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for der in CertificateDer::pem_file_iter(ca).with_context(|| format!("cannot read {}", ca.display()))? {
                    roots.add(der?)?;
                }
                builder.with_root_certificates(roots)
            }
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        };
        let mut config = match self.pair {
            Some(pair) => builder.with_client_auth_cert(
                CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>()?,
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
            )?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = if self.resumes { Resumption::in_memory_sessions(32) } else { Resumption::disabled() };
        if self.http2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Ok(Arc::new(config))
    }
}

/// Takes any certificate whose key has signed the handshake.
#[derive(Debug)]
pub(crate) struct SignatureOnly {
    algorithms: WebPkiSupportedAlgorithms,
}

impl SignatureOnly {
    /// Verifies with the algorithms of `provider`.
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for SignatureOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
