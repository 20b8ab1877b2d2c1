//! Files that belong together: all are replaced, or none.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fchown, fstat, fsync, linkat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::target_path::{TargetPath, WriteError};
use super::{StagedFile, TemporaryFile};

/// What stood in the place of a file before it was replaced.
pub(super) enum OldFile {
    /// Nothing.
    None,
    /// A file or a symlink, which has a temporary name beside its own.
    Kept(TemporaryFile),
}

/// Each of `files` takes the place of the old one, in this order; where that cannot be done for one, all old files are back in their places.
/// A reader may see the new ones for a moment nevertheless. It blocks.
///
/// # Errors
/// For each of `files` in turn: what went wrong with this one, if anything.
pub(crate) fn commit_together(mut files: Vec<StagedFile>) -> Result<(), Vec<Option<WriteError>>> {
    let all = files.len();
    let alone = |at: usize, error: WriteError| -> Vec<Option<WriteError>> {
        let mut errors: Vec<_> = (0..all).map(|_| None).collect();
        errors[at] = Some(error);
        errors
    };
    // Whatever may fail for want of room or of a permission comes before the first rename.
    let mut old_files = Vec::with_capacity(all);
    for (at, file) in files.iter().enumerate() {
        old_files.push(OldFile::keep(&file.0.place).map_err(|error| alone(at, error))?);
    }
    for at in 0..all {
        let Err(error) = files[at].0.rename() else { continue };
        let mut errors = alone(at, error);
        // The last one first: what stands in the chain's place is never newer than the key.
        for back in (0..at).rev() {
            let place = &files[back].0.place;
            errors[back] = match old_files[back].put_back(place) {
                Ok(()) => place.sync().err(),
                Err(WriteError::Kernel(error)) => Some(WriteError::NotPutBack(error)),
                Err(error) => Some(error),
            };
        }
        return Err(errors);
    }
    let synced: Vec<_> = files.iter().map(|file| file.0.place.sync().err()).collect();
    if synced.iter().any(Option::is_some) { Err(synced) } else { Ok(()) }
}

impl OldFile {
    /// Keeps what is in `place` for the way back.
    fn keep(place: &TargetPath) -> Result<Self, WriteError> {
        let link = |place: &TargetPath, name: &OsStr| {
            linkat(&place.folder, &place.name, &place.folder, name, AtFlags::empty())
        };
        match TemporaryFile::made_by(place.try_clone()?, link) {
            Ok((kept, ())) => Ok(Self::Kept(kept)),
            Err(WriteError::Kernel(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Self::None),
            // Not every file system has hard links, and not every file may be given one.
            Err(_) => Self::copy(place),
        }
    }

    /// The same by another file of the same content, mode and owner.
    pub(super) fn copy(place: &TargetPath) -> Result<Self, WriteError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut old: File = match openat(&place.folder, &place.name, flags, Mode::empty()) {
            Ok(old) => old.into(),
            Err(Errno::NOENT) => return Ok(Self::None),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&old)?;
        let (kept, mut copy) = TemporaryFile::create(place.try_clone()?)?;
        let of_copy = fstat(&copy)?;
        if (of_copy.st_uid, of_copy.st_gid) != (stat.st_uid, stat.st_gid) {
            fchown(&copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        }
        fchmod(&copy, Mode::from_raw_mode(stat.st_mode))?;
        // From file to file by the kernel: no byte of a key comes into our memory.
        io::copy(&mut old, &mut copy)?;
        fsync(&copy)?;
        Ok(Self::Kept(kept))
    }

    /// Puts it back where it was, over what has been renamed to `place`.
    pub(super) fn put_back(&mut self, place: &TargetPath) -> Result<(), WriteError> {
        match self {
            Self::Kept(kept) => kept.rename(),
            Self::None => Ok(unlinkat(&place.folder, &place.name, AtFlags::empty())?),
        }
    }
}
