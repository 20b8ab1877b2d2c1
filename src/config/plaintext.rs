//! A listener without TLS: behind a proxy of the platform that dials us from this very machine, and says who calls.

mod reading;

use std::net::{IpAddr, SocketAddr};

use super::Network;

/// Whose connections are taken where TLS is off. Whoever connects there may say who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedPeers {
    /// Those of this machine: they come from the very address that they dial, or from loopback to loopback.
    pub own: bool,
    /// Others, by their address.
    pub networks: Vec<Network>,
}

impl AdmittedPeers {
    /// Whether a connection from `peer` to our address `local` is taken.
    pub fn admits(&self, peer: SocketAddr, local: SocketAddr) -> bool {
        let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
        let is_own = peer == local || peer.is_loopback() && local.is_loopback();
        self.own && is_own || self.networks.iter().any(|network| network.contains(peer))
    }

    /// Those who come from elsewhere; empty: nobody does.
    pub fn elsewhere(&self) -> impl Iterator<Item = &Network> {
        let is_loopback = |network: &&Network| network.contains(IpAddr::from([127, 0, 0, 1])) && network.prefix() >= 8;
        self.networks.iter().filter(move |network| !is_loopback(network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values;

    fn admits(peers: &AdmittedPeers, peer: &str, local: &str) -> bool {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 8080);
        peers.admits(at(peer), at(local))
    }

    #[test]
    fn whoever_dials_us_from_the_address_that_is_dialled_is_of_this_machine() {
        let own = AdmittedPeers { own: true, networks: Vec::new() };
        for (peer, local) in [
            ("10.255.1.2", "10.255.1.2"),
            ("10.255.1.2", "::ffff:10.255.1.2"),
            ("::ffff:10.255.1.2", "10.255.1.2"),
            ("127.0.0.1", "127.0.0.2"),
            ("::1", "::1"),
            ("fd00::2", "fd00::2"),
        ] {
            assert!(admits(&own, peer, local), "{peer} to {local}");
        }
        for (peer, local) in
            [("10.255.1.3", "10.255.1.2"), ("10.255.1.2", "127.0.0.1"), ("127.0.0.1", "10.255.1.2"), ("fd00::1", "::1")]
        {
            assert!(!admits(&own, peer, local), "{peer} to {local}");
        }
    }

    #[test]
    fn networks_admit_others_and_this_machine_only_where_it_is_said() {
        let network = |text| values::network(text).unwrap();
        let others = AdmittedPeers { own: false, networks: vec![network("10.0.0.0/8"), network("127.0.0.0/8")] };
        assert!(admits(&others, "10.1.2.3", "192.0.2.1") && admits(&others, "::ffff:10.1.2.3", "::ffff:192.0.2.1"));
        assert!(!admits(&others, "192.0.2.1", "192.0.2.1"));
        assert_eq!(others.elsewhere().collect::<Vec<_>>(), [&network("10.0.0.0/8")]);
    }
}
