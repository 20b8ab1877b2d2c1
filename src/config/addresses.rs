//! Where we listen and the app does, and which addresses are the same to the kernel and to those who dial them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Listener;

/// A listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `8443` or `[::]:8443`: every address of the machine, IPv6 and IPv4 (IPv4 alone where the kernel has no IPv6).
    EveryAddress(u16),
    /// Exactly this address.
    At(SocketAddr),
}

/// Where the app accepts plaintext.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AppAddr {
    /// `127.0.0.1:8080`
    Tcp(SocketAddr),
    /// `localhost:8080`: 127.0.0.1 or ::1, whichever the app has chosen.
    Localhost(u16),
    /// `unix:/run/app.sock`
    Unix(PathBuf),
}

impl AppAddr {
    /// Where it is dialled, in this order; empty for a Unix socket.
    pub fn tcp(&self) -> Vec<SocketAddr> {
        match self {
            Self::Tcp(addr) => vec![*addr],
            Self::Localhost(port) => vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()],
            Self::Unix(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryAddress(port) => write!(f, "[::]:{port}"),
            Self::At(addr) => write!(f, "{addr}"),
        }
    }
}

impl fmt::Display for AppAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The address that is opened, with `[::]` for every address.
pub(super) fn socket(listen: Listen) -> SocketAddr {
    match listen {
        Listen::EveryAddress(port) => (Ipv6Addr::UNSPECIFIED, port).into(),
        Listen::At(address) => address,
    }
}

/// Whether whoever dials `address` may reach `listen`.
pub(super) fn covers(listen: Listen, address: SocketAddr) -> bool {
    match listen {
        Listen::EveryAddress(port) => port == address.port(),
        Listen::At(at) if at.ip().is_unspecified() => at.port() == address.port() && at.is_ipv4() == address.is_ipv4(),
        Listen::At(at) => at == address,
    }
}

/// Whether `listen`, an address of ours, is where the app of `listener` is dialled: we would take its clients for ours.
pub(super) fn is_apps(listen: Listen, listener: &Listener) -> bool {
    listener.app.tcp().into_iter().any(|app| {
        // An app elsewhere may well have our port; one on loopback cannot.
        socket(listen).port() != 0 && covers(listen, app) && (app.ip().is_loopback() || socket(listen) == app)
    })
}

/// Whether the kernel would refuse to open both. Port 0 is another port each time.
pub(super) fn overlap(one: Listen, other: Listen) -> bool {
    socket(one).port() != 0 && (covers(one, socket(other)) || covers(other, socket(one)))
}
