//! What is counted, whatever is logged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::bounded_counter::{BoundedCounter, Counts};
use super::denials::{Denials, Denied};
use super::histogram::Histogram;
use super::history::{Bucket, History};
use super::limiter::Limiter;
use super::secrets::SecretCounters;
use super::tokens::TokenCounters;
use super::verdict::Verdict;
use crate::identity::{Client, Guid};
use crate::io::Transferred;
use crate::policy;
use crate::policy::{Denial, Permit, Rule};
use crate::telemetry::{CloseReason, RequestCounters};
use crate::tls::Negotiated;

/// Kinds of handshake with a count of their own: more than there can be with our versions and groups.
const MAX_HANDSHAKES: usize = 32;

/// Rules of each verdict with a count of their own. A policy may have more, and may change.
pub(crate) const MAX_RULES: usize = 32;

/// Calling apps with a count of their own.
pub(crate) const MAX_APPS: usize = 20;

/// Totals since the start. Counted when something happens to a connection as a whole, never per read: the threads that
/// carry bytes share none of this.
#[derive(Debug, Default)]
pub struct Counters {
    opened: AtomicU64,
    ended: [AtomicU64; CloseReason::COUNT],
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    pub(crate) handshakes: BoundedCounter<HandshakeKind, MAX_HANDSHAKES>,
    handshake_failures: [AtomicU64; HandshakeFailure::COUNT],
    pub(crate) handshake_times: Histogram,
    pub(crate) upstream_connect_times: Histogram,
    authorizations: [BoundedCounter<Option<Rule>, MAX_RULES>; Verdict::COUNT],
    denied: [AtomicU64; policy::DenialReason::COUNT],
    pub(crate) client_apps: BoundedCounter<Option<Guid>, MAX_APPS>,
    pub(crate) denied_client_apps: BoundedCounter<Option<Guid>, MAX_APPS>,
    suppressed: AtomicU64,
    pub(super) limiter: Limiter,
    history: History,
    /// Of tokens; `None`: nobody can ask for any.
    pub tokens: Option<Arc<TokenCounters>>,
    /// Of requests, for each listener that speaks HTTP.
    requests: RwLock<Vec<ListenerRequests>>,
    /// Of the app's secrets.
    pub secrets: Arc<SecretCounters>,
    pub(super) denials: Denials,
}

/// A listener that speaks HTTP, and what is counted of its requests.
pub(crate) type ListenerRequests = (SocketAddr, Arc<RequestCounters>);

/// How often the holders of one app's certificates came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientConnections {
    /// Times that they were let in.
    pub admitted: u64,
    /// Times that they were denied.
    pub denied: u64,
}

/// What a completed handshake has agreed on; of it, what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandshakeKind {
    pub(crate) version: Option<&'static str>,
    pub(crate) group: Option<&'static str>,
    pub(crate) resumed: bool,
}

/// How a handshake ended that was not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum HandshakeFailure {
    Failed,
    Denied,
    Timeout,
}

impl HandshakeFailure {
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }

    /// `None`: there was no handshake, or it is not why the connection closed.
    fn of(reason: CloseReason) -> Option<Self> {
        match reason {
            CloseReason::HandshakeFailed => Some(Self::Failed),
            CloseReason::Denied => Some(Self::Denied),
            CloseReason::HandshakeTimeout => Some(Self::Timeout),
            _ => None,
        }
    }
}

impl Counters {
    /// Nothing has happened yet. `with_tokens`: tokens can be asked for.
    pub fn new(with_tokens: bool) -> Self {
        Self { tokens: with_tokens.then(Arc::default), ..Self::default() }
    }

    /// Requests come to `listener`, and are counted there.
    pub fn add_requests(&self, listener: SocketAddr, counters: Arc<RequestCounters>) {
        self.requests.write().unwrap_or_else(PoisonError::into_inner).push((listener, counters));
    }

    /// What is counted of requests, for each listener that speaks HTTP.
    pub(crate) fn requests(&self) -> Vec<ListenerRequests> {
        self.requests.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection was accepted at `now`.
    pub(crate) fn count_opened(&self, now: Instant) {
        add(&self.opened, 1);
        self.history.opened(now);
    }

    /// A handshake was completed, `took` after the accept.
    pub(crate) fn count_handshake(&self, negotiated: &Negotiated, took: Duration) {
        let (version, group) = (negotiated.version_name(), negotiated.group_name());
        self.handshakes.count(&HandshakeKind { version, group, resumed: negotiated.resumed });
        self.handshake_times.count(took);
    }

    /// The app has accepted, or not.
    pub(crate) fn count_upstream_connect(&self, took: Duration) {
        self.upstream_connect_times.count(took);
    }

    /// A verdict on `client`; nobody has vouched for who it is if it is `None`.
    pub(crate) fn count_verdict(&self, client: Option<&Client>, decision: &Result<Permit, Denial>) {
        let certificate = client.and_then(Client::certificate);
        if certificate.is_none() && decision.is_ok() {
            return;
        }
        let (verdict, rule, denial) = Verdict::of(decision);
        self.authorizations[verdict as usize].count(&rule.cloned());
        if let Some(reason) = denial.filter(|_| verdict == Verdict::Denial) {
            add(&self.denied[reason as usize], 1);
            self.history.denied(Instant::now());
        }
        if certificate.is_some() {
            let app = client.and_then(Client::identity).and_then(|caller| caller.app);
            if decision.is_ok() { &self.client_apps } else { &self.denied_client_apps }.count(&app);
        }
    }

    /// A connection has ended at `now`; its handshake was completed, or not.
    pub(crate) fn count_closed(&self, reason: CloseReason, completed: bool, transferred: Transferred, now: Instant) {
        self.history.ended(now);
        add(&self.ended[reason as usize], 1);
        add(&self.bytes_up, transferred.up);
        add(&self.bytes_down, transferred.down);
        if let Some(unfinished) = HandshakeFailure::of(reason).filter(|_| !completed) {
            add(&self.handshake_failures[unfinished as usize], 1);
        }
    }

    /// An access log entry was left out.
    pub(crate) fn count_suppressed(&self) {
        add(&self.suppressed, 1);
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        get(&self.opened)
    }

    /// Connections that are there now.
    pub fn active(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(get).sum();
        self.connections().saturating_sub(ended)
    }

    /// Connections that ended for `reason`.
    pub fn count(&self, reason: CloseReason) -> u64 {
        get(&self.ended[reason as usize])
    }

    /// Plaintext bytes from clients to the app, and back, of connections that have ended.
    pub fn bytes(&self) -> (u64, u64) {
        (get(&self.bytes_up), get(&self.bytes_down))
    }

    pub(crate) fn unfinished(&self, how: HandshakeFailure) -> u64 {
        get(&self.handshake_failures[how as usize])
    }

    pub(crate) fn authorizations(&self, verdict: Verdict) -> &BoundedCounter<Option<Rule>, MAX_RULES> {
        &self.authorizations[verdict as usize]
    }

    /// How the last minutes up to `now` went, in buckets of [`BUCKET`](super::BUCKET), the oldest first.
    pub fn history(&self, now: Instant) -> Vec<Bucket> {
        self.history.buckets(now)
    }

    /// The last denials, the newest first.
    pub fn last_denials(&self) -> Vec<Denied> {
        self.denials.last()
    }

    /// Clients that were denied.
    pub fn all_denials(&self) -> u64 {
        self.denied.iter().map(get).sum()
    }

    /// Who came with a certificate that a client CA vouches for, by the app in it, if any; and all those whose apps have no
    /// row of their own.
    pub fn client_connections(&self) -> (Vec<(Option<Guid>, ClientConnections)>, ClientConnections) {
        let mut rows: Vec<(Option<Guid>, ClientConnections)> = Vec::new();
        let mut note = |counts: Counts<Option<Guid>>, part: fn(&mut ClientConnections) -> &mut u64| {
            for (app, count) in counts.known {
                let at = rows.iter().position(|(known, _)| *known == app).unwrap_or_else(|| {
                    rows.push((app, ClientConnections::default()));
                    rows.len() - 1
                });
                *part(&mut rows[at].1) = count;
            }
            counts.others
        };
        let admitted = note(self.client_apps.counts(), |calls| &mut calls.admitted);
        let denied = note(self.denied_client_apps.counts(), |calls| &mut calls.denied);
        (rows, ClientConnections { admitted, denied })
    }

    pub(crate) fn denials(&self, reason: policy::DenialReason) -> u64 {
        get(&self.denied[reason as usize])
    }

    pub(crate) fn access_log_suppressed(&self) -> u64 {
        get(&self.suppressed)
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
