//! A development CA that writes and rotates instance credentials as Diego does: the same structure to the byte, the
//! same files, the same order of renames, the same schedule.
//!
//! ```text
//! Authority ── issue(InstanceSpec) ──► Credential ── Folder::write ──► instance.key, then instance.crt
//! ```
//!
//! Time is an argument everywhere. What is random comes from aws-lc-rs. For development only: the CA's keys lie
//! beside what they sign.

mod authority;
mod certificate;
mod credential;
mod flaw;
mod folder;
mod key;
pub mod schedule;
mod spec;

pub use authority::CertificateAuthority;
pub use credential::Credential;
pub use flaw::{Flaw, UnknownFlaw};
pub use folder::{Folder, KeyRenamed, Staged};
pub use key::{KeyKind, SubjectKey, UnknownKeyKind};
pub use spec::InstanceSpec;

use std::io;
use std::path::{Path, PathBuf};

/// Why a credential could not be issued or written.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The cryptographic library refused to generate, read or use a key, or to give random bytes.
    #[error("cryptography failed while {0}")]
    Crypto(&'static str),
    /// A certificate cannot be written, for instance because its dates lie beyond the year 9999.
    #[error("certificate cannot be encoded; check its dates")]
    Encoding(#[from] der::Error),
    /// A date before 1970 or beyond what the clock can count.
    #[error("certificate's dates are out of range; choose a shorter validity")]
    Dates,
    /// A file or folder could not be read or written.
    #[error("{}: cannot be {done}: {source}; {}", path.display(), remedy(source))]
    File {
        /// Which one.
        path: PathBuf,
        /// What was to be done to it, as a participle.
        done: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the CA is not what it should be.
    #[error("{}: not {wanted}; remove the folder, and a new CA is made", path.display())]
    CertificateAuthority {
        /// Which one.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
}

/// What to do about a file or folder that cannot be read or written.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room there, or name a folder on another disk"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
            "name a folder, not a file or what would be below one"
        }
        io::ErrorKind::ReadOnlyFilesystem => "name a folder on a disk that can be written to",
        _ => "name a folder that this user may write",
    }
}

impl IssuerError {
    pub(crate) fn file(path: &Path, done: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), done, source }
    }
}

/// `N` random bytes.
fn random<const N: usize>() -> Result<[u8; N], IssuerError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssuerError::Crypto("drawing random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
