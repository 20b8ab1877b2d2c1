//! Answers of our own: a status, a reason from a closed set, and a line for people.

use http_body_util::Full;
use hyper::body::{Buf, Bytes};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The field that has the reason: it tells our answers from the server's.
pub(super) const REASON: HeaderName = HeaderName::from_static("x-vestibule-reason");

/// What we answer ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalReply {
    /// The status.
    pub(crate) status: StatusCode,
    /// Why, from a closed set.
    pub(crate) reason: &'static str,
    /// One line for people.
    pub(crate) text: String,
}

impl LocalReply {
    /// The response. No request follows it.
    pub(crate) fn into_response<D: Buf + From<Bytes>>(self) -> Response<Full<D>> {
        let Self { status, reason, text } = self;
        let mut response = Response::new(Full::new(D::from(Bytes::from(format!("vestibule: {text}\n")))));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(REASON, HeaderValue::from_static(reason));
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// The same as it is written to a connection (RFC 9112).
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let Self { status, reason, text } = self;
        let body = format!("vestibule: {text}\n");
        let (phrase, length) = (status.canonical_reason().unwrap_or_default(), body.len());
        let status = status.as_u16();
        format!(
            "HTTP/1.1 {status} {phrase}\r\n{REASON}: {reason}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}
