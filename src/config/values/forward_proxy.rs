//! Which hosts the forward proxy is asked for.

use super::target::{dial_host, host_port, no_target};
use super::{address, outbound_listen};
use crate::config::forward_proxy::{DEFAULT_PORT, PortMapping};
use crate::config::outbound::{Host, HostPattern, OutboundListen, Target};
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;
use crate::policy::Rule;

/// `on`, `off`, or where it listens: a port of loopback, `ADDRESS:PORT` or `unix:/PATH`.
pub fn forward_proxy(text: &str) -> Result<Option<OutboundListen>, Problem> {
    match text {
        "off" | "false" => Ok(None),
        "on" | "true" => Ok(Some(OutboundListen::At((std::net::Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()))),
        text => outbound_listen(text).map(Some),
    }
}

/// Hosts, their port, and who may answer, if that is said.
pub type HostEntry = (HostPattern, u16, Option<Rule>);

/// `backend.apps.internal:61443`, `*.apps.internal:61443` or `10.255.0.0/16:61443`, and `=RULE` behind it or not.
pub fn listed(text: &str) -> Result<HostEntry, Problem> {
    const EXAMPLES: &str =
        "write HOST:PORT, *.DOMAIN:PORT or NETWORK:PORT, such as *.apps.internal:61443, and =RULE behind it or not";
    let (hosts, rule) = match text.split_once('=') {
        Some((hosts, rule)) => (hosts, Some(rule.parse()?)),
        None => (text, None),
    };
    let wrong = |what: &str| Problem::new(format!("{} {what}", quote(hosts)), EXAMPLES);
    if let Some(problem) = no_target(hosts, EXAMPLES) {
        return Err(problem);
    }
    let Some((host, port)) = hosts.rsplit_once(':') else { return Err(wrong("has no port")) };
    let number = || match address::digits(port) {
        Some(Ok(number)) if number > 0 => Ok(number),
        Some(_) | None => Err(address::no_port(port)),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .filter(|host| host.contains(':'))
        .unwrap_or(host);
    let hosts = match bare.strip_prefix("*.") {
        Some(domain) => {
            dial_host(domain).map_err(|_| wrong("has no domain behind the *"))?;
            HostPattern::Below(format!(".{}", domain.trim_end_matches('.').to_ascii_lowercase()))
        }
        None if bare == "*" => return Err(wrong("would make the app speak as this instance with everybody")),
        None if bare.contains('/') => HostPattern::Network(super::network(bare)?),
        None => {
            let (host, port) = host_port(hosts)?;
            return Ok((HostPattern::Host(without_dot(host)), port, rule));
        }
    };
    Ok((hosts, number()?, rule))
}

/// A dot at the end makes no other host.
fn without_dot(host: Host) -> Host {
    match host {
        Host::Name(name) => Host::Name(name.trim_end_matches('.').to_owned()),
        Host::Ip(ip) => Host::Ip(ip),
    }
}

/// `HOST:PORT=:PORT`
pub fn port_mapping(text: &str) -> Result<PortMapping, Problem> {
    const EXAMPLES: &str = "write HOST:PORT=:PORT such as backend.apps.internal:80=:61443";
    let Some((from, to)) = text.split_once("=:") else {
        return Err(Problem::new(format!("{} is not HOST:PORT=:PORT", quote(text)), EXAMPLES));
    };
    let (host, port) = host_port(from)?;
    match address::digits(to) {
        Some(Ok(to)) if to > 0 => Ok(PortMapping { from: Target { host, port }, to }),
        Some(_) | None => Err(address::no_port(to)),
    }
}
