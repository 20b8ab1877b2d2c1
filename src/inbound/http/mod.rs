//! A listener that speaks HTTP: each request is judged and sent to the app, over connections that belong to its client alone.
//!
//! handshake → request → judge → rewrite → app → answer → entry of the request; and at the end the connection's own

mod answer;
mod app;
mod authorize;
mod body;
mod client_stream;
mod connection;
mod entry;
mod fields;
mod forward;
mod guarded_stream;
mod h1;
mod h2;
mod idle_limit;
mod local_reply;
mod plaintext;
mod ready;
mod refuse;
mod respond;
mod response_backlog;
pub(super) mod service;
mod slow_reader;
mod upgrade;
mod validate;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use self::app::AppConnections;
use self::client_stream::ClientStream;
use self::connection::HttpConnection;
use self::ready::{ClientProtocol, ReadyToServe, ServeResult};
pub use self::service::HttpService;
use self::upgrade::UpgradedApp;
use self::watch::ConnectionWatch;
use super::close::close_connection;
use super::establish::{AdmittedClient, admit};
use super::linger::linger_until_delivered;
use super::relay_session::{ActiveConnection, AuthorizedClient, relay_until_closed};
use super::service::InboundService;
use crate::budget::Reservation;
use crate::identity::Client;
use crate::io::Transferred;
use crate::listener::{Service, Slot};
use crate::policy::Permit;
use crate::relay::Relay;
use crate::telemetry::{AccessLogEntry, CloseReason, RequestCounters, RequestReason};
use crate::tls::Stream;

/// How long a client may take to let us say that nothing follows.
const CLOSE_NOTIFY_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves the requests of all that comes in at one listener.
#[derive(Debug)]
pub struct HttpInbound(pub Arc<InboundService>);

impl Service<TcpListener> for HttpInbound {
    /// The life of one connection, in the order it happens.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        let opened = match &self.0.plaintext {
            None => Box::pin(open(stream, peer, &self.0, &slot)).await,
            Some(peers) => Box::pin(plaintext::open(stream, peer, peers, &self.0, &slot)).await,
        };
        let Some(ready) = opened else { return };
        Box::pin(serve(ready, Arc::clone(&self.0))).await;
    }

    fn reject(&self, stream: TcpStream, peer: SocketAddr) {
        self.0.reject(stream, peer);
    }
}

/// Everything before the first request; `None` if it does not come to that, once the client has been told.
async fn open(stream: TcpStream, peer: SocketAddr, service: &InboundService, slot: &Slot) -> Option<Box<ReadyToServe>> {
    let (tcp, admitted, entry) = admit(stream, peer, service, slot).await?;
    let AdmittedClient { established, reservation, app, permit, authorization, proxy_header } = admitted;
    let negotiated = entry.fields.negotiated.as_ref();
    let is_http2 = negotiated.is_some_and(|negotiated| negotiated.alpn.as_deref() == Some(b"h2"));
    let protocol = if is_http2 { ClientProtocol::Http2 } else { ClientProtocol::Http1 };
    let stream = ClientStream::Tls(Stream::new(&permit, tcp, established));
    let client = entry.fields.client.clone().unwrap_or(Client::Anonymous);
    Some(Box::new(ReadyToServe {
        stream,
        permit,
        client,
        authorization,
        app,
        proxy_header,
        protocol,
        reservation,
        entry,
    }))
}

/// Answers the requests of a client, from the handshake to the end of its connection.
async fn serve(ready: Box<ReadyToServe>, service: Arc<InboundService>) {
    let Some(http) = &service.http else { return };
    let ReadyToServe { stream, permit, client, authorization, app, proxy_header, protocol, reservation, mut entry } =
        *ready;
    let service = &service;
    let (app_protocol, app_idle) = (http.config.app_protocol, http.config.app_idle_timeout);
    let apps = AppConnections::new(Arc::clone(&service.upstream), app_protocol, proxy_header, app, app_idle);
    let connection = HttpConnection::new(&permit, Arc::clone(service), http, client, &entry, apps);
    entry.fields.number = Some(connection.number);
    let mut watch = ConnectionWatch::new(Arc::clone(service), authorization);
    let served = match protocol {
        ClientProtocol::Http2 => Box::pin(h2::serve(stream, &connection, &mut watch, &mut entry)).await,
        ClientProtocol::Http1 => Box::pin(h1::serve(stream, &connection, &mut watch, &mut entry)).await,
        ClientProtocol::Unsaid => Box::pin(plaintext::serve(stream, &connection, &mut watch, &mut entry)).await,
    };
    connection.apps.close();
    entry.fields.transferred = connection.apps.totals().transferred();
    // The end has a box of its own: an idle connection has no room for it.
    match served {
        ServeResult::Upgraded { stream, first, app } => {
            let authorization = watch.into_authorization();
            let counters = Arc::clone(&connection.counters);
            drop(connection);
            Box::pin(relay_upgraded(
                stream,
                (first, *app),
                (permit, authorization),
                entry,
                (reservation, counters),
                service,
            ))
            .await;
        }
        ServeResult::Over { stream, reason, is_cut } => Box::pin(close(stream, reason, is_cut, entry, service)).await,
        ServeResult::Gone { reason } => entry.close(reason),
    }
}

/// Carries the bytes of a connection that speaks another protocol from here on, of which the client has sent `first` already.
async fn relay_upgraded(
    stream: ClientStream,
    (first, app): (Vec<u8>, UpgradedApp),
    (permit, authorization): (Permit, Option<AuthorizedClient>),
    entry: AccessLogEntry,
    (reservation, counters): (Reservation, Arc<RequestCounters>),
    service: &Arc<InboundService>,
) {
    let stream = match stream {
        ClientStream::Tls(stream) => stream,
        ClientStream::Plain(stream) => {
            let carried =
                plaintext::relay_upgraded(stream, (first, app), &permit, entry, (reservation, counters), service);
            return Box::pin(carried).await;
        }
    };
    let is_followed = app.followed_frames().is_some();
    let UpgradedApp { stream: app, first: said, entry: mut request, .. } = app;
    let before = entry.fields.transferred;
    let Ok(mut relay) = Relay::of_stream(&permit, stream, app, (first, &said), before, reservation) else {
        return entry.close(CloseReason::Internal);
    };
    if is_followed {
        relay.follow_web_socket(&said);
    }
    counters.count_upgraded(1);
    let mut active = ActiveConnection { relay, authorization, entry };
    let reason = relay_until_closed::<true>(&mut active, service).await;
    counters.count_upgraded(-1);
    let Transferred { up, down } = active.relay.transferred();
    request.fields.transferred = Transferred { up: up - before.up, down: down.saturating_sub(before.down) };
    request.close((reason == CloseReason::DrainTimeout).then_some(RequestReason::DrainTimeout));
    close_connection(active, reason, service).await;
}

/// Closes a connection that is over. `is_cut`: the client must not take what it got for whole.
async fn close(
    mut stream: ClientStream,
    reason: CloseReason,
    is_cut: bool,
    entry: AccessLogEntry,
    service: &Arc<InboundService>,
) {
    if !is_cut {
        // A client that does not read it learns it from the FIN.
        let _ = timeout(CLOSE_NOTIFY_TIMEOUT, stream.shutdown()).await;
    }
    let sent = entry.fields.transferred.down;
    linger_until_delivered(stream.into_tcp(), sent, service.phase.clone()).await;
    entry.close(reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Serve<F> = fn(Box<ReadyToServe>, Arc<InboundService>) -> F;

    fn size_of_future<F: Future>(_: Serve<F>) -> usize {
        size_of::<F>()
    }

    type ServeRequests<'a, F> =
        fn(ClientStream, &'a Arc<HttpConnection>, &'a mut ConnectionWatch, &'a mut AccessLogEntry) -> F;

    /// Bytes of the future that serves the requests of a connection by one of the versions.
    pub(super) fn size_of_version<'a, F: Future>(_: ServeRequests<'a, F>) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_has_no_room_for_its_end() {
        let serve = size_of_future(serve);
        assert!(serve <= 640, "the future of a connection has {serve} bytes");
        assert!(
            size_of::<HttpConnection>() <= 496,
            "what requests have in common has {} bytes",
            size_of::<HttpConnection>()
        );
    }
}
