//! A proxy for the app's own HTTP clients: a request names its server, and is sent there by mutual TLS, if that server is listed.
//!
//! accept → request → server → host's endpoints → response, or tunnel → access log entry

mod authentication;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod hosts;
mod request_target;
mod tunnel;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHENTICATE};
use hyper::{Method, Request};
use tokio::net::UnixStream;

pub use authentication::ProxyPassword;
pub use hosts::Hosts;
use request_target::{ProxyRejection, RequestedServer};

use super::http::{ExchangeResponse, ProtocolSwitch, RequestHandler, no_connection, origin_form, own_response};
use crate::config::AccessLogFilter;
use crate::http::RequestHead;
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry, RequestFields, RequestMode};

/// What the connections of the forward proxy share.
#[derive(Debug)]
pub struct ProxyRequests {
    hosts: Arc<Hosts>,
    password: Option<ProxyPassword>,
    /// Where the app asks us.
    listener: Arc<str>,
    access: AccessLogFilter,
}

impl ProxyRequests {
    /// What listens at `listener` and serves who shows `password`, if there is one.
    pub fn new(
        hosts: Arc<Hosts>,
        password: Option<ProxyPassword>,
        listener: Arc<str>,
        access: AccessLogFilter,
    ) -> Self {
        Self { hosts, password, listener, access }
    }

    /// Whom `request` names, if it may be asked for.
    fn named_server(
        &self,
        request: &Request<Incoming>,
        entry: &mut OutboundLogEntry,
    ) -> Result<RequestedServer, ProxyRejection> {
        if let Some(password) = &self.password
            && !password.is_shown(request.headers())
        {
            return Err(ProxyRejection::AuthenticationRequired);
        }
        let named = RequestedServer::of(request)?;
        if let Some(fields) = &mut entry.fields.request {
            fields.host = Some(named.authority.clone());
        }
        Ok(named)
    }
}

impl RequestHandler for ProxyRequests {
    async fn handle(
        &self,
        head: RequestHead,
        request: Request<Incoming>,
        mut entry: OutboundLogEntry,
        switch: &ProtocolSwitch,
    ) -> ExchangeResponse {
        let named = match self.named_server(&request, &mut entry) {
            Ok(named) => named,
            Err(refusal) => return reject(&refusal, entry),
        };
        let target = self.hosts.mapped(named.target);
        entry.set_to(target.to_string().into());
        let Some(route) = self.hosts.route(&target) else {
            let ports = self.hosts.ports(&target.host);
            return reject(&ProxyRejection::NotListed(target, ports), entry);
        };
        let is_tunnel = *request.method() == Method::CONNECT;
        if let Some(fields) = &mut entry.fields.request {
            fields.mode = match (route.is_listed(), is_tunnel) {
                (true, true) => RequestMode::Tunnel,
                (true, false) => RequestMode::Absolute,
                (false, _) => RequestMode::TunnelRaw,
            };
        }
        let host = match self.hosts.host(target, route) {
            Ok(host) => host,
            Err(error) => return own_response(no_connection(&error, &mut entry), error.reason(), entry),
        };
        if is_tunnel {
            return tunnel::open(host, self.hosts.tls_tunnel(), entry, switch).await;
        }
        let (mut parts, body) = request.into_parts();
        parts.uri = origin_form(head, &parts);
        // Whoever is named in the first line is meant (RFC 9112, 3.2.2).
        if let Ok(host) = HeaderValue::try_from(named.authority) {
            parts.headers.insert(HOST, host);
        }
        host.client().send(Request::from_parts(parts, body), head, entry, switch).await
    }

    fn entry(&self, method: Option<&Method>) -> OutboundLogEntry {
        let counters = Arc::clone(self.hosts.counters());
        let request = RequestFields {
            mode: RequestMode::Refused,
            method: method.map(Method::to_string),
            ..RequestFields::default()
        };
        let to = Arc::clone(counters.name());
        OutboundLogEntry::open_request(counters, self.access, Arc::clone(&self.listener), to, request)
    }

    fn serves(&self, stream: &UnixStream) -> bool {
        // The file's mode says the same, as long as nobody has changed it.
        authentication::is_same_user(stream)
    }
}

/// The answer to a request that is not sent on.
fn reject(refusal: &ProxyRejection, mut entry: OutboundLogEntry) -> ExchangeResponse {
    let answer = refusal.answer();
    let close_reason = refusal.close_reason();
    // Those that have no reason of their own in the log say it here.
    entry.fields.detail = Some(match close_reason {
        OutboundCloseReason::BadRequest => format!("{}: {}", answer.reason, answer.text),
        _ => answer.text.clone(),
    });
    let mut response = own_response(answer, close_reason, entry);
    if let ProxyRejection::AuthenticationRequired = refusal {
        response.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"vestibule\""));
    }
    response
}
