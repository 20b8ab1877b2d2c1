//! Whether a request may be sent on, as far as its head says: whom it is for, and by which method.

use hyper::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Uri, Version};

use super::connection::HttpConnection;
use crate::config::HttpConfig;
use crate::http::stream_memory::FIELD_MEMORY;
use crate::http::{MAX_FIELDS, RequestHead, content_length, is_token, names_server};
use crate::telemetry::RequestReason;

/// What a field counts beside its bytes in the size of a head (RFC 9113, 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// What is known of a request that may be sent on.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValidatedRequest {
    /// It asks for another protocol.
    pub(super) switches: bool,
    /// There was a fragment behind its target.
    pub(super) has_fragment: bool,
}

/// Judges `parts`, and writes target and Host as the app gets them. `head`: what was judged before hyper has read it, over HTTP/1.1.
///
/// # Errors
/// Why it is refused.
pub(super) fn validate(
    parts: &mut Parts,
    head: Option<RequestHead>,
    connection: &HttpConnection,
) -> Result<ValidatedRequest, RequestReason> {
    if head.is_none() {
        validate_http2_fields(&parts.headers)?;
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        if target.len() > connection.config.max_target {
            return Err(RequestReason::TargetTooLong);
        }
        let is_sound = |target: &PathAndQuery| target.as_str() == "*" || !is_without_path(target);
        if !parts.uri.path_and_query().is_none_or(is_sound) {
            return Err(RequestReason::BadRequest);
        }
    }
    match parts.method {
        Method::CONNECT => return Err(RequestReason::NotImplemented),
        Method::TRACE => return Err(RequestReason::Trace),
        _ => {}
    }
    let is_for_server = parts.uri.path() == "*" || head.is_some_and(|head| head.is_for_server);
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(RequestReason::BadRequest);
    }
    name_host(parts, connection)?;
    parts.uri = match parts.uri.path_and_query() {
        _ if is_for_server && parts.method == Method::OPTIONS => Uri::from_static("*"),
        // Without a query there is nothing left of it to write.
        Some(path) if path.as_str() != "/" => Uri::from(path.clone()),
        Some(_) | None => Uri::from_static("/"),
    };
    let mut expectations = parts.headers.get_all(EXPECT).iter();
    let is_continue = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !expectations.next().is_none_or(is_continue) || expectations.next().is_some() {
        return Err(RequestReason::Expectation);
    }
    let switches = head.is_some_and(|head| head.switch.is_some());
    Ok(ValidatedRequest { switches, has_fragment: head.is_some_and(|head| head.has_fragment) })
}

/// Whether there is nothing in front of the query, or of the fragment, which is cut: `as_str` has a `/` for that.
fn is_without_path(target: &PathAndQuery) -> bool {
    !Uri::from(target.clone()).path().starts_with('/') || target.as_str().starts_with('?')
}

/// The names and values of a head, in bytes.
pub(super) fn head_text(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// The same as HTTP/2 writes them, in bytes: h2 uses Huffman's code for all of them, also where that makes them longer (RFC 7541, Appendix B).
pub(super) fn encoded_text(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + encoded_length(value.as_bytes())).sum()
}

/// The most that `text` takes in that code: four bytes for what has more than 13 bits in it, and one for all else, most of which has 5 to 8.
fn encoded_length(text: &[u8]) -> usize {
    let is_long = |byte: u8| !(b' '..b'{').contains(&byte) || matches!(byte, b'<' | b'\\' | b'^' | b'`');
    text.len() + 3 * text.iter().filter(|byte| is_long(**byte)).count()
}

/// What the map of `fields` takes beside their names and values, in bytes. It stays where the head is written, for the next one.
pub(super) fn head_map(fields: &HeaderMap) -> usize {
    fields.len() * FIELD_MEMORY
}

/// The length of a head in bytes (RFC 9113, 6.5.2), without what says whom it is for.
pub(super) fn head_length(fields: &HeaderMap) -> usize {
    head_text(fields) + fields.len() * FIELD_OVERHEAD
}

/// Whether a head of HTTP/2 has more fields or bytes than it may.
pub(super) fn is_head_too_large(fields: &HeaderMap, config: &HttpConfig) -> bool {
    fields.len() > config.max_fields.min(MAX_FIELDS) || head_length(fields) > config.max_head
}

/// What the head scan sees of HTTP/1.1, and hyper passes over in HTTP/2.
fn validate_http2_fields(fields: &HeaderMap) -> Result<(), RequestReason> {
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    // h2 reads an empty one as 0.
    if lengths.next().is_some_and(|length| content_length(length).is_none()) || lengths.next().is_some() {
        return Err(RequestReason::BadFraming);
    }
    let is_padded = |value: &HeaderValue| value.as_bytes().trim_ascii().len() != value.len();
    if fields.values().any(is_padded) || fields.keys().any(|name| !is_token(name)) {
        return Err(RequestReason::BadRequest);
    }
    Ok(())
}

/// Sees to it that there is one Host, and that whatever else names the server agrees with it.
fn name_host(parts: &mut Parts, connection: &HttpConnection) -> Result<(), RequestReason> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next().cloned(), hosts.next());
    if another.is_some() {
        return Err(RequestReason::BadRequest);
    }
    if let Some(host) = &host
        && !names_server(host.as_bytes())
    {
        return Err(RequestReason::BadRequest);
    }
    let Some(authority) = parts.uri.authority() else {
        if host.is_none() && parts.version == Version::HTTP_10 {
            // HTTP/1.0 knows none, and HTTP/1.1, which the app is asked in, cannot do without.
            let here = HeaderValue::try_from(connection.service.listener.to_string());
            parts.headers.insert(HOST, here.map_err(|_| RequestReason::BadRequest)?);
            return Ok(());
        }
        return host.map(drop).ok_or(RequestReason::BadRequest);
    };
    let is_web = parts.uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    let is_odd = !names_server(authority.as_str().as_bytes()) || !is_web;
    match host {
        _ if is_odd => Err(RequestReason::HostMismatch),
        Some(host) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => Ok(()),
        Some(_) => Err(RequestReason::HostMismatch),
        None => {
            let host = HeaderValue::try_from(authority.as_str()).map_err(|_| RequestReason::BadRequest)?;
            parts.headers.insert(HOST, host);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_in_the_code_of_http2_than_as_text_counts_for_what_it_is_there() {
        // With the bits that they have by RFC 7541, Appendix B.
        for (text, bits) in [("azAZ09", 37), ("%-./:=_;,&*X", 83), (r"\\\", 57), ("{|}~", 53), ("ùù", 82)] {
            assert!(encoded_length(text.as_bytes()) * 8 >= bits, "{text}");
        }
        assert_eq!(encoded_length(b"text/html; charset=utf-8"), 24);
        assert_eq!(encoded_length(&[0xF9; 10]), 40);
    }
}
