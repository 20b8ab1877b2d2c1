//! An outbound listener that speaks HTTP/1.1: each request is sent to an endpoint of its own, over connections that are kept.
//!
//! accept → request → endpoint → connection, kept or made → response → access log entry

mod body;
mod client;
mod failure;
mod pool;
mod retry;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

pub(super) use self::body::{ExchangeResponse, own_response};
pub use self::client::HttpClient;
pub(super) use self::failure::no_connection;
use self::failure::refusal;
pub(super) use self::server::{RequestHandler, Switch, linger, serve_requests};
use super::error::OutboundError;
use crate::config::AccessLogFilter;
use crate::http::{HeadRefusal, OwnAnswer, RequestHead};
use crate::io::AppStream;
use crate::lifecycle::Phase;
use crate::listener::{Service, Slot};
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry, RequestFields};

/// What the connections of one outbound listener for HTTP share.
#[derive(Debug)]
pub struct HttpOutboundService {
    client: Arc<HttpClient>,
    /// Where the app dials us.
    listener: Arc<str>,
    phase: watch::Receiver<Phase>,
    access: AccessLogFilter,
}

impl HttpOutboundService {
    /// What listens at `listener`, and sends requests by `client`. `phase` ends it.
    pub fn new(
        client: Arc<HttpClient>,
        listener: Arc<str>,
        phase: watch::Receiver<Phase>,
        access: AccessLogFilter,
    ) -> Self {
        Self { client, listener, phase, access }
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
        let dialler = self.client.dialler();
        let (counters, to) = (Arc::clone(&dialler.counters), Arc::clone(dialler.endpoints.name()));
        let mut entry = OutboundLogEntry::open(counters, self.access, Arc::clone(&self.listener), to);
        let error = OutboundError::overloaded_by_all();
        entry.fields.detail = Some(error.to_string());
        app.reset();
        entry.close(error.reason());
    }

    fn entry(&self, method: Option<&Method>) -> OutboundLogEntry {
        let dialler = self.client.dialler();
        let request = RequestFields { method: method.map(Method::to_string), ..RequestFields::default() };
        OutboundLogEntry::open_request(
            Arc::clone(&dialler.counters),
            self.access,
            Arc::clone(&self.listener),
            Arc::clone(dialler.endpoints.name()),
            request,
        )
    }
}

impl RequestHandler for HttpOutboundService {
    async fn handle(&self, head: RequestHead, request: Request<Incoming>, switch: &Switch) -> ExchangeResponse {
        let entry = self.entry(Some(request.method()));
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let text = format!("{} is not sent on here", request.method());
            let answer =
                OwnAnswer { status: hyper::StatusCode::METHOD_NOT_ALLOWED, reason: "method_not_allowed", text };
            return own_response(answer, OutboundCloseReason::BadRequest, entry);
        }
        let (mut parts, body) = request.into_parts();
        let authority = parts.uri.authority().map(ToString::to_string);
        // The server is asked for the path alone: whom the app took us for says nothing to it.
        parts.uri = match parts.uri.path_and_query() {
            Some(path) => Uri::from(path.clone()),
            None => Uri::from_static("/"),
        };
        if let Some(authority) = authority
            && let Ok(host) = HeaderValue::try_from(authority)
        {
            parts.headers.insert(HOST, host);
        }
        self.client.send(Request::from_parts(parts, body), head, entry, switch).await
    }

    fn refuse(&self, refusal: HeadRefusal) -> ExchangeResponse {
        refusal_of(refusal, self.entry(None))
    }
}

/// The answer to a head that is refused.
pub(super) fn refusal_of(refused: HeadRefusal, mut entry: OutboundLogEntry) -> ExchangeResponse {
    let reason: &'static str = refused.into();
    entry.fields.detail = Some(format!("{reason}: {}", refused.text()));
    own_response(refusal(refused), OutboundCloseReason::BadRequest, entry)
}

impl Service<TcpListener> for HttpOutboundService {
    async fn serve(self: Arc<Self>, stream: TcpStream, _: SocketAddr, slot: Slot) {
        self.serve_app(AppStream::Tcp(stream), &slot).await;
    }

    fn reject(&self, stream: TcpStream, _: SocketAddr) {
        self.reject_app(AppStream::Tcp(stream));
    }
}

impl Service<UnixListener> for HttpOutboundService {
    async fn serve(self: Arc<Self>, stream: UnixStream, (): (), slot: Slot) {
        self.serve_app(AppStream::Unix(stream), &slot).await;
    }

    fn reject(&self, stream: UnixStream, (): ()) {
        self.reject_app(AppStream::Unix(stream));
    }
}
