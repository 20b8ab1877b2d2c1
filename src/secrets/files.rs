//! The folder for secrets that the app gets as files: in memory, for our own user alone, and gone with the app.
//!
//! A folder of ours is locked for as long as the process lives, so that whoever starts next can tell what a killed one has left behind.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, Dir, FlockOperation, Mode, OFlags, access, fchmod, flock, fstat, fstatfs, mkdirat, open, openat,
    statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::SecretValue;
use crate::sys::atomic_file;
use crate::sys::removal::remove_folder;

/// What the names of our folders begin with; eight characters follow.
const PREFIX: &str = "vestibule-secrets-";

/// Levels of folders within one of ours: `bindings`, and one for each binding.
const LEVELS: usize = 2;

/// Characters behind the prefix, which no two folders share.
const RANDOM: usize = 8;

/// Where a folder is made that nobody has named a place for.
const IN_MEMORY: [&str; 2] = ["/dev/shm", "/run"];

/// What file systems in memory call themselves (statfs(2)): tmpfs and ramfs.
const MEMORY_MAGIC: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// So many names are tried before we believe that something else is wrong.
const ATTEMPTS: usize = 16;

/// A folder of ours. It goes, with all that is in it, when this is dropped.
pub struct SecretsFolder {
    path: PathBuf,
    /// Locked.
    _folder: OwnedFd,
}

/// Why there is no folder, or no file in it.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No place is both in memory and ours to write in.
    #[error(
        "no file system in memory can be written to (looked at /dev/shm and /run), and secrets are not written to disks; name a folder by --secrets-dir"
    )]
    NoMemory,
    /// Others could put a folder of theirs in the place of ours.
    #[error("others may write in {}, which has no sticky bit; name another folder by --secrets-dir", .0.display())]
    OpenFolder(PathBuf),
    /// The kernel's.
    #[error("{}: {error}; name a folder by --secrets-dir that can be written to, and has room", .path.display())]
    Kernel {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl SecretsFolder {
    /// Removes what processes have left in `named`, or else in the usual places, that were killed. What cannot be removed stays, and what is deeper
    /// than anything of ours.
    pub fn remove_leftovers(named: Option<&Path>) {
        let named = named.into_iter().map(Path::to_owned);
        for place in named.chain(IN_MEMORY.map(PathBuf::from)) {
            for path in leftovers(&place).unwrap_or_default() {
                match remove_folder(&path, LEVELS) {
                    Ok(()) => {
                        tracing::info!(folder = %path.display(), "leftover secrets folder of a killed process removed")
                    }
                    Err(error) => {
                        tracing::warn!(folder = %path.display(), %error, "leftover secrets folder of a killed process cannot be removed; remove what is in it");
                    }
                }
            }
        }
    }

    /// A new folder in `named`, or in the first usual place that is in memory. What is on a disk is said to be.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn create(named: Option<&Path>) -> Result<Self, FolderError> {
        if let Some(place) = named {
            let (folder, is_in_memory) = Self::create_in(place)?;
            if !is_in_memory {
                tracing::warn!(
                    folder = %place.display(),
                    "--secrets-dir is not in memory: secrets are written to a disk, and may be found there later"
                );
            }
            return Ok(folder);
        }
        for place in IN_MEMORY {
            if is_in_memory(Path::new(place))
                && let Ok((folder, _)) = Self::create_in(Path::new(place))
            {
                return Ok(folder);
            }
        }
        Err(FolderError::NoMemory)
    }

    /// Where [`SecretsFolder::create`] would make it, if anywhere.
    pub fn place(named: Option<&Path>) -> Option<PathBuf> {
        let fits = |place: &&Path| is_in_memory(place) && is_writable(place).is_ok();
        named.or_else(|| IN_MEMORY.iter().map(Path::new).find(fits)).map(Path::to_owned)
    }

    /// Whether [`SecretsFolder::create`] would find a place, without anything being made.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn check(named: Option<&Path>) -> Result<(), FolderError> {
        if let Some(place) = named {
            open_place(place)?;
            return is_writable(place).map_err(|error| of_kernel(place, error));
        }
        Self::place(None).map(drop).ok_or(FolderError::NoMemory)
    }

    fn create_in(place: &Path) -> Result<(Self, bool), FolderError> {
        let failed = |error: Errno| of_kernel(place, error);
        let parent = open_place(place)?;
        let is_in_memory = fstatfs(&parent).is_ok_and(|found| MEMORY_MAGIC.contains(&(found.f_type as u64)));
        for _ in 0..ATTEMPTS {
            let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(RANDOM).collect();
            let name = format!("{PREFIX}{random}");
            match mkdirat(&parent, &name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(failed(error)),
            }
            // Whoever looks for leftovers in this moment may take it for one.
            if let Some(locked) = lock(&parent, OsStr::new(&name)) {
                fchmod(&locked, Mode::RWXU).map_err(failed)?;
                return Ok((Self { path: place.join(name), _folder: locked }, is_in_memory));
            }
        }
        Err(failed(Errno::EXIST))
    }

    /// A file called `name`, or like it, with `value` in it, for our own user to read.
    ///
    /// # Errors
    /// The kernel's, such as that there is no more room.
    pub fn add(&self, name: &str, value: &SecretValue) -> Result<PathBuf, FolderError> {
        let path = self.free(name);
        replace(&path, value)?;
        Ok(path)
    }

    /// A folder called `name`, or like it, for more files.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_folder(&self, name: &str) -> Result<PathBuf, FolderError> {
        let path = self.free(name);
        make_folder(&path)?;
        Ok(path)
    }

    /// A path of no file yet. Nobody but us makes any here.
    fn free(&self, name: &str) -> PathBuf {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let plain: String = name.chars().take(100).map(|c| if is_plain(c) { c } else { '_' }).collect();
        let plain = format!("{}{}", if plain.starts_with('.') || plain.is_empty() { "_" } else { "" }, plain);
        let numbered = (2_u32..).map(|number| self.path.join(format!("{plain}-{number}")));
        let mut paths = std::iter::once(self.path.join(&plain)).chain(numbered);
        paths.find(|path| fs::symlink_metadata(path).is_err()).unwrap_or_else(|| self.path.join(&plain))
    }
}

impl Drop for SecretsFolder {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.path, LEVELS) {
            tracing::warn!(folder = %self.path.display(), %error, "cannot remove the folder of secrets");
        }
    }
}

/// Puts `value` into the file `path`, whole or not at all: whoever reads it meanwhile reads the old or the new.
///
/// # Errors
/// The kernel's, such as that there is no more room.
pub(super) fn replace(path: &Path, value: &SecretValue) -> Result<(), FolderError> {
    atomic_file::replace(path, value.bytes(), 0o400)
        .map_err(|error| FolderError::Kernel { path: path.to_owned(), error: io::Error::other(error.to_string()) })
}

/// # Errors
/// The kernel's.
pub(super) fn make_folder(path: &Path) -> Result<(), FolderError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| FolderError::Kernel { path: path.to_owned(), error })
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn of_kernel(place: &Path, error: Errno) -> FolderError {
    FolderError::Kernel { path: place.to_owned(), error: error.into() }
}

/// A folder in which nobody can put another in the place of ours.
fn open_place(place: &Path) -> Result<OwnedFd, FolderError> {
    let parent = open(place, FOLDER, Mode::empty()).map_err(|error| of_kernel(place, error))?;
    let mode = Mode::from_raw_mode(fstat(&parent).map_err(|error| of_kernel(place, error))?.st_mode);
    match mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        true => Err(FolderError::OpenFolder(place.to_owned())),
        false => Ok(parent),
    }
}

fn is_writable(place: &Path) -> Result<(), Errno> {
    access(place, Access::WRITE_OK | Access::EXEC_OK)
}

fn is_in_memory(place: &Path) -> bool {
    let found = open(place, FOLDER, Mode::empty()).and_then(fstatfs);
    found.is_ok_and(|found| MEMORY_MAGIC.contains(&(found.f_type as u64)))
}

/// The folder `name` in `parent`, locked; `None`: another has it, or it is gone.
fn lock(parent: &OwnedFd, name: &OsStr) -> Option<OwnedFd> {
    let folder = openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    let own = fstat(&folder).ok()?;
    if own.st_uid != geteuid().as_raw() {
        return None;
    }
    flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    // Whoever had it until now may have removed it.
    let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (there.st_ino == own.st_ino && there.st_dev == own.st_dev).then_some(folder)
}

/// Folders of ours in `place` whose process is gone.
fn leftovers(place: &Path) -> io::Result<Vec<PathBuf>> {
    let parent = open(place, FOLDER, Mode::empty())?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&parent)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let random = name.strip_prefix(PREFIX.as_bytes());
        let is_ours = random.is_some_and(|r| r.len() == RANDOM && r.iter().all(u8::is_ascii_alphanumeric));
        if is_ours && lock(&parent, OsStr::from_bytes(name)).is_some() {
            found.push(place.join(OsStr::from_bytes(name)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn files_are_for_our_user_alone_and_go_with_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = SecretsFolder::create(Some(place.path())).unwrap();
        assert_eq!(mode(&folder.path), 0o700);
        let first = folder.add("DB/PASS word", &SecretValue::from("one")).unwrap();
        let second = folder.add("DB_PASS_word", &SecretValue::from("two")).unwrap();
        let hidden = folder.add("../x", &SecretValue::from("three")).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!([name(&first), name(&second), name(&hidden)], ["DB_PASS_word", "DB_PASS_word-2", "_.._x"]);
        for (path, value) in [(&first, "one"), (&second, "two"), (&hidden, "three")] {
            assert_eq!((mode(path), fs::read_to_string(path).unwrap().as_str()), (0o400, value));
            assert_eq!(path.parent(), Some(folder.path.as_path()));
        }
        replace(&first, &SecretValue::from("new")).unwrap();
        assert_eq!((mode(&first), fs::read_to_string(&first).unwrap().as_str()), (0o400, "new"));
        assert_eq!(mode(&folder.add_folder("bindings").unwrap()), 0o700);
        drop(folder);
        assert_eq!(entries(place.path()), 0);
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed_and_what_a_living_one_has_stays() {
        let place = tempfile::tempdir().unwrap();
        let living = SecretsFolder::create(Some(place.path())).unwrap();
        let file = living.add("x", &SecretValue::from("x")).unwrap();
        let killed = place.path().join("vestibule-secrets-abcdefgh");
        fs::create_dir_all(killed.join("bindings/db")).unwrap();
        fs::write(killed.join("bindings/db/password"), "x").unwrap();
        let others =
            ["vestibule-secrets-abcdefg", "vestibule-secrets-abcdefghi", "vestibule-secrets-abcd_fgh", "other"];
        others.iter().for_each(|name| fs::create_dir(place.path().join(name)).unwrap());
        fs::write(place.path().join("vestibule-secrets-isafile1"), "").unwrap();
        symlink("other", place.path().join("vestibule-secrets-symlink1")).unwrap();
        SecretsFolder::remove_leftovers(Some(place.path()));
        assert!(!killed.exists() && file.exists() && place.path().join("other").exists());
        assert_eq!(entries(place.path()), 1 + others.len() + 2);
    }

    #[test]
    fn a_leftover_that_is_deeper_than_anything_of_ours_stays_and_keeps_nobody_from_starting() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("vestibule-secrets-abcdefgh");
        fs::create_dir_all(deep.join("x/".repeat(200))).unwrap();
        fs::write(deep.join("secret"), "x").unwrap();
        SecretsFolder::remove_leftovers(Some(place.path()));
        assert!(deep.join("x/x/x/x").exists() && !deep.join("secret").exists());
        let folder = SecretsFolder::create(Some(place.path())).unwrap();
        fs::create_dir_all(folder.path.join("x/".repeat(200))).unwrap();
        let path = folder.path.clone();
        drop(folder);
        assert!(path.join("x/x/x/x").exists());
    }

    #[test]
    fn a_folder_in_which_others_could_replace_ours_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = SecretsFolder::create(Some(place.path())).err().unwrap().to_string();
        assert!(error.contains("no sticky bit"), "{error}");
        assert_eq!(SecretsFolder::check(Some(place.path())).unwrap_err().to_string(), error);
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(SecretsFolder::create(Some(place.path())).is_ok() && SecretsFolder::check(Some(place.path())).is_ok());
        assert!(SecretsFolder::check(Some(&place.path().join("missing"))).is_err());
        let missing = SecretsFolder::create(Some(&place.path().join("missing"))).err().unwrap().to_string();
        assert!(
            missing.contains("missing: No such file or directory") && missing.contains("--secrets-dir"),
            "{missing}"
        );
        assert_eq!(entries(place.path()), 0);
    }
}
