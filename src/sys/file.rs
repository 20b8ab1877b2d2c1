//! Reading files that somebody has named, and that others may exchange in any moment: no more of them than they can hold, and without waiting.

use std::fs::File;
use std::io;
use std::io::{ErrorKind, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// In bytes; what is longer is something else.
const LARGEST: u64 = 1024 * 1024;

/// Reads a file, a pipe (`<(command)` in a shell) or a device.
///
/// # Errors
/// The kernel's, or it is larger than 1 MiB.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(File::open(path)?, LARGEST)?.ok_or_else(too_large)
}

/// Reads a regular file.
///
/// # Errors
/// The kernel's, or it is larger than 1 MiB or not a regular file.
pub(crate) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let not_regular = || io::Error::new(ErrorKind::InvalidInput, "not a regular file");
    read_up_to(open_regular(path)?.ok_or_else(not_regular)?, LARGEST)?.ok_or_else(too_large)
}

/// Opens a regular file for reading, without waiting for anybody; `None`: something else is there, such as a pipe, whose opening alone could wait
/// for ever.
///
/// # Errors
/// The kernel's.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    // Asked first, since the opening of a device may set something going.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    open_if_regular(path)
}

/// The same without a look before it, after which something else may have come there.
fn open_if_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    Ok(file.metadata()?.is_file().then_some(file))
}

/// What `file` holds; `None`: more than `largest` bytes, however large it was said to be. Of what is said to be larger nothing is read, and of what
/// turns out to be no more than one byte beyond that.
///
/// # Errors
/// The kernel's.
pub(crate) fn read_up_to(file: File, largest: u64) -> io::Result<Option<Vec<u8>>> {
    let said = file.metadata()?.len();
    if said > largest {
        return Ok(None);
    }
    // With room for the end to be found.
    let mut bytes = Vec::with_capacity(usize::try_from(said).unwrap_or_default() + 1);
    file.take(largest + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= largest).then_some(bytes))
}

fn too_large() -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB, so it is not what it should be")
}

/// Reads the text of a regular file.
///
/// # Errors
/// Those of [`read_regular`], or it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_regular(path)?).map_err(|_| io::Error::new(ErrorKind::InvalidData, "not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_to_its_end_and_only_files_hold_text() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
        assert_eq!(read_text(Path::new("/dev/zero")).unwrap_err().to_string(), "not a regular file");
        assert_eq!(read_text(Path::new("/")).unwrap_err().to_string(), "not a regular file");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'#'; 1024 * 1024]).unwrap();
        assert_eq!(read_text(&path).unwrap().len(), 1024 * 1024);
        std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        assert_eq!(read_text(&path).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path).unwrap_err().to_string(), "not UTF-8 text");
    }

    #[test]
    fn what_has_come_in_the_place_of_a_file_by_the_time_that_it_is_opened_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/")] {
            assert!(open_if_regular(path).unwrap().is_none(), "{}", path.display());
            assert!(open_regular(path).unwrap().is_none(), "{}", path.display());
        }
        assert_eq!(open_regular(&folder.path().join("missing")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_is_larger_than_it_was_said_to_be_is_read_no_further_than_it_may_go() {
        // The kernel says of it that it is empty.
        let status = Path::new("/proc/self/status");
        assert_eq!(std::fs::metadata(status).unwrap().len(), 0);
        let read = |largest| read_up_to(open_regular(status).unwrap().unwrap(), largest).unwrap();
        assert_eq!(read(16), None);
        assert!(read(LARGEST).unwrap().starts_with(b"Name:"));
    }
}
