//! One coherent look at the files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::doubtful_content::log_doubtful_content;
use super::load_failure::LoadFault;
use super::source::{Previous, ReloadSource};
use crate::config::envoy::sds;
use crate::config::envoy::sds::TlsCertificate;
use crate::config::{PairFiles, PairSource, SdsSecretRef};
use crate::credentials::{FileKind, Pair, PairError};
use crate::crypto::provider;
use crate::diagnostics::{Diagnostics, is_blank};
use crate::sys;

/// A certificate chain, a key or a bundle of CAs is some KiB; what is far beyond that is something else. In bytes.
pub(super) const LARGEST: u64 = MIB;

/// For how long a text has to stay as it is that ends with what may be the beginning of a block.
const SETTLE_UNFINISHED: Duration = Duration::from_secs(1);

/// A rotation takes milliseconds from the first rename to the last.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// How often a pair is looked at that may be in the middle of a rotation.
const MAX_LOOKS: usize = 25;

/// In bytes.
pub(super) const MIB: u64 = 1024 * 1024;

/// Why a load gave no pair.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{path}: {}", describe(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// A file is empty, as one that is being written is.
    #[error("{path}: the file is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file is too large to be what it should be.
    #[error("{path}: larger than {} MiB, so it is not what it should be", .largest / MIB)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What would be accepted, in bytes.
        largest: u64,
    },
    /// With this file, those that are read together are larger than the memory allows.
    #[error(
        "{path}: larger than what is left for it: such files may have {most} bytes together, a sixteenth of the memory limit, between 1 and 16 MiB"
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What all of them may have together, in bytes.
        most: u64,
    },
    /// A folder, a pipe or a device: reading it could wait for ever.
    #[error("{path}: not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Both were read, and are no pair.
    #[error("{cert} and {key}: {source}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PairError,
    },
    /// A document was read, and its secret is no pair.
    #[error("{}: {}: {source}", .secret.path.display(), .secret.name)]
    PairInSecret {
        /// Which secret of which document.
        secret: Box<SdsSecretRef>,
        /// What is wrong with it.
        #[source]
        source: PairError,
    },
    /// A document is no text.
    #[error("{}: not UTF-8 text; write the file anew", .0.display())]
    NotText(PathBuf),
    /// A document has errors: one a line.
    #[error("{}", .0.lines())]
    Document(Diagnostics),
}

impl LoadError {
    /// What to do about it, where the error does not say so itself.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("write it there, or name another"),
                io::ErrorKind::PermissionDenied => None,
                _ => Some("see where the path leads, and whether this user can read it"),
            },
            Self::Empty { .. } => Some("have it written anew, under another name and then renamed"),
            Self::TooLarge { .. } | Self::NotAFile { .. } => Some("name the right file"),
            Self::NoRoom { .. } => Some("name the right files, or raise the container's memory limit"),
            Self::Pair { .. } | Self::PairInSecret { .. } | Self::NotText(_) | Self::Document(_) => None,
        }
    }

    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it may be what is seen in the middle of a rotation.
    fn may_be_torn(&self) -> bool {
        matches!(self, Self::Empty { .. } | Self::Pair { .. } | Self::PairInSecret { .. } | Self::Document(_))
    }

    /// Whether two halves were found that belong to different pairs, as in the middle of a rotation.
    pub fn is_mismatch(&self) -> bool {
        matches!(self, Self::Pair { source, .. } | Self::PairInSecret { source, .. } if matches!(source, PairError::Mismatch))
    }

    /// The error with its remedy.
    pub fn with_help(&self) -> String {
        self.help().map_or_else(|| self.to_string(), |help| format!("{self}; {help}"))
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not readable by this user; check the file's mode and owner, and restart if --sandbox keeps it out"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// What a pair is made of, PEM. It holds a key, and so has no way to be printed.
#[derive(PartialEq, Eq)]
pub(super) struct PairTexts {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl ReloadSource for PairSource {
    type Raw = PairTexts;
    type Parsed = Pair;
    type Error = LoadError;

    fn faults_of(&self, error: &LoadError) -> Vec<LoadFault> {
        vec![LoadFault { kind: FileKind::Certificate, file: None, error: error.with_help() }]
    }

    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(PairFiles { cert, key }) => vec![key.clone(), cert.clone()],
            Self::Secret(SdsSecretRef { path, .. }) => vec![path.clone()],
        }
    }

    /// Two halves of different pairs do not match, and half a text ends within a block.
    fn settle_interval(&self) -> Option<Duration> {
        None
    }

    fn read(&self, _before: Option<&PairTexts>) -> Result<PairTexts, LoadError> {
        match self {
            Self::Files(PairFiles { cert, key }) => {
                Ok(PairTexts { chain: read(cert, LARGEST)?, key: read(key, LARGEST)? })
            }
            Self::Secret(secret) => {
                let TlsCertificate { chain, key } = read_secret(secret, sds::pair)?;
                Ok(PairTexts { chain: chain.into_bytes(), key: key.into_bytes() })
            }
        }
    }

    fn parse(&self, PairTexts { chain, key }: &PairTexts) -> Result<Pair, LoadError> {
        Pair::from_pem(chain, key, &provider()).map_err(|source| match self {
            Self::Files(PairFiles { cert, key }) => LoadError::Pair { cert: cert.clone(), key: key.clone(), source },
            Self::Secret(secret) => LoadError::PairInSecret { secret: Box::new(secret.clone()), source },
        })
    }

    /// Half a block may follow that is not there yet.
    fn settle_time(&self, _: &PairTexts, pair: &Pair, _: &Previous<'_, Self>) -> Duration {
        if pair.may_be_unfinished() { SETTLE_UNFINISHED } else { Duration::ZERO }
    }

    fn log_loaded(&self, pair: &Pair, before: Option<&Pair>, _: u64) {
        let known = before.map(Pair::notes).unwrap_or_default();
        log_doubtful_content("certificate or key file", pair.notes().iter(), known);
    }
}

impl PairSource {
    /// Reads the pair now. What may be half of a rotation, a file that is not whole or two halves of different pairs, is looked at again for
    /// as long as a rotation takes.
    ///
    /// # Errors
    /// [`LoadError`]: what is still wrong then.
    pub fn load(&self) -> Result<Pair, LoadError> {
        let mut looks = 0;
        loop {
            looks += 1;
            let loaded = self.read(None).and_then(|texts| self.parse(&texts));
            let is_settled = |pair: &Pair| !pair.may_be_unfinished();
            match loaded {
                Ok(pair) if is_settled(&pair) || looks >= MAX_LOOKS => return Ok(pair),
                Err(error) if !error.may_be_torn() || looks >= MAX_LOOKS => return Err(error),
                Ok(_) | Err(_) => std::thread::sleep(RETRY_INTERVAL),
            }
        }
    }
}

/// Reads what `part` is after in the document that holds `secret`.
pub(super) fn read_secret<T>(
    secret: &SdsSecretRef,
    part: impl Fn(&Path, &str, &str) -> Result<T, Diagnostics>,
) -> Result<T, LoadError> {
    let SdsSecretRef { name, path } = secret;
    let text = String::from_utf8(read(path, sds::LARGEST as u64)?).map_err(|_| LoadError::NotText(path.clone()))?;
    part(path, &text, name).map_err(LoadError::Document)
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
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let opened = sys::file::open_regular(path).map_err(failed)?;
    let file = opened.ok_or_else(|| LoadError::NotAFile { path: path.to_owned() })?;
    let text = sys::file::read_up_to(file, largest).map_err(failed)?;
    let text = text.ok_or_else(|| LoadError::TooLarge { path: path.to_owned(), largest })?;
    // As a writer leaves it behind that was stopped, or whose disk was full.
    if is_blank(&text) {
        return Err(LoadError::Empty { path: path.to_owned() });
    }
    Ok(text)
}
