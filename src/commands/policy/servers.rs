//! The same question of a server: whether it may answer where the app dials out.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::{PolicyTestResult, usage};
use crate::config::{Config, ExpectedName, HostPattern, OutboundListen, OutboundSettings, PairSource};
use crate::credentials::OutboundSnapshot;
use crate::exit::Fault;
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
    let mut settings = settings.clone();
    let host = match hosts {
        HostPattern::Host(host) => Some(host),
        // Of all those names nobody knows which is meant.
        HostPattern::Below(_) | HostPattern::Network(_) => {
            settings.server_name = ExpectedName::Unchecked;
            None
        }
    };
    let snapshot = OutboundSnapshot::load(pair, &settings)
        .map_err(|error| usage(format!("{listen} to {to}: {error}; correct it first")))?;
    let unspecified = crate::config::Host::Ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    let name = server_name(&settings, host.unwrap_or(&unspecified));
    let judged = snapshot.authenticator.authorize(chain, &name, now);
    Ok(PolicyTestResult::of_server((listen.to_string(), to), PolicyMode::Enforce.as_str(), &judged))
}
