//! What this machine, or this process, lacks for a connection: nothing that an endpoint could be blamed for.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;

/// Why this machine does not make a connection, whoever it is to (connect(2), socket(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// All ports from which that address can be connected to are taken (`EADDRNOTAVAIL`).
    #[error("no local port is free for another connection to the endpoint")]
    NoPort,
    /// The process has as many descriptors as it may have (`EMFILE`).
    #[error("this process may have no more descriptors")]
    NoDescriptor,
    /// All processes of the machine together have (`ENFILE`).
    #[error("this machine has no more descriptors")]
    NoDescriptorOfMachine,
    /// The kernel has no memory for it (`ENOBUFS`, `ENOMEM`).
    #[error("the kernel has no memory for another connection")]
    NoMemory,
    /// A rule of this machine is against it (`EPERM`, `EACCES`).
    #[error("this machine does not permit the connection, by a firewall or by --sandbox")]
    NotPermitted,
    /// The memory limit has no room for what the server says in the handshake.
    #[error("memory is short, and the server says much in the handshake")]
    NoRoom,
}

impl LocalError {
    /// What `error`, of connecting to `addr`, says of this machine; `None`: it is about the way there.
    pub(super) fn of(error: &io::Error, addr: SocketAddr) -> Option<Self> {
        match Errno::from_io_error(error)? {
            // Without an address of that family the machine says the same, and such an endpoint can never be reached.
            Errno::ADDRNOTAVAIL if has_source_for(addr) => Some(Self::NoPort),
            Errno::MFILE => Some(Self::NoDescriptor),
            Errno::NFILE => Some(Self::NoDescriptorOfMachine),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::NoMemory),
            Errno::PERM | Errno::ACCESS => Some(Self::NotPermitted),
            _ => None,
        }
    }

    /// What helps.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::NoPort => {
                "widen net.ipv4.ip_local_port_range, add endpoints, or have requests share connections by --outbound-protocol http1"
            }
            Self::NoDescriptor => "raise the limit on open files (ulimit -n), or lower --max-connections",
            Self::NoDescriptorOfMachine => "raise fs.file-max of the machine",
            Self::NoMemory => "raise the container's memory limit, or lower --max-connections",
            Self::NoRoom => "raise the container's memory limit (or --memory-limit), or add instances",
            Self::NotPermitted => "see the firewall of this machine, and the sandbox",
        }
    }
}

/// Whether there is an address from which `addr` can be reached. Nothing is sent.
fn has_source_for(addr: SocketAddr) -> bool {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    match UdpSocket::bind(any).and_then(|socket| socket.connect(addr)) {
        Ok(()) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_told_from_what_is_wrong_on_the_way() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let of = |errno: Errno| LocalError::of(&errno.into(), here);
        assert_eq!(of(Errno::ADDRNOTAVAIL), Some(LocalError::NoPort));
        assert_eq!(of(Errno::MFILE), Some(LocalError::NoDescriptor));
        assert_eq!(of(Errno::NFILE), Some(LocalError::NoDescriptorOfMachine));
        assert_eq!(of(Errno::NOBUFS), Some(LocalError::NoMemory));
        assert_eq!(of(Errno::NOMEM), Some(LocalError::NoMemory));
        assert_eq!(of(Errno::PERM), Some(LocalError::NotPermitted));
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::CONNRESET, Errno::TIMEDOUT] {
            assert_eq!(of(errno), None, "{errno}");
        }
    }
}
