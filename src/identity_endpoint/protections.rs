//! Which requests are looked into at all. Whoever asks here must be a program that means us: what a browser sends for a web page, what a proxy passes
//! on, and what an app was talked into (SSRF: it chooses the URL, and no header) goes no further.

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::bearer_token::BearerToken;
use super::rejection::EndpointRejection;
use crate::http::{NamedHost, names_only};
use crate::telemetry::TokenRequestResult;

/// What every request has to have.
const ASKED_ON_PURPOSE: HeaderName = HeaderName::from_static("x-identity-request");

/// Goes through the protections in their order. `secret`: what a request has to know; `None`: the kernel has said who asks.
///
/// # Errors
/// The first one that refuses.
pub(super) fn check<B>(request: &Request<B>, bearer_token: Option<&BearerToken>) -> Result<(), EndpointRejection> {
    let is_local = |named: NamedHost<'_>| match named {
        NamedHost::Ip(ip) => ip.is_loopback(),
        NamedHost::Localhost => true,
        NamedHost::Name(_) => false,
    };
    if !names_only(request, is_local) {
        let detail = "ask by localhost, or by a loopback address such as 127.0.0.1";
        return Err(EndpointRejection::new(TokenRequestResult::Misdirected, detail));
    }
    let fields = request.headers();
    if let Some(name) = fields.keys().find(|name| tells_of_others(name)) {
        let detail = format!("the header {name} says that somebody else asks; ask directly");
        return Err(EndpointRejection::new(TokenRequestResult::Forwarded, detail));
    }
    if only(fields, &ASKED_ON_PURPOSE) != Some(b"true") {
        let detail = "add the header X-Identity-Request: true";
        return Err(EndpointRejection::new(TokenRequestResult::HeaderMissing, detail));
    }
    match bearer_token {
        Some(bearer_token) if !only(fields, &AUTHORIZATION).is_some_and(|shown| bearer_token.is_shown(shown)) => {
            let detail = "add Authorization: Bearer and what the file has that CF_INSTANCE_IDENTITY_TOKEN_FILE names";
            Err(EndpointRejection::new(TokenRequestResult::Unauthorized, detail))
        }
        _ => Ok(()),
    }
}

/// Whether such a header is set by a proxy, or by a browser for a web page.
fn tells_of_others(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "forwarded" | "via" | "origin") || name.starts_with("x-forwarded-") || name.starts_with("sec-fetch-")
}

/// The value of a field that is there once.
pub(super) fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use hyper::header::HOST;

    fn refused(change: impl FnOnce(&mut HeaderMap), bearer_token: Option<&BearerToken>) -> Option<TokenRequestResult> {
        let mut request = Request::new(());
        request.headers_mut().insert(HOST, "localhost".parse().unwrap());
        request.headers_mut().insert(ASKED_ON_PURPOSE, "true".parse().unwrap());
        change(request.headers_mut());
        check(&request, bearer_token).err().map(|refusal| refusal.error)
    }

    fn with(name: &'static str, value: &str) -> impl FnOnce(&mut HeaderMap) {
        move |fields| {
            fields.append(HeaderName::from_static(name), value.parse().unwrap());
        }
    }

    #[test]
    fn a_host_is_absent_or_of_this_machine() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.9.9.9:1", "[::1]:7", "[::ffff:127.0.0.1]"] {
            assert_eq!(refused(|fields| drop(fields.insert(HOST, host.parse().unwrap())), None), None, "{host}");
        }
        assert_eq!(refused(|fields| drop(fields.remove(HOST)), None), None);
        for host in ["evil.example", "10.0.0.1", "0.0.0.0", "169.254.169.254", "[::]", "localhost.evil.example", ""] {
            let found = refused(|fields| drop(fields.insert(HOST, host.parse().unwrap())), None);
            assert_eq!(found, Some(TokenRequestResult::Misdirected), "{host}");
        }
        assert_eq!(refused(with("host", "evil.example"), None), Some(TokenRequestResult::Misdirected));
    }

    #[test]
    fn what_others_pass_on_or_pages_send_is_refused() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-anything",
            "forwarded",
            "via",
            "origin",
            "sec-fetch-site",
            "sec-fetch-mode",
        ] {
            assert_eq!(refused(with(name, ""), None), Some(TokenRequestResult::Forwarded), "{name}");
        }
        assert_eq!(refused(with("x-forwarded", "x"), None), None, "no header of that kind");
    }

    #[test]
    fn the_header_is_there_once_and_says_true() {
        let missing = Some(TokenRequestResult::HeaderMissing);
        assert_eq!(refused(|fields| drop(fields.remove(ASKED_ON_PURPOSE)), None), missing);
        for wrong in ["", "True", "1", "false", "true, true"] {
            let change = |fields: &mut HeaderMap| drop(fields.insert(ASKED_ON_PURPOSE, wrong.parse().unwrap()));
            assert_eq!(refused(change, None), missing, "{wrong}");
        }
        assert_eq!(refused(with("x-identity-request", "true"), None), missing, "twice");
    }

    #[test]
    fn over_tcp_the_secret_is_asked_for_and_on_a_socket_file_it_is_not() {
        let (bearer_token, other) = (BearerToken::random().unwrap(), BearerToken::random().unwrap());
        let refused = |value: &str| refused(with("authorization", value), Some(&bearer_token));
        let denied = Some(TokenRequestResult::Unauthorized);
        assert_eq!(refused(&format!("Bearer {}", bearer_token.text())), None);
        assert_eq!(refused(&format!("bearer  {}", bearer_token.text())), None);
        for wrong in
            ["", "Bearer", "Bearer ", &format!("Basic {}", bearer_token.text()), &format!("Bearer {}", other.text())]
        {
            assert_eq!(refused(wrong), denied, "{wrong}");
        }
        assert_eq!(super::tests::refused(|_| {}, Some(&bearer_token)), denied);
        assert_eq!(super::tests::refused(|_| {}, None), None);
    }
}
