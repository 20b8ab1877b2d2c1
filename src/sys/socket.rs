//! Socket options that tokio does not name.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Sends the pending TCP acknowledgement now instead of in up to 40 ms (`TCP_QUICKACK`, tcp(7)).
pub(crate) fn acknowledge_now(socket: impl AsFd) {
    // Nothing but that time depends on it.
    let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
}

/// Whether the other side has ended its sending, or the connection is reset, however much it has sent before (`POLLRDHUP`, poll(2)).
pub(crate) fn has_peer_closed(socket: impl AsFd) -> bool {
    let mut sockets = [PollFd::new(&socket, PollFlags::RDHUP)];
    // POLLHUP and POLLERR are told unasked. Where nobody can say, it has not.
    matches!(poll(&mut sockets, Some(&Timespec::default())), Ok(1..)) && !sockets[0].revents().is_empty()
}

/// Whether the other side has ended its sending before it has sent anything that was not read.
pub(crate) fn has_ended_wordless(socket: impl AsFd) -> bool {
    has_peer_closed(&socket)
        && matches!(rustix::net::recv(&socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((_, 0)))
}

/// Whether something has come that was not read, be it the end, as the kernel says: what waits for it hears of it a moment later.
pub(crate) fn has_input(socket: impl AsFd) -> bool {
    let mut sockets = [PollFd::new(&socket, PollFlags::IN)];
    matches!(poll(&mut sockets, Some(&Timespec::default())), Ok(1..)) && sockets[0].revents().contains(PollFlags::IN)
}

/// Sends FIN behind what was written; receiving goes on (shutdown(2), `SHUT_WR`).
pub(crate) fn end_sending(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Write)?)
}

/// Writes as much of `bytes` as the socket takes now, and has the kernel wait for what follows before it sends them
/// (`MSG_MORE`, send(2)): for more, or for [`end_sending`], and 200 ms at most. Gives how many were taken, which may be none.
pub(crate) fn send_before_more(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let sent = stream
        .try_io(Interest::WRITABLE, || Ok(rustix::net::send(stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?));
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}
