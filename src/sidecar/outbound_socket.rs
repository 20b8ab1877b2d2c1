//! Sockets that listen for the app: on loopback, at an address, or as a file.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use rustix::io::Errno;

use super::sockets::cannot_listen;
use crate::config::{Listen, OutboundListen};
use crate::exit::{Exit, Fault};
use crate::listener;
use crate::listener::{SocketFile, SocketFileMode, open_unix};
use crate::sys::atomic_file;
use crate::sys::atomic_file::WriteError;

/// A socket on which the app dials us.
#[derive(Debug)]
pub(super) enum OutboundSocket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

impl OutboundSocket {
    /// Where it is, if that is on TCP.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, addr) => Some(*addr),
            Self::Unix(..) => None,
        }
    }
}

/// Opens `listen`, which `option` has asked for, to whoever has `access` if it is a socket file.
///
/// # Errors
/// [`Exit::Unavailable`], with what is wrong.
pub(super) fn open_sockets(
    listen: &OutboundListen,
    access: SocketFileMode,
    option: &str,
) -> Result<Vec<OutboundSocket>, Fault> {
    let opened = match listen {
        OutboundListen::Unix(path) => {
            // They would be taken for us.
            if let Err(error @ WriteError::OpenFolder) = atomic_file::check_folder(path) {
                let message = format!("cannot listen on {listen} for {option}: {error}");
                return Err(Fault::new(Exit::Unavailable, message));
            }
            open_unix(path, access).map(|(socket, file)| vec![OutboundSocket::Unix(socket, file)])
        }
        OutboundListen::At(addr) => open_tcp(*addr).map(|socket| vec![socket]),
        OutboundListen::Loopback(port) => open_loopback(*port),
    };
    opened.map_err(|error| {
        let fault = cannot_listen(format_args!("{listen} for {option}"), &error, option);
        match (listen, error.kind()) {
            (OutboundListen::Unix(_), io::ErrorKind::PermissionDenied) => {
                fault.with_help("let this user write in its folder, or name another")
            }
            _ => fault,
        }
    })
}

fn open_tcp(addr: SocketAddr) -> io::Result<OutboundSocket> {
    let socket = listener::open(Listen::At(addr))?;
    let addr = socket.local_addr()?;
    Ok(OutboundSocket::Tcp(socket, addr))
}

/// 127.0.0.1 and, where there is IPv6, ::1. A port that the kernel has chosen is the same for both, if it is free there.
fn open_loopback(port: u16) -> io::Result<Vec<OutboundSocket>> {
    let four = listener::open(Listen::At((Ipv4Addr::LOCALHOST, port).into()))?;
    let addr = four.local_addr()?;
    let mut sockets = vec![OutboundSocket::Tcp(four, addr)];
    match open_tcp((Ipv6Addr::LOCALHOST, addr.port()).into()) {
        Ok(six) => sockets.push(six),
        Err(error) if port == 0 || is_without_ipv6(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(sockets)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}
