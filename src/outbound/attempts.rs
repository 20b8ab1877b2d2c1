//! Attempts at one endpoint after another, until one answers that may be given the app's bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::SemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::dial::{EndpointDialResult, STAGGER};
use super::dialler::Dialler;
use super::endpoint::{Endpoint, EndpointLease};
use super::endpoint_failure::EndpointFailure;
use super::error::{AttemptError, OutboundError};
use super::handshake::{FailedHandshake, VerifiedServer, VerifiedSession, handshake, server_name};
use super::stream::EndpointStream;
use crate::credentials::OutboundSnapshot;
use crate::policy::Permit;
use crate::telemetry::{AttemptResult, OutboundLogEntry};
use crate::trust::AuthenticatedServer;

/// How long a first lookup is waited for; later ones are never.
const FIRST_LOOKUP: Duration = Duration::from_secs(3);

/// An endpoint that may be given the app's bytes.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: EndpointStream,
    /// Who it is; `None` where nobody was asked.
    pub(super) verified: Option<VerifiedServer>,
    pub(super) lease: EndpointLease,
}

/// An endpoint that has accepted, and has been sent nothing.
#[derive(Debug)]
pub(super) struct AcceptedDial {
    pub(super) lease: EndpointLease,
    pub(super) tcp: TcpStream,
    /// How long it took.
    took: Duration,
}

impl AcceptedDial {
    /// It is given bytes that are not ours to protect, as they are.
    pub(super) fn unprotected(self) -> Connected {
        Connected { stream: EndpointStream::Plain(self.tcp), verified: None, lease: self.lease }
    }
}

impl Dialler {
    /// A place among those that wait for an endpoint.
    ///
    /// # Errors
    /// [`OutboundError::Overloaded`]: there is none left.
    pub(super) fn pending_place(&self) -> Result<SemaphorePermit<'_>, OutboundError> {
        self.pending.try_acquire().map_err(|_| OutboundError::overloaded_by_pending())
    }

    /// Finds an endpoint that answers and may, for whoever has a [place](Self::pending_place). What is learned on the way gets in `entry`.
    ///
    /// # Errors
    /// [`OutboundError`]: that of the most telling attempt. Nothing of the app's was sent to anybody.
    pub(super) async fn connect(&self, entry: &mut OutboundLogEntry) -> Result<Connected, OutboundError> {
        self.attempts_for(None, &[], entry).await?.run(None, entry).await
    }

    /// Attempts at endpoints other than those `tried`, once it is known who there is and there is something to show them.
    ///
    /// # Errors
    /// [`OutboundError`]: it does not come to an attempt.
    pub(super) async fn attempts(
        &self,
        tried: &[Arc<Endpoint>],
        entry: &mut OutboundLogEntry,
    ) -> Result<Attempts<'_>, OutboundError> {
        let place = self.pending_place()?;
        self.attempts_for(Some(place), tried, entry).await
    }

    /// The same, which keep `place`.
    async fn attempts_for<'a>(
        &'a self,
        place: Option<SemaphorePermit<'a>>,
        tried: &[Arc<Endpoint>],
        entry: &mut OutboundLogEntry,
    ) -> Result<Attempts<'a>, OutboundError> {
        let deadline = tokio::time::Instant::now() + self.settings.timeouts.total;
        let began = Instant::now();
        if let Err(why) = self.endpoints.wait(FIRST_LOOKUP.min(self.settings.timeouts.total)).await {
            self.endpoints.request_lookup();
            return Err(OutboundError::ResolveFailed(why));
        }
        entry.fields.resolve = Some(began.elapsed()).filter(|waited| *waited >= Duration::from_millis(1));
        let snapshot = self.snapshot(entry).await?;
        Ok(Attempts::new(self, snapshot, tried, deadline, place))
    }
}

/// The attempts of one connection.
pub(super) struct Attempts<'a> {
    dialler: &'a Dialler,
    /// What servers are shown and judged by; `None`: neither.
    snapshot: Option<Arc<OutboundSnapshot>>,
    /// The endpoint that is first, where it was chosen before.
    first: Option<EndpointLease>,
    /// Its place among those that wait for an endpoint, unless somebody else has it.
    _pending: Option<SemaphorePermit<'a>>,
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
    is_proxied: bool,
    connect: Option<Duration>,
    server_name: Option<String>,
    /// Whoever may answer, and has refused us.
    server: Option<Box<AuthenticatedServer>>,
}

impl FailedAttempt {
    /// What is told of the connection: this attempt alone.
    fn into_entry(self, entry: &mut OutboundLogEntry) -> AttemptError {
        entry.fields.endpoint = Some(self.addr);
        entry.fields.is_proxied = self.is_proxied;
        entry.fields.connect = self.connect;
        entry.fields.server_name = self.server_name;
        if let AttemptError::Denied(denial) = &self.error {
            entry.fields.server = denial.certificate.clone();
        }
        if let Some(server) = self.server {
            entry.fields.rule = server.permit.as_ref().and_then(Permit::rule).cloned();
            entry.fields.server = Some(server.certificate);
        }
        self.error
    }
}

impl<'a> Attempts<'a> {
    /// Those of `dialler` until `deadline`, at endpoints other than those `tried`, which count.
    pub(super) fn new(
        dialler: &'a Dialler,
        snapshot: Option<Arc<OutboundSnapshot>>,
        tried: &[Arc<Endpoint>],
        deadline: tokio::time::Instant,
        pending: Option<SemaphorePermit<'a>>,
    ) -> Self {
        let tried = tried.to_vec();
        Self { dialler, snapshot, deadline, tried, first: None, shaking: None, worst: None, _pending: pending }
    }

    /// What servers are shown and judged by.
    pub(super) fn snapshot(&self) -> Option<&Arc<OutboundSnapshot>> {
        self.snapshot.as_ref()
    }

    /// The endpoint that is dialled first, chosen now, so that a connection to it may be found elsewhere. `None`: there is none.
    pub(super) fn choose_first(&mut self, entry: &mut OutboundLogEntry) -> Option<&EndpointLease> {
        self.first = self.next(entry);
        self.first.as_ref()
    }

    /// The lease of the endpoint that was chosen, for a connection that is there already.
    pub(super) fn take_first(&mut self) -> Option<EndpointLease> {
        self.first.take()
    }

    /// An endpoint that accepts; nothing is sent to it.
    ///
    /// # Errors
    /// That of the most telling attempt.
    pub(super) async fn accepting(&mut self, entry: &mut OutboundLogEntry) -> Result<AcceptedDial, OutboundError> {
        let dialled = timeout_at(self.deadline, self.dial(entry)).await.ok().flatten();
        dialled.ok_or_else(|| self.failure(entry))
    }

    /// Those that were tried, in their order.
    pub(super) fn tried(&self) -> &[Arc<Endpoint>] {
        &self.tried
    }

    /// An endpoint that may be given the app's bytes: `dialled`, or the next one that may.
    ///
    /// # Errors
    /// That of the most telling attempt. Nothing of the app's was sent to anybody.
    pub(super) async fn run(
        &mut self,
        dialled: Option<AcceptedDial>,
        entry: &mut OutboundLogEntry,
    ) -> Result<Connected, OutboundError> {
        match timeout_at(self.deadline, self.try_all(dialled, entry)).await {
            Ok(Some(connected)) => return Ok(connected),
            Ok(None) => {}
            Err(_) => {
                // Whoever has let the time pass has failed.
                if let Some((endpoint, began)) = self.shaking.take() {
                    self.fail(&endpoint, AttemptError::HandshakeTimeout(began.elapsed()).into(), None);
                }
            }
        }
        Err(self.failure(entry))
    }

    /// Why it came to nothing.
    fn failure(&mut self, entry: &mut OutboundLogEntry) -> OutboundError {
        match self.worst.take() {
            Some(failed) => failed.into_entry(entry).into(),
            None if self.tried.is_empty() => {
                self.dialler.endpoints.request_lookup();
                self.dialler.endpoints.nobody()
            }
            None => OutboundError::TimedOut(self.dialler.settings.timeouts.total),
        }
    }

    async fn try_all(&mut self, mut dialled: Option<AcceptedDial>, entry: &mut OutboundLogEntry) -> Option<Connected> {
        loop {
            let next = match dialled.take() {
                Some(dialled) => dialled,
                None => self.dial(entry).await?,
            };
            if let Some(connected) = self.handshake_with(next, entry).await {
                return Some(connected);
            }
        }
    }

    /// The handshake with an endpoint that has accepted; `None` if it does not come to one, or it is not whom we want.
    async fn handshake_with(&mut self, dialled: AcceptedDial, entry: &mut OutboundLogEntry) -> Option<Connected> {
        let AcceptedDial { lease, tcp, took } = dialled;
        let endpoint = Arc::clone(lease.endpoint());
        entry.fields.endpoint = Some(endpoint.addr);
        entry.fields.is_proxied = endpoint.proxy.is_some();
        entry.fields.connect = Some(took);
        let (endpoints, counters) = (&self.dialler.endpoints, &self.dialler.counters);
        let Some(snapshot) = self.snapshot.clone() else {
            endpoints.succeeded(&endpoint);
            counters.count_attempt(AttemptResult::Success);
            return Some(Connected { stream: EndpointStream::Plain(tcp), verified: None, lease });
        };
        let name = server_name(&self.dialler.settings, &endpoint.target.host);
        entry.fields.server_name = Some(name.to_str().into_owned());
        let began = Instant::now();
        self.shaking = Some((Arc::clone(&endpoint), began));
        let budget = Some(&self.dialler.backlogs);
        let shaken = handshake(self.handshake_limit(), &snapshot, &name, tcp, budget).await;
        self.shaking = None;
        match shaken {
            Ok(VerifiedSession { stream, server, negotiated, chain }) => {
                let took = began.elapsed();
                entry.fields.handshake = Some(took);
                entry.fields.negotiated = Some(negotiated);
                counters.count_handshake(took);
                endpoints.succeeded(&endpoint);
                counters.count_attempt(AttemptResult::Success);
                if server.is_retiring {
                    endpoints.retires(&endpoint);
                }
                let verified = VerifiedServer { server, name, snapshot, _chain: chain };
                Some(Connected { stream: EndpointStream::Tls(stream), verified: Some(verified), lease })
            }
            Err(failed) => {
                drop(lease);
                self.fail(&endpoint, failed, Some((took, &name)));
                None
            }
        }
    }

    /// How long the next handshake may take: where others are left to be tried, no more than leaves them as much.
    fn handshake_limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(tokio::time::Instant::now());
        let endpoints = self.dialler.endpoints.current().len().saturating_sub(self.tried.len());
        let others = self.dialler.settings.attempts.saturating_sub(self.tried.len()).min(endpoints);
        let share = left / u32::try_from(others + 1).unwrap_or(u32::MAX);
        self.dialler.settings.timeouts.handshake.min(share)
    }

    /// Notes that an attempt has failed; `connected`: after it had come to a handshake.
    fn fail(
        &mut self,
        endpoint: &Endpoint,
        FailedHandshake { error, server }: FailedHandshake,
        connected: Option<(Duration, &ServerName<'static>)>,
    ) {
        self.dialler.counters.count_attempt(error.result());
        let failure = EndpointFailure::of(&error);
        match error {
            _ if error.is_local() => {}
            AttemptError::Rejected(_) => self.dialler.endpoints.failed_behind_handshake(endpoint, failure),
            _ => self.dialler.endpoints.failed(endpoint, failure),
        }
        tracing::debug!(to = %self.dialler.endpoints.name(), endpoint_addr = %endpoint.addr, %error, "outbound connection attempt failed");
        // That nobody listens at one address says less than that somebody else has answered at another.
        if self.worst.as_ref().is_none_or(|worst| error.weight() >= worst.error.weight()) {
            self.worst = Some(FailedAttempt {
                error,
                addr: endpoint.addr,
                is_proxied: endpoint.proxy.is_some(),
                connect: connected.map(|(took, _)| took),
                server_name: connected.map(|(_, name)| name.to_str().into_owned()),
                server,
            });
        }
    }

    /// The next endpoint that was not tried, if so many may be.
    fn next(&mut self, entry: &mut OutboundLogEntry) -> Option<EndpointLease> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.tried.len() >= self.dialler.settings.attempts {
            return None;
        }
        let endpoint = self.dialler.balancer.choose(&self.dialler.endpoints.current(), &self.tried)?;
        self.tried.push(Arc::clone(&endpoint));
        entry.fields.attempts = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        entry.fields.endpoint = Some(endpoint.addr);
        entry.fields.is_proxied = endpoint.proxy.is_some();
        Some(self.dialler.endpoints.lease(endpoint))
    }

    /// A connection to whichever of the endpoints left accepts first; `None` if none does. Each has a head start before the next is
    /// dialled beside it.
    async fn dial(&mut self, entry: &mut OutboundLogEntry) -> Option<AcceptedDial> {
        let mut racing: JoinSet<EndpointDialResult> = JoinSet::new();
        loop {
            let next = self.next(entry);
            let is_last = next.is_none();
            if let Some(lease) = next {
                let timeouts = self.dialler.settings.timeouts.clone();
                let mut dialling = Box::pin(EndpointDialResult::dial(lease, timeouts));
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
                self.count_losers(racing);
                return Some(won);
            }
        }
    }

    /// The connection, if it came to one; else the failure is noted.
    fn take(&mut self, dialled: EndpointDialResult) -> Option<AcceptedDial> {
        let EndpointDialResult { lease, result, took } = dialled;
        match result {
            Ok(tcp) => Some(AcceptedDial { lease, tcp, took }),
            Err(error) => {
                let endpoint = Arc::clone(lease.endpoint());
                drop(lease);
                self.fail(&endpoint, error.into(), None);
                None
            }
        }
    }

    /// Those who came second are closed. One that never answers is found out all the same: it would be waited for again and again.
    fn count_losers(&self, mut racing: JoinSet<EndpointDialResult>) {
        if racing.is_empty() {
            return;
        }
        let (endpoints, counters) = (Arc::clone(&self.dialler.endpoints), Arc::clone(&self.dialler.counters));
        // It ends with the time to connect.
        tokio::spawn(async move {
            while let Some(joined) = racing.join_next().await {
                if let Ok(EndpointDialResult { lease, result: Err(error), .. }) = joined {
                    counters.count_attempt(error.result());
                    if !error.is_local() {
                        endpoints.failed(lease.endpoint(), EndpointFailure::of(&error));
                    }
                }
            }
        });
    }
}
