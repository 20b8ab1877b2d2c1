//! Clients without TLS: who may connect, what they speak, and what they become.
//!
//! accept → address → first bytes → requests

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client_stream::ClientStream;
use super::connection::HttpConnection;
use super::ready::{ClientProtocol, ReadyToServe, ServeResult};
use super::upgrade::UpgradedApp;
use super::watch::ConnectionWatch;
use super::{h1, h2};
use crate::budget::Reservation;
use crate::config::AdmittedPeers;
use crate::inbound::deadline::Deadline;
use crate::inbound::error::{ConnectionError, TOO_MANY_CONNECTIONS};
use crate::inbound::establish::{current_snapshot, proxy_header};
use crate::inbound::linger::linger_until_delivered;
use crate::inbound::reject;
use crate::inbound::service::InboundService;
use crate::io::{PlainStream, Socket, Transferred};
use crate::lifecycle::Phase;
use crate::listener::Slot;
use crate::policy::Permit;
use crate::proxy_protocol::Addresses;
use crate::relay::{NoBacklogProgress, PlainRelay};
use crate::telemetry::{AccessLogEntry, CloseReason, RequestCounters, RequestReason};
use crate::trust::ClientAuth;

/// What a client of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client without TLS from `peer`, of whom nothing was read yet; `None` if it may not connect, once it has been reset.
pub(super) async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    peers: &AdmittedPeers,
    service: &InboundService,
    slot: &Slot,
) -> Option<Box<ReadyToServe>> {
    let entry = AccessLogEntry::open(Arc::clone(&service.counters), service.access, peer, service.listener);
    // Where it came in is not known any more of one that is gone.
    let local = stream.local_addr().ok().filter(|local| peers.admits(peer, *local));
    let admitted = local.ok_or(ConnectionError::NotFrom);
    let has_room = slot.capacity_permit.as_ref().map(drop).ok_or(TOO_MANY_CONNECTIONS);
    // It is the callers whom rules judge: whoever speaks for them is nobody.
    let client = ClientAuth::None.authorize(None, SystemTime::now()).map_err(ConnectionError::Denied);
    match admitted.and_then(|local| has_room.and(client).map(|(client, permit)| (local, client, permit))) {
        Ok((destination, client, permit)) => {
            let ends = Addresses { source: peer, destination };
            let header = service.proxy_protocol.map(|version| proxy_header(version, Some(ends), &entry, &client));
            let ready = ReadyToServe {
                stream: ClientStream::Plain(PlainStream::new(stream)),
                permit,
                client,
                authorization: None,
                app: None,
                proxy_header: header.unwrap_or_default(),
                protocol: ClientProtocol::Unsaid,
                reservation: service.budgets.backlogs.reservation(),
                entry,
            };
            Some(Box::new(ready))
        }
        Err(error) => reject(stream, error, entry).await,
    }
}

/// Answers the requests that come on `stream`, in what the client begins to speak.
pub(super) async fn serve(
    mut stream: ClientStream,
    connection: &Arc<HttpConnection>,
    watch: &mut ConnectionWatch,
    entry: &mut AccessLogEntry,
) -> ServeResult {
    match first_words(&mut stream, connection, watch, entry).await {
        Ok(ClientProtocol::Http2) => Box::pin(h2::serve(stream, connection, watch, entry)).await,
        Ok(ClientProtocol::Http1 | ClientProtocol::Unsaid) => {
            Box::pin(h1::serve(stream, connection, watch, entry)).await
        }
        Err(reason @ CloseReason::NoCredential) => {
            // Nothing of it was read for anybody: a reset is the clearest "not here". When the option cannot be set the socket is closed
            // all the same.
            let _ = stream.tcp().set_zero_linger();
            ServeResult::Gone { reason }
        }
        Err(reason) => ServeResult::Over { stream, reason, is_cut: false },
    }
}

/// What the client speaks, once its first bytes are there. Nothing of them is taken.
///
/// # Errors
/// Why the connection is over before.
async fn first_words(
    stream: &mut ClientStream,
    connection: &HttpConnection,
    watch: &mut ConnectionWatch,
    entry: &mut AccessLogEntry,
) -> Result<ClientProtocol, CloseReason> {
    match h1::wait(stream, connection, watch, entry).await {
        None => {}
        Some(CloseReason::Completed | CloseReason::ClientReset) => return Err(CloseReason::Probe),
        Some(reason) => return Err(reason),
    }
    let Some(snapshot) = current_snapshot(&connection.service).await else {
        entry.set_error(&ConnectionError::NoCredential);
        return Err(CloseReason::NoCredential);
    };
    entry.fields.generation = Some(snapshot.generation);
    let ClientStream::Plain(stream) = stream else { return Ok(ClientProtocol::Http1) };
    // What never comes to its end is HTTP/1.1's to refuse.
    let is_http2 = timeout(connection.config.head_timeout, stream.starts_with(PREFACE)).await.unwrap_or(false);
    Ok(if is_http2 { ClientProtocol::Http2 } else { ClientProtocol::Http1 })
}

/// A relay whose bytes get in the access log entry however it ends.
struct PlainByteCount<'a> {
    relay: &'a mut PlainRelay,
    entry: &'a mut AccessLogEntry,
}

impl Drop for PlainByteCount<'_> {
    fn drop(&mut self) {
        self.entry.fields.transferred = self.relay.transferred();
    }
}

/// Carries the bytes of a connection that speaks another protocol from here on, of which the client has sent `first` already.
pub(super) async fn relay_upgraded(
    stream: PlainStream,
    (first, app): (Vec<u8>, UpgradedApp),
    permit: &Permit,
    mut entry: AccessLogEntry,
    (reservation, counters): (Reservation, Arc<RequestCounters>),
    service: &InboundService,
) {
    let followed = app.followed_frames().map(<[u8]>::to_vec);
    let UpgradedApp { stream: app, first: said, entry: mut request, .. } = app;
    let before = entry.fields.transferred;
    let mut relay = PlainRelay::new(permit, stream, app, (first, said), before, reservation);
    if let Some(said) = followed {
        relay.follow_web_socket(&said);
    }
    counters.count_upgraded(1);
    let reason = relay_until_closed(&mut relay, &mut entry, service).await;
    counters.count_upgraded(-1);
    let Transferred { up, down } = relay.transferred();
    request.fields.transferred = Transferred { up: up - before.up, down: down - before.down };
    request.close((reason == CloseReason::DrainTimeout).then_some(RequestReason::DrainTimeout));
    entry.set_close_reason(reason);
    close_relay(relay, reason, service).await;
    entry.close(reason);
}

/// relay, until one side, a limit or the process ends it
async fn relay_until_closed(
    relay: &mut PlainRelay,
    entry: &mut AccessLogEntry,
    service: &InboundService,
) -> CloseReason {
    let counted = PlainByteCount { relay, entry };
    if let Some(limit) = service.timeouts.idle {
        counted.relay.set_idle_timeout(limit);
    }
    let mut deadline = Deadline::first_of(None, service.timeouts.max_age);
    let mut phase = service.phase.clone();
    loop {
        let here = *phase.borrow_and_update();
        match here {
            Phase::Running => {}
            Phase::Retiring | Phase::Draining => counted.relay.end_web_socket(),
            Phase::Delivering => counted.relay.end_after_backlog(),
            Phase::Closing => return CloseReason::DrainTimeout,
        }
        tokio::select! {
            biased;
            end = &mut *counted.relay => {
                let reason = end.into();
                if reason == CloseReason::Overloaded {
                    counted.entry.set_error(&NoBacklogProgress);
                }
                return reason;
            }
            Ok(()) = phase.changed() => {}
            over = &mut deadline => return over,
        }
    }
}

/// Closes both sides of a relay that ended for `reason`.
async fn close_relay(relay: PlainRelay, reason: CloseReason, service: &InboundService) {
    let sent = relay.transferred().down;
    let (client, app) = relay.into_parts();
    match reason {
        CloseReason::Completed | CloseReason::AppReset => drop(app),
        CloseReason::IdleTimeout => {
            // The app may be gone already.
            let _ = app.end_sending();
            drop(app);
        }
        // Cut off in the middle: the app must not take what it got for whole.
        _ => app.reset(),
    }
    linger_until_delivered(client, sent, service.phase.clone()).await;
}
