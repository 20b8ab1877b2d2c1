//! From "the app wants to speak" to an endpoint that may be given its bytes: attempts at one endpoint after another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoints::{Endpoint, Endpoints, Lease};
use super::error::{AttemptError, OutboundError, rejection};
use super::{OutboundService, http_connect};
use crate::config::{ExpectedName, Host, Outbound, OutboundTimeouts};
use crate::credentials::OutboundSnapshot;
use crate::io::connect_tcp;
use crate::listener::KEEPALIVE;
use crate::telemetry::{AttemptResult, OutboundCounters, OutboundLogEntry};
use crate::tls::Negotiated;
use crate::trust::AuthenticatedServer;

/// How long a first lookup is waited for; later ones are never.
const FIRST_LOOKUP: Duration = Duration::from_secs(3);

/// How long a connection waits for the first pair.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(1);

/// After so long without an answer the next endpoint is dialled beside the first (RFC 8305, 5).
const STAGGER: Duration = Duration::from_millis(250);

/// An endpoint that may be given the app's bytes.
pub(super) struct Connected {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) server: AuthenticatedServer,
    pub(super) name: ServerName<'static>,
    pub(super) snapshot: Arc<OutboundSnapshot>,
    pub(super) lease: Lease,
}

/// Finds an endpoint that answers and may. What is learned on the way gets in `entry`.
///
/// # Errors
/// [`OutboundError`]: that of the last attempt. Nothing of the app's was sent to anybody.
pub(super) async fn connect(
    service: &OutboundService,
    entry: &mut OutboundLogEntry,
) -> Result<Connected, OutboundError> {
    let timeouts = &service.outbound.timeouts;
    let deadline = tokio::time::Instant::now() + timeouts.total;
    let began = Instant::now();
    if let Err(why) = service.endpoints.wait(FIRST_LOOKUP.min(timeouts.total)).await {
        service.endpoints.look_again();
        return Err(OutboundError::ResolveFailed(why));
    }
    entry.fields.resolve = Some(began.elapsed()).filter(|waited| *waited >= Duration::from_millis(1));
    let mut snapshots = service.snapshots.clone();
    let Ok(Some(snapshot)) = timeout(FIRST_SNAPSHOT, snapshots.wait()).await else {
        return Err(OutboundError::NoCredentials);
    };
    entry.fields.generation = Some(snapshot.pair_generation);
    if snapshot.validity.is_some_and(|validity| validity.not_after < SystemTime::now()) {
        return Err(OutboundError::CredentialExpired);
    }
    let mut attempts = Attempts { service, deadline, tried: Vec::new(), shaking: None, worst: None };
    let connected = match timeout_at(deadline, attempts.run(&snapshot, entry)).await {
        Ok(connected) => connected,
        Err(_) => {
            // Whoever has let the time pass has failed.
            if let Some((endpoint, began)) = attempts.shaking.take() {
                attempts.fail(&endpoint, AttemptError::HandshakeTimeout(began.elapsed()), None);
            }
            None
        }
    };
    connected.ok_or_else(|| match attempts.worst.take() {
        Some(failed) => failed.into_entry(entry).into(),
        None if attempts.tried.is_empty() => {
            service.endpoints.look_again();
            OutboundError::NoEndpoint(service.counters.name().to_string())
        }
        None => OutboundError::TimedOut(timeouts.total),
    })
}

/// What has come of shaking hands with one endpoint.
#[derive(Debug)]
pub struct EndpointProbe {
    /// Its address.
    pub addr: SocketAddr,
    /// Who has answered, and may.
    pub result: Result<AuthenticatedServer, AttemptError>,
}

/// How long a server has to refuse our certificate after the handshake: in TLS 1.3 it comes no sooner.
const REFUSAL: Duration = Duration::from_millis(300);

/// Endpoints that are probed.
const MAX_PROBES: usize = 32;

/// Shakes hands with each endpoint of `outbound`, and sends nothing.
///
/// # Errors
/// [`OutboundError`]: there is no endpoint.
pub async fn probe(outbound: &Outbound, snapshot: OutboundSnapshot) -> Result<Vec<EndpointProbe>, OutboundError> {
    let counters = Arc::new(OutboundCounters::new(&outbound.name()));
    let endpoints = Arc::new(Endpoints::new(outbound, Arc::default(), Arc::clone(&counters)));
    let looking = Arc::clone(&endpoints);
    let lookups = tokio::spawn(async move { looking.run().await });
    let known = endpoints.wait(outbound.timeouts.total).await.map_err(OutboundError::ResolveFailed);
    lookups.abort();
    known?;
    let all = endpoints.current();
    if all.is_empty() {
        return Err(OutboundError::NoEndpoint(outbound.name()));
    }
    let mut probes = Vec::new();
    for endpoint in all.iter().take(MAX_PROBES) {
        let name = server_name(outbound, &endpoint.target.host);
        probes
            .push(EndpointProbe { addr: endpoint.addr, result: probe_one(outbound, &snapshot, endpoint, &name).await });
    }
    Ok(probes)
}

async fn probe_one(
    outbound: &Outbound,
    snapshot: &OutboundSnapshot,
    endpoint: &Arc<Endpoint>,
    name: &ServerName<'static>,
) -> Result<AuthenticatedServer, AttemptError> {
    let tcp = dial_one(Arc::clone(endpoint), outbound.timeouts.clone()).await?;
    let (mut stream, server) = shake_hands(outbound.timeouts.handshake, snapshot, name, tcp).await?;
    match timeout(REFUSAL, stream.read(&mut [0])).await {
        Ok(Err(error)) => match rejection(&error) {
            Some(alert) => Err(AttemptError::Rejected(alert)),
            None => Ok(server),
        },
        // It speaks first, has closed, or waits for us to speak.
        Ok(Ok(_)) | Err(_) => Ok(server),
    }
}

/// The handshake with the endpoint on `tcp`, and who it is.
async fn shake_hands(
    limit: Duration,
    snapshot: &OutboundSnapshot,
    name: &ServerName<'static>,
    tcp: TcpStream,
) -> Result<(TlsStream<TcpStream>, AuthenticatedServer), AttemptError> {
    // A server that vanishes without a word is noticed after two minutes. When it cannot be set, it is not.
    let _ = SockRef::from(&tcp).set_tcp_keepalive(&KEEPALIVE);
    let connector = TlsConnector::from(Arc::clone(&snapshot.client_config));
    let shaken = timeout(limit, connector.connect(name.clone(), tcp)).await;
    let stream = shaken.map_err(|_| AttemptError::HandshakeTimeout(limit))?.map_err(AttemptError::of_handshake)?;
    // A session that was resumed was verified when it began: it is judged anew, by what is in force now.
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let judged = snapshot.authenticator.authorize(chain, name, SystemTime::now());
    let server = judged.map_err(|denial| AttemptError::Denied(Box::new(denial)))?;
    Ok((stream, server))
}

/// The attempts of one connection.
struct Attempts<'a> {
    service: &'a OutboundService,
    /// When all of them have to be over.
    deadline: tokio::time::Instant,
    /// With whom hands are shaken now, and since when.
    shaking: Option<(Arc<Endpoint>, Instant)>,
    /// In the order in which they were tried.
    tried: Vec<Arc<Endpoint>>,
    /// The most telling failure so far, where it was, and who has answered there.
    worst: Option<FailedAttempt>,
}

/// What there is to say of an attempt that has failed.
struct FailedAttempt {
    error: AttemptError,
    addr: SocketAddr,
    connect: Option<Duration>,
    server_name: Option<String>,
}

impl FailedAttempt {
    /// What is told of the connection: this attempt alone.
    fn into_entry(self, entry: &mut OutboundLogEntry) -> AttemptError {
        entry.fields.endpoint = Some(self.addr);
        entry.fields.connect = self.connect;
        entry.fields.server_name = self.server_name;
        if let AttemptError::Denied(denial) = &self.error {
            entry.fields.server = denial.certificate.clone();
        }
        self.error
    }
}

impl Attempts<'_> {
    async fn run(&mut self, snapshot: &Arc<OutboundSnapshot>, entry: &mut OutboundLogEntry) -> Option<Connected> {
        loop {
            let (lease, tcp, took) = self.dial(entry).await?;
            let endpoint = Arc::clone(lease.endpoint());
            entry.fields.endpoint = Some(endpoint.addr);
            entry.fields.connect = Some(took);
            let name = self.service.server_name(&endpoint.target.host);
            entry.fields.server_name = Some(name.to_str().into_owned());
            let began = Instant::now();
            self.shaking = Some((Arc::clone(&endpoint), began));
            let shaken = shake_hands(self.handshake_limit(), snapshot, &name, tcp).await;
            self.shaking = None;
            match shaken {
                Ok((stream, server)) => {
                    let took = began.elapsed();
                    entry.fields.handshake = Some(took);
                    entry.fields.negotiated = Some(Negotiated::of(stream.get_ref().1));
                    self.service.counters.count_handshake(took);
                    self.service.endpoints.succeeded(&endpoint);
                    self.service.counters.count_attempt(AttemptResult::Success);
                    if server.is_retiring {
                        self.service.endpoints.retires(&endpoint);
                    }
                    return Some(Connected { stream, server, name, snapshot: Arc::clone(snapshot), lease });
                }
                Err(error) => {
                    drop(lease);
                    self.fail(&endpoint, error, Some((took, &name)));
                }
            }
        }
    }

    /// How long the next handshake may take: where others are left to be tried, no more than leaves them as much.
    fn handshake_limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(tokio::time::Instant::now());
        let endpoints = self.service.endpoints.current().len().saturating_sub(self.tried.len());
        let others = self.service.outbound.attempts.saturating_sub(self.tried.len()).min(endpoints);
        let share = left / u32::try_from(others + 1).unwrap_or(u32::MAX);
        self.service.outbound.timeouts.handshake.min(share)
    }

    /// Notes that an attempt has failed; `connected`: after it had come to a handshake.
    fn fail(&mut self, endpoint: &Endpoint, error: AttemptError, connected: Option<(Duration, &ServerName<'static>)>) {
        self.service.counters.count_attempt(error.result());
        match error {
            // It is well, and would say the same to everybody: what it does not like is ours.
            AttemptError::Rejected(_) => self.service.endpoints.succeeded(endpoint),
            _ => self.service.endpoints.failed(endpoint),
        }
        tracing::debug!(to = %self.service.counters.name(), endpoint_addr = %endpoint.addr, %error, "attempt failed");
        // That nobody listens at one address says less than that somebody else has answered at another.
        if self.worst.as_ref().is_none_or(|worst| error.weight() >= worst.error.weight()) {
            self.worst = Some(FailedAttempt {
                error,
                addr: endpoint.addr,
                connect: connected.map(|(took, _)| took),
                server_name: connected.map(|(_, name)| name.to_str().into_owned()),
            });
        }
    }

    /// The next endpoint that was not tried, if so many may be.
    fn next(&mut self, entry: &mut OutboundLogEntry) -> Option<Lease> {
        if self.tried.len() >= self.service.outbound.attempts {
            return None;
        }
        let endpoint = self.service.balancer.choose(&self.service.endpoints.current(), &self.tried)?;
        self.tried.push(Arc::clone(&endpoint));
        entry.fields.attempts = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        entry.fields.endpoint = Some(endpoint.addr);
        Some(self.service.endpoints.lease(endpoint))
    }

    /// A connection to whichever of the endpoints left accepts first; `None` if none does. Each has a head start before the next is
    /// dialled beside it.
    async fn dial(&mut self, entry: &mut OutboundLogEntry) -> Option<(Lease, TcpStream, Duration)> {
        let mut racing: JoinSet<DialResult> = JoinSet::new();
        loop {
            let next = self.next(entry);
            let is_last = next.is_none();
            if let Some(lease) = next {
                let timeouts = self.service.outbound.timeouts.clone();
                let mut dialling = Box::pin(DialResult::by(lease, timeouts));
                if racing.is_empty() {
                    // Mostly it is there at once, and no task is needed.
                    match timeout(STAGGER, &mut dialling).await {
                        Ok(dialled) => match self.take(dialled) {
                            Some(won) => return Some(won),
                            None => continue,
                        },
                        Err(_) => drop(racing.spawn(dialling)),
                    }
                    continue;
                }
                racing.spawn(dialling);
            } else if racing.is_empty() {
                return None;
            }
            let joined = match is_last {
                true => Ok(racing.join_next().await),
                false => timeout(STAGGER, racing.join_next()).await,
            };
            if let Ok(Some(Ok(dialled))) = joined
                && let Some(won) = self.take(dialled)
            {
                self.judge_losers(racing);
                return Some(won);
            }
        }
    }

    /// The connection, if it came to one; else the failure is noted.
    fn take(&mut self, dialled: DialResult) -> Option<(Lease, TcpStream, Duration)> {
        let DialResult { lease, result, took } = dialled;
        match result {
            Ok(tcp) => Some((lease, tcp, took)),
            Err(error) => {
                let endpoint = Arc::clone(lease.endpoint());
                drop(lease);
                self.fail(&endpoint, error, None);
                None
            }
        }
    }

    /// Those who came second are closed. One that never answers is found out all the same: it would be waited for again and again.
    fn judge_losers(&self, mut racing: JoinSet<DialResult>) {
        if racing.is_empty() {
            return;
        }
        let (endpoints, counters) = (Arc::clone(&self.service.endpoints), Arc::clone(&self.service.counters));
        // It ends with the time to connect.
        tokio::spawn(async move {
            while let Some(joined) = racing.join_next().await {
                if let Ok(DialResult { lease, result: Err(error), .. }) = joined {
                    counters.count_attempt(error.result());
                    endpoints.failed(lease.endpoint());
                }
            }
        });
    }
}

/// What came of dialling one endpoint.
struct DialResult {
    lease: Lease,
    result: Result<TcpStream, AttemptError>,
    took: Duration,
}

impl DialResult {
    async fn by(lease: Lease, timeouts: OutboundTimeouts) -> Self {
        let began = Instant::now();
        let result = dial_one(Arc::clone(lease.endpoint()), timeouts).await;
        Self { lease, result, took: began.elapsed() }
    }
}

/// A connection to `endpoint`, or by way of it where it is a proxy: that has as long as a handshake to reach the server.
async fn dial_one(endpoint: Arc<Endpoint>, timeouts: OutboundTimeouts) -> Result<TcpStream, AttemptError> {
    let OutboundTimeouts { connect: limit, handshake, .. } = timeouts;
    let dialled = timeout(limit, connect_tcp(endpoint.addr)).await;
    let dialled = dialled.map_err(|_| AttemptError::ConnectTimeout(limit))?;
    let mut tcp = dialled.map_err(|error| AttemptError::of_connect(error, limit))?;
    if let Some(proxy) = &endpoint.proxy {
        let asked = timeout(handshake, http_connect::ask(&mut tcp, proxy, &endpoint.target)).await;
        asked.map_err(|_| AttemptError::ConnectTimeout(handshake))??;
    }
    Ok(tcp)
}

/// The name that is asked for, and mostly verified, where `host` is dialled.
pub(super) fn server_name(outbound: &Outbound, host: &Host) -> ServerName<'static> {
    let host = match &outbound.server_name {
        ExpectedName::Given(name) => name,
        ExpectedName::Target | ExpectedName::Unchecked => host,
    };
    match host {
        Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        Host::Name(name) => {
            let name = name.trim_end_matches('.').to_owned();
            // Invariant: the configuration takes names only that are.
            ServerName::try_from(name).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
        }
    }
}
