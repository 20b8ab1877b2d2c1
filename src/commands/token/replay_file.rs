//! `--replay-file`: the tokens that were used, from one run of the command to the next.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, open, stat};
use rustix::io::{Errno, retry_on_intr};

use crate::exit::{Exit, Fault};
use crate::sys::atomic_file;
use crate::token::ReplayCache;

/// In bytes: a line for each of as many tokens as are remembered, and some room.
const LARGEST: u64 = 8 * 1024 * 1024;

/// Whoever waits for the lock finds another file in the place of the one that it has opened. That happens with each write of another, so
/// somebody who is that unlucky is not waiting for a lock.
const ATTEMPTS: usize = 1000;

/// Whoever holds the lock judges one token, which takes milliseconds. One that keeps it for so long is stuck, or is somebody else.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// For its owner alone: it says who was here, and when.
const MODE: u32 = 0o600;

/// The file, locked: nobody else reads or replaces it as long as this is there.
#[derive(Debug)]
pub(super) struct ReplayFile<'a> {
    path: &'a Path,
    cache: ReplayCache,
    /// What it held.
    text: String,
    _lock: File,
}

impl<'a> ReplayFile<'a> {
    /// Opens and locks the file at `path`, which is made if it is not there, and reads it. It waits a moment for whoever has
    /// it locked.
    ///
    /// # Errors
    /// It cannot be read, or was not written by this command: nothing in its place counts as empty.
    pub(super) fn open(path: &'a Path) -> Result<Self, Fault> {
        let wrong = |what: String| Fault::new(Exit::NoCredential, format!("--replay-file: {}: {what}", path.display()));
        atomic_file::check(path).map_err(|error| wrong(error.to_string()))?;
        // What it leads to would stay as it was, and whoever uses that would know of nothing.
        if path.is_symlink() {
            return Err(wrong("it is a symlink; name the file that it leads to".to_owned()));
        }
        let mut lock = lock(path).map_err(|error| match error {
            Errno::WOULDBLOCK => wrong(format!(
                "another process has it locked for more than {} seconds; end that one, or name another file",
                LOCK_TIMEOUT.as_secs()
            )),
            error => wrong(format!("cannot be opened and locked: {}; name another file", std::io::Error::from(error))),
        })?;
        let mut text = String::new();
        (&mut lock)
            .take(LARGEST)
            .read_to_string(&mut text)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let cache = ReplayCache::from_lines(&text).map_err(|line| {
            wrong(format!("line {line} is not one that this command has written; name another file, or delete this one once all tokens that were used have expired"))
        })?;
        Ok(Self { path, cache, text, _lock: lock })
    }

    /// What it says.
    pub(super) fn cache(&self) -> &ReplayCache {
        &self.cache
    }

    /// Writes what is remembered now, whole or not at all, and unlocks the file.
    ///
    /// # Errors
    /// It cannot be written. Then nobody may rely on it that the token is not let in again.
    pub(super) fn save(self) -> Result<(), Fault> {
        let lines = self.cache.to_lines();
        if lines == self.text {
            return Ok(());
        }
        atomic_file::replace(self.path, lines.as_bytes(), MODE).map_err(|error| {
            Fault::new(Exit::Config, format!("--replay-file: {}: cannot be written: {error}", self.path.display()))
        })
    }
}

/// The file at `path` under a lock. It is replaced by rename, so a lock counts if the file is still the one at `path`.
fn lock(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let began = Instant::now();
    for _ in 0..ATTEMPTS {
        let file: OwnedFd = open(path, flags, Mode::from_raw_mode(MODE))?;
        let opened = fstat(&file)?;
        if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        while let Err(error) = retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            if error != Errno::WOULDBLOCK || began.elapsed() >= LOCK_TIMEOUT {
                return Err(error);
            }
            std::thread::sleep(LOCK_INTERVAL);
        }
        let id = |stat: &Stat| (stat.st_dev, stat.st_ino);
        match stat(path) {
            Ok(now) if id(&now) == id(&opened) => return Ok(file.into()),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::ReplayError;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const LATE: i64 = 4_000_000_000;

    fn used(path: &Path, jti: &str) -> Result<(), ReplayError> {
        let file = ReplayFile::open(path).unwrap();
        let used = file.cache().first_use(&[7; 32], jti, LATE, 1);
        file.save().unwrap();
        used
    }

    #[test]
    fn what_was_used_is_remembered_in_a_file_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used");
        assert_eq!((used(&path, "a"), used(&path, "b")), (Ok(()), Ok(())));
        assert_eq!((used(&path, "a"), used(&path, "b")), (Err(ReplayError::Replayed), Err(ReplayError::Replayed)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside it");
    }

    #[test]
    fn of_many_at_once_one_alone_is_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used");
        let first = std::thread::scope(|scope| {
            let all: Vec<_> = (0..16).map(|_| scope.spawn(|| used(&path, "a").is_ok())).collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|is_first| *is_first).count()
        });
        assert_eq!(first, 1);
    }

    #[test]
    fn what_is_not_such_a_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("used");
        fs::write(&path, "something else\n").unwrap();
        let fault = ReplayFile::open(&path).unwrap_err();
        assert_eq!(fault.exit, Exit::NoCredential);
        assert!(fault.message().contains("line 1 is not one that this command has written"), "{fault}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else\n");
        assert_eq!(ReplayFile::open(folder.path()).unwrap_err().exit, Exit::NoCredential);
        assert_eq!(ReplayFile::open(&folder.path().join("no/file")).unwrap_err().exit, Exit::NoCredential);
        symlink("/dev/null", folder.path().join("null")).unwrap();
        assert_eq!(ReplayFile::open(&folder.path().join("null")).unwrap_err().exit, Exit::NoCredential);
    }
}
