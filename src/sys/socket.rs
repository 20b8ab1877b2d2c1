//! Socket options that tokio does not name.

use std::io;
use std::os::fd::AsFd;

/// Sends the pending TCP acknowledgement now instead of in up to 40 ms (`TCP_QUICKACK`, tcp(7)).
pub(crate) fn acknowledge_now(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_quickack(socket, true)?)
}

/// Sends FIN behind what was written; receiving goes on (shutdown(2), `SHUT_WR`).
pub(crate) fn end_sending(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Write)?)
}
