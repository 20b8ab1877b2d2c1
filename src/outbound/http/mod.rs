//! An outbound listener that speaks HTTP/1.1: each request is sent to an endpoint of its own, over connections that are kept.
//!
//! accept → request → endpoint → connection, kept or made → response → access log entry

mod backlog;
mod body;
mod body_backlog;
mod channel;
mod client;
mod failure;
mod open_connection;
mod pool;
mod received_bytes;
mod request_check;
mod retry;
mod server;
mod service;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Uri};

pub(super) use self::body::{ExchangeResponse, own_response};
pub use self::client::HttpClient;
pub(super) use self::failure::no_connection;
pub use self::pool::HttpShared;
use self::request_check::reject_request;
#[cfg(test)]
pub(super) use self::server::serve_requests;
pub(super) use self::server::{ProtocolSwitch, RequestHandler, linger};
pub use self::service::RequestService;
use crate::config::AccessLogFilter;
use crate::http::{LocalReply, RequestHead};
use crate::telemetry::{OutboundLogEntry, RequestFields};

/// What the server is asked for by `head`, of which hyper has made `parts`: whom the app took us for says nothing to it (RFC 9112, 3.2.1
/// and 3.2.4).
pub(super) fn origin_form(head: RequestHead, parts: &Parts) -> Uri {
    match parts.uri.path_and_query().filter(|path| !path.as_str().is_empty()) {
        _ if head.is_for_server && parts.method == Method::OPTIONS => Uri::from_static("*"),
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    }
}

/// What the connections of one outbound listener for HTTP share.
#[derive(Debug)]
pub struct OutboundRequests {
    client: Arc<HttpClient>,
    /// Where the app dials us.
    listener: Arc<str>,
    access: AccessLogFilter,
}

impl OutboundRequests {
    /// What listens at `listener`, and sends requests by `client`.
    pub fn new(client: Arc<HttpClient>, listener: Arc<str>, access: AccessLogFilter) -> Self {
        Self { client, listener, access }
    }
}

impl RequestHandler for OutboundRequests {
    async fn handle(
        &self,
        head: RequestHead,
        request: Request<Incoming>,
        entry: OutboundLogEntry,
        switch: &ProtocolSwitch,
    ) -> ExchangeResponse {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let text = format!("{} is not sent on here", request.method());
            let answer = LocalReply { status: StatusCode::METHOD_NOT_ALLOWED, reason: "method_not_allowed", text };
            return reject_request(answer, entry);
        }
        let (mut parts, body) = request.into_parts();
        if let Some(authority) = parts.uri.authority() {
            let host = Some(authority.as_str()).filter(|authority| !authority.contains('@'));
            let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) else {
                let text = "there is a user in the URL; send it as Authorization".to_owned();
                let answer = LocalReply { status: StatusCode::BAD_REQUEST, reason: "user_in_target", text };
                return reject_request(answer, entry);
            };
            parts.headers.insert(HOST, host);
        }
        parts.uri = origin_form(head, &parts);
        self.client.send(Request::from_parts(parts, body), head, entry, switch).await
    }

    fn entry(&self, method: Option<&Method>) -> OutboundLogEntry {
        let dialler = self.client.dialler();
        let request = RequestFields {
            method: method.map(Method::to_string),
            host: Some(dialler.endpoints.name().to_string()),
            ..RequestFields::default()
        };
        OutboundLogEntry::open_request(
            Arc::clone(&dialler.counters),
            self.access,
            Arc::clone(&self.listener),
            Arc::clone(dialler.endpoints.name()),
            request,
        )
    }
}
