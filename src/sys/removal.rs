//! Folders of ours, removed with what is in them, whatever somebody may have put there meanwhile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the folder `path`, below which there are `levels` of folders at most. What is deeper is none of ours and stays, with the folders that lead
/// to it: each level takes a descriptor and some of the stack, and whoever made the levels could have us run out of both.
///
/// # Errors
/// The kernel's for the first of what is still there; all else is gone.
pub(crate) fn remove_folder(path: &Path, levels: usize) -> io::Result<()> {
    let folder = openat(CWD, path, FOLDER, Mode::empty())?;
    let emptied = empty(&folder, levels);
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        // What stays in it is the cause.
        Err(error @ Errno::NOTEMPTY) => Err(emptied.err().unwrap_or(error).into()),
        removed => Ok(removed?),
    }
}

/// Removes what is in `folder`, as far as that can be.
fn empty(folder: &OwnedFd, levels: usize) -> Result<(), Errno> {
    let mut done = Ok(());
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            done = done.and(remove(folder, name, levels));
        }
    }
    done
}

fn remove(parent: &OwnedFd, name: impl Arg + Copy, levels: usize) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        // A folder: Linux says the one, POSIX the other.
        Err(Errno::ISDIR | Errno::PERM) => {}
        unlinked => return unlinked,
    }
    let emptied = match levels.checked_sub(1) {
        Some(levels) => openat(parent.as_fd(), name, FOLDER, Mode::empty()).and_then(|folder| empty(&folder, levels)),
        None => Ok(()),
    };
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY) => Err(emptied.err().unwrap_or(Errno::NOTEMPTY)),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_of_ours_goes_with_what_we_have_put_there_and_what_a_symlink_leads_to_stays() {
        let place = tempfile::tempdir().unwrap();
        let (folder, other) = (place.path().join("ours"), place.path().join("other"));
        fs::create_dir_all(folder.join("bindings/db")).unwrap();
        fs::create_dir(&other).unwrap();
        for file in [folder.join("a"), folder.join("bindings/db/password"), other.join("b")] {
            fs::write(file, "x").unwrap();
        }
        symlink(&other, folder.join("bindings/link")).unwrap();
        remove_folder(&folder, 2).unwrap();
        assert!(!folder.exists() && other.join("b").exists());
        symlink(&other, &folder).unwrap();
        assert!(remove_folder(&folder, 2).is_err() && other.join("b").exists());
    }

    #[test]
    fn what_is_deeper_than_anything_of_ours_stays_and_all_else_goes() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("ours");
        let deep = folder.join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(folder.join("d/e/empty")).unwrap();
        fs::write(deep.join("theirs"), "x").unwrap();
        fs::write(folder.join("a/b/ours"), "x").unwrap();
        let error = remove_folder(&folder, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        assert!(deep.join("theirs").exists() && !folder.join("a/b/ours").exists() && !folder.join("d").exists());
        remove_folder(&folder, 3).unwrap();
        assert!(!folder.exists());
    }
}
