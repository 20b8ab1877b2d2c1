//! Files that others read while we replace them: a reader sees the old file or the new one, whole, and so does whoever looks after a crash.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, accessat, fchmod, fstat, fsync, open, openat, renameat,
    statat, unlinkat,
};
use rustix::io::Errno;

/// What the names of temporary files end with: `.NAME.XXXXXXXX.vestibule`.
const SUFFIX: &str = ".vestibule";

/// Characters between the name and the suffix, which no two temporary files share.
const RANDOM: usize = 8;

/// So many names are tried before we believe that something else is wrong.
const ATTEMPTS: usize = 16;

/// Why a file was not replaced: what is wrong with the place, or what the kernel says. Without the path, which the caller knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// There is a folder in its place.
    #[error("it is a folder; name a file")]
    IsFolder,
    /// There is something in its place, or at the end of a symlink in its place, that is no file: a device, a pipe or a socket.
    #[error("it is a device, a pipe or a socket; name a file")]
    IsNoFile,
    /// Whoever may write in its folder could replace the file, and what they put there would be taken for ours.
    #[error(
        "others may write in its folder, which has no sticky bit, and could put a file of theirs there; take that right away, or name another folder"
    )]
    OpenFolder,
    /// The folder is not there.
    #[error("its folder does not exist; make it")]
    NoFolder,
    /// The folder is something else.
    #[error("its folder is not a folder; name another")]
    NotInFolder,
    /// The kernel's, such as that the file system is full or read-only.
    #[error("{0}")]
    Kernel(#[from] io::Error),
}

/// Where a file is to be: the folder, opened, and the name in it. Whatever becomes of the path meanwhile, everything happens in this folder.
struct Place {
    folder: OwnedFd,
    name: OsString,
}

/// A file under its temporary name, whole and on the disk, which takes the place of another by [`StagedFile::commit`], or goes.
pub(crate) struct StagedFile(TemporaryFile);

/// A file under its temporary name, which goes unless it was renamed.
struct TemporaryFile {
    place: Place,
    name: OsString,
    file: Option<File>,
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
    let mut file = TemporaryFile::create(Place::open(path)?)?;
    file.fill(contents, mode)?;
    Ok(StagedFile(file))
}

impl StagedFile {
    /// The second half: it takes the place of the old one.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn commit(self) -> Result<(), WriteError> {
        self.0.rename()
    }
}

/// Whether [`replace`] could begin: the folder is there, nobody but us and its owner may replace files of ours in it, and `path` is not itself a
/// folder. Nothing is written, so a file system that is full or read-only shows later.
///
/// # Errors
/// What [`replace`] would fail with.
pub(crate) fn check(path: &Path) -> Result<(), WriteError> {
    Place::open(path).map(drop)
}

/// Whether this user may write in the folder of `path`, as the kernel sees it now.
///
/// # Errors
/// The kernel's.
pub(crate) fn check_access(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Removes what a process has left beside `path` that was killed within [`replace`], and says how many files.
///
/// # Errors
/// The folder cannot be read, or a file in it cannot be removed.
pub(crate) fn remove_leftovers(path: &Path) -> Result<usize, WriteError> {
    let place = Place::open(path)?;
    let mut removed = 0;
    for entry in Dir::read_from(&place.folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if !place.is_temporary(name) {
            continue;
        }
        // Only what we make: a folder or a pipe of that name is somebody else's.
        let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        match statat(&place.folder, name, AtFlags::SYMLINK_NOFOLLOW).map(is_file) {
            Ok(true) => unlinkat(&place.folder, name, AtFlags::empty())?,
            Ok(false) | Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        }
        removed += 1;
    }
    Ok(removed)
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
    pub(crate) fn is_mistake(&self) -> bool {
        matches!(self, Self::IsFolder | Self::IsNoFile | Self::OpenFolder)
    }
}

impl From<Errno> for WriteError {
    fn from(error: Errno) -> Self {
        Self::Kernel(error.into())
    }
}

impl Place {
    fn open(path: &Path) -> Result<Self, WriteError> {
        // A path that ends with a slash names a folder, and `file_name` would pass over the slash.
        let name =
            path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/")).ok_or(WriteError::IsFolder)?;
        let folder = open_folder(path)?;
        let kind = |flags| statat(&folder, name, flags).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let is_ours_to_replace = match kind(AtFlags::SYMLINK_NOFOLLOW) {
            Ok(FileType::Directory) => return Err(WriteError::IsFolder),
            // It is replaced itself; but nobody who names /dev/stdout means that. One that leads nowhere is any other.
            Ok(FileType::Symlink) => {
                matches!(kind(AtFlags::empty()), Ok(FileType::RegularFile | FileType::Directory) | Err(_))
            }
            Ok(FileType::RegularFile) | Err(Errno::NOENT) => true,
            Ok(_) => false,
            Err(error) => return Err(error.into()),
        };
        if is_ours_to_replace { Ok(Self { folder, name: name.to_owned() }) } else { Err(WriteError::IsNoFile) }
    }

    /// A name for a temporary file, another one each time.
    fn temporary_name(&self) -> OsString {
        let mut name = vec![b'.'];
        name.extend_from_slice(self.name.as_bytes());
        name.push(b'.');
        // It need not be a secret: a file that is there already, or a symlink, is never opened.
        name.extend(std::iter::repeat_with(|| fastrand::alphanumeric() as u8).take(RANDOM));
        name.extend_from_slice(SUFFIX.as_bytes());
        OsString::from_vec(name)
    }

    /// Whether `name` is one that [`Self::temporary_name`] may have given.
    fn is_temporary(&self, name: &OsStr) -> bool {
        let random = || {
            let rest = name.as_bytes().strip_prefix(b".")?.strip_prefix(self.name.as_bytes())?.strip_prefix(b".")?;
            rest.strip_suffix(SUFFIX.as_bytes())
        };
        random().is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric))
    }
}

impl TemporaryFile {
    fn create(place: Place) -> Result<Self, WriteError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            let name = place.temporary_name();
            match openat(&place.folder, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok(Self { place, name, file: Some(file.into()) }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    fn fill(&mut self, contents: &[u8], mode: u32) -> Result<(), WriteError> {
        // Invariant: it is there until the rename.
        let Some(file) = &mut self.file else { return Ok(()) };
        // Before the first byte: nobody ever reads what this mode does not let them. The umask has no say.
        fchmod(&*file, Mode::from_raw_mode(mode))?;
        file.write_all(contents)?;
        Ok(fsync(&*file)?)
    }

    fn rename(mut self) -> Result<(), WriteError> {
        let Place { folder, name } = &self.place;
        renameat(folder, &self.name, folder, name)?;
        self.file = None;
        match fsync(folder) {
            // Some file systems do not sync folders. The file is in place anyhow.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Where that fails too, the next start removes it.
            let _ = unlinkat(&self.place.folder, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_is_made_and_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        replace(&path, b"first", 0o640).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"first".to_vec(), 0o640));
        let before = fs::metadata(&path).unwrap().ino();
        let held = File::open(&path).unwrap();
        replace(&path, b"second", 0o400).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"second".to_vec(), 0o400));
        assert_ne!(fs::metadata(&path).unwrap().ino(), before, "it was written in place");
        assert_eq!(io::read_to_string(held).unwrap(), "first", "who reads the old file reads it to its end");
        assert_eq!(names(folder.path()), ["token"]);
    }

    #[test]
    fn a_symlink_is_replaced_itself_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("token"), folder.path().join("other"));
        fs::write(&other, "other's").unwrap();
        symlink(&other, &path).unwrap();
        replace(&path, b"ours", 0o600).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&other).unwrap(), "other's");
        symlink(folder.path().join("nowhere"), folder.path().join("dangling")).unwrap();
        replace(&folder.path().join("dangling"), b"ours", 0o600).unwrap();
        assert_eq!(names(folder.path()), ["dangling", "other", "token"]);
    }

    #[test]
    fn what_cannot_be_a_file_of_ours_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| {
            let error = replace(path, b"ours", 0o600).unwrap_err();
            assert_eq!(check(path).unwrap_err().to_string(), error.to_string());
            error.to_string()
        };
        fs::create_dir(folder.path().join("folder")).unwrap();
        assert_eq!(refused(&folder.path().join("folder")), "it is a folder; name a file");
        assert_eq!(refused(&folder.path().join("new/")), "it is a folder; name a file");
        assert_eq!(refused(Path::new("/")), "it is a folder; name a file");
        assert_eq!(refused(&folder.path().join("nowhere/token")), "its folder does not exist; make it");
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(refused(&folder.path().join("file/token")), "its folder is not a folder; name another");
        let open = folder.path().join("folder");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&open.join("token")).starts_with("others may write in its folder, which has no sticky bit"));
        assert_eq!(names(&open), [""; 0]);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        replace(&open.join("token"), b"ours", 0o600).unwrap();
        assert_eq!(names(&open), ["token"]);
    }

    #[test]
    fn what_fails_half_way_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        replace(&path, b"old", 0o600).unwrap();
        let place = Place::open(&path).unwrap();
        let mut file = TemporaryFile::create(place).unwrap();
        file.fill(b"ne", 0o600).unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(file);
        assert_eq!((names(folder.path()), fs::read(&path).unwrap()), (vec!["token".to_owned()], b"old".to_vec()));
    }

    #[test]
    fn leftovers_of_this_file_are_removed_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let others = [
            ".token.abcdefgh.vestibul",
            ".token.abcdefg.vestibule",
            ".token.abcdefghi.vestibule",
            ".token.abcd-fgh.vestibule",
            ".other.abcdefgh.vestibule",
            "token.abcdefgh.vestibule",
            "token",
        ];
        for name in others {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join(".token.isfolder.vestibule")).unwrap();
        symlink("token", folder.path().join(".token.ISsymlnk.vestibule")).unwrap();
        let path = folder.path().join("token");
        let place = Place::open(&path).unwrap();
        // As a process leaves it that is killed: nothing runs at its end.
        std::mem::forget(TemporaryFile::create(place).unwrap());
        fs::write(folder.path().join(".token.aZ09bcde.vestibule"), "half").unwrap();
        assert_eq!(remove_leftovers(&path).unwrap(), 2);
        assert_eq!(remove_leftovers(&path).unwrap(), 0);
        let mut stay: Vec<_> = others.map(str::to_owned).to_vec();
        stay.extend([".token.isfolder.vestibule".to_owned(), ".token.ISsymlnk.vestibule".to_owned()]);
        stay.sort();
        assert_eq!(names(folder.path()), stay);
    }
}
