//! Connecting over TCP.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

/// A connection to `addr`. As tokio's own, but that nothing is waited for, nor a timer set, where the connection stands at once. It does to an app on
/// this machine: the kernel has its answer before connect(2) returns.
pub async fn connect_tcp(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Only speed depends on it.
    let _ = socket.set_tcp_nodelay(true);
    match socket.connect(&addr.into()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        connected => connected?,
    }
    let stands = socket.peer_addr().is_ok();
    let stream = TcpStream::from_std(socket.into())?;
    if !stands {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    // A port from which the kernel also serves outgoing connections can be connected to itself (RFC 9293, 3.5),
    // and would then be taken when the app comes.
    if stream.local_addr()? == addr {
        // When the option cannot be set the socket is closed all the same.
        let _ = stream.set_zero_linger();
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
