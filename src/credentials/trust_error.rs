//! Why files of CAs, CRLs and rules cannot be used.

use std::path::PathBuf;

use super::load_failure::LoadFault;
use super::{FileKind, LoadError};
use crate::diagnostics::Diagnostics;
use crate::trust::{AnchorLabels, TrustAnchorsError};

/// Why the files admit nobody new: what was admitted before stays.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error("{1}")]
    Load(FileKind, #[source] LoadError),
    /// A folder cannot be read.
    #[error("{}: the folder cannot be read: {cause}", path.display())]
    Folder {
        /// What should be in it.
        kind: FileKind,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// What helps.
        help: &'static str,
    },
    /// CAs or CRLs cannot be used.
    #[error("{1}")]
    TrustAnchors(FileKind, #[source] TrustAnchorsError),
    /// The policy file is no text.
    #[error("{}: not UTF-8 text; write the file anew", .0.display())]
    NotText(PathBuf),
    /// The policy file has errors: one a line.
    #[error("{}", .0.lines())]
    Policy(Diagnostics),
    /// More than one kind of files, each for a reason of its own: one a line.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Self>),
}

impl TrustError {
    pub(super) fn of_anchors(error: TrustAnchorsError) -> Self {
        let kind = if error.is_about_crls() { FileKind::ClientCrl } else { FileKind::ClientCa };
        Self::TrustAnchors(kind, error)
    }

    /// The same, said of the files that `words` are for.
    pub fn said_of(self, words: AnchorLabels) -> Self {
        match self {
            Self::TrustAnchors(kind, error) => Self::TrustAnchors(kind, error.said_of(words)),
            Self::Several(errors) => Self::Several(errors.into_iter().map(|error| error.said_of(words)).collect()),
            other => other,
        }
    }

    /// What the files are for that cannot be used; of several kinds the first.
    pub fn kind(&self) -> FileKind {
        match self {
            Self::Load(kind, _) | Self::Folder { kind, .. } | Self::TrustAnchors(kind, _) => *kind,
            Self::NotText(_) | Self::Policy(_) => FileKind::Policy,
            Self::Several(errors) => errors.first().map_or(FileKind::ClientCa, Self::kind),
        }
    }

    /// The error of each kind of files.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }

    /// The errors with their remedies, one a line.
    pub fn with_help(&self) -> String {
        let of_one = |error: &Self| match error {
            Self::Load(_, error) => error.with_help(),
            Self::Folder { help, .. } => format!("{error}; {help}"),
            other => other.to_string(),
        };
        self.each().iter().map(of_one).collect::<Vec<_>>().join("\n")
    }

    /// What there is to report of it.
    pub(super) fn fault(&self) -> LoadFault {
        LoadFault { kind: self.kind(), file: None, error: self.with_help() }
    }
}
