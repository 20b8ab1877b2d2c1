//! Files that others read while we replace them: a reader sees the old file or the new one, whole, and so does whoever looks after a crash.

mod target_path;
mod together;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fchmod, fsync, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use target_path::TargetPath;
pub(crate) use target_path::{WriteError, check, check_access, check_folder};
pub(crate) use together::commit_together;

/// So many names are tried before we believe that something else is wrong.
const ATTEMPTS: usize = 16;

/// A file under its temporary name, whole and on the disk, which takes the place of another by [`StagedFile::commit`] or
/// [`commit_together`], or goes.
pub(crate) struct StagedFile(TemporaryFile);

/// A file under a temporary name, which goes unless it was renamed.
struct TemporaryFile {
    place: TargetPath,
    name: OsString,
    /// Whether it is still there under this name.
    is_there: bool,
}

/// Replaces `path`, or makes it, by a file of these bytes and this mode: a temporary file in the same folder, then a rename, both on the
/// disk before this returns. A symlink is replaced itself. It blocks.
///
/// # Errors
/// The kernel's, and those of [`check`]. Then the old file is as it was, and nothing of ours is left.
pub(crate) fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), WriteError> {
    stage(path, contents, mode)?.commit()
}

/// The first half of [`replace`], all that takes room on the disk: where several files belong together, none is replaced before each is staged.
///
/// # Errors
/// Those of [`replace`].
pub(crate) fn stage(path: &Path, contents: &[u8], mode: u32) -> Result<StagedFile, WriteError> {
    let (temporary, mut file) = TemporaryFile::create(TargetPath::open(path)?)?;
    // Before the first byte: nobody ever reads what this mode does not let them. The umask has no say.
    fchmod(&file, Mode::from_raw_mode(mode))?;
    file.write_all(contents)?;
    fsync(&file)?;
    Ok(StagedFile(temporary))
}

impl StagedFile {
    /// The second half: it takes the place of the old one.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn commit(mut self) -> Result<(), WriteError> {
        self.0.rename()?;
        self.0.place.sync()
    }
}

/// Removes what a process has left beside `path` that was killed within [`replace`] or [`commit_together`], and says how many files.
///
/// # Errors
/// The folder cannot be read, or a file in it cannot be removed.
pub(crate) fn remove_leftovers(path: &Path) -> Result<usize, WriteError> {
    let place = TargetPath::open(path)?;
    let mut removed = 0;
    for entry in Dir::read_from(&place.folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if !place.is_temporary(name) {
            continue;
        }
        // Only what we make, or keep for the way back: a folder or a pipe of that name is somebody else's.
        let is_ours =
            |stat: Stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Symlink);
        match statat(&place.folder, name, AtFlags::SYMLINK_NOFOLLOW).map(is_ours) {
            Ok(true) => unlinkat(&place.folder, name, AtFlags::empty())?,
            Ok(false) | Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        }
        removed += 1;
    }
    Ok(removed)
}

impl TemporaryFile {
    /// An empty one, for its owner alone.
    fn create(place: TargetPath) -> Result<(Self, File), WriteError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self::made_by(place, |place, name| openat(&place.folder, name, flags, Mode::RUSR | Mode::WUSR))
            .map(|(temporary, file)| (temporary, file.into()))
    }

    /// What `make` makes under a name that nothing has.
    fn made_by<T>(
        place: TargetPath,
        make: impl Fn(&TargetPath, &OsStr) -> Result<T, Errno>,
    ) -> Result<(Self, T), WriteError> {
        for _ in 0..ATTEMPTS {
            let name = place.temporary_name();
            match make(&place, &name) {
                Ok(made) => return Ok((Self { place, name, is_there: true }, made)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    fn rename(&mut self) -> Result<(), WriteError> {
        renameat(&self.place.folder, &self.name, &self.place.folder, &self.place.name)?;
        self.is_there = false;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.is_there {
            // Where that fails too, the next start removes it.
            let _ = unlinkat(&self.place.folder, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests;
