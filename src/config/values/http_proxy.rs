//! An HTTP proxy on the way to servers, and whom it is not asked for.

use base64ct::{Base64, Encoding};

use super::target::{dial_host, host_port};
use crate::config::outbound::{HostPattern, HttpProxy};
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

const EXAMPLE: &str = "write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT";

/// `http://proxy.example:3128`, with a user and a password or without. What is wrong is said without repeating it: there may be a password
/// in it.
pub fn http_proxy(text: &str) -> Result<HttpProxy, Problem> {
    let wrong = |what: &str| Problem::new(what.to_owned(), EXAMPLE);
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(wrong("is not a URL of an HTTP proxy that is reached in plaintext"));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, address) = match rest.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, rest),
    };
    let (host, port) = host_port(address).map_err(|_| wrong("has no HOST:PORT that can be dialled"))?;
    let authorization = match user {
        None => None,
        Some(user) => {
            let decoded = percent_decoded(user).ok_or_else(|| wrong("has a user that cannot be decoded"))?;
            let pair = if decoded.contains(&b':') { decoded } else { [decoded, vec![b':']].concat() };
            Some(format!("Basic {}", Base64::encode_string(&pair)))
        }
    };
    Ok(HttpProxy { host, port, authorization })
}

/// `%40` and the like; `None` for control characters and what is no such code.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let hex = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            byte => byte,
        };
        if byte.is_ascii_control() {
            return None;
        }
        decoded.push(byte);
    }
    Some(decoded)
}

/// `backend.example`, `.example` for all below it, an address or a network.
pub fn no_proxy(text: &str) -> Result<HostPattern, Problem> {
    if let Some(domain) = text.strip_prefix('.') {
        return dial_host(domain).map(|_| HostPattern::Below(format!(".{}", domain.to_ascii_lowercase())));
    }
    if let Ok(network) = super::network(text) {
        return Ok(HostPattern::Network(network));
    }
    match dial_host(text) {
        Ok(host) => Ok(HostPattern::Host(host)),
        Err(_) => Err(Problem::new(
            format!("{} is neither a host nor a network", quote(text)),
            "write a name, .DOMAIN for all below it, an address, or a network such as 10.0.0.0/8",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::outbound::Host;

    #[test]
    fn a_proxy_is_a_url_with_a_port_and_perhaps_a_user() {
        let proxy = http_proxy("http://proxy.example:3128").unwrap();
        assert_eq!((proxy.host, proxy.port, proxy.authorization), (Host::Name("proxy.example".into()), 3128, None));
        let proxy = http_proxy("http://us%40er:p%3Ass@10.0.0.1:8080/").unwrap();
        assert_eq!(proxy.host, Host::Ip("10.0.0.1".parse().unwrap()));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNAZXI6cDpzcw=="));
        assert_eq!(http_proxy("http://user@p:1").unwrap().authorization.as_deref(), Some("Basic dXNlcjo="));
    }

    #[test]
    fn a_password_is_never_repeated() {
        for text in [
            "https://u:hidden@p:1",
            "http://u:hidden@p",
            "http://u:hidden@:1",
            "http://u:hidden%0a@p:1",
            "u:hidden@p:1",
        ] {
            let said = http_proxy(text).unwrap_err().to_string();
            assert!(!said.contains("hidden") && said.contains(EXAMPLE), "{said}");
        }
        let shown = format!("{:?}", http_proxy("http://u:hidden@p:1").unwrap());
        assert!(!shown.contains("hidden") && !shown.contains("dTpoaWRkZW4"), "{shown}");
    }

    #[test]
    fn who_is_dialled_without_the_proxy_is_told_by_name_domain_or_network() {
        let matches = |pattern: &str, host: &str| no_proxy(pattern).unwrap().matches(&dial_host(host).unwrap());
        assert!(
            matches("b.example", "b.example") && matches("B.example", "b.example.") && !matches("example", "b.example")
        );
        assert!(
            matches(".example", "b.example") && !matches(".example", "example") && !matches(".example", "bexample")
        );
        assert!(matches("10.0.0.0/8", "10.1.2.3") && !matches("10.0.0.0/8", "11.1.2.3") && !matches("10.0.0.0/8", "b"));
        assert!(matches("fd00::1", "fd00::1"));
        assert!(no_proxy("").is_err() && no_proxy("*.example").is_err());
    }
}
