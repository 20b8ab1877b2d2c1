//! Why no token was made.

use std::fmt;

use super::{Algorithm, LONGEST_TOKEN};
use crate::identity::{CertificateError, IdentityError};

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A certificate of our file cannot be read.
    #[error("a certificate of the file cannot be read: {0}; write the file anew")]
    Certificate(#[from] CertificateError),
    /// Our certificate claims to be Cloud Foundry's and is not sound.
    #[error("the certificate is not sound: {0}; have it issued anew")]
    Identity(#[from] IdentityError),
    /// The platform has announced that the instance is about to stop.
    #[error("the instance is about to stop: it has no name any more")]
    Retired,
    /// A certificate of the file is past its last second.
    #[error("a certificate of the file has expired: {0}; have it renewed")]
    Expired(String),
    /// A certificate of the file is before its first second.
    #[error("a certificate of the file is not valid yet: {0}; look at this machine's clock")]
    NotYetValid(String),
    /// The token could live for a few seconds only.
    #[error("a certificate of the file expires in less than 10 seconds: {0}; ask again once it was renewed")]
    EndsTooSoon(String),
    /// There is no name to be written.
    #[error("the certificate has no Cloud Foundry identity and no URI; name the subject by --subject")]
    NoSubject,
    /// The key cannot make this signature.
    #[error("{algorithm} does not fit the key ({key}); {}", .own.map_or("tokens are signed with RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519".to_owned(), |own| format!("write {own}, or leave it out")))]
    Algorithm {
        /// What was asked for.
        algorithm: Algorithm,
        /// The kind of the key.
        key: String,
        /// What it would sign with.
        own: Option<Algorithm>,
    },
    /// The form needs another kind of key.
    #[error("a token of the form comcast needs an RSA key, and this one is {0}; write another --form")]
    NeedsRsa(String),
    /// The key cannot sign tokens at all.
    #[error("the key ({0}) cannot sign tokens; RSA of 2048 to 4096 bits, P-256, P-384 and Ed25519 can")]
    Key(String),
    /// Receivers would refuse it for its length.
    #[error("the token would have {0}")]
    TooLong(TokenParts),
    /// The cryptographic library failed.
    #[error("the token could not be signed ({0}); please report this")]
    Crypto(&'static str),
}

impl IssueError {
    /// Whether it is the request that is wrong, and not the pair.
    pub fn is_user_error(&self) -> bool {
        matches!(self, Self::NoSubject | Self::Algorithm { .. } | Self::NeedsRsa(_) | Self::TooLong(_))
    }
}

/// The bytes of a token, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenParts {
    /// All together.
    pub all: usize,
    /// The header, which carries the certificates.
    pub header: usize,
    /// How many they are.
    pub certificates: usize,
    /// The claims.
    pub claims: usize,
}

/// The sizes, and how the larger part gets smaller.
impl fmt::Display for TokenParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, header, certificates, claims } = self;
        write!(f, "{all} bytes, and receivers take {LONGEST_TOKEN}: {header} are its header")?;
        match certificates {
            0 => {}
            1 => write!(f, " with the certificate")?,
            several => write!(f, " with {several} certificates")?,
        }
        write!(f, ", {claims} its claims; ")?;
        f.write_str(match (claims > header, certificates) {
            (true, _) => "ask for fewer or shorter audiences, policies and claims",
            (false, 0 | 1) => "have a certificate issued that says less, with fewer names",
            (false, _) => "leave the CAs out by token jwt --chain leaf, or have certificates issued that say less",
        })
    }
}
