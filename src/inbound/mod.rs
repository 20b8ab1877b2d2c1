//! One connection: accept → ClientHello → dial → handshake → authorize → relay → access log entry.

mod close;
mod deadline;
mod error;
mod http;
mod linger;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::telemetry::CloseReason;
use deadline::Deadline;
pub use error::ConnectionError;
pub use http::{HttpInbound, HttpService};
use linger::Undelivered;

use crate::budget::{Budgets, Reservation};
use crate::config::{AccessLogFilter, AdmittedPeers, Dial, Network, ProxyProtocol, Timeouts};
use crate::credentials::{Snapshot, SnapshotReceiver};
use crate::identity::Client;
use crate::io::{AppStream, Socket};
use crate::lifecycle::Phase;
use crate::listener::{Service, Slot};
use crate::policy::{Denial, Permit};
use crate::proxy_protocol::{Addresses, ClientCertificate, ProxyHeader, ReceivedHeader};
use crate::relay::{NoBacklogProgress, Relay, RelayEnd};
use crate::telemetry::{AccessLogEntry, Counters};
use crate::tls::{ClientVerifier, Established, HandshakeError, Selected, SigningLimiter};
use crate::trust::{ClientAuth, DeniedPeer};
use crate::upstream::{DialError, Upstream};
use crate::{policy, proxy_protocol, relay, tls};

/// While the instance goes, a connection that has been idle for this long is closed: long enough for the pause between
/// two parts of one answer, short enough for routers to let go of it before the app hears that it must stop.
const IDLE_WHILE_GOING: Duration = Duration::from_millis(50);

/// How long a client waits for the first pair at least, where clients are not held for longer anyway.
const FIRST_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a connection costs until its handshake is done, beside the client's bytes and beside what an idle one costs.
const HANDSHAKE_OVERHEAD_BYTES: usize = 6 * 1024;

const TOO_MANY_CONNECTIONS: ConnectionError = ConnectionError::Overloaded {
    what: "connections",
    option: "--max-connections, or the memory or descriptor limit that it follows from,",
};

/// What the connections of one listener share.
#[derive(Debug)]
pub struct InboundService {
    /// Where they came in.
    pub listener: SocketAddr,
    /// What they are served with.
    pub snapshots: SnapshotReceiver,
    /// Where they go.
    pub upstream: Arc<Upstream>,
    /// When the app is dialled.
    pub dial_order: Dial,
    /// What the app is told of each client in front of its bytes.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who in front of us tells of each client in front of its bytes, and must.
    pub accept_proxy_protocol: Vec<Network>,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// One permit for each handshake that may be under way.
    pub handshakes: Arc<Semaphore>,
    /// Bytes that clients may have us hold.
    pub budgets: Arc<Budgets>,
    /// Whose turn it is to sign.
    pub signing: Arc<SigningLimiter>,
    /// How requests are served; `None`: bytes are carried.
    pub http: Option<HttpService>,
    /// Who may connect where TLS is off; `None`: TLS is on.
    pub plaintext: Option<AdmittedPeers>,
    /// Whether clients that speak HTTP/1.1 are told to let go of their connections while the instance goes.
    pub drain_http: bool,
    /// Where the process stands.
    pub phase: watch::Receiver<Phase>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Which connections leave a line.
    pub access: AccessLogFilter,
}

/// A client that may reach the app, and the ways to both.
struct AdmittedClient {
    established: Established,
    /// The memory that the session goes on to hold.
    reservation: Reservation,
    /// `None`: it was not dialled yet.
    app: Option<AppStream>,
    permit: Permit,
    authorization: Option<AuthorizedClient>,
    /// What the app is told in front of the client's bytes.
    proxy_header: Vec<u8>,
}

/// What a connection holds while bytes are carried, for as long as it may be idle. All else is in boxes that are gone by
/// then, or not made yet.
struct ActiveConnection {
    relay: Relay,
    authorization: Option<AuthorizedClient>,
    entry: AccessLogEntry,
}

/// On what ground a client with a certificate was let in, so that it can be asked again whether it may stay.
#[derive(Debug)]
struct AuthorizedClient {
    client: Client,
    snapshot: Arc<Snapshot>,
}

/// A relay whose bytes get in the access log entry however it ends: the task may be cancelled in the middle of it, or panic.
struct ByteCountGuard<'a> {
    relay: &'a mut Relay,
    entry: &'a mut AccessLogEntry,
}

impl Drop for ByteCountGuard<'_> {
    fn drop(&mut self) {
        self.entry.fields.transferred = self.relay.transferred();
    }
}

impl Service<TcpListener> for InboundService {
    /// The life of one connection, in the order it happens.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        // The beginning and the end have boxes of their own: an idle connection has room for neither.
        let Some(mut active) = Box::pin(open_relay(stream, peer, &self, &slot)).await else { return };
        let reason = relay_until_closed::<false>(&mut active, &self).await;
        Box::pin(close(active, reason, &self)).await;
    }

    fn reject(&self, stream: TcpStream, peer: SocketAddr) {
        let mut entry = AccessLogEntry::open(Arc::clone(&self.counters), self.access, peer, self.listener);
        // When the option cannot be set the socket is closed all the same.
        let _ = stream.set_zero_linger();
        entry.set_error(&TOO_MANY_CONNECTIONS);
        entry.close(TOO_MANY_CONNECTIONS.reason());
    }
}

/// Everything before the relay; `None` if it does not come to that, once the client has been told.
async fn open_relay(
    client: TcpStream,
    peer: SocketAddr,
    service: &InboundService,
    slot: &Slot,
) -> Option<ActiveConnection> {
    let (client, ready, mut entry) = open(client, peer, service, slot).await?;
    let AdmittedClient { established, reservation, app, permit, authorization, proxy_header } = ready;
    let app = match app {
        Some(app) => app,
        None => match dial(service, &mut entry).await {
            Ok(app) => app,
            Err(error) => return refuse(client, ConnectionError::UpstreamAfterHandshake(error), entry).await,
        },
    };
    let relay = Relay::new(&permit, client, established, app, proxy_header, reservation);
    Some(ActiveConnection { relay, authorization, entry })
}

/// From accept to the permit; `None` if it does not come to that, once the client has been told.
async fn open(
    mut client: TcpStream,
    peer: SocketAddr,
    service: &InboundService,
    slot: &Slot,
) -> Option<(TcpStream, AdmittedClient, AccessLogEntry)> {
    let mut entry = AccessLogEntry::open(Arc::clone(&service.counters), service.access, peer, service.listener);
    match establish(&mut client, peer, service, slot, &mut entry).await {
        Ok(admitted) => {
            entry.set_verdict(Ok(admitted.permit.clone()));
            Some((client, admitted, entry))
        }
        Err(error) => refuse(client, error, entry).await,
    }
}

/// Tells a client that it does not come in.
async fn refuse<T>(client: TcpStream, error: ConnectionError, mut entry: AccessLogEntry) -> Option<T> {
    entry.set_error(&error);
    if let Some(denial) = error.denial() {
        entry.set_verdict(Err(denial.clone()));
    }
    entry.close(error.reason());
    close::close_before_relay(client, error).await;
    None
}

/// Everything after the relay. The access log entry is written when the client has what it was sent, or will not take it.
async fn close(active: ActiveConnection, reason: CloseReason, service: &InboundService) {
    let ActiveConnection { mut relay, mut entry, .. } = active;
    entry.set_close_reason(reason);
    let accounted = ByteCountGuard { relay: &mut relay, entry: &mut entry };
    let whole = close::await_last_response(accounted.relay, reason).await;
    drop(accounted);
    let reason = match close::close_relay(relay, reason, whole, service.phase.clone()).await {
        None => reason,
        Some(Undelivered { bytes, reason: why }) => {
            let down = &mut entry.fields.transferred.down;
            *down = down.saturating_sub(bytes);
            match reason {
                CloseReason::Completed => why,
                // It was still being delivered when the process had to go.
                CloseReason::ClosedIdle if why == CloseReason::DrainTimeout => why,
                reason => reason,
            }
        }
    };
    entry.close(reason);
}

/// accept → ClientHello → dial → handshake → authorize
async fn establish(
    stream: &mut TcpStream,
    peer: SocketAddr,
    service: &InboundService,
    slot: &Slot,
    entry: &mut AccessLogEntry,
) -> Result<AdmittedClient, ConnectionError> {
    let limit = service.timeouts.handshake;
    let stages = async {
        let mut held = service.budgets.handshakes.reservation();
        held.try_resize(HANDSHAKE_OVERHEAD_BYTES)?;
        let (ends, wire) = match service.accept_proxy_protocol.iter().any(|network| network.contains(peer.ip())) {
            true => {
                held.try_resize(HANDSHAKE_OVERHEAD_BYTES + ReceivedHeader::LONGEST)?;
                proxy_protocol::receive(stream).await.map(|(header, rest)| (header.addresses, rest))?
            }
            false => (None, Vec::new()),
        };
        if let Some(Addresses { source, .. }) = ends {
            entry.set_proxied_client(source);
        }
        let hello = tls::read_hello(stream, wire, |bytes| held.try_resize(HANDSHAKE_OVERHEAD_BYTES + bytes)).await?;
        entry.fields.server_name = hello.server_name().map(str::to_owned);
        if slot.capacity_permit.is_none() {
            return Err(TOO_MANY_CONNECTIONS);
        }
        let Ok(_permit) = service.handshakes.try_acquire() else {
            return Err(ConnectionError::Overloaded { what: "handshakes", option: "--max-handshakes" });
        };
        // One generation, for the handshake and all that follows.
        let snapshot = current_snapshot(service).await.ok_or(ConnectionError::NoCredential)?;
        entry.fields.generation = Some(snapshot.generation);
        // Dialled before anything of ours is sent: an app that does not accept becomes a reset in answer to the
        // ClientHello, which every router takes as "try another instance", whatever the method. Where clients have to be
        // authorized first, this is so only while the app is known not to accept.
        let early = match service.dial_order {
            Dial::AfterAuthorization if service.upstream.health().is_ready() => None,
            _ => Some(dial(service, entry).await?),
        };
        let server_configs = snapshot.server_configs.as_ref().ok_or(ConnectionError::NoCredential)?;
        let Selected { config, verifier } =
            server_configs.select(&hello).map_err(|error| ConnectionError::Handshake(HandshakeError::Failed(error)))?;
        let may_send = || !early.as_ref().is_some_and(AppStream::is_reset);
        let may_hold = |bytes| held.try_resize(HANDSHAKE_OVERHEAD_BYTES + bytes);
        let began = Instant::now();
        let handshake = tls::handshake(stream, hello, config, &service.signing, may_hold, may_send);
        let (negotiated, established) = match handshake.await {
            Ok(done) => done,
            Err(HandshakeError::UpstreamGone) => return Err(DialError::Reset.into()),
            Err(HandshakeError::Failed(cause)) => return Err(handshake_failure(cause, verifier.as_deref(), entry)),
            Err(error) => return Err(error.into()),
        };
        entry.set_negotiated(negotiated, began.elapsed());
        let decision = match verifier.as_deref().and_then(ClientVerifier::verdict) {
            Some(decision) => decision.clone(),
            // Nothing was shown in this handshake. A session that resumes is asked anew, like any other.
            None => snapshot.client_auth.authorize(established.resumed_chain.as_deref(), SystemTime::now()),
        };
        let (client, permit) = match decision {
            Ok(admitted) => admitted,
            Err(denial) => {
                // Whoever resumes was verified when its session began.
                let leaf = established.resumed_chain.as_deref().and_then(<[_]>::first);
                entry.fields.client = leaf.and_then(|leaf| Client::from_leaf(leaf).ok());
                return Err(ConnectionError::DeniedAfterHandshake(denial, Box::new(established)));
            }
        };
        entry.fields.client = Some(client.clone());
        let mut reservation = service.budgets.backlogs.reservation();
        if let Err(exceeded) = reservation.try_resize(relay::chain_memory(&established)) {
            return Err(ConnectionError::ExhaustedAfterHandshake(exceeded, Box::new(established)));
        }
        // Requests have answers of their own for an app that does not accept.
        let app = match early {
            None if service.http.is_none() => {
                Some(dial(service, entry).await.map_err(ConnectionError::UpstreamAfterHandshake)?)
            }
            early => early,
        };
        let header = match service.proxy_protocol {
            None => Vec::new(),
            Some(version) => {
                // Should the kernel not know it any more, the app is told that nobody knows.
                let here = stream.local_addr().ok().map(|destination| Addresses { source: peer, destination });
                proxy_header(version, ends.or(here), entry, &client)
            }
        };
        let authorization =
            matches!(snapshot.client_auth, ClientAuth::Certificate(_)).then_some(AuthorizedClient { client, snapshot });
        Ok(AdmittedClient { established, reservation, app, permit, authorization, proxy_header: header })
    };
    timeout(limit, stages).await.unwrap_or(Err(ConnectionError::HandshakeTimeout(limit)))
}

/// What clients are served with now. The listeners open before the first pair, client CAs and rules have been loaded, which takes
/// some milliseconds: a client that comes meanwhile waits, as a reset would have a router shun us for half a minute.
async fn current_snapshot(service: &InboundService) -> Option<Arc<Snapshot>> {
    let mut snapshots = service.snapshots.clone();
    let limit = service.upstream.hold().map_or(FIRST_SNAPSHOT_TIMEOUT, |hold| hold.max(FIRST_SNAPSHOT_TIMEOUT));
    timeout(limit, snapshots.wait()).await.ok()?
}

/// What the app is told of `client`.
fn proxy_header(version: ProxyProtocol, ends: Option<Addresses>, entry: &AccessLogEntry, client: &Client) -> Vec<u8> {
    let negotiated = entry.fields.negotiated.as_ref();
    let shown = client.certificate().map(|holder| ClientCertificate {
        common_name: holder.common_name.as_deref(),
        subject: &holder.subject,
        earlier: negotiated.is_some_and(|negotiated| negotiated.resumed),
    });
    let header = ProxyHeader {
        addresses: ends,
        alpn: negotiated.and_then(|negotiated| negotiated.alpn.as_deref()),
        server_name: entry.fields.server_name.as_deref(),
        tls_version: negotiated.and_then(|negotiated| negotiated.version).and_then(proxy_protocol::version_name),
        cipher: negotiated.and_then(|negotiated| negotiated.suite).and_then(proxy_protocol::cipher_name),
        certificate: shown,
    };
    match version {
        ProxyProtocol::V1 => header.v1(),
        ProxyProtocol::V2 => header.v2(),
    }
}

async fn dial(service: &InboundService, entry: &mut AccessLogEntry) -> Result<AppStream, DialError> {
    let began = Instant::now();
    let dialled = service.upstream.dial().await;
    entry.set_upstream_connect_time(began.elapsed());
    dialled
}

/// Whether a handshake that we ended was ended over the client's certificate.
fn handshake_failure(
    cause: rustls::Error,
    verifier: Option<&ClientVerifier>,
    entry: &mut AccessLogEntry,
) -> ConnectionError {
    match verifier.and_then(ClientVerifier::denied).cloned() {
        Some(DeniedPeer::Verified(client)) => entry.fields.client = Some(client),
        Some(DeniedPeer::Unverified(certificate)) => entry.fields.unverified = Some(Box::new(certificate)),
        None => {}
    }
    let decision = verifier.and_then(ClientVerifier::verdict).and_then(|decision| decision.as_ref().err().cloned());
    match decision.or_else(|| Denial::of_handshake(&cause)) {
        Some(denial) if verifier.is_some() => ConnectionError::Denied(denial),
        _ => ConnectionError::Handshake(HandshakeError::Failed(cause)),
    }
}

/// relay, until one side, a limit, the policy or the process ends it
///
/// `LEAVES_IDLE`: one that is silent while the instance goes stays until the drain is over, and is not closed after a moment.
async fn relay_until_closed<const LEAVES_IDLE: bool>(
    active: &mut ActiveConnection,
    service: &InboundService,
) -> CloseReason {
    let ActiveConnection { relay, authorization, entry } = active;
    let accounted = ByteCountGuard { relay, entry };
    if let Some(limit) = service.timeouts.idle {
        accounted.relay.set_idle_timeout(limit);
    }
    let mut deadline = Deadline::first_of(authorization.as_ref(), service.timeouts.max_age);
    let (mut phase, mut generations) = (service.phase.clone(), service.snapshots.generations());
    loop {
        generations.borrow_and_update();
        if let Some(reason) = reauthorize(authorization, accounted.entry, service) {
            return reason;
        }
        let here = *phase.borrow_and_update();
        match here {
            Phase::Running => {}
            Phase::Retiring | Phase::Draining if LEAVES_IDLE => accounted.relay.end_web_socket(),
            Phase::Retiring | Phase::Draining => {
                accounted.relay.set_drain_idle_timeout(IDLE_WHILE_GOING);
                if service.drain_http {
                    accounted.relay.end_keep_alive();
                }
            }
            Phase::Delivering => accounted.relay.end_after_backlog(),
            Phase::Closing => return CloseReason::DrainTimeout,
        }
        tokio::select! {
            // No dice are thrown for who is asked first: this is on the path of every byte.
            biased;
            end = &mut *accounted.relay => return match end {
                RelayEnd::Idle if *service.phase.borrow() >= Phase::Retiring => CloseReason::ClosedIdle,
                RelayEnd::BacklogEvicted => {
                    accounted.entry.set_error(&NoBacklogProgress);
                    CloseReason::Overloaded
                }
                end => end.into(),
            },
            Ok(()) = phase.changed() => {}
            Ok(()) = generations.changed(), if authorization.is_some() => {}
            over = &mut deadline => return over,
        }
    }
}

/// Why the client may not stay, if what is served now is another snapshot than the one by which it may.
fn reauthorize(
    authorization: &mut Option<AuthorizedClient>,
    entry: &mut AccessLogEntry,
    service: &InboundService,
) -> Option<CloseReason> {
    let AuthorizedClient { client, snapshot } = authorization.as_mut()?;
    let served = service.snapshots.load().filter(|served| served.generation != snapshot.generation)?;
    match served.client_auth.reauthorize(client, &snapshot.client_auth, SystemTime::now()) {
        Ok(_) => {
            *snapshot = served;
            None
        }
        Err(denial) => {
            let reason = match denial.reason() {
                policy::DenialReason::Expired => CloseReason::PeerExpired,
                _ => CloseReason::PolicyChanged,
            };
            entry.set_verdict(Err(denial));
            Some(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, InboundService, Relay, Service, Slot, SocketAddr, TcpStream};

    fn size_of_future<F: Future>(_: fn(Arc<InboundService>, TcpStream, SocketAddr, Slot) -> F) -> usize {
        size_of::<F>()
    }

    /// The allocator has no class between 1,024 and 1,280 bytes, and tokio puts 104 of its own around a future.
    #[test]
    fn an_idle_connection_keeps_its_state_within_one_kibibyte_and_its_relay_within_a_quarter_of_it() {
        let serve = size_of_future(InboundService::serve);
        assert!(serve <= 920, "a connection's future has {serve} bytes");
        assert!(size_of::<Relay>() <= 256, "a relay has {} bytes", size_of::<Relay>());
    }
}
