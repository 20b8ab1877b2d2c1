//! Whom a request to the forward proxy names, and which requests are refused.

use std::net::SocketAddr;

use hyper::{Method, Request, StatusCode};

use crate::config::{Target, values};
use crate::http::LocalReply;
use crate::outbound::address_rules::AddressRejection;
use crate::telemetry::OutboundCloseReason;

/// The port of `http://HOST/`.
const HTTP_PORT: u16 = 80;

/// The server that a request names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestedServer {
    /// What stands in Host: as it was written, but for a port that is empty or begins with a zero, which servers read in several ways.
    pub(super) authority: String,
    /// What that means.
    pub(super) target: Target,
}

/// Why a request is not sent on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProxyRejection {
    /// It names no server: it was meant for one that is not a proxy.
    NotAbsolute,
    /// Its URL is of another kind than `http:` and `ws:`.
    UnsupportedScheme(String),
    /// There is a user in its URL.
    UserInTarget,
    /// Its server is written in a way that is read in several ways, or in no way.
    BadTarget,
    /// Its server is an address that no host has: unspecified, multicast.
    AddressOfNobody(SocketAddr),
    /// TRACE would show what others are not to see.
    MethodNotAllowed,
    /// Its server is not one of those that the app may speak with, or only on these ports.
    NotListed(Target, Vec<u16>),
    /// It does not show the password.
    AuthenticationRequired,
}

impl RequestedServer {
    /// Whom `request` names: by CONNECT, or by a URL in its first line (RFC 9112, 3.2.2 and 3.2.3).
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, ProxyRejection> {
        let (method, uri) = (request.method(), request.uri());
        if *method == Method::TRACE {
            return Err(ProxyRejection::MethodNotAllowed);
        }
        let is_connect = *method == Method::CONNECT;
        match uri.scheme_str() {
            // What a WebSocket begins with is a request as any other, and some clients write it so.
            Some(scheme) if !is_connect && ["http", "ws"].iter().any(|plain| scheme.eq_ignore_ascii_case(plain)) => {}
            Some(scheme) => return Err(ProxyRejection::UnsupportedScheme(scheme.to_owned())),
            None if is_connect && uri.path_and_query().is_none() => {}
            None => return Err(ProxyRejection::NotAbsolute),
        }
        let authority = uri.authority().ok_or(ProxyRejection::NotAbsolute)?.as_str();
        if authority.contains('@') {
            return Err(ProxyRejection::UserInTarget);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (authority, ""),
        };
        let authority = match port.trim_start_matches('0') {
            "" if port.is_empty() => host.to_owned(),
            // Not a port, and said to be none.
            "" => format!("{host}:0"),
            port => format!("{host}:{port}"),
        };
        let text = match (port, is_connect) {
            // `http://host:/` means the port of the scheme (RFC 3986, 3.2.3).
            ("", false) => format!("{host}:{HTTP_PORT}"),
            // There is no port that is meant by itself.
            ("", true) => return Err(ProxyRejection::BadTarget),
            _ => authority.clone(),
        };
        let target = values::target(&text).map_err(|_| match text.parse::<SocketAddr>() {
            Ok(addr) if addr.port() > 0 => ProxyRejection::AddressOfNobody(addr),
            _ => ProxyRejection::BadTarget,
        })?;
        Ok(Self { authority, target })
    }
}

impl ProxyRejection {
    /// What the app is answered.
    pub(super) fn answer(&self) -> LocalReply {
        let (status, reason, text) = match self {
            Self::NotAbsolute => (
                StatusCode::BAD_REQUEST,
                "not_absolute",
                "this is a proxy: the first line of a request names its server, as http://HOST:PORT/PATH".to_owned(),
            ),
            Self::UnsupportedScheme(scheme) => {
                let plain = if scheme.eq_ignore_ascii_case("wss") { "ws" } else { "http" };
                let text = format!("{scheme}: is not sent on; write {plain}://, and mutual TLS is spoken for you");
                (StatusCode::BAD_REQUEST, "unsupported_scheme", text)
            }
            Self::UserInTarget => {
                (StatusCode::BAD_REQUEST, "user_in_target", "there is a user in the URL; send it as Authorization".to_owned())
            }
            Self::BadTarget => (
                StatusCode::BAD_REQUEST,
                "bad_target",
                "the server is not HOST:PORT, with a name in full, an IPv4 address in four decimal parts or an IPv6 address in brackets, and a port from 1 to 65535".to_owned(),
            ),
            Self::AddressOfNobody(addr) => (
                StatusCode::FORBIDDEN,
                self.close_reason().as_str(),
                format!("{addr} is not dialled: {}; name another server", AddressRejection::Nobody),
            ),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "TRACE is not sent on".to_owned())
            }
            Self::NotListed(target, ports) => {
                let text = match ports[..] {
                    [] => format!("{target} is not among the servers of --forward-proxy-to"),
                    [port, ..] => format!(
                        "{target} is not among the servers of --forward-proxy-to, which has port {port} of it: write that in the URL, or see --forward-proxy-map"
                    ),
                };
                (StatusCode::FORBIDDEN, self.close_reason().as_str(), text)
            }
            Self::AuthenticationRequired => (
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                self.close_reason().as_str(),
                "the password is missing or wrong; it stands in the URL of CF_INSTANCE_MTLS_PROXY".to_owned(),
            ),
        };
        LocalReply { status, reason, text }
    }

    /// Why it ends.
    pub(super) fn close_reason(&self) -> OutboundCloseReason {
        match self {
            Self::NotListed(..) => OutboundCloseReason::NotListed,
            Self::AddressOfNobody(_) => OutboundCloseReason::AddressNotAllowed,
            Self::AuthenticationRequired => OutboundCloseReason::AuthenticationRequired,
            _ => OutboundCloseReason::BadRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(method: &str, uri: &str) -> Result<String, ProxyRejection> {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        RequestedServer::of(&request).map(|named| named.target.to_string())
    }

    #[test]
    fn a_url_or_connect_names_the_server() {
        for (method, uri, expected) in [
            ("GET", "http://backend.apps.internal:61443/x?y", "backend.apps.internal:61443"),
            ("GET", "HTTP://BACKEND.apps.internal./", "backend.apps.internal.:80"),
            ("GET", "http://10.0.0.1/", "10.0.0.1:80"),
            ("GET", "http://[fd00::1]/", "[fd00::1]:80"),
            ("GET", "http://[::ffff:127.0.0.1]:80/", "127.0.0.1:80"),
            ("GET", "http://backend:/", "backend:80"),
            ("GET", "http://backend:080/", "backend:80"),
            ("CONNECT", "backend:0443", "backend:443"),
            ("GET", "ws://backend:61443/chat", "backend:61443"),
            ("GET", "WS://backend/", "backend:80"),
            ("CONNECT", "backend.apps.internal:61443", "backend.apps.internal:61443"),
            ("CONNECT", "[fd00::1]:443", "[fd00::1]:443"),
        ] {
            assert_eq!(named(method, uri).as_deref(), Ok(expected), "{method} {uri}");
        }
    }

    #[test]
    fn host_has_one_spelling_of_a_port() {
        for (uri, expected) in [
            ("http://backend/", "backend"),
            ("http://backend:/", "backend"),
            ("http://[fd00::1]:/", "[fd00::1]"),
            ("http://backend:080/", "backend:80"),
            ("http://BACKEND:61443/", "BACKEND:61443"),
        ] {
            let request = Request::builder().uri(uri).body(()).unwrap();
            assert_eq!(RequestedServer::of(&request).unwrap().authority, expected, "{uri}");
        }
    }

    #[test]
    fn what_is_read_in_several_ways_is_refused() {
        for (method, uri, expected) in [
            ("GET", "/x", ProxyRejection::NotAbsolute),
            ("OPTIONS", "*", ProxyRejection::NotAbsolute),
            ("GET", "https://backend/", ProxyRejection::UnsupportedScheme("https".to_owned())),
            ("GET", "wss://backend/", ProxyRejection::UnsupportedScheme("wss".to_owned())),
            ("CONNECT", "ws://backend:80/", ProxyRejection::UnsupportedScheme("ws".to_owned())),
            ("GET", "ftp://backend/", ProxyRejection::UnsupportedScheme("ftp".to_owned())),
            ("CONNECT", "http://backend:80/", ProxyRejection::UnsupportedScheme("http".to_owned())),
            ("GET", "http://user:secret@backend/", ProxyRejection::UserInTarget),
            ("GET", "http://127.0.0.1@backend/", ProxyRejection::UserInTarget),
            ("CONNECT", "user@backend:80", ProxyRejection::UserInTarget),
            ("CONNECT", "backend", ProxyRejection::BadTarget),
            ("GET", "http://0177.1/", ProxyRejection::BadTarget),
            ("GET", "http://2130706433/", ProxyRejection::BadTarget),
            ("GET", "http://0x7f.1/", ProxyRejection::BadTarget),
            ("GET", "http://127.1/", ProxyRejection::BadTarget),
            ("GET", "http://127.0.0.1./", ProxyRejection::BadTarget),
            ("GET", "http://0.0.0.0:0/", ProxyRejection::BadTarget),
            ("GET", "http://0.0.0.0/", ProxyRejection::AddressOfNobody("0.0.0.0:80".parse().unwrap())),
            ("GET", "http://[::]/", ProxyRejection::AddressOfNobody("[::]:80".parse().unwrap())),
            ("CONNECT", "224.0.0.1:443", ProxyRejection::AddressOfNobody("224.0.0.1:443".parse().unwrap())),
            ("GET", "http://-a/", ProxyRejection::BadTarget),
            ("GET", "http://backend:0/", ProxyRejection::BadTarget),
            ("GET", "http://backend:000/", ProxyRejection::BadTarget),
            ("GET", "http://backend:99999/", ProxyRejection::BadTarget),
            ("GET", "http://backend:+80/", ProxyRejection::BadTarget),
            ("GET", "http://backend:80a/", ProxyRejection::BadTarget),
            ("CONNECT", "backend:", ProxyRejection::BadTarget),
            ("CONNECT", "backend:0", ProxyRejection::BadTarget),
            ("CONNECT", "backend:99999", ProxyRejection::BadTarget),
            ("CONNECT", "backend:+80", ProxyRejection::BadTarget),
            ("TRACE", "http://backend/", ProxyRejection::MethodNotAllowed),
        ] {
            let Ok(request) = Request::builder().method(method).uri(uri).body(()) else { continue };
            assert_eq!(RequestedServer::of(&request), Err(expected), "{method} {uri}");
        }
    }
}
