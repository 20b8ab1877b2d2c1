//! Files for the app: the instance's identity as files that others read, and what happens when it was rotated.

mod reading;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use super::outbound::{OutboundCa, OutboundListen};
use super::{AdminAddr, ClientAuthConfig, Config, FileMode, PairFiles, PairSource, SdsSecretRef};
use crate::signal::Signal;

/// How long a token is valid where nobody says otherwise.
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(300);

/// What is written for the app, and how it learns of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFiles {
    /// Tokens, each in a file.
    pub tokens: Vec<TokenFile>,
    /// Parts of the pair in service, each in a file.
    pub credentials: Vec<CredentialFile>,
    /// Who may read and write what holds a secret: tokens and keys.
    pub mode: FileMode,
    /// How long a token is valid, where its certificates are for longer.
    pub token_ttl: Duration,
    /// What follows a rotation, once all files are in place.
    pub on_rotation: Option<RotationHook>,
}

/// A file that always holds a fresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// For whom the token is; never empty.
    pub audience: String,
    /// The file.
    pub path: PathBuf,
}

/// A file that always holds a part of the pair in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFile {
    /// Which part, and how it is written.
    pub form: CredentialForm,
    /// The file.
    pub path: PathBuf,
}

/// What of the pair stands in a file, PEM. In the order in which files are written: a key before the chain that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum CredentialForm {
    /// The key, as PKCS #8 (RFC 5958).
    Pkcs8,
    /// The key as PKCS #8, then the chain.
    Pem,
    /// The chain, leaf first.
    Chain,
    /// What stands above the leaf.
    Ca,
}

/// What follows a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationHook {
    /// The app is sent this signal.
    Signal(Signal),
    /// A program is run, without a shell.
    Exec {
        /// A path, or a name that is looked up in PATH.
        program: String,
        /// What follows its name.
        args: Vec<String>,
    },
}

impl Default for AppFiles {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            credentials: Vec::new(),
            mode: FileMode::PRIVATE,
            token_ttl: DEFAULT_TOKEN_TTL,
            on_rotation: None,
        }
    }
}

impl AppFiles {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.paths().next().is_none() && self.on_rotation.is_none()
    }

    /// The files that are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let tokens = self.tokens.iter().map(|file| file.path.as_path());
        tokens.chain(self.credentials.iter().map(|file| file.path.as_path()))
    }
}

impl CredentialForm {
    /// The word for it, in options, logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether there is a key in it.
    pub fn has_key(self) -> bool {
        matches!(self, Self::Pkcs8 | Self::Pem)
    }
}

/// As it is written in the option.
impl fmt::Display for RotationHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "signal:{signal}"),
            Self::Exec { program, args } => {
                write!(f, "exec:{program}")?;
                args.iter().try_for_each(|arg| write!(f, " {arg}"))
            }
        }
    }
}

impl Config {
    /// Every file and folder that we read ourselves, and every socket file of ours, with the option that names it.
    pub fn paths_read(&self) -> Vec<(&'static str, &Path)> {
        let mut all = self.files_read();
        all.extend(self.socket_files());
        all.extend(
            self.identity_endpoint
                .iter()
                .flat_map(|endpoint| endpoint.token_file.iter().map(|path| ("--identity-token-file", path.as_path()))),
        );
        all
    }

    /// Every socket file of ours, with the option that names it.
    pub fn socket_files(&self) -> Vec<(&'static str, &Path)> {
        fn socket<'a>(option: &'static str, listen: &'a OutboundListen) -> Option<(&'static str, &'a Path)> {
            match listen {
                OutboundListen::Unix(path) => Some((option, path)),
                OutboundListen::Loopback(_) | OutboundListen::At(_) => None,
            }
        }
        let outbounds = self.outbounds.iter().filter_map(|outbound| socket("--outbound", &outbound.listen));
        let proxy = self.forward_proxy.iter().filter_map(|proxy| socket("--forward-proxy", &proxy.listen));
        let endpoint =
            self.identity_endpoint.iter().filter_map(|endpoint| socket("--identity-listen", &endpoint.listen));
        let admin = self.admin.iter().filter_map(|admin| match &admin.addr {
            AdminAddr::Unix(path) => Some(("--admin", path.as_path())),
            AdminAddr::Tcp(_) => None,
        });
        outbounds.chain(proxy).chain(admin).chain(endpoint).collect()
    }

    /// Every file and folder that we read ourselves, with the option that names it.
    pub fn files_read<'a>(&'a self) -> Vec<(&'static str, &'a Path)> {
        let mut all: Vec<(&'static str, &'a Path)> = Vec::new();
        for listener in &self.listeners {
            match &listener.pair {
                PairSource::Files(PairFiles { cert, key }) => all.extend([("--cert", cert.as_path()), ("--key", key)]),
                PairSource::Secret(SdsSecretRef { path, .. }) => all.push(("--cert", path)),
            }
            match &listener.clients {
                ClientAuthConfig::None => {}
                ClientAuthConfig::Files(files) => {
                    all.extend(files.ca.iter().map(|path| ("--client-ca", path.as_path())));
                    all.extend(files.crl.iter().map(|path| ("--client-crl", path.as_path())));
                    all.extend(files.policy.iter().map(|path| ("--policy", path.as_path())));
                }
                ClientAuthConfig::ValidationContext(context) => all.push(("--client-ca", &context.secret.path)),
            }
        }
        if let Some(verification) = self.identity_endpoint.as_ref().and_then(|endpoint| endpoint.verification.as_ref())
        {
            all.extend(verification.ca.iter().map(|path| ("--token-ca", path.as_path())));
            all.extend(verification.crl.iter().map(|path| ("--token-crl", path.as_path())));
            all.extend(verification.roles.iter().map(|path| ("--token-roles", path.as_path())));
        }
        let proxied = self.forward_proxy.iter().flat_map(|proxy| proxy.listed.iter().map(|listed| &listed.settings));
        for settings in self.outbounds.iter().map(|outbound| &outbound.settings).chain(proxied) {
            all.extend(settings.ca.iter().filter_map(|ca| match ca {
                OutboundCa::Path(path) => Some(("--outbound-ca", path.as_path())),
                OutboundCa::OwnIssuer | OutboundCa::System => None,
            }));
            all.extend(settings.platform_cas.iter().map(|path| ("CF_SYSTEM_CERT_PATH", path.as_path())));
        }
        all
    }
}

#[cfg(test)]
mod tests;
