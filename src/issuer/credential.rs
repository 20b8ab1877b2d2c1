//! What an authority issues.

use std::fmt;

/// A certificate chain and its key, as they are written into files.
#[derive(Clone)]
pub struct Credential {
    /// Exactly two blocks: the leaf, and the CA that issued it.
    pub cert_pem: String,
    /// One block.
    pub key_pem: String,
    /// The leaf in DER.
    pub leaf: Vec<u8>,
}

impl fmt::Debug for Credential {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}
