//! Networks: an address, and how many of its bits count.

use std::fmt;
use std::net::IpAddr;

use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

/// `10.0.0.0/8` or `fd00::/8`. An address alone is the network of that one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// Invariant: the bits that do not count are zero, and it is no IPv4-mapped address.
    address: IpAddr,
    /// How many bits count, from the first.
    prefix: u8,
}

impl Network {
    /// Whether `ip` lies in it. An IPv4-mapped address counts as the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        masked(ip.to_canonical(), self.prefix) == Some(self.address)
    }

    /// How many bits count.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is one of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether no other address lies in it than one.
    pub fn is_one_address(&self) -> bool {
        self.prefix == if self.is_ipv6() { 128 } else { 32 }
    }

    /// Whether every address lies in it: every IPv4 address, or every IPv6 address.
    pub fn is_everybody(&self) -> bool {
        self.prefix == 0
    }
}

/// `CIDR`
pub fn network(text: &str) -> Result<Network, Problem> {
    const EXAMPLES: &str = "write a network such as 10.0.0.0/8 or fd00::/8, or an address";
    let problem = || Problem::new(format!("{} is not a network", quote(text)), EXAMPLES);
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| problem())?;
    if address.to_canonical() != address {
        let help = format!("write the IPv4 address, {}", address.to_canonical());
        return Err(Problem::new(format!("{} is IPv4 in the clothes of IPv6", quote(text)), help));
    }
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        // `parse` alone would take `+8`.
        Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().map_err(|_| problem())?,
        Some(_) => return Err(problem()),
    };
    let network = masked(address, prefix).ok_or_else(problem)?;
    if network != address {
        let what = format!("{} names a host and a network at once", quote(text));
        return Err(Problem::new(what, format!("write {network}/{prefix}, or {address} for the host alone")));
    }
    Ok(Network { address, prefix })
}

/// `ip` with all bits behind the first `prefix` zero; `None` if it has not so many.
fn masked(ip: IpAddr, prefix: u8) -> Option<IpAddr> {
    Some(match ip {
        IpAddr::V4(ip) => {
            let rest = 32_u32.checked_sub(prefix.into())?;
            IpAddr::V4((ip.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into())
        }
        IpAddr::V6(ip) => {
            let rest = 128_u32.checked_sub(prefix.into())?;
            IpAddr::V6((ip.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into())
        }
    })
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_whose_first_bits_are_its_own() {
        for (text, within, without) in [
            ("10.0.0.0/8", vec!["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], vec!["11.0.0.0", "::a00:1"]),
            ("192.0.2.4", vec!["192.0.2.4"], vec!["192.0.2.5"]),
            ("192.0.2.4/31", vec!["192.0.2.5"], vec!["192.0.2.6"]),
            ("0.0.0.0/0", vec!["192.0.2.4"], vec!["::1"]),
            ("fd00::/8", vec!["fd12::1"], vec!["fe80::1", "10.0.0.1"]),
            ("::/0", vec!["::1"], vec!["127.0.0.1"]),
            ("::1/128", vec!["::1"], vec!["::2"]),
        ] {
            let network = network(text).unwrap();
            assert!(within.iter().all(|ip| network.contains(ip.parse().unwrap())), "{network}");
            assert!(without.iter().all(|ip| !network.contains(ip.parse().unwrap())), "{network}");
            assert_eq!(network.is_everybody(), text.ends_with("/0"), "{network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_help() {
        const EXAMPLES: &str = "write a network such as 10.0.0.0/8 or fd00::/8, or an address";
        for text in ["", "off", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "10.0.0.0/256", "10/8", "a/b/c"] {
            assert_eq!(network(text).unwrap_err().to_string(), format!("\"{text}\" is not a network; {EXAMPLES}"));
        }
        for (text, said) in [
            (
                "10.1.2.3/8",
                "\"10.1.2.3/8\" names a host and a network at once; write 10.0.0.0/8, or 10.1.2.3 for the host alone",
            ),
            ("::ffff:10.0.0.1", "\"::ffff:10.0.0.1\" is IPv4 in the clothes of IPv6; write the IPv4 address, 10.0.0.1"),
        ] {
            assert_eq!(network(text).unwrap_err().to_string(), said);
        }
    }
}
