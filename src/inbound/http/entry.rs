//! The access log entry of a request, as it begins.

use std::sync::Arc;

use hyper::Version;
use hyper::header::{HOST, HeaderValue};
use hyper::http::request::Parts;

use super::connection::HttpConnection;
use crate::telemetry::{RequestEntryFields, RequestLogEntry};

/// That of the request with this head, which came by `connection`. `is_unread`: it stands in for one that was refused before.
pub(super) fn open_entry(connection: &HttpConnection, parts: &Parts, is_unread: bool) -> RequestLogEntry {
    let http_version = match parts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let fields = RequestEntryFields {
        conn: connection.number,
        client_addr: connection.client_addr,
        listener: connection.service.listener,
        client: connection.client.clone(),
        is_platform_proxy: connection.is_platform_proxy(),
        is_unread,
        method: parts.method.clone(),
        target: parts.uri.clone(),
        host: named_host(parts).filter(|_| !is_unread),
        http_version,
        app_protocol: connection.apps.protocol().into(),
        status: None,
        id: None,
        rule: connection.rule.clone(),
        route: None,
        path_folded: None,
        fragment: false,
        would_deny: None,
        transferred: Default::default(),
        to_app: None,
        first_byte: None,
        reused: false,
        retried: false,
        upgraded: None,
        grpc_status: None,
        trace_id: parts.headers.get("traceparent").and_then(trace_id),
        caller: None,
        caller_form: None,
        caller_verified: None,
        detail: None,
        cut: Arc::clone(&connection.cut),
    };
    RequestLogEntry::open(Arc::clone(&connection.counters), connection.service.access, fields)
}

/// Whom the request is for, as it says: HTTP/2 has it beside the fields.
fn named_host(parts: &Parts) -> Option<HeaderValue> {
    let beside = || HeaderValue::try_from(parts.uri.authority()?.as_str()).ok();
    parts.headers.get(HOST).cloned().or_else(beside)
}

/// The trace that `traceparent` names, if it is well-formed (W3C Trace Context, 3.2).
fn trace_id(traceparent: &HeaderValue) -> Option<String> {
    let text = traceparent.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_sound = is_hex(version, 2) && version != "ff" && is_hex(parent, 16) && is_hex(flags, 2);
    let is_zero = trace.bytes().all(|byte| byte == b'0');
    (is_sound && is_hex(trace, 32) && !is_zero && (version != "00" || parts.next().is_none())).then(|| trace.to_owned())
}
