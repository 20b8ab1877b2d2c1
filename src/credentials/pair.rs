//! A chain and the key that belongs to it.

use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::pem::{BlockKind, Pem, PemError};

/// A certificate chain, leaf first, and the private key of its leaf: checked to match. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    notes: Arc<[String]>,
    may_be_unfinished: bool,
}

/// Why two texts are no pair. No variant carries anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificate's text is not PEM to its end.
    #[error("the certificate file is torn or not PEM: {0}")]
    CertificatePem(PemError),
    /// PEM, but no certificate in it.
    #[error("the certificate file holds no CERTIFICATE block")]
    NoCertificate,
    /// A key where the certificate should be.
    #[error("the certificate file holds a private key and no CERTIFICATE block; name the key by --key")]
    KeyInCertificatesPlace,
    /// The key's text is not PEM to its end.
    #[error("the key file is torn or not PEM: {0}")]
    KeyPem(PemError),
    /// PEM, but no key that we read.
    #[error("the key file holds no PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block")]
    NoKey,
    /// A certificate where the key should be.
    #[error("the key file holds a certificate and no private key; name the certificate by --cert")]
    CertificateInKeysPlace,
    /// A key that a password protects.
    #[error(
        "the key is encrypted, and nobody is there to give its password; write it without one: openssl pkey -in KEY -out PLAIN"
    )]
    EncryptedKey,
    /// A key that cannot sign.
    #[error("the key cannot be used: {0}; RSA of 2048 to 4096 bits, P-256, P-384 and Ed25519 can")]
    Key(rustls::Error),
    /// The leaf cannot be parsed.
    #[error("the first certificate cannot be parsed: {0}")]
    Certificate(rustls::Error),
    /// Two halves of different pairs, as between the platform's two renames.
    #[error("the key does not belong to the certificate")]
    Mismatch,
}

impl Pair {
    /// Reads a chain (PEM, leaf first) and a key (PEM: PKCS#1, PKCS#8 or SEC1), and checks that they belong together. Both may stand
    /// in one text.
    ///
    /// Dates and names are not judged: the client's own check is what the platform relies on, and a retiring instance is
    /// given a certificate without a name.
    ///
    /// # Errors
    /// [`PairError`], also when a text ends inside a PEM block, as a half-written file does.
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, PairError> {
        let chain = Pem::read(chain).map_err(PairError::CertificatePem)?;
        let keys = Pem::read(key).map_err(PairError::KeyPem)?;
        let certificates = chain.chain();
        if certificates.is_empty() {
            return Err(if chain.has_key() { PairError::KeyInCertificatesPlace } else { PairError::NoCertificate });
        }
        let der = keys.private_key().ok_or_else(|| match keys.has_key() {
            true => PairError::EncryptedKey,
            false if keys.certificates().next().is_some() => PairError::CertificateInKeysPlace,
            false => PairError::NoKey,
        })?;
        let key = provider.key_provider.load_private_key(der).map_err(PairError::Key)?;
        // Both kinds may stand in one file.
        let wanted = |kind| matches!(kind, BlockKind::Certificate | BlockKind::TrustedCertificate | BlockKind::Key(_));
        let in_chain = chain.passed_over(wanted).into_iter().map(|note| format!("in the certificate file, {note}"));
        let others = keys.keys().skip(1);
        let others =
            others.map(|(block, _)| format!("line {}: {block} is passed over; the first key counts", block.line));
        let in_keys = keys.passed_over(wanted).into_iter().chain(others).map(|note| format!("in the key file, {note}"));
        let notes = in_chain.chain(in_keys).collect();
        let pair = CertifiedKey::new(certificates, key);
        // `CertifiedKey::from_der` lets a key pass when it cannot tell whose it is. We do not.
        match pair.keys_match() {
            Ok(()) => {
                let may_be_unfinished = chain.may_be_unfinished || keys.may_be_unfinished;
                Ok(Self { key: Arc::new(pair), notes, may_be_unfinished })
            }
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PairError::Mismatch),
            Err(error) => Err(PairError::Certificate(error)),
        }
    }

    /// The certificate that is shown, DER.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        // Invariant: `from_pem` refuses an empty chain.
        &self.key.cert[0]
    }

    /// The whole chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// What rustls signs with.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// A sentence for each block of the texts that was passed over.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether a text ends with what may be the beginning of another block.
    pub(super) fn may_be_unfinished(&self) -> bool {
        self.may_be_unfinished
    }
}
