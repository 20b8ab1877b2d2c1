//! The endpoints of one outbound listener: which addresses there are now, and which of them is left alone.

mod lookup;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::address_rules::{AddressRejection, AddressRules};
use super::endpoint::{Endpoint, EndpointLease, lock};
use super::endpoint_failure::{EndpointFailure, FailureReporter};
use super::error::OutboundError;
use super::outlier::{Availability, Outlier};
use crate::budget::{Budgets, MemoryBudget, Reservation};
use crate::config::{Host, HttpProxy, Outbound, Target};
use crate::lifecycle::{OutboundHealth, OutboundReadiness};
use crate::telemetry::{EndpointCounts, OutboundCounters};

/// Names are not looked up more often than this, whatever their TTL says: the platform's have none.
const MIN_REFRESH: Duration = Duration::from_secs(5);

/// How long an endpoint that has shown a retirement certificate is believed to be about to stop: it has ten seconds.
const RETIREMENT: Duration = Duration::from_secs(60);

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveState {
    /// It is being looked up for the first time.
    Pending,
    /// It was looked up; there may be no address.
    Resolved,
    /// It could never be looked up, for this reason.
    Failed(String),
}

/// The last lookup of a name has failed: what is known of it may be old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupFailure {
    /// Why.
    pub error: String,
    /// Since when each one has.
    pub since: SystemTime,
}

/// The memory that endpoints take.
#[derive(Debug)]
struct EndpointRoom {
    /// For what DNS servers answer.
    lookups: Arc<MemoryBudget>,
    /// For the endpoints that there are.
    reservation: Reservation,
    /// There was not enough for all that were found.
    is_short: bool,
}

/// All endpoints of one outbound listener, kept up to date.
#[derive(Debug)]
pub struct Endpoints {
    /// Whom they are of, for people.
    name: Arc<str>,
    /// Whom to reach, each by its proxy or without.
    targets: Vec<(Target, Option<Arc<HttpProxy>>)>,
    rules: Arc<AddressRules>,
    /// An address that was found and is not dialled, and why.
    refused: Mutex<Option<(SocketAddr, AddressRejection)>>,
    refresh: Duration,
    eject: Option<u32>,
    /// Endpoints that are tried for one connection.
    attempts: usize,
    current: ArcSwap<Vec<Arc<Endpoint>>>,
    known: watch::Sender<ResolveState>,
    lookup_failure: Mutex<Option<LookupFailure>>,
    /// Where memory is counted; `None`: nowhere.
    room: Option<Mutex<EndpointRoom>>,
    failed: Notify,
    health: OutboundHealth,
    counters: Arc<OutboundCounters>,
    reporter: FailureReporter,
}

impl Endpoints {
    /// The endpoints that `outbound` leads to: addresses at once, names once they were looked up. None of them is one that `rules`
    /// refuse.
    pub fn new(outbound: &Outbound, rules: Arc<AddressRules>, counters: Arc<OutboundCounters>) -> Self {
        let endpoints = Self {
            name: outbound.name().into(),
            targets: outbound
                .to
                .iter()
                .map(|target| (target.clone(), outbound.settings.proxy_for(&target.host).cloned().map(Arc::new)))
                .collect(),
            rules,
            refused: Mutex::default(),
            refresh: outbound.settings.refresh.max(MIN_REFRESH),
            eject: outbound.settings.eject,
            attempts: outbound.settings.attempts,
            current: ArcSwap::default(),
            known: watch::Sender::new(ResolveState::Pending),
            lookup_failure: Mutex::default(),
            room: None,
            failed: Notify::new(),
            health: OutboundHealth::new(&outbound.name(), outbound.settings.required),
            counters,
            reporter: FailureReporter::default(),
        };
        endpoints.replace(&[]);
        if endpoints.names().is_empty() || !endpoints.current().is_empty() {
            endpoints.know();
        }
        endpoints
    }

    /// The same, where what is looked up counts in `budgets`.
    pub fn within(self, budgets: &Budgets) -> Self {
        let (reservation, lookups) = (budgets.backlogs.reservation(), Arc::clone(&budgets.lookups));
        Self { room: Some(Mutex::new(EndpointRoom { lookups, reservation, is_short: false })), ..self }
    }

    /// Whom they are of, for people: `HOST:PORT`, several with commas.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The names that are looked up, each once: of a server that is reached by a proxy, the proxy's.
    fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (target, proxy) in &self.targets {
            match proxy.as_ref().map_or(&target.host, |proxy| &proxy.host) {
                Host::Name(name) if !names.contains(&name.as_str()) => names.push(name),
                Host::Name(_) | Host::Ip(_) => {}
            }
        }
        names
    }

    /// The endpoints that there are may be used, or it is known that there is none.
    fn know(&self) {
        self.known.send_replace(ResolveState::Resolved);
        self.health.set(self.current().len());
    }

    /// The addresses are these now. What is known of those that stay is kept.
    fn replace(&self, found: &[(String, Vec<IpAddr>)]) {
        let before = self.current.load();
        let mut now: Vec<Arc<Endpoint>> = Vec::new();
        let mut refused = None;
        for (target, proxy) in &self.targets {
            let (host, port) = match proxy {
                Some(proxy) => (&proxy.host, proxy.port),
                None => (&target.host, target.port),
            };
            let ips = match host {
                Host::Ip(ip) => std::slice::from_ref(ip),
                Host::Name(name) => found.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, ips)| ips),
            };
            for ip in ips {
                let addr = SocketAddr::new(*ip, port);
                if let Some((addr, why)) = self.rejection(addr, target, proxy.is_some()) {
                    tracing::debug!(to = %self.name, %addr, %why, "resolved address skipped");
                    refused = Some((addr, why));
                    continue;
                }
                let same = |known: &&Arc<Endpoint>| known.addr == addr && known.target == *target;
                // Two names may lead to one server; two servers behind one proxy are two.
                if now.iter().any(|known| known.addr == addr && (proxy.is_none() || known.target == *target)) {
                    continue;
                }
                let known = before.iter().find(same).map(Arc::clone);
                now.push(known.unwrap_or_else(|| Arc::new(Endpoint::new(addr, target.clone(), proxy.clone()))));
            }
        }
        let same = before.len() == now.len() && before.iter().zip(&now).all(|(one, other)| Arc::ptr_eq(one, other));
        if !same {
            tracing::debug!(to = %self.name, endpoints = now.len(), "endpoints changed");
            self.current.store(Arc::new(now));
        }
        *lock(&self.refused) = refused;
    }

    /// Which address is not dialled, and why, where `addr` leads to `target`, by a proxy or at once.
    fn rejection(&self, addr: SocketAddr, target: &Target, is_proxy: bool) -> Option<(SocketAddr, AddressRejection)> {
        if !is_proxy {
            return Some((addr, self.rules.rejection(addr)?));
        }
        let literal = match target.host {
            Host::Ip(ip) => {
                let literal = SocketAddr::new(ip, target.port);
                self.rules.rejection(literal).map(|why| (literal, why))
            }
            // Only the proxy knows what the name means.
            Host::Name(_) => None,
        };
        literal.or_else(|| Some((addr, self.rules.rejection_of_ours(addr)?)))
    }

    /// Why there is nobody to dial.
    pub(super) fn nobody(&self) -> OutboundError {
        match *lock(&self.refused) {
            Some((addr, why)) => OutboundError::AddressNotAllowed { name: self.name.to_string(), addr, why },
            None => OutboundError::NoEndpoint(self.name.to_string()),
        }
    }

    /// Waits until the name was looked up, for `limit` at most.
    ///
    /// # Errors
    /// Why it could not be, if it never could.
    pub async fn wait(&self, limit: Duration) -> Result<(), String> {
        let mut known = self.known.subscribe();
        match timeout(limit, known.wait_for(|known| *known != ResolveState::Pending)).await {
            Ok(Ok(known)) => match &*known {
                ResolveState::Failed(why) => Err(why.clone()),
                ResolveState::Pending | ResolveState::Resolved => Ok(()),
            },
            _ => Err(format!("{} was not looked up within {limit:?}", self.name)),
        }
    }

    /// What the last lookup has failed with; `None`: it has not.
    pub fn lookup_failure(&self) -> Option<LookupFailure> {
        lock(&self.lookup_failure).clone()
    }

    /// The endpoints there are now.
    pub fn current(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.current.load_full()
    }

    /// Somebody has looked for an endpoint and found none: the name is looked up soon.
    pub(super) fn request_lookup(&self) {
        self.failed.notify_one();
    }

    /// How many there are, and how they are.
    pub fn counts(&self) -> EndpointCounts {
        let mut counts = EndpointCounts::default();
        for endpoint in self.current().iter() {
            match () {
                () if endpoint.is_retiring() => counts.retiring += 1,
                () if endpoint.is_ejected() => counts.ejected += 1,
                () => counts.ready += 1,
            }
        }
        counts
    }

    /// Takes `endpoint` for a connection, which counts from now on.
    pub(super) fn lease(&self, endpoint: Arc<Endpoint>) -> EndpointLease {
        let now = Instant::now();
        let mut outlier = lock(&endpoint.outlier);
        if outlier.availability(now) == Availability::Probe {
            outlier.probe(now);
        }
        drop(outlier);
        EndpointLease::new(endpoint)
    }

    /// Something has come of a connection to the endpoint, behind the handshake.
    pub(super) fn answered(&self, endpoint: &Endpoint) {
        lock(&endpoint.outlier).answered();
    }

    /// The endpoint has answered, and may.
    pub(super) fn succeeded(&self, endpoint: &Endpoint) {
        lock(&endpoint.outlier).succeeded();
        lock(&endpoint.failures).forget_report();
    }

    /// The endpoint has shown a retirement certificate: it gets nothing new where there is another.
    pub(super) fn retires(&self, endpoint: &Endpoint) {
        let mut until = lock(&endpoint.retires_until);
        if until.is_none_or(|until| until <= Instant::now()) {
            tracing::info!(to = %self.name, endpoint_addr = %endpoint.addr, "endpoint retiring: the server has shown a retirement certificate and gets no new connections");
        }
        *until = Some(Instant::now() + RETIREMENT);
    }

    /// The endpoint has failed with `failure`. It may be ejected, and the name is looked up anew.
    pub(super) fn failed(&self, endpoint: &Endpoint, failure: EndpointFailure) {
        self.eject(endpoint, failure, Outlier::failed);
    }

    /// The same, where the handshake may have been a success: the endpoint has refused our certificate, or ended the connection without an
    /// answer that could be used.
    pub(super) fn failed_behind_handshake(&self, endpoint: &Endpoint, failure: EndpointFailure) {
        self.eject(endpoint, failure, Outlier::failed_behind_handshake);
    }

    fn eject(
        &self,
        endpoint: &Endpoint,
        failure: EndpointFailure,
        note: fn(&mut Outlier, Option<u32>, bool, Instant, f64) -> bool,
    ) {
        let now = Instant::now();
        let all = self.current();
        // Those whose time is over have their place as long as nothing has come of it.
        let is_ejected = |one: &&Arc<Endpoint>| one.availability(now) != Availability::Ready;
        let others = all.iter().filter(is_ejected).filter(|one| !std::ptr::eq(&***one, endpoint)).count();
        // Never more than half, so never the last.
        let may_be = 2 * (others + 1) <= all.len();
        let ejects = note(&mut lock(&endpoint.outlier), self.eject, may_be, now, fastrand::f64());
        if ejects {
            self.counters.count_ejection();
        }
        let ejected = endpoint.ejected_for().filter(|_| ejects);
        let mut notes = lock(&endpoint.failures);
        let place = (endpoint.addr, self.attempts > 1 && all.len() > 1);
        notes.note(failure, ejected, |failure| self.reporter.report(&self.name, place, failure, ejected, now));
        drop(notes);
        self.failed.notify_one();
    }
}

impl OutboundReadiness for Endpoints {
    fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    fn describe(&self) -> String {
        let EndpointCounts { ejected, retiring, .. } = self.counts();
        self.health.describe(ejected, retiring)
    }
}
