//! Addresses: where clients dial us, and where the app accepts.
//!
//! Never a name: to look one up at the start means to serve what the name meant then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{AdminAddr, AppAddr, Listen};
use crate::diagnostics::Problem;
use crate::diagnostics::redact::{may_be_secret_path, quote};

/// `8443` and `[::]:8443` for every address of the machine, or one address and port. Port 0 lets the kernel choose.
pub fn listen(text: &str) -> Result<Listen, Problem> {
    const EXAMPLES: &str = "write a port such as 8443, or ADDRESS:PORT such as 0.0.0.0:8443 or [::]:8443";
    if text.starts_with("unix:") {
        return Err(Problem::new("clients cannot dial a socket file", EXAMPLES));
    }
    if let Some(port) = digits(text) {
        return port.map(Listen::EveryAddress);
    }
    let address = socket(text, EXAMPLES)?;
    // The other spelling of every IPv6 address, `[::%1]`, would not be every address.
    if address == SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port())) {
        return Ok(Listen::EveryAddress(address.port()));
    }
    Ok(Listen::At(address))
}

/// `8080`, `127.0.0.1:8080`, `localhost:8080` or `unix:/run/app.sock`.
pub fn app(text: &str) -> Result<AppAddr, Problem> {
    const EXAMPLES: &str = "write a port such as 8080, ADDRESS:PORT such as 127.0.0.1:8080, or unix:/PATH";
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(AppAddr::Unix);
    }
    if digits(text).is_some() {
        return port(text).map(AppAddr::Tcp);
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return match digits(port) {
            Some(Ok(number)) if number > 0 => Ok(AppAddr::Localhost(number)),
            _ => Err(no_port(port)),
        };
    }
    let address = socket(text, EXAMPLES)?;
    if address.port() == 0 {
        return Err(no_port("0"));
    }
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        let what = format!("{} cannot be dialled", quote(text));
        return Err(Problem::new(what, format!("write 127.0.0.1:{}", address.port())));
    }
    Ok(AppAddr::Tcp(address))
}

/// `9901` on 127.0.0.1, `127.0.0.1:9901`, `localhost:9901`, `unix:/run/vestibule.sock`, or `off`. Port 0 lets the kernel
/// choose.
pub fn admin(text: &str) -> Result<Option<AdminAddr>, Problem> {
    const EXAMPLES: &str = "write a port such as 9901, ADDRESS:PORT such as 127.0.0.1:9901, unix:/PATH, or off";
    if text == "off" {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(AdminAddr::Unix).map(Some);
    }
    let on_loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addr = match (digits(text), text.strip_prefix("localhost:")) {
        (Some(port), _) => on_loopback(port?),
        (None, Some(port)) => on_loopback(digits(port).unwrap_or_else(|| Err(no_port(port)))?),
        (None, None) => socket(text, EXAMPLES)?,
    };
    Ok(Some(AdminAddr::Tcp(addr)))
}

/// A host name as a client sends it in `Host`, in lower case and without a port.
pub fn host_name(text: &str) -> Result<String, Problem> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        let what = format!("{} is an IP address", quote(text));
        return Err(Problem::new(what, "leave it out, addresses are always answered to"));
    }
    if let Some((host, port)) = text.split_once(':')
        && is_host(host)
        && digits(port).is_some()
    {
        return Err(Problem::new(format!("{} has a port", quote(text)), "write the name alone, all ports count"));
    }
    if !is_host(text) {
        let what = format!("{} is not a host name", quote(text));
        return Err(Problem::new(what, "write each name in full, such as metrics.example.org"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Labels of letters, digits, `-` and `_`: RFC 1123, and what Docker and Kubernetes name things beside.
pub(super) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// `8080` and nothing else, as the platform's `PORT` says it: on 127.0.0.1.
pub fn port(text: &str) -> Result<SocketAddr, Problem> {
    match digits(text) {
        Some(Ok(port)) if port > 0 => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err(no_port(text)),
    }
}

/// As [`listen`], or `off`.
pub fn listen_or_off(text: &str) -> Result<Option<Listen>, Problem> {
    if text == "off" { Ok(None) } else { listen(text).map(Some) }
}

/// `LISTEN=APP`: `8443=8080`, `9443=127.0.0.1:9090`, `8443=unix:/run/app.sock`; or `LISTEN` alone, where `has_own_app` is to say that there is
/// an app without being named.
pub fn listener(text: &str, has_own_app: bool) -> Result<(Listen, Option<AppAddr>), Problem> {
    match text.split_once('=') {
        Some((outer, inner)) => Ok((listen(outer)?, Some(app(inner)?))),
        None if has_own_app => Ok((listen(text)?, None)),
        None => {
            let what = format!("{} has no =", quote(text));
            Err(Problem::new(what, "write LISTEN=APP such as 8443=8080"))
        }
    }
}

pub(super) fn unix(path: &str) -> Result<PathBuf, Problem> {
    // `sun_path` of sockaddr_un holds 108 bytes, the last of them zero: unix(7).
    const LONGEST: usize = 107;
    if !path.starts_with('/') || path.contains('\0') {
        let what = format!("{} is not an absolute path", quote(path));
        return Err(Problem::new(what, "write unix:/PATH such as unix:/run/app.sock"));
    }
    if may_be_secret_path(path) {
        return Err(Problem::new("looks like a key itself", "write unix:/PATH such as unix:/run/app.sock"));
    }
    if path.len() > LONGEST {
        let what = format!("{} is {} bytes long", quote(path), path.len());
        return Err(Problem::new(what, format!("a socket's path has at most {LONGEST} bytes")));
    }
    // `unix:///PATH` is how a URL writes it.
    Ok(Path::new("/").join(path.trim_start_matches('/')))
}

/// An IP address and a port, or which of the two is missing.
pub(super) fn socket(text: &str, examples: &str) -> Result<SocketAddr, Problem> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        // `::ffff:127.0.0.1` is an IPv4 address, and has to be opened as one.
        return Ok(match address.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
            IpAddr::V6(_) => address,
        });
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let example = SocketAddr::new(ip, 8080);
        return Err(Problem::new(format!("{} has no port", quote(text)), format!("write it like {example}")));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv4Addr>().is_ok() || host.ends_with(']') => {
            Err(digits(port).and_then(Result::err).unwrap_or_else(|| no_port(port)))
        }
        Some((host, port)) if is_name(host) && digits(port).is_some() => {
            let help = format!("write an IP address such as 127.0.0.1:{port}");
            Err(Problem::new(format!("{} is a name", quote(host)), help))
        }
        _ => Err(Problem::new(format!("{} is not an address", quote(text)), examples)),
    }
}

fn is_name(host: &str) -> bool {
    host.starts_with(|c: char| c.is_ascii_alphabetic())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// `None` if it is not even a number.
pub(super) fn digits(text: &str) -> Option<Result<u16, Problem>> {
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number.then(|| text.parse().map_err(|_| no_port(text)))
}

pub(super) fn no_port(text: &str) -> Problem {
    Problem::new(format!("{} is not a port", quote(text)), "a port is a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_listens_on_every_address() {
        assert_eq!(listen("8443"), Ok(Listen::EveryAddress(8443)));
        assert_eq!(listen("[::]:8443"), Ok(Listen::EveryAddress(8443)));
        assert_eq!(listen("0"), Ok(Listen::EveryAddress(0)));
    }

    #[test]
    fn an_address_is_listened_on_as_it_is() {
        for text in ["0.0.0.0:8443", "127.0.0.1:8443", "[::1]:8443", "127.0.0.1:0", "[fe80::1%2]:8443"] {
            assert_eq!(listen(text), Ok(Listen::At(text.parse().unwrap())), "{text}");
        }
        assert_eq!(listen("[::ffff:127.0.0.1]:1"), Ok(Listen::At("127.0.0.1:1".parse().unwrap())));
    }

    #[test]
    fn an_app_is_a_port_an_address_or_a_socket_file() {
        let tcp = |text: &str| Ok(AppAddr::Tcp(text.parse().unwrap()));
        assert_eq!(app("8080"), tcp("127.0.0.1:8080"));
        assert_eq!(app("localhost:8080"), Ok(AppAddr::Localhost(8080)));
        assert_eq!(app("10.1.2.3:80"), tcp("10.1.2.3:80"));
        assert_eq!(app("[::1]:8080"), tcp("[::1]:8080"));
        assert_eq!(app("unix:/run/app.sock"), Ok(AppAddr::Unix("/run/app.sock".into())));
    }

    #[test]
    fn a_listener_is_split_at_its_first_equals_sign() {
        let unix = AppAddr::Unix("/run/a=b".into());
        assert_eq!(listener("8443=unix:/run/a=b", false), Ok((Listen::EveryAddress(8443), Some(unix))));
        let tcp = AppAddr::Tcp("127.0.0.1:9090".parse().unwrap());
        assert_eq!(listener("127.0.0.1:0=9090", true), Ok((Listen::At("127.0.0.1:0".parse().unwrap()), Some(tcp))));
    }

    #[test]
    fn a_listener_alone_leads_to_an_app_that_needs_no_name() {
        assert_eq!(listener("8080", true), Ok((Listen::EveryAddress(8080), None)));
        assert_eq!(
            listener("8080", false).unwrap_err().to_string(),
            "\"8080\" has no =; write LISTEN=APP such as 8443=8080"
        );
    }

    #[test]
    fn each_wrong_app_address_has_its_help() {
        const FORMS: &str = "write a port such as 8080, ADDRESS:PORT such as 127.0.0.1:8080, or unix:/PATH";
        const PORTS: &str = "a port is a number from 1 to 65535";
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, what, help) in [
            ("", "\"\" is not an address", FORMS),
            ("here", "\"here\" is not an address", FORMS),
            ("http://127.0.0.1:8080", "\"http://127.0.0.1:8080\" is not an address", FORMS),
            ("0", "\"0\" is not a port", PORTS),
            ("65536", "\"65536\" is not a port", PORTS),
            ("127.0.0.1:0", "\"0\" is not a port", PORTS),
            ("127.0.0.1:70000", "\"70000\" is not a port", PORTS),
            ("127.0.0.1:", "\"\" is not a port", PORTS),
            ("[::1]:http", "\"http\" is not a port", PORTS),
            ("localhost:x", "\"x\" is not a port", PORTS),
            ("localhost:0", "\"0\" is not a port", PORTS),
            ("127.0.0.1", "\"127.0.0.1\" has no port", "write it like 127.0.0.1:8080"),
            ("::1", "\"::1\" has no port", "write it like [::1]:8080"),
            ("app.internal:80", "\"app.internal\" is a name", "write an IP address such as 127.0.0.1:80"),
            ("0.0.0.0:8080", "\"0.0.0.0:8080\" cannot be dialled", "write 127.0.0.1:8080"),
            ("[::]:8080", "\"[::]:8080\" cannot be dialled", "write 127.0.0.1:8080"),
            ("unix:run/app", "\"run/app\" is not an absolute path", "write unix:/PATH such as unix:/run/app.sock"),
            (&long, &format!("{} is 108 bytes long", quote(&long[5..])), "a socket's path has at most 107 bytes"),
        ] {
            assert_eq!(app(text), Err(Problem::new(what, help)));
        }
    }

    #[test]
    fn each_wrong_listening_address_has_its_help() {
        const FORMS: &str = "write a port such as 8443, or ADDRESS:PORT such as 0.0.0.0:8443 or [::]:8443";
        for (text, what, help) in [
            ("*:8443", "\"*:8443\" is not an address", FORMS),
            (":8443", "\":8443\" is not an address", FORMS),
            ("unix:/run/x", "clients cannot dial a socket file", FORMS),
            ("localhost:8443", "\"localhost\" is a name", "write an IP address such as 127.0.0.1:8443"),
        ] {
            assert_eq!(listen(text), Err(Problem::new(what, help)));
        }
    }

    #[test]
    fn the_platforms_port_is_a_number_and_nothing_else() {
        assert_eq!(port("8080"), Ok("127.0.0.1:8080".parse().unwrap()));
        assert!(port("127.0.0.1:8080").is_err() && port("0").is_err() && port("").is_err());
    }
}
