//! The texts of files and of what is in folders, and what cannot be used of them.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{fs, io};

use rustls::pki_types::CertificateDer;

use super::load_failure::LoadFault;
use super::watch::{Replacement, Stamp};
use super::{FileKind, LoadError, TrustError, load};
use crate::identity::{Certificate, Role};
use crate::pem;
use crate::pem::Pem;
use crate::sys::limits;
use crate::trust::{Text, TrustAnchors, TrustAnchorsError};

/// What the files of a kind may have together, in bytes: CRLs of some hundred thousand certificates.
const MOST: u64 = 16 * load::MIB;

/// As much they may have wherever we are.
const MOST_ANYWHERE: u64 = load::MIB;

/// They may have one part in so many of the memory that there is: what is made of CRLs takes up to four times as much, and up to fourteen for the
/// moment of a reload, when the last good ones are there as well.
const PARTS_OF_MEMORY: u64 = 16;

/// More entries than that, and a folder is not one of CAs.
const MAX_ENTRIES: usize = 4096;

/// What becomes of a file that was good.
const AS_IT_WAS: &str = "it counts as it was when it was last good";

/// What the files hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum TrustFileKind<'a> {
    /// CAs. One less admits fewer, so a file of a folder that cannot be used is left out.
    Cas(Role),
    /// CRLs. One less admits more, so each has to be good.
    Crls(&'a CrlJudge<'a>),
}

/// The CAs that CRLs are judged by, read when they are first asked for: mostly no CRL is new.
#[derive(Debug)]
pub(super) struct CrlJudge<'a> {
    cas: &'a [Text],
    anchors: OnceCell<Option<TrustAnchors>>,
}

impl<'a> CrlJudge<'a> {
    /// By the CAs in `cas`.
    pub(super) fn new(cas: &'a [Text]) -> Self {
        Self { cas, anchors: OnceCell::new() }
    }

    /// Why there is no CRL in `text`, and it is left out; `None`: there is one.
    ///
    /// # Errors
    /// What is there cannot be used.
    pub(super) fn check(&self, text: &Text) -> Result<Option<String>, TrustAnchorsError> {
        // What is wrong with the CAs is said of them.
        let read = || TrustAnchors::parse(self.cas, &[], Role::Client).ok().map(|(anchors, _)| anchors);
        let cas = self.anchors.get_or_init(read).as_ref().map_or(&[][..], TrustAnchors::cas);
        TrustAnchors::lacks_crls(text, cas)
    }
}

/// Texts that count, and the files that were looked at for them.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustFiles {
    pub(super) texts: Vec<Text>,
    pub(super) looked_at: Vec<TrustFile>,
}

/// A file, as it was found.
#[derive(Debug, Clone)]
pub(super) struct TrustFile {
    path: PathBuf,
    /// `None`: it cannot be found.
    stamp: Option<Stamp>,
    /// It is in a folder and cannot be used: why, and what becomes of it.
    fault: Option<String>,
}

/// What the files of a kind may have together here, in bytes. Asked once: a sandbox may keep us from the answer later.
static MOST_HERE: LazyLock<u64> = LazyLock::new(|| most(limits::memory_limit()));

fn most(memory: Option<u64>) -> u64 {
    memory.map_or(MOST, |memory| memory / PARTS_OF_MEMORY).clamp(MOST_ANYWHERE, MOST)
}

impl TrustFile {
    /// A file that can be used, or whose faults are found later. To be asked for before the file is read, so that what is
    /// written in between is found by the next look.
    fn now(path: &Path) -> Self {
        Self { path: path.to_owned(), stamp: Stamp::of(path), fault: None }
    }
}

impl TrustFiles {
    /// The file at `path`, of which `read` makes what counts.
    ///
    /// # Errors
    /// The error of `read`.
    pub(super) fn single<E>(path: &Path, read: impl FnOnce(&Path) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        let looked_at = TrustFile::now(path);
        let text = Text { path: path.to_owned(), bytes: read(path)?, named: true };
        Ok(Self { texts: vec![text], looked_at: vec![looked_at] })
    }

    /// Those who have issued the first certificate of the chain at `path`, as far as they stand there and may vouch for clients.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn issuers(path: &Path) -> Result<Self, TrustError> {
        let read = |path: &Path| {
            let chain = Pem::read(&load::read(path, load::LARGEST)?).map(|pem| pem.chain()).unwrap_or_default();
            let may_vouch = |der: &&CertificateDer<'_>| {
                Certificate::from_der(der).is_ok_and(|ca| ca.is_ca() && ca.ca_fault(Role::Client).is_none())
            };
            Ok(pem::certificates(chain.iter().skip(1).filter(may_vouch)).into_bytes())
        };
        Self::single(path, read).map_err(|error| TrustError::Load(FileKind::ClientCa, error))
    }

    /// Reads `paths`, files and folders. Of a folder every regular file is read whose name does not begin with a dot, in the
    /// order of their names.
    ///
    /// A file that was named itself has to be readable. One of a folder that cannot be used counts as it was in `before`, when
    /// it was last good; if it never was, CAs are left out.
    ///
    /// # Errors
    /// A file cannot be read, where it has to be; or a folder.
    pub(super) fn read(
        paths: &[PathBuf],
        holding: TrustFileKind<'_>,
        before: Option<&Self>,
    ) -> Result<Self, TrustError> {
        let known = before.map(Self::by_path).unwrap_or_default();
        let mut files = Self::default();
        for path in paths {
            // What was named as a file is not taken for a folder later, in which there may be nothing.
            if !path.is_dir() || known.contains_key(path.as_path()) {
                let one = Self::single(path, |path| files.read_next(path, holding))
                    .map_err(|error| TrustError::Load(holding.kind(), error))?;
                files.texts.extend(one.texts);
                files.looked_at.extend(one.looked_at);
                continue;
            }
            for path in entries(path, holding, &known)? {
                files.read_entry(path, holding, &known)?;
            }
        }
        Ok(files)
    }

    /// Reads the file at `path`, as long as there is room for it beside those that were read.
    fn read_next(&self, path: &Path, holding: TrustFileKind<'_>) -> Result<Vec<u8>, LoadError> {
        let (most, largest) = (*MOST_HERE, holding.largest());
        let room = most.saturating_sub(self.texts.iter().map(|text| text.bytes.len() as u64).sum());
        load::read(path, largest.min(room)).map_err(|error| match error {
            LoadError::TooLarge { path, .. } if room < largest => LoadError::NoRoom { path, most },
            error => error,
        })
    }

    fn read_entry(
        &mut self,
        path: PathBuf,
        holding: TrustFileKind<'_>,
        known: &KnownFiles<'_>,
    ) -> Result<(), TrustError> {
        let mut looked_at = TrustFile::now(&path);
        let before = known.get(path.as_path());
        let read = match self.read_next(&path, holding) {
            // It has gone in the meantime.
            Err(_) if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) => {
                return Ok(());
            }
            read => read.map(|bytes| Text { path, bytes, named: false }),
        };
        let judged = read.map_err(|error| TrustError::Load(holding.kind(), error)).and_then(|text| {
            let known = before.filter(|(known, at)| at.fault.is_none() && **known == text);
            let nothing = known.map_or_else(|| holding.check(&text), |_| Ok(None)).map_err(TrustError::of_anchors)?;
            Ok((text, nothing))
        });
        match (judged, before) {
            (Ok((_, Some(_))), Some((text, _))) if matches!(holding, TrustFileKind::Crls(_)) => {
                let path = text.path.display();
                looked_at.fault =
                    Some(format!("{path}: no CRL in it any more; take the file out if that is meant; {AS_IT_WAS}"));
                self.texts.push((*text).clone());
            }
            (Ok((_, Some(nothing))), _) => looked_at.fault = Some(nothing),
            (Ok((text, None)), _) => self.texts.push(text),
            (Err(fault), Some((text, _))) => {
                looked_at.fault = Some(format!("{fault}; {AS_IT_WAS}"));
                self.texts.push((*text).clone());
            }
            (Err(fault), None) if matches!(holding, TrustFileKind::Cas(_)) => {
                looked_at.fault = Some(format!("{fault}; left out"));
            }
            (Err(fault), None) => return Err(fault),
        }
        self.looked_at.push(looked_at);
        Ok(())
    }

    fn by_path(&self) -> KnownFiles<'_> {
        let looked_at: HashMap<_, _> = self.looked_at.iter().map(|at| (at.path.as_path(), at)).collect();
        let texts = self.texts.iter().filter_map(|text| Some((text, *looked_at.get(text.path.as_path())?)));
        texts.map(|(text, at)| (text.path.as_path(), (text, at))).collect()
    }

    /// What is said of each file of a folder that cannot be used.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.looked_at.iter().filter_map(|at| at.fault.clone())
    }

    /// The same, as what cannot be used of files of this kind.
    pub(super) fn faults(&self, kind: FileKind) -> impl Iterator<Item = LoadFault> {
        self.looked_at
            .iter()
            .filter_map(move |at| Some(LoadFault { kind, file: Some(at.path.clone()), error: at.fault.clone()? }))
    }

    /// Whether both say the same. Another file with the same text makes no difference, and neither does one that does not count.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.texts == other.texts
    }

    /// How the files that were there `before` were replaced: the least sure way among them. One that is gone may be on its way back.
    pub(super) fn replacement(&self, before: &Self) -> Replacement {
        let now: HashMap<_, _> = self.looked_at.iter().map(|at| (at.path.as_path(), &at.stamp)).collect();
        let came_by = before.looked_at.iter().map(|at| match (&at.stamp, now.get(at.path.as_path())) {
            (Some(before), Some(Some(now))) => now.replacement_of(before),
            (Some(_), _) => Replacement::InPlace,
            (None, _) => Replacement::Whole,
        });
        came_by.max().unwrap_or(Replacement::Whole)
    }
}

/// What is known of files by their paths.
type KnownFiles<'a> = HashMap<&'a Path, (&'a Text, &'a TrustFile)>;

impl TrustFileKind<'_> {
    fn kind(self) -> FileKind {
        match self {
            Self::Cas(Role::Client) => FileKind::ClientCa,
            Self::Cas(Role::Server) => FileKind::ServerCa,
            Self::Crls(_) => FileKind::ClientCrl,
        }
    }

    /// In bytes.
    fn largest(self) -> u64 {
        match self {
            Self::Cas(_) => load::LARGEST,
            Self::Crls(_) => MOST,
        }
    }

    /// Why there is nothing in `text`, and it is left out; `None`: there is something.
    ///
    /// # Errors
    /// What is there cannot be used.
    fn check(self, text: &Text) -> Result<Option<String>, TrustAnchorsError> {
        match self {
            Self::Cas(role) => TrustAnchors::lacks_cas(text, role),
            Self::Crls(judge) => judge.check(text),
        }
    }
}

/// The files in a folder, in the order of their names; a symlink to nowhere is one that cannot be read, and so is what was a file when it
/// was last good.
fn entries(folder: &Path, holding: TrustFileKind<'_>, known: &KnownFiles<'_>) -> Result<Vec<PathBuf>, TrustError> {
    let failed =
        |cause: String, help| TrustError::Folder { kind: holding.kind(), path: folder.to_owned(), cause, help };
    let unreadable = |error: io::Error| failed(error.to_string(), "see whether it is there and this user can read it");
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().map(OsStr::as_bytes).is_none_or(|name| name.starts_with(b"."));
        let was_file = known.contains_key(path.as_path());
        if !hidden && (was_file || fs::metadata(&path).map_or(true, |metadata| metadata.is_file())) {
            paths.push(path);
        }
        if paths.len() > MAX_ENTRIES {
            return Err(failed(format!("more than {MAX_ENTRIES} files"), "name a folder with nothing else in it"));
        }
    }
    paths.sort();
    Ok(paths)
}
