//! What resolving secrets comes to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::SecretValue;
use super::files;
use super::files::SecretsFolder;
use super::source::{Request, SecretLease, SecretResponse, SourceError};

/// What becomes of the app's environment.
#[derive(Default)]
pub struct Resolved {
    /// Variables that it has beside, or with another value.
    pub set: Vec<(OsString, SecretValue)>,
    /// Variables that it does not have.
    pub remove: Vec<OsString>,
    /// What it has as files; goes when this is dropped.
    pub folder: Option<Arc<SecretsFolder>>,
    /// What comes to an end.
    pub leased: Vec<LeasedSecret>,
}

/// A secret that comes to an end.
pub struct LeasedSecret {
    /// How it was asked for.
    pub request: Request,
    /// For how long it is good, counted from the answer.
    pub lease: SecretLease,
    /// Variables that hold it, and cannot be changed any more.
    pub variables: Vec<String>,
    /// Files that hold it.
    pub files: Vec<LeasedFile>,
}

/// A file that holds a secret.
pub struct LeasedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Which part of the secret it holds; `None`: the whole.
    pub key: Option<String>,
}

impl LeasedFile {
    /// Puts what `answer` has into the file, whole or not at all.
    ///
    /// # Errors
    /// A sentence: the answer has no such part, or the kernel's.
    pub fn replace(&self, answer: &SecretResponse) -> Result<(), String> {
        let value = answer.part(self.key.as_deref()).map_err(|error| error.what)?;
        files::replace(&self.path, value).map_err(|error| error.to_string())
    }
}

/// What has become of one name that refers to secrets.
pub struct ResolvedName {
    /// The variable, or document and service.
    pub name: String,
    /// What is asked for, as people know it.
    pub request: String,
    /// Whether all of it is there, as what is optional need not be; or why it cannot be had.
    pub result: Result<bool, SourceError>,
}
