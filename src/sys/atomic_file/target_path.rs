//! Where a file is to be, and whether one of ours may be put there.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags, accessat, fstat, fsync, open,
    statat, statx,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::sys::process;

/// What the names of temporary files end with: `.NAME.XXXXXXXX.vestibule`.
const SUFFIX: &str = ".vestibule";

/// Characters between the name and the suffix, which no two temporary files share.
const RANDOM: usize = 8;

/// CAP_FOWNER (capabilities(7)): whoever has it may replace the files of others.
const REPLACE_FILES_OF_OTHERS: u32 = 3;

/// Why a file was not replaced: what is wrong with the place, or what the kernel says. Without the path, which the caller knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// There is a folder in its place.
    IsFolder,
    /// There is something in its place, or at the end of a symlink in its place, that is no file: a device, a pipe or a socket.
    IsNoFile,
    /// Whoever may write in its folder could replace the file, and what they put there would be taken for ours.
    OpenFolder,
    /// The folder is not there.
    NoFolder,
    /// The folder is something else.
    NotInFolder,
    /// Something is mounted on the file itself. It can be written to, but not replaced.
    IsMountPoint,
    /// The folder has the sticky bit, and neither it nor the file is ours.
    OthersFile,
    /// The file has an attribute by which nobody can replace it.
    Immutable,
    /// Another file that belongs to it could not be replaced, and it cannot be as it was.
    NotPutBack(io::Error),
    /// The kernel's, such as that the file system is full or read-only.
    Kernel(#[from] io::Error),
}

impl WriteError {
    /// What is wrong, and the remedy, where there is one.
    pub(crate) fn parts(&self) -> (Cow<'static, str>, Option<&'static str>) {
        let (what, help) = match self {
            Self::IsFolder => ("it is a folder", "name a file"),
            Self::IsNoFile => ("it is a device, a pipe or a socket", "name a file"),
            Self::OpenFolder => (
                "others may write in its folder, which has no sticky bit, and could put a file of theirs there",
                "take that right away, or name another folder",
            ),
            Self::NoFolder => ("its folder does not exist", "make it"),
            Self::NotInFolder => ("its folder is not a folder", "name another"),
            Self::IsMountPoint => (
                "it is mounted there as a single file, which cannot be replaced",
                "mount its folder instead, or name another file",
            ),
            Self::OthersFile => (
                "it is another user's file in a folder with the sticky bit, where only they can replace it",
                "have them remove it, or name a file in another folder",
            ),
            Self::Immutable => (
                "it is immutable or can only be appended to",
                "take that attribute away by chattr -ia, or name another file",
            ),
            Self::NotPutBack(error) => {
                let what = format!(
                    "the old file could not be put back ({error}), so that it does not fit the one that could not be replaced"
                );
                return (what.into(), None);
            }
            Self::Kernel(error) => return (error.to_string().into(), None),
        };
        (what.into(), Some(help))
    }
}

/// `what is wrong; the remedy`
impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (what, Some(help)) => write!(f, "{what}; {help}"),
            (what, None) => f.write_str(&what),
        }
    }
}

/// Where a file is to be: the folder, opened, and the name in it. Whatever becomes of the path meanwhile, everything happens in this folder.
pub(super) struct TargetPath {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
}

/// Whether [`super::replace`] could begin: the folder is there, nobody but us and its owner may replace files of ours in it, and `path` is not itself a
/// folder. Nothing is written, so a file system that is full or read-only shows later.
///
/// # Errors
/// What [`super::replace`] would fail with.
pub(crate) fn check(path: &Path) -> Result<(), WriteError> {
    TargetPath::open(path).map(drop)
}

/// Whether this user may write in the folder of `path`, as the kernel sees it now.
///
/// # Errors
/// The kernel's.
pub(crate) fn check_access(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Whether the folder of `path` is there, and nobody but us and its owner may replace what we put there.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_folder(path: &Path) -> Result<(), WriteError> {
    open_folder(path).map(drop)
}

fn open_folder(path: &Path) -> Result<OwnedFd, WriteError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => WriteError::NoFolder,
        Errno::NOTDIR => WriteError::NotInFolder,
        other => other.into(),
    })?;
    let mode = Mode::from_raw_mode(fstat(&folder)?.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(WriteError::OpenFolder);
    }
    Ok(folder)
}

impl WriteError {
    /// Whether no waiting would help: the path itself is wrong.
    pub(crate) fn is_user_error(&self) -> bool {
        matches!(self, Self::IsFolder | Self::IsNoFile | Self::OpenFolder | Self::IsMountPoint | Self::OthersFile)
    }
}

impl From<Errno> for WriteError {
    fn from(error: Errno) -> Self {
        Self::Kernel(error.into())
    }
}

impl TargetPath {
    pub(super) fn open(path: &Path) -> Result<Self, WriteError> {
        // A path that ends with a slash names a folder, and `file_name` would pass over the slash.
        let name =
            path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/")).ok_or(WriteError::IsFolder)?;
        let folder = open_folder(path)?;
        let kind = |flags| statat(&folder, name, flags).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let is_file = match kind(AtFlags::SYMLINK_NOFOLLOW) {
            Ok(FileType::Directory) => return Err(WriteError::IsFolder),
            // It is replaced itself; but nobody who names /dev/stdout means that. One that leads nowhere is any other.
            Ok(FileType::Symlink) => {
                matches!(kind(AtFlags::empty()), Ok(FileType::RegularFile | FileType::Directory) | Err(_))
            }
            Ok(FileType::RegularFile) | Err(Errno::NOENT) => true,
            Ok(_) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_file {
            return Err(WriteError::IsNoFile);
        }
        let place = Self { folder, name: name.to_owned() };
        place.find_obstacle()?.map_or(Ok(place), Err)
    }

    /// What keeps us from replacing the file that is there, if any, as far as the kernel tells.
    fn find_obstacle(&self) -> Result<Option<WriteError>, WriteError> {
        let file = match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if is_kept_by_owner(&fstat(&self.folder)?, &file, geteuid().as_raw()) && !may_replace_files_of_others() {
            return Ok(Some(WriteError::OthersFile));
        }
        // Some kernels and sandboxes do not know of attributes; then it shows when the file is replaced.
        let file = statx(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
        Ok(file.ok().and_then(|file| obstacle_of(file.stx_attributes)))
    }

    /// The same place once more.
    pub(super) fn try_clone(&self) -> Result<Self, WriteError> {
        Ok(Self { folder: self.folder.try_clone()?, name: self.name.clone() })
    }

    /// Has the disk know what was renamed here.
    pub(super) fn sync(&self) -> Result<(), WriteError> {
        match fsync(&self.folder) {
            // Some file systems do not sync folders. The file is in place anyhow.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A name for a temporary file, another one each time.
    pub(super) fn temporary_name(&self) -> OsString {
        let mut name = vec![b'.'];
        name.extend_from_slice(self.name.as_bytes());
        name.push(b'.');
        // It need not be a secret: a file that is there already, or a symlink, is never opened.
        name.extend(std::iter::repeat_with(|| fastrand::alphanumeric() as u8).take(RANDOM));
        name.extend_from_slice(SUFFIX.as_bytes());
        OsString::from_vec(name)
    }

    /// Whether `name` is one that [`Self::temporary_name`] may have given.
    pub(super) fn is_temporary(&self, name: &OsStr) -> bool {
        let random = || {
            let rest = name.as_bytes().strip_prefix(b".")?.strip_prefix(self.name.as_bytes())?.strip_prefix(b".")?;
            rest.strip_suffix(SUFFIX.as_bytes())
        };
        random().is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric))
    }
}

/// Whether the sticky bit of `folder` keeps the user `euid` from replacing `file`.
fn is_kept_by_owner(folder: &Stat, file: &Stat, euid: u32) -> bool {
    Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX) && folder.st_uid != euid && file.st_uid != euid
}

/// Where nothing is known, it shows when the file is replaced.
fn may_replace_files_of_others() -> bool {
    process::has_capability(REPLACE_FILES_OF_OTHERS).unwrap_or(true)
}

fn obstacle_of(attributes: StatxAttributes) -> Option<WriteError> {
    if attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Some(WriteError::IsMountPoint);
    }
    attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND).then_some(WriteError::Immutable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_mounted_or_immutable_cannot_be_replaced() {
        let said = |attributes| obstacle_of(attributes).map(|obstacle| obstacle.to_string()).unwrap_or_default();
        assert!(said(StatxAttributes::MOUNT_ROOT).contains("mount its folder instead"));
        for attribute in [StatxAttributes::IMMUTABLE, StatxAttributes::APPEND] {
            assert!(said(attribute).contains("chattr -ia"));
        }
        assert_eq!(said(StatxAttributes::COMPRESSED | StatxAttributes::NODUMP), "");
    }

    #[test]
    fn the_sticky_bit_keeps_a_file_for_its_owner_and_the_owner_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let stat = |mode: u32, uid: u32| {
            let mut stat = rustix::fs::stat(folder.path()).unwrap();
            (stat.st_mode, stat.st_uid) = (mode, uid);
            stat
        };
        let (sticky, plain) = (stat(0o41777, 1), stat(0o40777, 1));
        let file = stat(0o100_600, 2);
        assert!(is_kept_by_owner(&sticky, &file, 3));
        for (folder, file, euid) in [(&sticky, &file, 1), (&sticky, &file, 2), (&plain, &file, 3)] {
            assert!(!is_kept_by_owner(folder, file, euid), "{euid}");
        }
    }
}
