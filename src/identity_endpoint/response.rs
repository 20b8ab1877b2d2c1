//! How answers are written. No cache may keep any of them.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::rejection::EndpointRejection;
use crate::telemetry::TokenRequestResult;

pub(super) type EndpointResponse = Response<Bytes>;

pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> EndpointResponse {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `body` as one JSON object.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Result<EndpointResponse, EndpointRejection> {
    let body = serde_json::to_vec(body).map_err(|_| {
        EndpointRejection::new(TokenRequestResult::Internal, "the answer could not be written; please report this")
    })?;
    Ok(respond(status, "application/json", body))
}

/// As hyper sends it.
pub(super) fn for_hyper(response: EndpointResponse) -> Response<Full<Bytes>> {
    response.map(Full::new)
}

/// As it is written to a connection of which nothing was read (RFC 9112).
pub(super) fn on_the_wire(response: &EndpointResponse) -> Vec<u8> {
    let mut text =
        format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n", response.status(), response.body().len());
    for (name, value) in response.headers() {
        // All of them are ours, and ASCII.
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), response.body()].concat()
}
