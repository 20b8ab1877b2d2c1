//! How much of what was sent a client has taken, as the kernel knows it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use tokio::net::TcpStream;

/// `SOCK_DIAG_BY_FAMILY` (sock_diag(7)).
const BY_FAMILY: u16 = 20;

/// `NLMSG_ERROR` (netlink(7)).
const ERROR: u16 = 2;

/// `NLM_F_REQUEST` (netlink(7)).
const REQUEST: u16 = 1;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;

/// Where `idiag_wqueue` stands in an answer: behind the header, in `struct inet_diag_msg`.
const WRITE_QUEUE: usize = HEADER + 60;

/// Bytes that were written to `stream` and that its peer has not acknowledged, an end of sending (FIN) counted as one; `None`
/// where the kernel does not know the connection any more.
///
/// What `SIOCOUTQ` would tell, by way of sock_diag(7): no safe name for the former is to be had.
///
/// # Errors
/// The kernel, or a sandbox, does not say.
pub(crate) fn unacknowledged(stream: &TcpStream) -> io::Result<Option<u64>> {
    // Without a peer there is no connection.
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return Ok(None) };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kernel = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
    let to_kernel = netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&kernel, &request(local, peer), SendFlags::empty(), &to_kernel)?;
    let mut answer = [0; 512];
    let (read, _) = rustix::net::recv(&kernel, &mut answer, RecvFlags::empty())?;
    queue_in(&answer[..read])
}

/// The question about one connection: `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let (local_ip, peer_ip) = (local.ip().to_canonical(), peer.ip().to_canonical());
    let family = if local_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut body = vec![family.as_raw() as u8, TCP, 0, 0];
    // In every state.
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(peer.port().to_be_bytes());
    for ip in [local_ip, peer_ip] {
        let mut bytes = [0; 16];
        match ip {
            IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes = ip.octets(),
        }
        body.extend(bytes);
    }
    // An address that is valid on one interface alone names it.
    let interface = match local {
        SocketAddr::V6(local) => local.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    body.extend(interface.to_ne_bytes());
    // INET_DIAG_NOCOOKIE: whichever connection has these addresses now.
    body.extend([0xff; 8]);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Its number, and whom the answer is for: the only one who asks here.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The write queue in an answer; `None` if it says that there is no such connection.
fn queue_in(answer: &[u8]) -> io::Result<Option<u64>> {
    let word = |at: usize| answer.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_ne_bytes(*bytes));
    let typ = answer.get(4..).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_ne_bytes(*bytes));
    match (typ, word(HEADER), word(WRITE_QUEUE)) {
        (Some(BY_FAMILY), _, Some(queue)) => Ok(Some(queue.into())),
        // Errors are negative (`struct nlmsgerr`).
        (Some(ERROR), Some(error), _) => match (error as i32).wrapping_neg() {
            error if error == Errno::NOENT.raw_os_error() => Ok(None),
            error => Err(io::Error::from_raw_os_error(error)),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Read;
    use tokio::net::TcpListener;

    /// A connection to `at`, and its other end, which is read from at will.
    async fn connection(at: &str) -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind(at).await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().await.unwrap().0, peer)
    }

    #[tokio::test]
    async fn what_the_peer_has_not_taken_is_counted_and_an_end_of_sending_counts_as_one() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (stream, mut peer) = connection(at).await;
            assert_eq!(unacknowledged(&stream).unwrap(), Some(0), "{at}");
            let mut sent = 0;
            stream.writable().await.unwrap();
            while let Ok(more) = stream.try_write(&[1; 65536]) {
                sent += more as u64;
            }
            let left = unacknowledged(&stream).unwrap().unwrap();
            assert!(left > 0 && left < sent, "{at}: {left} of {sent}");
            crate::sys::socket::end_sending(&stream).unwrap();
            peer.read_to_end(&mut Vec::new()).unwrap();
            while unacknowledged(&stream).unwrap().is_some_and(|left| left > 1) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_is_not_known() {
        let (stream, peer) = connection("127.0.0.1:0").await;
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        stream.readable().await.unwrap();
        assert_eq!(unacknowledged(&stream).unwrap(), None);
    }

    #[test]
    fn errors_and_scraps_are_no_answer() {
        assert!(queue_in(&[]).is_err());
        assert!(queue_in(&[0; WRITE_QUEUE + 3]).is_err());
        let mut answer = [0; 128];
        answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        for (errno, gone) in [(Errno::NOENT, true), (Errno::PERM, false), (Errno::OPNOTSUPP, false)] {
            answer[HEADER..HEADER + 4].copy_from_slice(&(-errno.raw_os_error()).to_ne_bytes());
            assert_eq!(queue_in(&answer).is_ok_and(|queue| queue.is_none()), gone, "{errno}");
        }
    }
}
