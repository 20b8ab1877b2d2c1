//! Reading files that somebody has named on a command line: no more of them than they can hold.

use std::fs::File;
use std::io;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// In bytes; what is longer is something else.
const LARGEST: u64 = 1024 * 1024;

/// Reads a file, a pipe (`<(command)` in a shell) or a device.
///
/// # Errors
/// The kernel's, or it is larger than 1 MiB.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB, so it is not what it should be"));
    }
    Ok(bytes)
}

/// Reads a regular file. With a pipe, opening alone could wait for ever.
///
/// # Errors
/// The kernel's, or it is larger than 1 MiB or not a regular file.
pub(crate) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    read(path)
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
}
