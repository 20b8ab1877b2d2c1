//! The kernel's tables of sockets (proc(5)) and addresses. They are those of our network namespace: in a
//! container, the container's.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

/// A socket in the state LISTEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    pub(crate) addr: SocketAddr,
    /// By which `/proc/PID/fd` names it.
    pub(crate) inode: u64,
}

/// TCP_LISTEN, as `/proc/net/tcp` writes states.
const LISTEN: &str = "0A";

/// The addresses on which somebody listens; none where the tables cannot be read. The kernel writes these sockets first, and
/// the rest is not read: a busy app can have ten thousands, whose lines are megabytes.
pub(crate) fn now_listening() -> Vec<SocketAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
    tables.flat_map(|table| first_listening(BufReader::new(table))).map(|socket| socket.addr).collect()
}

/// The sockets below the headline of `table`, up to the first that does not listen.
fn first_listening(table: impl BufRead) -> impl Iterator<Item = ListeningSocket> {
    table.lines().map_while(Result::ok).skip(1).map_while(|line| socket(&line))
}

/// The addresses among `listening` through which other hosts can reach the port of `app`.
pub(crate) fn exposed(app: SocketAddr, listening: &[SocketAddr]) -> Vec<SocketAddr> {
    let reachable = |at: &&SocketAddr| at.port() == app.port() && !at.ip().to_canonical().is_loopback();
    // An app on an address of its own may well be another program than the one beside us with the same port.
    let the_apps = |at: &&SocketAddr| app.ip().is_loopback() || at.ip().is_unspecified() || at.ip() == app.ip();
    listening.iter().filter(reachable).filter(the_apps).copied().collect()
}

/// Where else than at `dialled` somebody listens with the same port, as it can be dialled. Only what is on this machine can be
/// seen, so the answer is nothing where `dialled` may be on another.
pub(crate) fn elsewhere(dialled: &[SocketAddr], listening: impl IntoIterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let port = dialled.first().filter(|addr| addr.ip().is_loopback())?.port();
    let dialable = |at: SocketAddr| match at.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let same_port = listening.into_iter().filter(|at| at.port() == port);
    same_port.map(|at| SocketAddr::new(dialable(at), port)).find(|at| !dialled.contains(at))
}

/// The listening sockets in `/proc/net/tcp` or `/proc/net/tcp6`. Lines that cannot be read are passed over.
pub(crate) fn listening(table: &str) -> Vec<ListeningSocket> {
    table.lines().filter_map(socket).collect()
}

fn socket(line: &str) -> Option<ListeningSocket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let addr = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(ListeningSocket { addr, inode: fields.get(9)?.parse().ok()? })
}

/// The kernel prints addresses as numbers of 32 bits in its own byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *chunk = word(index * 8)?;
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// This machine's addresses (getifaddrs(3)); none where the kernel does not say.
pub(crate) fn local_addresses() -> Vec<IpAddr> {
    let addresses = getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    let ip = |address: SockaddrStorage| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(IpAddr::from(v4.ip())),
        (None, v6) => v6.map(|v6| v6.ip().into()),
    };
    addresses.filter_map(ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn only_listening_sockets_are_read_from_the_table() {
        let v4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43106 1 00000000f520df1c 100 0 0 10 0
   1: 0100007F:1F91 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 43107 1 0000000000000000 20 4 30 10 -1
   garbage
";
        assert_eq!(listening(v4), [ListeningSocket { addr: "127.0.0.1:8080".parse().unwrap(), inode: 43106 }]);
        let v6 =
            "   0: 00000000000000000000000001000000:20FB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 7 1 0
   1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 8 1 0
";
        let addrs: Vec<_> = listening(v6).into_iter().map(|socket| socket.addr.to_string()).collect();
        assert_eq!(addrs, ["[::1]:8443", "[::ffff:127.0.0.1]:80"]);
    }

    #[test]
    fn a_socket_of_our_own_is_found_in_the_kernels_table() {
        for (bind, table) in [("127.0.0.1:0", "/proc/net/tcp"), ("[::1]:0", "/proc/net/tcp6")] {
            if !std::path::Path::new(table).exists() {
                // A kernel without IPv6.
                assert!(table.ends_with('6'));
                continue;
            }
            let listener = std::net::TcpListener::bind(bind).unwrap();
            let addr = listener.local_addr().unwrap();
            let sockets = listening(&std::fs::read_to_string(table).unwrap());
            assert!(sockets.iter().any(|socket| socket.addr == addr && socket.inode > 0), "{addr} in {sockets:?}");
        }
    }

    #[test]
    fn those_that_listen_stand_before_all_that_are_connected() {
        let listeners: Vec<_> = (0..20).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let _connected: Vec<_> = addrs.iter().map(|addr| std::net::TcpStream::connect(addr).unwrap()).collect();
        let found = now_listening();
        assert!(addrs.iter().all(|addr| found.contains(addr)), "{addrs:?} in {found:?}");
    }

    #[test]
    fn the_machines_addresses_are_those_that_can_be_bound() {
        let local = local_addresses();
        assert!(local.contains(&Ipv4Addr::LOCALHOST.into()), "{local:?}");
        let bound = |ip: &&IpAddr| std::net::TcpListener::bind((**ip, 0)).is_ok();
        assert!(local.iter().filter(|ip| ip.is_ipv4()).all(|ip| bound(&ip)), "{local:?}");
    }

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_app_is_exposed_wherever_other_hosts_can_reach_its_port() {
        let app = "127.0.0.1:8080".parse().unwrap();
        let listening = addrs(&[
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
            "0.0.0.0:8080",
            "[::]:8080",
            "10.0.0.1:8080",
            "0.0.0.0:8081",
        ]);
        assert_eq!(exposed(app, &listening), addrs(&["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080"]));
        let elsewhere = "10.0.0.2:8080".parse().unwrap();
        assert_eq!(exposed(elsewhere, &addrs(&["10.0.0.1:8080", "127.0.0.1:8080"])), []);
    }

    #[test]
    fn an_app_is_looked_for_wherever_its_port_can_be_dialled_but_not_where_it_was() {
        let found = |dialled: &[&str], listening: &[&str]| elsewhere(&addrs(dialled), addrs(listening));
        let at = |text: &str| Some(text.parse().unwrap());
        assert_eq!(found(&["127.0.0.1:80"], &["127.0.0.1:81", "[::1]:80"]), at("[::1]:80"));
        assert_eq!(found(&["127.0.0.1:80"], &["[::]:80"]), at("[::1]:80"));
        assert_eq!(found(&["[::1]:80"], &["0.0.0.0:80"]), at("127.0.0.1:80"));
        assert_eq!(found(&["127.0.0.1:80", "[::1]:80"], &["[::1]:80", "10.0.0.5:80"]), at("10.0.0.5:80"));
        assert_eq!(found(&["127.0.0.1:80"], &["[::ffff:127.0.0.1]:80", "0.0.0.0:80", "[::1]:81"]), None);
        assert_eq!(found(&["10.0.0.9:80"], &["127.0.0.1:80"]), None);
    }

    proptest! {
        #[test]
        fn no_text_brings_the_parser_down(text in "(?s).{0,200}") {
            let _ = listening(&text);
            let _ = address(&text);
        }

        #[test]
        fn nothing_near_an_address_does_either(text in "[0-9A-Fa-f]{0,40}") {
            let _ = address(&text);
        }
    }
}
