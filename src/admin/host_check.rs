//! Whether a request was meant for us.
//!
//! A web page may make its visitor's browser ask a name that it controls, and let that name point to loopback (DNS
//! rebinding); then the page reads the answer. The browser still sends the name, so only what is no name is answered:
//! IP addresses, `localhost`, and the names that whoever runs us has listed (`--admin-host`).

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;

/// Whether every name in `request` is an IP address, `localhost`, or one of `names`, which are in lower case. A request
/// without any comes from no browser.
pub(super) fn is_ours<B>(request: &Request<B>, names: &[String]) -> bool {
    let in_target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    request
        .headers()
        .get_all(HOST)
        .iter()
        .map(|host| host.as_bytes())
        .chain(in_target)
        .all(|host| is_known(host, names))
}

fn is_known(host: &[u8], names: &[String]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    if let Some(six) = host.strip_prefix('[') {
        return six.split_once(']').is_some_and(|(ip, port)| ip.parse::<Ipv6Addr>().is_ok() && is_port(port));
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let is_listed = || names.iter().any(|known| name.eq_ignore_ascii_case(known));
    let is_local = || name.parse::<Ipv4Addr>().is_ok() || name.eq_ignore_ascii_case("localhost");
    is_port(&host[name.len()..]) && (is_local() || is_listed())
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
        is_ours(&request.body(()).unwrap(), &["metrics.example".to_owned(), "vestibule_1".to_owned()])
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
