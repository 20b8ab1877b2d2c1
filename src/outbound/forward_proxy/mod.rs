//! A proxy for the app's own HTTP clients: a request names its server, and is sent there by mutual TLS, if that server is listed.
//!
//! accept → request → server → host's endpoints → response, or tunnel → access log entry

mod authentication;
mod hosts;
mod request_target;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHENTICATE};
use hyper::{Method, Request, Uri};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

pub use authentication::ProxyPassword;
pub use hosts::Hosts;
use request_target::{NamedServer, ProxyRefusal};

use super::error::OutboundError;
use super::http::{ExchangeResponse, RequestHandler, Switch, no_connection, own_response, refusal_of, serve_requests};
use crate::config::AccessLogFilter;
use crate::http::{HeadRefusal, RequestHead};
use crate::io::AppStream;
use crate::lifecycle::Phase;
use crate::listener::{Service, Slot};
use crate::telemetry::{OutboundLogEntry, RequestFields, RequestMode};

/// What the connections of the forward proxy share.
#[derive(Debug)]
pub struct ForwardProxyService {
    hosts: Arc<Hosts>,
    password: Option<ProxyPassword>,
    /// Where the app asks us.
    listener: Arc<str>,
    phase: watch::Receiver<Phase>,
    access: AccessLogFilter,
}

impl ForwardProxyService {
    /// What listens at `listener` and serves who shows `password`, if there is one. `phase` ends it.
    pub fn new(
        hosts: Arc<Hosts>,
        password: Option<ProxyPassword>,
        listener: Arc<str>,
        phase: watch::Receiver<Phase>,
        access: AccessLogFilter,
    ) -> Self {
        Self { hosts, password, listener, phase, access }
    }

    async fn serve_app(self: Arc<Self>, app: AppStream, slot: &Slot) {
        if slot.capacity_permit.is_none() {
            return self.reject_app(app);
        }
        let became = Box::pin(serve_requests(app, Arc::clone(&self), self.phase.clone())).await;
        if let Some((session, dialler)) = became {
            session.run(&dialler, self.phase.clone()).await;
        }
    }

    /// There is no room for it.
    fn reject_app(&self, app: AppStream) {
        let error = OutboundError::overloaded_by_all();
        let mut entry = self.entry(None);
        entry.fields.detail = Some(error.to_string());
        app.reset();
        entry.close(error.reason());
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

    /// Whom `request` names, if it may be asked for.
    fn judge(&self, request: &Request<Incoming>, entry: &mut OutboundLogEntry) -> Result<NamedServer, ProxyRefusal> {
        if let Some(password) = &self.password
            && !password.is_shown(request.headers())
        {
            return Err(ProxyRefusal::AuthenticationRequired);
        }
        let named = NamedServer::of(request)?;
        if let Some(fields) = &mut entry.fields.request {
            fields.host = Some(named.authority.clone());
        }
        Ok(named)
    }
}

impl RequestHandler for ForwardProxyService {
    async fn handle(&self, head: RequestHead, request: Request<Incoming>, switch: &Switch) -> ExchangeResponse {
        let mut entry = self.entry(Some(request.method()));
        let named = match self.judge(&request, &mut entry) {
            Ok(named) => named,
            Err(refusal) => return refuse(&refusal, entry),
        };
        let target = self.hosts.mapped(named.target);
        entry.set_to(target.to_string().into());
        let Some(route) = self.hosts.route(&target) else { return refuse(&ProxyRefusal::NotListed(target), entry) };
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
            Err(error) => return own_response(no_connection(&error), error.reason(), entry),
        };
        if is_tunnel {
            return tunnel::open(host, self.hosts.tls_tunnel(), entry, switch).await;
        }
        let (mut parts, body) = request.into_parts();
        parts.uri = match parts.uri.path_and_query() {
            Some(path) => Uri::from(path.clone()),
            None => Uri::from_static("/"),
        };
        // Whoever is named in the first line is meant (RFC 9112, 3.2.2).
        if let Ok(host) = HeaderValue::try_from(named.authority) {
            parts.headers.insert(HOST, host);
        }
        host.client().send(Request::from_parts(parts, body), head, entry, switch).await
    }

    fn refuse(&self, refusal: HeadRefusal) -> ExchangeResponse {
        refusal_of(refusal, self.entry(None))
    }
}

/// The answer to a request that is not sent on.
fn refuse(refusal: &ProxyRefusal, entry: OutboundLogEntry) -> ExchangeResponse {
    let mut response = own_response(refusal.answer(), refusal.close_reason(), entry);
    if let ProxyRefusal::AuthenticationRequired = refusal {
        response.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"vestibule\""));
    }
    response
}

impl Service<TcpListener> for ForwardProxyService {
    async fn serve(self: Arc<Self>, stream: TcpStream, _: SocketAddr, slot: Slot) {
        self.serve_app(AppStream::Tcp(stream), &slot).await;
    }

    fn reject(&self, stream: TcpStream, _: SocketAddr) {
        self.reject_app(AppStream::Tcp(stream));
    }
}

impl Service<UnixListener> for ForwardProxyService {
    async fn serve(self: Arc<Self>, stream: UnixStream, (): (), slot: Slot) {
        // The file's mode says the same, as long as nobody has changed it.
        if authentication::is_same_user(&stream) {
            self.serve_app(AppStream::Unix(stream), &slot).await;
        }
    }

    fn reject(&self, stream: UnixStream, (): ()) {
        self.reject_app(AppStream::Unix(stream));
    }
}
