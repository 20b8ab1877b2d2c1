//! Which pages of a program's file are in memory when it starts. What is resident depends on it: the kernel maps what it finds in the page
//! cache around each page that is used, by the large folios too that a file is in after it was written in one go.

use std::ffi::OsStr;
use std::fs;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Writes the program at `from` to `to`, in one go: all of it is in the page cache then.
///
/// # Errors
/// It cannot be read or written.
pub(crate) fn write(from: &Path, to: &Path) -> Result<()> {
    let program = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    fs::write(to, program).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(fs::set_permissions(to, Permissions::from_mode(0o755))?)
}

/// Drops the file from the page cache: whoever starts it has it read from the disk. It must not be running.
///
/// # Errors
/// It is in a file system that has no disk.
pub(crate) fn evict(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    ensure!(
        statfs(path)?.filesystem_type() != TMPFS_MAGIC,
        "{} is in a file system that is memory; name a folder on a disk by TMPDIR",
        path.display()
    );
    // What is not on the disk yet stays.
    file.sync_all()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .with_context(|| format!("cannot drop {} from the page cache", path.display()))
}

/// `command` with `copy` in the place of `program`, wherever it is named.
pub(crate) fn with_copy(command: &Command, program: &Path, copy: &Path) -> Command {
    let swap = |word| if word == program.as_os_str() { copy.as_os_str() } else { word };
    let mut other = Command::new(swap(command.get_program()));
    other.args(command.get_args().map(swap).map(OsStr::to_owned));
    other
}

#[cfg(test)]
mod tests {
    use super::with_copy;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn a_copy_takes_the_place_of_the_program_behind_another_one_too() {
        let (program, copy) = (Path::new("/bin/true"), Path::new("/tmp/true"));
        let mut command = Command::new("env");
        command.args(["A=1", "/bin/true", "/bin/true.conf"]);
        let other = with_copy(&command, program, copy);
        assert_eq!(other.get_program(), "env");
        assert!(other.get_args().eq(["A=1", "/tmp/true", "/bin/true.conf"]));
        assert_eq!(with_copy(&Command::new(program), program, copy).get_program(), copy);
    }
}
