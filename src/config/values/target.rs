//! Whom an outbound listener dials, and where the app dials it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::address;
use crate::config::outbound::{ExpectedName, Host, OutboundCa, OutboundListen, Target};
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

/// `LISTEN=HOST:PORT`: `9000=backend.apps.internal:61443`, `unix:/run/backend.sock=10.0.0.1:8443`.
pub fn outbound(text: &str) -> Result<(OutboundListen, Target), Problem> {
    let Some((listen, to)) = text.rsplit_once('=') else {
        let what = format!("{} has no =", quote(text));
        let help = "write LISTEN=HOST:PORT such as 9000=backend.apps.internal:61443; several servers of one listener stand in the file, under [[outbound]], as to = [\"a:1\", \"b:2\"]";
        return Err(Problem::new(what, help));
    };
    Ok((outbound_listen(listen)?, target(to)?))
}

/// `9000` on 127.0.0.1 and `::1`, `localhost:9000`, `127.0.0.1:9000` or `unix:/run/backend.sock`. Port 0 lets the kernel choose.
pub fn outbound_listen(text: &str) -> Result<OutboundListen, Problem> {
    const EXAMPLES: &str = "write a port of loopback such as 9000, ADDRESS:PORT such as 127.0.0.1:9000, or unix:/PATH";
    if let Some(path) = text.strip_prefix("unix:") {
        return address::unix(path).map(OutboundListen::Unix);
    }
    match (address::digits(text), text.strip_prefix("localhost:")) {
        (Some(port), _) => port.map(OutboundListen::Loopback),
        (None, Some(port)) => {
            address::digits(port).unwrap_or_else(|| Err(address::no_port(port))).map(OutboundListen::Loopback)
        }
        (None, None) => address::socket(text, EXAMPLES).map(OutboundListen::At),
    }
}

/// `HOST:PORT`, where the host is a name, an IPv4 address or an IPv6 address in brackets.
pub fn target(text: &str) -> Result<Target, Problem> {
    const EXAMPLES: &str = "write HOST:PORT such as backend.apps.internal:61443, 10.0.0.1:8443 or [fd00::1]:8443";
    let wrong = |what: &str| Problem::new(format!("{} {what}", quote(text)), EXAMPLES);
    if let Some(problem) = no_target(text, EXAMPLES) {
        return Err(problem);
    }
    if let Some(address) = in_another_form(text) {
        return Err(Problem::new(address, EXAMPLES));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return dialled(Target { host: Host::Ip(address.ip().to_canonical()), port: address.port() }, text);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Err(wrong("has no port"));
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Err(wrong("has no port")) };
    let port = address::digits(port).unwrap_or_else(|| Err(address::no_port(port)))?;
    dialled(Target { host: Host::Name(name(host)?), port }, text)
}

/// What is wrong with `text`, if it is an address that is written as some write it.
fn in_another_form(text: &str) -> Option<String> {
    let (host, _) = text.rsplit_once(':')?;
    let is_in_brackets = host.starts_with('[') && host.ends_with(']');
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let wrong = |what: &str| Some(format!("{} {what}", quote(text)));
    if bare.parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    match bare.split_once('%') {
        Some((address, _)) if address.parse::<Ipv6Addr>().is_ok() => {
            wrong("names a zone, behind the %, which is not dialled")
        }
        None if !is_in_brackets && bare.parse::<Ipv6Addr>().is_ok() => {
            wrong("has an IPv6 address without brackets around it")
        }
        None if !is_in_brackets && is_number(bare) => wrong("has an address that is not written in four decimal parts"),
        _ => None,
    }
}

/// What is wrong with `text`, if it is a URL, or has a user in it; `examples` help.
pub(super) fn no_target(text: &str, examples: &'static str) -> Option<Problem> {
    match (text.contains('@'), text.contains("://")) {
        // There may be a password before it.
        (true, _) => Some(Problem::new("has a user in it, and is not repeated here", examples)),
        // There may be one in what a query asks.
        (false, true) => {
            let place = text.split(['?', '#']).next().unwrap_or_default();
            Some(Problem::new(format!("{} is a URL", quote(place)), examples))
        }
        (false, false) => None,
    }
}

/// The parts of `HOST:PORT`, as of a [`target`].
pub(super) fn host_port(text: &str) -> Result<(Host, u16), Problem> {
    target(text).map(|Target { host, port }| (host, port))
}

/// A name or an address that may be dialled.
pub(super) fn dial_host(text: &str) -> Result<Host, Problem> {
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(Host::Ip(ip.to_canonical())),
        Err(_) => name(text).map(Host::Name),
    }
}

/// What can be dialled: not every address, nor port 0.
fn dialled(target: Target, text: &str) -> Result<Target, Problem> {
    if target.port == 0 {
        return Err(address::no_port("0"));
    }
    match target.host {
        Host::Ip(ip) if ip.is_unspecified() || ip.is_multicast() => {
            Err(Problem::new(format!("{} cannot be dialled", quote(text)), "write the address of one server"))
        }
        _ => Ok(target),
    }
}

/// A name as a server's certificate may have it, in lower case; an IP address too; or `off`.
pub fn server_name(text: &str) -> Result<ExpectedName, Problem> {
    if text == "off" {
        return Ok(ExpectedName::Unchecked);
    }
    Ok(ExpectedName::Given(match dial_host(text)? {
        Host::Name(name) => Host::Name(name.trim_end_matches('.').to_owned()),
        Host::Ip(ip) => Host::Ip(ip),
    }))
}

/// A DNS name, in lower case; one that ends with a dot is absolute.
fn name(text: &str) -> Result<String, Problem> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if !address::is_host(bare) || is_number(bare) || rustls::pki_types::DnsName::try_from(bare).is_err() {
        let what = format!("{} is not a host name", quote(text));
        return Err(Problem::new(what, "write a name in full such as backend.apps.internal"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Whether `host` looks like a number: an address in a spelling that some read otherwise.
fn is_number(host: &str) -> bool {
    host.rsplit('.').next().filter(|last| !last.is_empty()).is_some_and(|last| {
        last.bytes().all(|byte| byte.is_ascii_digit()) || last.to_ascii_lowercase().starts_with("0x")
    })
}

/// `own-issuer`, `system`, or a path.
pub fn outbound_ca(text: &str) -> Result<OutboundCa, Problem> {
    match text {
        "own-issuer" => Ok(OutboundCa::OwnIssuer),
        "system" => Ok(OutboundCa::System),
        path => super::path(path.as_ref()).map(OutboundCa::Path),
    }
}

/// A number of failures in a row, or `off`.
pub fn eject(text: &str) -> Result<Option<u32>, Problem> {
    if text == "off" { Ok(None) } else { super::number(text, &(1..=1000)).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_at(name: &str, port: u16) -> Target {
        Target { host: Host::Name(name.to_owned()), port }
    }

    #[test]
    fn a_target_is_a_name_or_an_address_with_a_port() {
        assert_eq!(target("Backend.Apps.Internal:61443"), Ok(name_at("backend.apps.internal", 61443)));
        assert_eq!(target("backend.apps.internal.:1"), Ok(name_at("backend.apps.internal.", 1)), "absolute");
        assert_eq!(target("backend:8443"), Ok(name_at("backend", 8443)));
        let ip = |ip: &str, port| Ok(Target { host: Host::Ip(ip.parse().unwrap()), port });
        assert_eq!(target("10.0.0.1:8443"), ip("10.0.0.1", 8443));
        assert_eq!(target("[fd00::1]:8443"), ip("fd00::1", 8443));
        assert_eq!(target("[::ffff:10.0.0.1]:1"), ip("10.0.0.1", 1));
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_the_help() {
        for (text, said) in [
            ("", "has no port"),
            ("backend", "has no port"),
            ("10.0.0.1", "has no port"),
            ("fd00::1", "has no port"),
            ("backend:", "is not a port"),
            ("backend:0", "is not a port"),
            ("backend:http", "is not a port"),
            ("10.0.0.1:0", "is not a port"),
            ("0.0.0.0:1", "cannot be dialled"),
            ("[ff02::1]:1", "cannot be dialled"),
            ("https://backend:1", "\"https://backend:1\" is a URL"),
            ("https://backend/?key=hidden", "\"https://backend/\" is a URL"),
            ("user:hidden@backend:1", "has a user in it"),
            ("https://user:hidden@backend:1", "has a user in it"),
            ("0177.1:80", "is not written in four decimal parts"),
            ("0177.0.0.1:80", "is not written in four decimal parts"),
            ("0x7f000001:80", "is not written in four decimal parts"),
            ("2130706433:80", "is not written in four decimal parts"),
            ("fe80::1:61443", "has an IPv6 address without brackets"),
            ("[fe80::1%eth0]:1", "names a zone"),
            ("fe80::1%2:1", "names a zone"),
            ("a b:1", "is not a host name"),
            ("*.apps.internal:1", "is not a host name"),
            (".:1", "is not a host name"),
        ] {
            let problem = target(text).unwrap_err().to_string();
            assert!(problem.contains(said) && problem.contains("; "), "{text}: {problem}");
            assert!(!problem.contains("hidden"), "{problem}");
        }
    }

    #[test]
    fn a_port_alone_is_one_of_loopback_and_what_follows_the_last_equals_sign_is_dialled() {
        assert_eq!(outbound("9000=b:1"), Ok((OutboundListen::Loopback(9000), name_at("b", 1))));
        assert_eq!(outbound("localhost:0=b:1"), Ok((OutboundListen::Loopback(0), name_at("b", 1))));
        let at = OutboundListen::At("127.0.0.2:9000".parse().unwrap());
        assert_eq!(outbound("127.0.0.2:9000=b:1"), Ok((at, name_at("b", 1))));
        let unix = OutboundListen::Unix("/run/a=b".into());
        assert_eq!(outbound("unix:/run/a=b=b:1"), Ok((unix, name_at("b", 1))));
        assert!(outbound("9000").unwrap_err().to_string().contains("LISTEN=HOST:PORT"));
    }
}
