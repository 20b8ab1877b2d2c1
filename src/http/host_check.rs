//! Whether a request was meant for us.
//!
//! A web page may make its visitor's browser ask a name that it controls, and let that name point to loopback (DNS
//! rebinding); then the page reads the answer. The browser still sends the name, so only what is no name is answered:
//! IP addresses, `localhost`, and what whoever runs us has listed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;
use hyper::http::uri::Authority;

/// Whom a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedHost<'a> {
    /// An address; never an IPv4-mapped one.
    Ip(IpAddr),
    /// `localhost`
    Localhost,
    /// Another name, in whatever letters.
    Name(&'a str),
}

/// Whether `is_ours` of everybody that `request` names. A request that names nobody comes from no browser.
pub(crate) fn names_only<B>(request: &Request<B>, is_ours: impl Fn(NamedHost<'_>) -> bool) -> bool {
    let in_target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    request
        .headers()
        .get_all(HOST)
        .iter()
        .map(|host| host.as_bytes())
        .chain(in_target)
        .all(|host| named(host).is_some_and(&is_ours))
}

/// Whether `host` is HOST or HOST:PORT, and names one server and not two.
pub(crate) fn names_server(host: &[u8]) -> bool {
    let has_letters_of_names = !host.contains(&b'@') && Authority::try_from(host).is_ok();
    has_letters_of_names
        && match named(host) {
            Some(NamedHost::Name(name)) => !name.is_empty() && !name.contains(','),
            Some(NamedHost::Ip(_) | NamedHost::Localhost) => true,
            None => false,
        }
}

/// `None`: it is not HOST or HOST:PORT.
fn named(host: &[u8]) -> Option<NamedHost<'_>> {
    let host = std::str::from_utf8(host).ok()?;
    if let Some(six) = host.strip_prefix('[') {
        let (ip, port) = six.split_once(']')?;
        let ip = IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?).to_canonical();
        return is_port(port).then_some(NamedHost::Ip(ip));
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let named = match name.parse::<Ipv4Addr>() {
        Ok(ip) => NamedHost::Ip(ip.into()),
        Err(_) if name.eq_ignore_ascii_case("localhost") => NamedHost::Localhost,
        Err(_) => NamedHost::Name(name),
    };
    is_port(&host[name.len()..]).then_some(named)
}

/// Nothing, or `:9901`.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(hosts: &[&str], target: &str) -> bool {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        names_only(&request.body(()).unwrap(), |host| match host {
            NamedHost::Ip(_) | NamedHost::Localhost => true,
            NamedHost::Name(name) => {
                ["metrics.example", "vestibule_1"].iter().any(|known| name.eq_ignore_ascii_case(known))
            }
        })
    }

    #[test]
    fn addresses_and_localhost_are_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9901",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:9901",
            "localhost",
            "LocalHost:1",
            "localhost:",
            "metrics.example",
            "Metrics.Example:9901",
            "vestibule_1:80",
        ] {
            assert!(asked(&[host], "/"), "{host}");
        }
        assert!(asked(&[], "/"));
        assert!(asked(&["localhost"], "http://127.0.0.1:9901/"));
    }

    #[test]
    fn a_server_is_named_by_one_host_and_a_port_that_is_a_number() {
        for host in ["a", "a:80", "a_b.Example.", "[::1]", "[::1]:80", "127.0.0.1:1", "localhost", "*", "a:"] {
            assert!(names_server(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a:port", "a,b", "a:80,b", "a:1:2", "::1", "[::1", "[::1]x", "[::1]:x", "[z]", "u@a", "a/b",
            "a b",
        ] {
            assert!(!names_server(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn names_are_not_ours() {
        for host in [
            "evil.example",
            "metrics.example.evil.example",
            "evil.metrics.example",
            "metrics.example.",
            "metrics.example:80x",
            "metrics",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:80x",
            "[::1",
            "::1",
            "",
            "[::1]x",
            "2130706433",
            "0x7f.1",
        ] {
            assert!(!asked(&[host], "/"), "{host}");
        }
        assert!(!asked(&["localhost", "evil.example"], "/"));
        assert!(!asked(&["localhost"], "http://evil.example/"));
    }
}
