//! What may be said in trailers, and in the field that announces them (RFC 9110, 6.5 and 6.6.2).

use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
    HeaderName, HeaderValue, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::framing::framing_lookalike;
use super::hop_by_hop::{is_for_proxies, is_reason, is_unnamed};
use super::response_check::is_token;

/// Where a message ends, whom it is for, and what has to be known before its body. hyper writes none of these over HTTP/1.1 either.
const HEAD_ALONE: [HeaderName; 14] = [
    CONNECTION,
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TRAILER,
    TE,
    UPGRADE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_TYPE,
    MAX_FORWARDS,
    SET_COOKIE,
];

/// Whether a trailer may say this (RFC 9110, 6.5.1), as far as it does not depend on who sends it.
pub(crate) fn may_be_trailer(name: &HeaderName) -> bool {
    let is_framing = HEAD_ALONE.contains(name) || framing_lookalike(name).is_some();
    is_token(name) && !is_for_proxies(name) && !is_unnamed(name) && !is_framing && !is_reason(name)
}

/// Removes from trailers what none may say.
pub(crate) fn remove_from_trailers(trailers: &mut HeaderMap) {
    retain_trailers(trailers, may_be_trailer);
}

/// Leaves those of the `trailers` that are kept.
pub(crate) fn retain_trailers(trailers: &mut HeaderMap, is_kept: fn(&HeaderName) -> bool) {
    let others: Vec<HeaderName> = trailers.keys().filter(|name| !is_kept(name)).cloned().collect();
    for name in others {
        trailers.remove(name);
    }
}

/// Leaves in Trailer the names of those that are kept: whoever reads of one that never comes may wait for it, or believe what it finds under
/// that name. Without a name there is no field.
pub(crate) fn retain_trailer_names(head: &mut HeaderMap, is_kept: fn(&HeaderName) -> bool) {
    let lists: Vec<Vec<u8>> = head.get_all(TRAILER).iter().map(|list| list.as_bytes().to_vec()).collect();
    let names = || lists.iter().flat_map(|list| list.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_kept = |name: &&[u8]| HeaderName::from_bytes(name).is_ok_and(|name| is_kept(&name));
    if names().all(|name| is_kept(&name)) {
        return;
    }
    let kept: Vec<&[u8]> = names().filter(is_kept).collect();
    match HeaderValue::from_bytes(&kept.join(&b", "[..])) {
        Ok(list) if !kept.is_empty() => drop(head.insert(TRAILER, list)),
        Ok(_) | Err(_) => drop(head.remove(TRAILER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(lists: &[&'static str]) -> Vec<String> {
        let mut head = HeaderMap::new();
        for list in lists {
            head.append(TRAILER, HeaderValue::from_static(list));
        }
        retain_trailer_names(&mut head, may_be_trailer);
        head.get_all(TRAILER).iter().map(|list| list.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn trailers_that_are_removed_are_not_announced_and_the_others_are_as_they_were() {
        for lists in [&[][..], &["X-Sum"], &["X-Sum,grpc-status", "ETag"]] {
            assert_eq!(announced(lists), lists);
        }
        for (lists, left) in [
            (&["X-Sum, Content-Length"][..], "X-Sum"),
            (&["host", "X-Sum", "Connection, ETag ,X_Forwarded.Client-Cert"], "X-Sum, ETag"),
            (&["X-Sum,, proxy_authorization"], "X-Sum"),
            (&["a b, X-Sum"], "X-Sum"),
        ] {
            assert_eq!(announced(lists), [left], "{lists:?}");
        }
        for lists in [&["Set-Cookie"][..], &["TE, Trailer", "keep-alive"], &["", ","]] {
            assert!(announced(lists).is_empty(), "{lists:?}");
        }
    }

    #[test]
    fn a_trailer_says_nothing_that_belongs_into_a_head() {
        let mut trailers = HeaderMap::new();
        let kept = ["grpc-status", "x-sum", "etag"];
        let removed = [
            "content-type",
            "cache-control",
            "content-length",
            "transfer-encoding",
            "host",
            "connection",
            "proxy",
            "proxy-authorization",
            "proxy.x",
            "x!forwarded~client.cert",
            "keep-alive",
            "http2-settings",
            "x-vestibule-reason",
        ];
        for name in kept.iter().chain(&removed) {
            trailers.insert(*name, HeaderValue::from_static("1"));
        }
        remove_from_trailers(&mut trailers);
        assert!(kept.iter().all(|name| trailers.contains_key(*name)) && trailers.len() == kept.len(), "{trailers:?}");
    }
}
