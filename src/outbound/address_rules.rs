//! Which addresses are dialled: a name may lead to any.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use strum::{Display, VariantArray};

use crate::config::Network;

/// Where clouds answer whoever asks with the credentials of the machine.
pub const METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Which addresses are not dialled.
#[derive(Debug, Default)]
pub struct AddressRules {
    /// Where we listen: dialling it would not end.
    ours: Vec<SocketAddr>,
    /// Requests name whom to dial: not this machine nor its link, these networks left out. `None`: the configuration names them.
    guard: Option<Vec<Network>>,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, VariantArray)]
pub enum AddressRejection {
    /// Where we listen.
    #[strum(to_string = "we listen there ourselves")]
    Ours,
    /// Unspecified, multicast, broadcast.
    #[strum(to_string = "it is not the address of one host")]
    Nobody,
    /// 127.0.0.0/8, ::1
    #[strum(to_string = "it is a loopback address")]
    Loopback,
    /// An address of an interface of this machine.
    #[strum(to_string = "it is an address of this machine")]
    Own,
    /// 169.254.0.0/16, fe80::/10
    #[strum(to_string = "it is a link-local address")]
    LinkLocal,
    /// Where credentials of the machine are had.
    #[strum(to_string = "it is the address of a metadata service")]
    Metadata,
}

impl AddressRules {
    /// All may be dialled but `ours`.
    pub fn open(ours: Vec<SocketAddr>) -> Self {
        Self { ours, guard: None }
    }

    /// Neither `ours` may be dialled nor this machine and its link, but for what lies in `allowed`.
    pub fn guarded(ours: Vec<SocketAddr>, allowed: Vec<Network>) -> Self {
        Self { ours, guard: Some(allowed) }
    }

    /// Why `addr` is not dialled; `None`: it may be.
    pub fn rejection(&self, addr: SocketAddr) -> Option<AddressRejection> {
        let ip = addr.ip().to_canonical();
        self.rejection_of_ours(addr).or_else(|| {
            let allowed = self.guard.as_ref()?;
            let mut spellings = vec![ip];
            spellings.extend(embedded(ip).into_iter().map(IpAddr::V4));
            let is_allowed = |ip: &IpAddr| allowed.iter().any(|network| network.contains(*ip));
            let rejection =
                |ip: &IpAddr| rejection_of_kind(*ip).or_else(|| is_own(*ip).then_some(AddressRejection::Own));
            spellings.iter().filter(|ip| !is_allowed(ip)).find_map(rejection)
        })
    }

    /// The same of the address of somebody whom the configuration names in any case.
    pub(super) fn rejection_of_ours(&self, addr: SocketAddr) -> Option<AddressRejection> {
        let ip = addr.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() {
            return Some(AddressRejection::Nobody);
        }
        let is_ours = self.ours.iter().any(|ours| {
            let everywhere = ours.ip().is_unspecified() && (ip.is_loopback() || is_own(ip));
            ours.port() == addr.port() && (ours.ip().to_canonical() == ip || everywhere)
        });
        is_ours.then_some(AddressRejection::Ours)
    }
}

fn rejection_of_kind(ip: IpAddr) -> Option<AddressRejection> {
    let (loopback, link_local, nobody) = match ip {
        IpAddr::V4(ip) => {
            (ip.is_loopback(), ip.is_link_local(), ip.octets()[0] == 0 || ip.is_broadcast() || ip.is_multicast())
        }
        IpAddr::V6(ip) => (ip.is_loopback(), ip.is_unicast_link_local(), ip.is_unspecified() || ip.is_multicast()),
    };
    match () {
        () if loopback => Some(AddressRejection::Loopback),
        () if link_local => Some(AddressRejection::LinkLocal),
        () if nobody => Some(AddressRejection::Nobody),
        () if METADATA.contains(&ip) => Some(AddressRejection::Metadata),
        () => None,
    }
}

/// The IPv4 addresses that somebody on the way may make of `ip`: translators of `64:ff9b::/96` and `64:ff9b:1::/48` (RFC 6052, RFC 8215)
/// and of `::ffff:0:0:0/96` (RFC 2765), tunnels of 6to4 (RFC 3056), Teredo (RFC 4380) and ISATAP (RFC 5214), and whoever takes `::/96` for
/// what it was meant to be once (RFC 4291, 2.5.5.1).
fn embedded(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return Vec::new() };
    let pair = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => vec![pair(high, low)],
        // Behind 48 bits a byte of zeros stands in the middle of the address; behind 96 there is none.
        [0x64, 0xff9b, 1, first, second, third, high, low] => {
            let both = [pair(high, low), pair(first, second << 8 | third >> 8)];
            both.into_iter().filter(|ip| !ip.is_unspecified()).collect()
        }
        [0, 0, 0, 0, 0xffff, 0, high, low] => vec![pair(high, low)],
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 => vec![pair(high, low)],
        [0x2002, high, low, ..] => vec![pair(high, low)],
        [0x2001, 0, .., high, low] => vec![pair(!high, !low)],
        [.., 0 | 0x200, 0x5efe, high, low] => vec![pair(high, low)],
        _ => Vec::new(),
    }
}

/// Whether an interface of this machine has `ip`: nobody else can listen there. Whatever stands in the way of an answer is taken for a yes.
fn is_own(ip: IpAddr) -> bool {
    let bound = UdpSocket::bind((ip, 0));
    bound.map_or_else(|error| error.kind() != io::ErrorKind::AddrNotAvailable, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(rules: &AddressRules, addr: &str) -> Option<AddressRejection> {
        rules.rejection(addr.parse().unwrap())
    }

    #[test]
    fn whoever_is_named_by_a_request_is_not_this_machine_nor_its_link_in_any_spelling() {
        use AddressRejection::{LinkLocal, Loopback, Metadata, Nobody};
        let rules = AddressRules::guarded(Vec::new(), Vec::new());
        for (addr, expected) in [
            ("127.0.0.1:80", Loopback),
            ("127.9.9.9:80", Loopback),
            ("[::1]:80", Loopback),
            ("[::ffff:127.0.0.1]:80", Loopback),
            ("[64:ff9b::7f00:1]:80", Loopback),
            ("[2002:7f00:1::]:80", Loopback),
            ("[::127.0.0.1]:80", Loopback),
            ("[64:ff9b:1:7f00:0:100::]:80", Loopback),
            ("[64:ff9b:1::127.0.0.1]:80", Loopback),
            ("[::ffff:0:127.0.0.1]:80", Loopback),
            ("[2001:0:1:2:3:4:80ff:fffe]:80", Loopback),
            ("[2001:db8::5efe:127.0.0.1]:80", Loopback),
            ("169.254.169.254:80", LinkLocal),
            ("[::ffff:169.254.169.254]:80", LinkLocal),
            ("[64:ff9b::a9fe:a9fe]:80", LinkLocal),
            ("[fe80::1]:80", LinkLocal),
            ("[fd00:ec2::254]:80", Metadata),
            ("[fd20:ce::254]:80", Metadata),
            ("100.100.100.200:80", Metadata),
            ("168.63.129.16:80", Metadata),
            ("[fd00:42::42]:80", Metadata),
            ("0.0.0.0:80", Nobody),
            ("0.1.2.3:80", Nobody),
            ("[::]:80", Nobody),
            ("255.255.255.255:80", Nobody),
            ("224.0.0.1:80", Nobody),
            ("[ff02::1]:80", Nobody),
        ] {
            assert_eq!(rejection(&rules, addr), Some(expected), "{addr}");
        }
        for addr in ["10.255.3.4:61443", "192.0.2.1:80", "[2001:db8::1]:80", "[fd00::1]:80"] {
            assert_eq!(rejection(&rules, addr), None, "{addr}");
        }
    }

    #[test]
    fn whoever_the_configuration_names_may_be_anybody_but_ourselves() {
        let rules = AddressRules::open(vec!["127.0.0.1:9000".parse().unwrap()]);
        assert_eq!(rejection(&rules, "127.0.0.1:9000"), Some(AddressRejection::Ours));
        assert_eq!(rejection(&rules, "[::ffff:127.0.0.1]:9000"), Some(AddressRejection::Ours));
        assert_eq!(rejection(&rules, "127.0.0.1:9001"), None);
        assert_eq!(rejection(&rules, "169.254.169.254:80"), None);
        assert_eq!(rejection(&rules, "0.0.0.0:80"), Some(AddressRejection::Nobody));
    }

    #[test]
    fn what_is_allowed_may_be_dialled_but_never_where_we_listen() {
        let ours = ["127.0.0.1:61445", "[::]:8443"].map(|addr| addr.parse().unwrap()).to_vec();
        let allowed = crate::config::values::network("127.0.0.0/8").unwrap();
        let rules = AddressRules::guarded(ours, vec![allowed]);
        assert_eq!(rejection(&rules, "127.0.0.1:80"), None);
        assert_eq!(rejection(&rules, "127.0.0.1:61445"), Some(AddressRejection::Ours));
        assert_eq!(rejection(&rules, "127.0.0.1:8443"), Some(AddressRejection::Ours));
        assert_eq!(rejection(&rules, "[::1]:80"), Some(AddressRejection::Loopback));
    }
}
