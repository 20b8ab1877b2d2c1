//! What of a request is refused whoever it is for.

use hyper::header::HOST;
use hyper::{Method, Request, StatusCode, Version};

use super::body::{ExchangeResponse, own_response};
use super::failure::of_rejection;
use crate::http::{HeadRejection, LocalReply, framing_lookalike};
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};

/// The answer to `request`, if it is not sent on: it may be read in two ways by those behind us.
pub(super) fn request_rejection<B>(request: &Request<B>) -> Option<LocalReply> {
    let method = request.method();
    if let Some(known) =
        [Method::TRACE, Method::CONNECT].iter().find(|known| is_lookalike(method.as_str(), known.as_str()))
    {
        let text = format!("{method} is no method; methods are written in capitals, as {known}");
        return Some(LocalReply { status: StatusCode::NOT_IMPLEMENTED, reason: "unknown_method", text });
    }
    if !has_good_host(request) {
        return Some(of_rejection(HeadRejection::BadHost));
    }
    if let Some((name, known)) =
        request.headers().keys().find_map(|name| framing_lookalike(name).map(|known| (name, known)))
    {
        let text = format!("some servers read {name} as {known}, and the body ends elsewhere for them; leave it out");
        return Some(LocalReply { status: StatusCode::BAD_REQUEST, reason: HeadRejection::BadField.into(), text });
    }
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    // Some servers read a backslash in a path as a slash.
    (!target.is_ascii() || request.uri().path().contains('\\')).then(|| LocalReply {
        status: StatusCode::BAD_REQUEST,
        reason: HeadRejection::BadTarget.into(),
        text: "what the request asks for has bytes that no URL has; have the client percent-encode them".to_owned(),
    })
}

/// Whether `method` is another one than `known` (RFC 9110, 9.1), and taken for it by servers that do not look at case.
fn is_lookalike(method: &str, known: &str) -> bool {
    method != known && method.eq_ignore_ascii_case(known)
}

/// Whether Host is there where it has to be, and says something where the target does (RFC 9112, 3.2). CONNECT has named its server, and there
/// are clients that leave Host out of it. That there are not two, and that it is a host, was judged before.
fn has_good_host<B>(request: &Request<B>) -> bool {
    match request.headers().get(HOST) {
        Some(host) => !host.is_empty() || request.uri().authority().is_none(),
        None => request.version() != Version::HTTP_11 || *request.method() == Method::CONNECT,
    }
}

/// Gives `answer` to a request that is not sent on. The log has the word for it, which is not one of its own reasons.
pub(super) fn reject_request(answer: LocalReply, mut entry: OutboundLogEntry) -> ExchangeResponse {
    entry.fields.detail = Some(format!("{}: {}", answer.reason, answer.text));
    own_response(answer, OutboundCloseReason::BadRequest, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(method: &str, uri: &str, host: Option<&str>, version: Version) -> Option<&'static str> {
        let mut request = Request::builder().method(method).uri(uri).version(version);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        request_rejection(&request.body(()).unwrap()).map(|answer| answer.reason)
    }

    #[test]
    fn host_is_there_and_says_something_where_the_target_does() {
        for (method, uri, host, expected) in [
            ("GET", "/", Some("a"), None),
            ("GET", "/", Some(""), None),
            ("GET", "/", None, Some("bad_host")),
            ("OPTIONS", "*", None, Some("bad_host")),
            ("GET", "http://a/", Some("b"), None),
            ("GET", "http://a/", Some(""), Some("bad_host")),
            ("GET", "http://a/", None, Some("bad_host")),
            ("CONNECT", "a:1", Some("a:1"), None),
            ("CONNECT", "a:1", Some(""), Some("bad_host")),
            ("CONNECT", "a:1", None, None),
        ] {
            assert_eq!(rejected(method, uri, host, Version::HTTP_11), expected, "{method} {uri} {host:?}");
        }
        for uri in ["/", "http://a/"] {
            assert_eq!(rejected("GET", uri, None, Version::HTTP_10), None, "HTTP/1.0 knows no Host");
        }
    }

    #[test]
    fn fields_that_some_servers_read_as_a_length_or_a_coding_are_not_sent_on() {
        for (name, expected) in [
            ("Transfer_Encoding", Some("bad_field")),
            ("content.length", Some("bad_field")),
            ("Content_Type", None),
            ("Content-Length", None),
        ] {
            let request = Request::builder().uri("/").header(HOST, "a").header(name, "3").body(()).unwrap();
            assert_eq!(request_rejection(&request).map(|answer| answer.reason), expected, "{name}");
        }
    }

    #[test]
    fn methods_that_only_look_like_ours_and_bytes_that_no_url_has_are_not_sent_on() {
        for (method, uri, expected) in [
            ("trace", "/", Some("unknown_method")),
            ("Connect", "http://a/", Some("unknown_method")),
            ("get", "/", None),
            ("TRACING", "/", None),
            ("GET", "/%C3%BF?%FF", None),
            ("GET", "/ÿ", Some("bad_target")),
            ("GET", "http://a/?ÿ", Some("bad_target")),
            ("GET", "/\\evil", Some("bad_target")),
            ("GET", "http://a/\\evil", Some("bad_target")),
            ("GET", "/a?b\\c", None),
            ("GET", "/%5Cevil", None),
        ] {
            assert_eq!(rejected(method, uri, Some("a"), Version::HTTP_11), expected, "{method} {uri}");
        }
    }
}
