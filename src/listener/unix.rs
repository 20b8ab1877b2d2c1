//! Socket files.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::{fs, io};

use socket2::{Domain, SockAddr, Socket, Type};

use super::BACKLOG;

/// A socket file of ours, which goes with us.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have tidied up before us.
        let _ = fs::remove_file(&self.0);
    }
}

/// Who may connect to a socket file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketFileMode {
    /// As the umask has it.
    Umask,
    /// Our own user alone.
    Owner,
    /// Every user of this machine: who has connected is judged then.
    Everybody,
}

/// Opens a socket file, which does not block, in place of one that a process before us has left behind.
///
/// # Errors
/// Those of the kernel; "address in use" where somebody listens, or the file is no socket.
pub fn open_unix(path: &Path, access: SocketFileMode) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    let addr = SockAddr::unix(path)?;
    match socket.bind(&addr) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match try_connect(&addr) {
            // A file that is no socket refuses too, and is not ours to remove.
            Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
                fs::remove_file(path)?;
                socket.bind(&addr)?;
            }
            _ if path.symlink_metadata().is_ok() && !is_socket(path) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is a file that is no socket; name another path",
                ));
            }
            _ => return Err(error),
        },
        bound => bound?,
    }
    let file = SocketFile(path.to_owned());
    let mode = match access {
        SocketFileMode::Umask => None,
        SocketFileMode::Owner => Some(0o600),
        SocketFileMode::Everybody => Some(0o666),
    };
    if let Some(mode) = mode {
        // Before it listens, so that nobody else was ever let in.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Whether anybody listens at `addr`. Somebody does who has no place left for us, which is not waited for.
fn try_connect(addr: &SockAddr) -> io::Result<()> {
    Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?.connect(addr)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::net::UnixStream;

    #[test]
    fn one_who_listens_and_does_not_accept_is_not_waited_for_and_keeps_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        // The only place in its backlog.
        let _pending = UnixStream::connect(&path).unwrap();
        let error = open_unix(&path, SocketFileMode::Owner).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(listener);
        assert!(open_unix(&path, SocketFileMode::Owner).is_ok(), "nobody listens any more");
    }
}
