//! Secrets: which references are resolved before the app starts, and by whom.

mod reading;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::{ApiUrl, Vault};
use crate::signal::Signal;

/// What is resolved before the app starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Whose references are resolved; those of others are left alone. Invariant: not empty, none twice.
    pub resolve: Vec<SecretSource>,
    /// For all of them together.
    pub timeout: Duration,
    /// Where our folder for files is made; `None`: in the first file system in memory.
    pub dir: Option<PathBuf>,
    /// How CredHub is asked.
    pub credhub: CredHubConfig,
    /// How Vault is asked; `None`: it is not.
    pub vault: Option<Vault>,
    /// What the app gets once its files hold a new secret; `None`: nothing.
    pub signal: Option<Signal>,
    /// What follows when a secret in its variables is about to end.
    pub on_expiry: OnSecretExpiry,
}

/// What follows when a secret in the app's variables is about to end and cannot be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum OnSecretExpiry {
    /// A warning.
    Warn,
    /// We stop, so that whoever starts us does it anew.
    Stop,
}

/// How CredHub is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredHubConfig {
    /// Where it is; `None`: nobody has said so, and its references are left alone. Invariant: of TLS, and without a path.
    pub url: Option<ApiUrl>,
    /// A file or folder of CAs that vouch for it; `None`: those of the platform and of this system.
    pub ca: Option<PathBuf>,
    /// The platform's folder of CAs.
    pub platform_cas: Option<PathBuf>,
    /// For one question with all its tries.
    pub timeout: Duration,
    /// Whether DATABASE_URL is set from what it has answered.
    pub database_url: bool,
}

/// Who answers references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum SecretSource {
    /// CredHub.
    Credhub,
    /// Vault or OpenBao.
    Vault,
    /// The transit engine of Vault or OpenBao: values that are sealed for us.
    Transit,
    /// A file.
    File,
}

impl Secrets {
    /// Whether references of `source` are resolved.
    pub fn resolves(&self, source: SecretSource) -> bool {
        self.resolve.contains(&source)
    }
}

impl SecretSource {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
