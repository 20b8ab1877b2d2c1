//! How answers are written, refusals as problem details (RFC 9457). No cache may keep any of them.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::rejection::EndpointRejection;
use crate::telemetry::TokenRequestResult;

pub(super) type EndpointResponse = Response<Bytes>;

/// The body of the answer.
#[derive(Serialize)]
struct ProblemDocument<'a> {
    title: &'static str,
    status: u16,
    error: &'static str,
    detail: &'a str,
}

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

impl EndpointRejection {
    pub(super) fn into_response(self) -> EndpointResponse {
        let status = self.status();
        let problem = ProblemDocument {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            error: self.error.as_str(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = respond(status, "application/problem+json", body);
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Whole seconds, and never "at once".
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.error == TokenRequestResult::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
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
