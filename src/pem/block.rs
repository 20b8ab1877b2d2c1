//! One block, and what it may be.

use std::fmt;

/// One block.
pub struct Block {
    /// Of its BEGIN mark, counted from 1.
    pub line: usize,
    /// What its label says that it is.
    pub kind: BlockKind,
    /// Its label, if it is one that tools write.
    pub label: Option<&'static str>,
    /// What it holds; of a trusted certificate the certificate alone. Empty for a key that is encrypted.
    pub der: Vec<u8>,
    /// A trusted certificate's settings do not let it vouch for clients.
    pub rejects_clients: bool,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A certificate.
    Certificate,
    /// A certificate with settings of OpenSSL's behind it, which say for what it is trusted.
    TrustedCertificate,
    /// A certificate revocation list.
    Crl,
    /// A private key.
    Key(KeyForm),
    /// A private key that a password protects.
    EncryptedKey,
    /// The parameters of a key, which also stand in the key.
    Parameters,
    /// Anything else.
    Other,
}

/// How a private key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// RFC 5958.
    Pkcs8,
    /// RFC 8017, A.1.2: RSA.
    Pkcs1,
    /// RFC 5915: elliptic curves.
    Sec1,
}

/// Says nothing of what it holds, which may be a key.
impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("line", &self.line).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What it is, in words; nothing of what it holds.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label {
            Some(label) => write!(f, "a block {label}"),
            None => f.write_str("a block of an unknown kind"),
        }
    }
}
