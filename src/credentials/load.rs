//! One coherent look at the files.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::source::Source;
use crate::config::PairFiles;
use crate::config::PairSource;
use crate::credentials::Pair;
use crate::credentials::PairError;
use crate::tls::provider;

/// A certificate chain, a key or a bundle of CAs is some KiB; what is far beyond that is something else. In bytes.
pub(super) const LARGEST: u64 = MIB;

/// In bytes.
pub(super) const MIB: u64 = 1024 * 1024;

/// Why a look gave no pair.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{path}: {}", describe(.source))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is empty, as one that is being written is.
    #[error("{path}: the file is empty")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A file is too large to be what it should be.
    #[error("{path}: larger than {} MiB, so it is not what it should be", .largest / MIB)]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// What would be accepted, in bytes.
        largest: u64,
    },
    /// A folder, a pipe or a device: reading it could wait for ever.
    #[error("{path}: not a regular file")]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// Both were read, and are no pair.
    #[error("{cert} and {key}: {source}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: PairError,
    },
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "not readable by this user; check the file's mode and owner".to_owned(),
        _ => error.to_string(),
    }
}

/// What a pair was read from. It holds a key, and so has no way to be printed.
#[derive(PartialEq, Eq)]
pub(super) enum PairTexts {
    Files { cert: Vec<u8>, key: Vec<u8> },
}

impl Source for PairSource {
    type Texts = PairTexts;
    type Meaning = Pair;
    type Error = LoadError;

    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(PairFiles { cert, key }) => vec![key.clone(), cert.clone()],
        }
    }

    /// Two halves of different pairs do not match, and half a text ends within a block.
    fn may_be_torn(&self) -> bool {
        false
    }

    fn read(&self) -> Result<PairTexts, LoadError> {
        match self {
            Self::Files(PairFiles { cert, key }) => {
                Ok(PairTexts::Files { cert: read(cert, LARGEST)?, key: read(key, LARGEST)? })
            }
        }
    }

    fn understand(&self, texts: &PairTexts) -> Result<Pair, LoadError> {
        match (self, texts) {
            (Self::Files(files), PairTexts::Files { cert, key }) => Pair::from_pem(cert, key, &provider())
                .map_err(|source| LoadError::Pair { cert: files.cert.clone(), key: files.key.clone(), source }),
        }
    }
}

/// Reads one of the two files.
///
/// # Errors
/// Any [`LoadError`] but [`LoadError::Pair`], naming the file.
pub fn read_half(path: &Path) -> Result<Vec<u8>, LoadError> {
    read(path, LARGEST)
}

/// Reads a file that cannot be empty, of `largest` bytes at most.
pub(super) fn read(path: &Path, largest: u64) -> Result<Vec<u8>, LoadError> {
    let text = read_or_empty(path, largest)?;
    if text.is_empty() {
        return Err(LoadError::Empty { path: path.to_owned() });
    }
    Ok(text)
}

/// Reads a file of `largest` bytes at most.
pub(super) fn read_or_empty(path: &Path, largest: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(LoadError::NotAFile { path: path.to_owned() });
    }
    if metadata.len() > largest {
        return Err(LoadError::TooLarge { path: path.to_owned(), largest });
    }
    fs::read(path).map_err(failed)
}
