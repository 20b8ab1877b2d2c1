//! The files that say who vouches for servers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::doubtful_content::log_doubtful_content;
use super::load_failure::LoadFault;
use super::source::{ReloadSource, SETTLE};
use super::trust_files::{TrustFileKind, TrustFiles};
use super::{FileKind, TrustError};
use crate::config::OutboundCa;
use crate::identity::Role;
use crate::trust::{Text, TrustAnchors, TrustAnchorsError};

/// Where the CAs are found that vouch for servers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServerTrustSource {
    pub(super) ca: Vec<OutboundCa>,
    /// The platform's folder, in which a successor of our own issuer is looked for.
    pub(super) platform_cas: Option<PathBuf>,
}

/// The files of the CAs for servers as they were read, to tell whether anything has changed.
#[derive(Debug, Clone)]
pub(super) struct ServerTrustFiles {
    cas: TrustFiles,
    platform: TrustFiles,
}

/// What the files say.
#[derive(Debug)]
pub(super) struct ServerTrust {
    /// CAs that vouch.
    pub(super) cas: Vec<Text>,
    /// Whether the issuer of our own certificate vouches too.
    pub(super) own_issuer: bool,
    /// CAs of the platform, of which those count that are called like our own issuer.
    pub(super) platform: Vec<Text>,
    /// What was left out of the files that count, for the log.
    notes: Vec<String>,
}

impl PartialEq for ServerTrustFiles {
    fn eq(&self, other: &Self) -> bool {
        self.cas.is_same(&other.cas) && self.platform.is_same(&other.platform)
    }
}

impl ServerTrustSource {
    /// The files and folders that vouch, the system's among them.
    fn ca_paths(&self) -> Vec<PathBuf> {
        let paths = self.ca.iter().filter_map(|ca| match ca {
            OutboundCa::OwnIssuer => None,
            OutboundCa::System => system_cas(),
            OutboundCa::Path(path) => Some(path.clone()),
        });
        paths.collect()
    }

    fn own_issuer(&self) -> bool {
        self.ca.contains(&OutboundCa::OwnIssuer)
    }

    fn platform(&self) -> Option<&PathBuf> {
        self.platform_cas.as_ref().filter(|_| self.own_issuer())
    }
}

/// Where this system keeps its CAs; `SSL_CERT_FILE` and `SSL_CERT_DIR` come first.
pub(crate) fn system_cas() -> Option<PathBuf> {
    let probed = openssl_probe::probe();
    probed.cert_file.or(probed.cert_dir.into_iter().next())
}

impl ReloadSource for ServerTrustSource {
    type Raw = ServerTrustFiles;
    type Parsed = Arc<ServerTrust>;
    type Error = TrustError;

    fn faults_of(&self, error: &TrustError) -> Vec<LoadFault> {
        vec![LoadFault { kind: FileKind::ServerCa, file: None, error: error.with_help() }]
    }

    fn faults_in(&self, files: &ServerTrustFiles) -> Vec<LoadFault> {
        files.cas.faults(FileKind::ServerCa).collect()
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.ca_paths().into_iter().chain(self.platform().cloned()).collect()
    }

    /// A bundle that is cut off between two certificates still reads as one.
    fn settle_interval(&self) -> Option<Duration> {
        Some(SETTLE)
    }

    fn read(&self, before: Option<&ServerTrustFiles>) -> Result<ServerTrustFiles, TrustError> {
        let kind = TrustFileKind::Cas(Role::Server);
        let cas = TrustFiles::read(&self.ca_paths(), kind, before.map(|before| &before.cas))?;
        let platform = self.platform().into_iter().filter(|path| path.exists()).cloned().collect::<Vec<_>>();
        let platform = TrustFiles::read(&platform, kind, before.map(|before| &before.platform))?;
        Ok(ServerTrustFiles { cas, platform })
    }

    fn parse(&self, files: &ServerTrustFiles) -> Result<Arc<ServerTrust>, TrustError> {
        let notes = match TrustAnchors::parse(&files.cas.texts, &[], Role::Server) {
            Ok((_, notes)) => notes,
            // Our own issuer suffices.
            Err(TrustAnchorsError::Empty { .. }) if self.own_issuer() => Vec::new(),
            Err(error) => {
                let left_out: Vec<String> = files.cas.notes().collect();
                return Err(TrustError::of_anchors(match error {
                    // There is not even a file: what was looked at is what was given.
                    TrustAnchorsError::Empty { .. } if files.cas.texts.is_empty() => {
                        TrustAnchorsError::empty(Role::Server, self.ca_paths().iter(), &left_out)
                    }
                    error => error.with_left_out(&left_out),
                }));
            }
        };
        Ok(Arc::new(ServerTrust {
            cas: files.cas.texts.clone(),
            own_issuer: self.own_issuer(),
            platform: files.platform.texts.clone(),
            notes,
        }))
    }

    fn log_loaded(&self, trust: &Arc<ServerTrust>, before: Option<&Arc<ServerTrust>>, _: u64) {
        let known = before.map_or(&[][..], |before| &before.notes);
        log_doubtful_content("server CAs", trust.notes.iter(), known);
    }
}
