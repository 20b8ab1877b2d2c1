//! The same question of a server: whether it may answer where the app dials out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::{PolicyTestResult, usage};
use crate::config::{Config, Host, HostPattern, OutboundListen, OutboundSettings, PairSource};
use crate::credentials::OutboundSnapshot;
use crate::exit::Fault;
use crate::identity::Certificate;
use crate::outbound::server_name;
use crate::policy::PolicyMode;

/// Judges `chain` as that of each server that is dialled.
///
/// # Errors
/// There is nothing to judge it by.
pub(super) fn verdicts(
    config: &Config,
    pair: &PairSource,
    chain: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<Vec<PolicyTestResult>, Fault> {
    let mut verdicts = Vec::new();
    for outbound in &config.outbounds {
        for target in &outbound.to {
            let hosts = HostPattern::Host(target.host.clone());
            verdicts.push(verdict(
                &outbound.listen,
                target.to_string(),
                &hosts,
                &outbound.settings,
                (pair, chain),
                now,
            )?);
        }
    }
    for (proxy, listed) in
        config.forward_proxy.iter().flat_map(|proxy| proxy.listed.iter().map(move |one| (proxy, one)))
    {
        verdicts.push(verdict(&proxy.listen, listed.to_string(), &listed.hosts, &listed.settings, (pair, chain), now)?);
    }
    Ok(verdicts)
}

fn verdict(
    listen: &OutboundListen,
    to: String,
    hosts: &HostPattern,
    settings: &OutboundSettings,
    (pair, chain): (&PairSource, &[CertificateDer<'_>]),
    now: SystemTime,
) -> Result<PolicyTestResult, Fault> {
    let snapshot = OutboundSnapshot::load(pair, settings)
        .map_err(|error| usage(format!("{listen} to {to}: {error}; correct it first")))?;
    let name = server_name(settings, &host(hosts, chain));
    let judged = snapshot.authenticator.authorize(chain, &name, now);
    Ok(PolicyTestResult::of_server((listen.to_string(), to), PolicyMode::Enforce.as_str(), &judged))
}

/// The host of `hosts` that is dialled: of a pattern one that the certificate is for, and if it is for none, any.
fn host(hosts: &HostPattern, chain: &[CertificateDer<'_>]) -> Host {
    let leaf = chain.first().and_then(|leaf| Certificate::from_der(leaf).ok());
    let names = leaf.as_ref().map(Certificate::alt_names);
    match hosts {
        HostPattern::Host(host) => host.clone(),
        HostPattern::Below(domain) => {
            let below = |name: &&String| name.to_ascii_lowercase().ends_with(domain.as_str());
            let found = names.and_then(|names| names.dns.iter().find(below));
            // A wildcard in the certificate is for every host of that level.
            let name = found.map(|name| name.to_ascii_lowercase().replacen('*', "any", 1));
            Host::Name(name.unwrap_or_else(|| format!("any{domain}")))
        }
        HostPattern::Network(network) => {
            let within = names.and_then(|names| names.ips.iter().find(|ip| network.contains(**ip)));
            let unspecified = match network.is_ipv6() {
                true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            };
            Host::Ip(within.copied().unwrap_or(unspecified))
        }
    }
}
