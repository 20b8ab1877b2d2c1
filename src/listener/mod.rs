//! Listening sockets: opened before anything slow, and never closed by a bad moment; the accept loop, over any [`Service`].

mod accept;
mod capacity;
mod unix;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

pub use accept::{Acceptor, CapacityPermit, LimitedListener, ListenSocket, Service, Slot, Slots};
pub use capacity::{Capacity, ConnectionCost, DescriptorLimit, capacity};
pub(crate) use capacity::{connections_in_memory, connections_within, max_connections};
pub use unix::{SocketFile, SocketFileMode, open_unix};

use crate::config::Listen;

/// Connections that the kernel may hold before we accept them; it takes the smaller of this and `somaxconn`.
const BACKLOG: i32 = 4096;

/// How a peer whose machine has vanished without a word is noticed.
pub const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);

/// Opens a listening socket, which does not block. It needs no runtime.
///
/// # Errors
/// Those of the kernel, such as "address in use".
pub fn open(listen: Listen) -> io::Result<TcpListener> {
    match listen {
        Listen::At(addr) => open_at(addr),
        Listen::EveryAddress(port) => open_at((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| {
            // A kernel without IPv6 says so by one of these; anything else, such as a taken port, is the answer.
            match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL) => {
                    open_at((Ipv4Addr::UNSPECIFIED, port).into())
                }
                _ => Err(error),
            }
        }),
    }
}

fn open_at(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever the machine's default says.
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // A restart must not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: one system call less for each connection.
    socket.set_tcp_nodelay(true)?;
    // A client whose machine has vanished without a word is noticed after two minutes. Inherited as well.
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
