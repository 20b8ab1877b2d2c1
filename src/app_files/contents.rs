//! What stands in each file.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::config::{CredentialForm, PairSource};
use crate::credentials::{LoadError, Pair, read_private_key};
use crate::pem;
use crate::sys::atomic_file::WriteError;
use crate::token::{IssueError, IssuedToken, TokenRequest, issue};

/// What is to stand in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A token for this audience.
    Token {
        audience: String,
        /// How long it is to live.
        ttl: Duration,
    },
    /// A part of the pair.
    Credential(CredentialForm),
}

/// The bytes of a file, wiped when they are dropped.
pub(super) struct Contents {
    pub(super) text: Zeroizing<Vec<u8>>,
    /// Where they are a token: which.
    pub(super) token: Option<IssuedToken>,
}

/// Why a file was not written. Nothing of a key or a token is said.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppFileError {
    /// The key was replaced, and the pair that it belongs to is about to come.
    #[error("the key file holds another pair's key by now")]
    KeyReplaced,
    /// The key cannot be read once more.
    #[error("{}", .0.with_help())]
    Key(LoadError),
    /// The certificate's file has only the leaf.
    #[error("no CA stands behind the leaf in the certificate's file; add the issuing CA to the file of --cert")]
    NoCa,
    /// There is nothing that a token could call us.
    #[error("the certificate has no Cloud Foundry identity and no URI, so no token can say who we are")]
    NoSubject,
    /// No token can be made with this pair.
    #[error("{0}")]
    Token(IssueError),
    /// The file cannot be replaced.
    #[error("{0}")]
    Write(#[from] WriteError),
    /// It could be, and the other half of the pair cannot.
    #[error("the file of the key or of the chain cannot be written, and both are replaced or neither")]
    Withheld {
        /// That is over by itself in a moment.
        is_transient: bool,
    },
    /// A fault of ours.
    #[error("an internal error; please report this")]
    Internal,
}

impl AppFileError {
    /// Whether it is over by itself in a moment, so that nobody need be told yet.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::KeyReplaced | Self::Withheld { is_transient: true })
    }
}

impl Content {
    /// Whether it is one half of the pair, and of no use without the other.
    pub(super) fn is_half(&self) -> bool {
        matches!(self, Self::Credential(CredentialForm::Pkcs8 | CredentialForm::Chain))
    }

    /// The bytes, made of `pair`, which was found at `source`. It blocks, and may cost a signature.
    pub(super) fn make(&self, source: &PairSource, pair: &Pair, now: SystemTime) -> Result<Contents, AppFileError> {
        let form = match self {
            Self::Token { audience, ttl } => {
                let token = issue(pair, &TokenRequest::new(audience, *ttl), now).map_err(|error| match error {
                    IssueError::NoSubject => AppFileError::NoSubject,
                    other => AppFileError::Token(other),
                })?;
                // Without a line break: whoever reads it sends all of it.
                let text = Zeroizing::new(token.text().as_bytes().to_vec());
                return Ok(Contents { text, token: Some(token) });
            }
            Self::Credential(form) => form,
        };
        let text = match form {
            CredentialForm::Pkcs8 => key(source, pair, "")?,
            CredentialForm::Pem => key(source, pair, &pem::certificates(pair.chain()))?,
            CredentialForm::Chain => Zeroizing::new(pem::certificates(pair.chain()).into_bytes()),
            CredentialForm::Ca if pair.chain().len() == 1 => return Err(AppFileError::NoCa),
            CredentialForm::Ca => Zeroizing::new(pem::certificates(&pair.chain()[1..]).into_bytes()),
        };
        Ok(Contents { text, token: None })
    }
}

/// The key, and `behind` it.
fn key(source: &PairSource, pair: &Pair, behind: &str) -> Result<Zeroizing<Vec<u8>>, AppFileError> {
    let key = read_private_key(source, pair).map_err(|error| match error.is_mismatch() {
        true => AppFileError::KeyReplaced,
        false => AppFileError::Key(error),
    })?;
    let block = pem::private_key(&key);
    // Whole from the beginning: memory that grows leaves its old content behind.
    let mut text = Zeroizing::new(Vec::with_capacity(block.len() + behind.len()));
    text.extend_from_slice(block.as_bytes());
    text.extend_from_slice(behind.as_bytes());
    Ok(text)
}
