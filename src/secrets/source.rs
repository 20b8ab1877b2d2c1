//! What sources of secrets have in common: what they are asked, and what they answer.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::SecretValue;
use crate::config::SecretSource;
use crate::diagnostics::SafeText;

/// Questions at a time.
pub(super) const MAX_AT_ONCE: usize = 8;

/// What a source is asked once, however many references want a part of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// A secret of Vault or OpenBao: KV 1 and 2, or of any engine that answers a GET.
    Vault {
        /// Behind `/v1/`: `secret/data/x`. Invariant: no empty segment, no `.` or `..`, no control character.
        path: String,
        /// KV 2: not the newest one.
        version: Option<u32>,
    },
    /// A value that the transit engine has sealed.
    Transit {
        /// Where the engine is mounted; may have slashes.
        mount: String,
        /// The name of the key.
        key: String,
        /// `vault:v1:...`
        ciphertext: String,
    },
    /// A credential of CredHub.
    CredHub {
        /// With a `/` in front.
        name: String,
    },
    /// A file.
    File {
        /// Absolute.
        path: PathBuf,
    },
}

/// What a source has answered.
pub struct SecretResponse {
    /// The secret as a whole; `None`: it has parts, and a reference must say which.
    pub whole: Option<SecretPart>,
    /// Its parts by name; of several of one name the last counts.
    pub fields: Vec<(String, SecretPart)>,
    /// For how long it is good; `None`: for ever.
    pub lease: Option<SecretLease>,
}

impl SecretResponse {
    /// The part that is meant: that of the name `key`, or the whole.
    ///
    /// # Errors
    /// There is none, or it is no text.
    pub(super) fn part(&self, key: Option<&str>) -> Result<&SecretValue, SourceError> {
        let (part, name) = match key {
            None => {
                let several = || {
                    SourceError::failed("it has several parts")
                        .with_help("write #KEY behind it, for the part that is meant")
                };
                (self.whole.as_ref().ok_or_else(several)?, "it".to_owned())
            }
            Some(key) => {
                let key_shown = SafeText::quoted(key);
                let found = self.fields.iter().rfind(|(name, _)| name == key).map(|(_, part)| part);
                let missing = || {
                    let help = "correct what stands behind #, or add ?optional";
                    SourceError::missing(format!("it has no part {key_shown}")).with_help(help)
                };
                (found.ok_or_else(missing)?, format!("its part {key_shown}"))
            }
        };
        match part {
            SecretPart::Value(value) => Ok(value),
            SecretPart::Null => {
                Err(SourceError::missing(format!("{name} is null")).with_help("store a value there, or add ?optional"))
            }
            SecretPart::NotText => {
                let what = format!("{name} is a string that is no text: half of a character is missing");
                Err(SourceError::failed(what).with_help("store it anew"))
            }
        }
    }
}

/// What a secret is, or a part of one.
pub enum SecretPart {
    /// A string is its text, all else is JSON.
    Value(SecretValue),
    /// JSON's null: there is none.
    Null,
    /// A string of JSON that is no text (RFC 8259, 8.2).
    NotText,
}

/// For how long a secret is good.
pub struct SecretLease {
    /// By which it is renewed and revoked.
    pub id: String,
    /// From the answer on.
    pub duration: Duration,
    /// Whether it can be made longer.
    pub renewable: bool,
}

/// Why a source gives no answer. Nothing in it is secret, and the text of others is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// There is no such secret, which is no failure for a reference that is `?optional`.
    pub is_missing: bool,
    /// What was found, and where: with path, status and the server's own text, as far as there are any.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// The future of an answer.
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Result<SecretResponse, SourceError>> + Send + 'a>>;

/// What the last try came to, for whoever has no time for another.
#[derive(Debug, Default)]
pub struct LastError(Mutex<Option<SourceError>>);

impl LastError {
    /// This try came to nothing, and another follows.
    pub fn note(&self, error: SourceError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// What was noted last.
    pub fn get(&self) -> Option<SourceError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whoever answers requests of one kind or several. It does its own retries, and notes what each came to; the time of the whole resolution is
/// its caller's to watch, who drops the future then.
pub trait SecretStore: Send + Sync {
    /// Asks for `request`, which is of a kind that this source was registered for. Up to eight are asked at a time.
    fn fetch<'a>(&'a self, request: &'a Request, last_error: &'a LastError) -> FetchFuture<'a>;
}

impl Request {
    /// Whom it is for.
    pub fn source(&self) -> SecretSource {
        match self {
            Self::Vault { .. } => SecretSource::Vault,
            Self::Transit { .. } => SecretSource::Transit,
            Self::CredHub { .. } => SecretSource::Credhub,
            Self::File { .. } => SecretSource::File,
        }
    }
}

/// As people know it: `vault:secret/data/x`. Of a sealed value only where it is opened.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault { path, version: None } => write!(f, "vault:{path}"),
            Self::Vault { path, version: Some(version) } => write!(f, "vault:{path} version {version}"),
            Self::Transit { mount, key, .. } => write!(f, "transit:{mount}/{key}"),
            Self::CredHub { name } => write!(f, "credhub:{name}"),
            Self::File { path } => write!(f, "file:{}", path.display()),
        }
    }
}

impl SourceError {
    /// There is no such secret.
    pub fn missing(what: impl Into<String>) -> Self {
        Self { is_missing: true, what: what.into(), help: None }
    }

    /// It could not be had.
    pub fn failed(what: impl Into<String>) -> Self {
        Self { is_missing: false, what: what.into(), help: None }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{}; {help}", self.what),
            None => f.write_str(&self.what),
        }
    }
}
