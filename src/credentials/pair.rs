//! A chain and the key that belongs to it.

use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;

/// A certificate chain, leaf first, and the private key of its leaf: checked to match.
#[derive(Debug, Clone)]
pub struct Pair(Arc<CertifiedKey>);

/// Why two texts are no pair. No variant carries anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificate's text is not PEM to its end.
    #[error("the certificate file is torn or not PEM: {0}")]
    CertificatePem(String),
    /// PEM, but no certificate in it.
    #[error("the certificate file holds no CERTIFICATE block")]
    NoCertificate,
    /// The key's text is not PEM to its end.
    #[error("the key file is torn or not PEM: {0}")]
    KeyPem(String),
    /// PEM, but no key that we read.
    #[error(
        "the key file holds no PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block (an encrypted key cannot be used)"
    )]
    NoKey,
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
    /// Reads a chain (PEM, leaf first) and a key (PEM: PKCS#1, PKCS#8 or SEC1), and checks that they belong together.
    ///
    /// Dates and names are not judged: the client's own check is what the platform relies on, and a retiring instance is
    /// given a certificate without a name.
    ///
    /// # Errors
    /// [`PairError`], also when a text ends inside a PEM block, as a half-written file does.
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, PairError> {
        refuse_torn(chain).map_err(PairError::CertificatePem)?;
        refuse_torn(key).map_err(PairError::KeyPem)?;
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| PairError::CertificatePem(error.to_string()))?;
        if chain.is_empty() {
            return Err(PairError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => PairError::NoKey,
            error => PairError::KeyPem(error.to_string()),
        })?;
        let key = provider.key_provider.load_private_key(key).map_err(PairError::Key)?;
        let pair = CertifiedKey::new(chain, key);
        // `CertifiedKey::from_der` lets a key pass when it cannot tell whose it is. We do not.
        match pair.keys_match() {
            Ok(()) => Ok(Self(Arc::new(pair))),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PairError::Mismatch),
            Err(error) => Err(PairError::Certificate(error)),
        }
    }

    /// The certificate that is shown, DER.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        // Invariant: `from_pem` refuses an empty chain.
        &self.0.cert[0]
    }

    /// The whole chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }

    /// What rustls signs with.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

/// A PEM reader passes over what stands outside of the blocks; a block that a writer has only begun stands there too.
fn refuse_torn(text: &[u8]) -> Result<(), String> {
    const END: &[u8] = b"-----END ";
    const DASHES: &[u8] = b"-----";
    let last_end = text.windows(END.len()).rposition(|window| window == END).map(|at| at + END.len());
    let behind = match last_end {
        Some(at) => match text[at..].windows(DASHES.len()).position(|window| window == DASHES) {
            Some(closed) => &text[at + closed + DASHES.len()..],
            None => return Err("the last END line is cut off".to_owned()),
        },
        None => text,
    };
    if behind.contains(&b'-') {
        return Err("it ends in the middle of a block".to_owned());
    }
    Ok(())
}
