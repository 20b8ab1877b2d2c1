//! From accept to the permit: ClientHello → dial → handshake → authorize.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::budget::Reservation;
use crate::config::{Dial, ProxyProtocol};
use crate::credentials::Snapshot;
use crate::http::stream_memory::has_place;
use crate::identity::Client;
use crate::inbound::close::close_before_relay;
use crate::inbound::error::{ConnectionError, TOO_MANY_CONNECTIONS};
use crate::inbound::relay_session::AuthorizedClient;
use crate::inbound::service::InboundService;
use crate::io::{AppStream, Socket};
use crate::lifecycle::Phase;
use crate::listener::Slot;
use crate::policy::{Denial, Permit};
use crate::proxy_protocol::{Addresses, ClientCertificate, ProxyHeader, ReceivedHeader};
use crate::telemetry::AccessLogEntry;
use crate::tls::{ClientVerifier, Established, HandshakeError, Selected};
use crate::trust::{ClientAuth, DeniedPeer};
use crate::upstream::DialError;
use crate::{proxy_protocol, relay, tls};

/// How long a client waits for the first pair at least, where clients are not held for longer anyway.
const FIRST_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client that has not done its part of the handshake may take for it in a drain: the stop waits for those that are busy, and
/// whoever wants it to last need not become one of them.
const DRAIN_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection costs until its handshake is done, beside the client's bytes and beside what an idle one costs.
const HANDSHAKE_OVERHEAD_BYTES: usize = 6 * 1024;

/// A client that may reach the app, and the ways to both.
pub(super) struct AdmittedClient {
    pub(super) established: Established,
    /// The memory that the session goes on to hold.
    pub(super) reservation: Reservation,
    /// `None`: it was not dialled yet.
    pub(super) app: Option<AppStream>,
    pub(super) permit: Permit,
    pub(super) authorization: Option<AuthorizedClient>,
    /// What the app is told in front of the client's bytes.
    pub(super) proxy_header: Vec<u8>,
}

/// From accept to the permit; `None` if it does not come to that, once the client has been told.
pub(super) async fn admit(
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
        Err(error) => reject(client, error, entry).await,
    }
}

/// Tells a client that it does not come in.
pub(super) async fn reject<T>(client: TcpStream, error: ConnectionError, mut entry: AccessLogEntry) -> Option<T> {
    entry.set_error(&error);
    if let Some(denial) = error.denial() {
        entry.set_verdict(Err(denial.clone()));
    }
    entry.close(error.reason());
    close_before_relay(client, error).await;
    None
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
        let mut drained = pin!(drained(service.phase.clone()));
        let mut held = service.budgets.handshakes.reservation();
        held.try_resize(HANDSHAKE_OVERHEAD_BYTES)?;
        let (addresses, wire) = match service.accept_proxy_protocol.iter().any(|network| network.contains(peer.ip())) {
            true => {
                held.try_resize(HANDSHAKE_OVERHEAD_BYTES + ReceivedHeader::LONGEST)?;
                let (header, rest) = unless_drained(proxy_protocol::receive(stream), drained.as_mut()).await??;
                (header.addresses, rest)
            }
            false => (None, Vec::new()),
        };
        if let Some(Addresses { source, .. }) = addresses {
            entry.set_proxied_client(source);
        }
        let hello = tls::read_hello(stream, wire, |bytes| held.try_resize(HANDSHAKE_OVERHEAD_BYTES + bytes));
        let hello = unless_drained(hello, drained.as_mut()).await??;
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
        snapshot.server_configs.as_ref().map_or(Ok(()), |configs| configs.check(&hello))?;
        // Dialled before anything of ours is sent: an app that does not accept becomes a reset in answer to the
        // ClientHello, which every router takes as "try another instance", whatever the method. Where clients have to be
        // authorized first, this is so only while the app is known not to accept.
        let early = match service.dial_order {
            Dial::AfterAuthorization if service.upstream.health().is_ready() => None,
            _ => Some(dial(service, entry).await?),
        };
        let server_configs = snapshot.server_configs.as_ref().ok_or(ConnectionError::NoCredential)?;
        let mut selected =
            server_configs.select(&hello).map_err(|error| ConnectionError::Handshake(HandshakeError::Failed(error)))?;
        // HTTP/1.1 has room where HTTP/2 has none.
        let is_downgraded =
            service.http.is_some() && !has_place(&service.budgets.streams) && selected.withhold(&hello, b"h2");
        let Selected { config, verifier } = selected;
        let may_send = || !early.as_ref().is_some_and(AppStream::is_reset);
        let may_hold = |bytes| held.try_resize(HANDSHAKE_OVERHEAD_BYTES + bytes);
        let began = Instant::now();
        let handshake = tls::handshake(stream, hello, config, &service.signing, may_hold, may_send);
        let (negotiated, established) = match unless_drained(handshake, drained).await? {
            Ok(done) => done,
            Err(HandshakeError::UpstreamGone) => return Err(DialError::Reset.into()),
            Err(HandshakeError::Failed(cause)) => return Err(handshake_failure(cause, verifier.as_deref(), entry)),
            Err(error) => return Err(error.into()),
        };
        entry.set_negotiated(negotiated, began.elapsed());
        if let Some(http) = service.http.as_ref().filter(|_| is_downgraded) {
            http.count_downgrade();
        }
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
                proxy_header(version, addresses.or(here), entry, &client)
            }
        };
        let authorization =
            matches!(snapshot.client_auth, ClientAuth::Certificate(_)).then_some(AuthorizedClient { client, snapshot });
        Ok(AdmittedClient { established, reservation, app, permit, authorization, proxy_header: header })
    };
    timeout(limit, stages).await.unwrap_or(Err(ConnectionError::HandshakeTimeout(limit)))
}

/// Lasts until a client that has not done its part is waited for no longer, as there is a drain.
async fn drained(mut phase: watch::Receiver<Phase>) {
    // Without a sender the process is over.
    let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    sleep(DRAIN_HANDSHAKE_TIMEOUT).await;
}

/// What comes of `part`, which waits for the client, if it comes before that.
async fn unless_drained<T>(
    part: impl Future<Output = T>,
    drained: Pin<&mut impl Future<Output = ()>>,
) -> Result<T, ConnectionError> {
    tokio::select! {
        biased;
        done = part => Ok(done),
        () = drained => Err(ConnectionError::HandshakeTimeout(DRAIN_HANDSHAKE_TIMEOUT)),
    }
}

/// What clients are served with now. The listeners open before the first pair, client CAs and rules have been loaded, which takes
/// some milliseconds: a client that comes meanwhile waits, as a reset would have a router shun us for half a minute.
pub(super) async fn current_snapshot(service: &InboundService) -> Option<Arc<Snapshot>> {
    let mut snapshots = service.snapshots.clone();
    let limit = service.upstream.hold().map_or(FIRST_SNAPSHOT_TIMEOUT, |hold| hold.max(FIRST_SNAPSHOT_TIMEOUT));
    timeout(limit, snapshots.wait()).await.ok()?
}

/// What the app is told of `client`.
pub(super) fn proxy_header(
    version: ProxyProtocol,
    addresses: Option<Addresses>,
    entry: &AccessLogEntry,
    client: &Client,
) -> Vec<u8> {
    let negotiated = entry.fields.negotiated.as_ref();
    let shown = client.certificate().map(|certificate| ClientCertificate {
        common_name: certificate.common_name.as_deref(),
        subject: &certificate.subject,
        earlier: negotiated.is_some_and(|negotiated| negotiated.resumed),
    });
    let header = ProxyHeader {
        addresses,
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

pub(super) async fn dial(service: &InboundService, entry: &mut AccessLogEntry) -> Result<AppStream, DialError> {
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
