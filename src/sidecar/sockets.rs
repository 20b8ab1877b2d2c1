//! From addresses to sockets that the runtime waits for.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use crate::exit::{Exit, Fault};

/// Has the runtime tell when there is something to accept.
pub(super) fn into_tokio(socket: TcpListener, addr: SocketAddr) -> Result<tokio::net::TcpListener, Fault> {
    tokio::net::TcpListener::from_std(socket)
        .map_err(|error| Fault::new(Exit::Internal, format!("cannot accept connections on {addr}: {error}")))
}

/// The same of a socket file.
pub(super) fn unix_into_tokio(socket: UnixListener, addr: &str) -> Result<tokio::net::UnixListener, Fault> {
    tokio::net::UnixListener::from_std(socket)
        .map_err(|error| Fault::new(Exit::Internal, format!("cannot accept connections on {addr}: {error}")))
}

/// `what` is an address that `option` has asked for, and cannot be listened on.
pub(super) fn cannot_listen(what: impl fmt::Display, error: &io::Error, option: &str) -> Fault {
    let (why, help) = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ("the address is in use", format!("stop the other program or choose another {option}"))
        }
        io::ErrorKind::PermissionDenied => {
            ("not permitted", "ports below 1024 need CAP_NET_BIND_SERVICE, choose a higher one".to_owned())
        }
        io::ErrorKind::AddrNotAvailable => (
            "this machine has no such address",
            "listen on one of its own, or on all of them by the port alone".to_owned(),
        ),
        io::ErrorKind::NotFound => ("its folder does not exist", "make it".to_owned()),
        _ => return Fault::new(Exit::Unavailable, format!("cannot listen on {what}: {error}")),
    };
    Fault::new(Exit::Unavailable, format!("cannot listen on {what}: {why}")).with_help(help)
}
