//! The forward proxy: which hosts the app may name in its requests, and with which of them it speaks as the instance.

mod reading;

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

use super::Network;
use super::outbound::{HostPattern, OutboundListen, OutboundSettings, Target};

/// The port of the proxy where only its use was asked for: that of the draft "Full mTLS for C2C" of Cloud Foundry.
pub const DEFAULT_PORT: u16 = 61445;

/// A proxy for the app's own HTTP clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// Where the app asks it. Invariant: loopback, or a socket file.
    pub listen: OutboundListen,
    /// With whom the app speaks as the instance, the most specific first.
    pub listed: Vec<ListedHosts>,
    /// What becomes of requests for others.
    pub unlisted: Unlisted,
    /// How others are dialled.
    pub unlisted_settings: OutboundSettings,
    /// Whether an app may speak TLS by itself with hosts that are listed.
    pub tls_tunnel: TlsTunnel,
    /// Whom the app means by another port.
    pub map: Vec<PortMapping>,
    /// What the app is told of it.
    pub announce: ProxyEnvironment,
    /// Whether the app has to show the password that it was told.
    pub secret: bool,
    /// Which addresses are dialled in spite of being the machine's own, or of its link.
    pub allow_addresses: Vec<Network>,
}

/// Hosts with which the app speaks as the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedHosts {
    /// Which.
    pub hosts: HostPattern,
    /// On which port; never 0.
    pub port: u16,
    /// How they are dialled, and who may answer.
    pub settings: OutboundSettings,
}

/// `backend.apps.internal:80=:61443`: who is named with one port is dialled at another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// Whom the app names.
    pub from: Target,
    /// Where it is dialled; never 0.
    pub to: u16,
}

/// What becomes of requests for hosts that are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Unlisted {
    /// They are refused.
    Refuse,
    /// They are passed on as they are, without our certificate.
    Tunnel,
}

/// What becomes of TLS of the app's own to hosts that are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum TlsTunnel {
    /// It is passed on as it is: the server sees no certificate of ours.
    Allow,
    /// It is refused.
    Refuse,
}

/// Which variables the app finds the proxy in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ProxyEnvironment {
    /// `CF_INSTANCE_MTLS_PROXY`
    Cf,
    /// Those that HTTP clients read by themselves, too.
    Env,
    /// None.
    Off,
}

impl ForwardProxy {
    /// Whom `target` stands for.
    pub fn mapped(&self, target: Target) -> Target {
        let is_meant =
            |from: &Target| from.port == target.port && HostPattern::Host(from.host.clone()).matches(&target.host);
        let mapping = self.map.iter().find(|mapping| is_meant(&mapping.from));
        Target { port: mapping.map_or(target.port, |mapping| mapping.to), ..target }
    }

    /// Those of [`ForwardProxy::map`] that lead to nobody who is listed.
    pub fn dangling_mappings(&self) -> impl Iterator<Item = &PortMapping> {
        self.map.iter().filter(|mapping| self.position(&mapping.dialled()).is_none())
    }

    /// Where in [`ForwardProxy::listed`] `target` is.
    pub fn position(&self, target: &Target) -> Option<usize> {
        self.listed.iter().position(|listed| listed.port == target.port && listed.hosts.matches(&target.host))
    }
}

impl PortMapping {
    /// Who is dialled.
    pub fn dialled(&self) -> Target {
        Target { port: self.to, ..self.from.clone() }
    }
}

/// As it is written: `backend.apps.internal:80=:61443`.
impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=:{}", self.from, self.to)
    }
}

impl HostPattern {
    /// The narrower of two that match one host has the higher number.
    fn specificity(&self) -> (bool, usize) {
        match self {
            Self::Host(_) => (true, 0),
            Self::Below(domain) => (false, domain.len()),
            Self::Network(network) => (false, network.prefix().into()),
        }
    }
}

/// As it is written: `*.apps.internal:61443`.
impl fmt::Display for ListedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, port, .. } = self;
        match hosts {
            HostPattern::Host(host) => write!(f, "{}", Target { host: host.clone(), port: *port }),
            HostPattern::Below(domain) => write!(f, "*{domain}:{port}"),
            HostPattern::Network(network) if network.is_ipv6() => write!(f, "[{network}]:{port}"),
            HostPattern::Network(network) => write!(f, "{network}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests;
