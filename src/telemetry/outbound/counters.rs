//! What is counted of one outbound listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::OutboundCloseReason;
use crate::io::Transferred;
use crate::telemetry::histogram::{Histogram, HistogramSnapshot};
use crate::telemetry::limiter::LineLimiter;

/// What became of one attempt at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AttemptResult {
    /// It has answered, and may.
    Success,
    /// It could not be connected to.
    ConnectFailed,
    /// The handshake failed.
    HandshakeFailed,
    /// Somebody has answered who may not.
    Denied,
    /// It does not accept our certificate.
    Rejected,
}

/// The result of one resolution of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ResolveResult {
    /// There are addresses.
    Success,
    /// There are none.
    Empty,
    /// It failed, and what was known stays.
    Failed,
}

/// How a request was carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RequestMode {
    /// It came to an outbound listener.
    #[default]
    Http,
    /// It named its server, and was sent there with our certificate.
    Absolute,
    /// CONNECT, and the plaintext behind it was sent with our certificate.
    TunnelWrapped,
    /// CONNECT, and the TLS behind it was passed on as it was.
    TunnelTls,
    /// Its server is not listed: it was passed on as it was.
    TunnelRaw,
    /// CONNECT, and it did not come to anything behind it.
    Tunnel,
    /// It was refused.
    Refused,
}

/// How many endpoints there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    /// Those that get connections.
    pub ready: usize,
    /// Those that are left alone for a while.
    pub ejected: usize,
    /// Those that are about to stop.
    pub retiring: usize,
}

/// What is counted of one outbound listener. Counted once for a connection, never for a read.
#[derive(Debug)]
pub struct OutboundCounters {
    /// Whom it dials: the metrics' label.
    name: Arc<str>,
    opened: AtomicU64,
    active: AtomicUsize,
    closed: [AtomicU64; OutboundCloseReason::COUNT],
    requests: [AtomicU64; OutboundCloseReason::COUNT],
    /// By mode, and by the first digit of the status, from 1 to 5.
    responses: [[AtomicU64; 5]; RequestMode::COUNT],
    pool_hits: AtomicU64,
    pool_misses: AtomicU64,
    pool_idle: AtomicUsize,
    pool_rotation_closes: AtomicU64,
    attempts: [AtomicU64; AttemptResult::COUNT],
    resolves: [AtomicU64; ResolveResult::COUNT],
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    ejections: AtomicU64,
    /// Seconds since 1970 at which the name was last looked up with success; 0: never.
    resolved: AtomicU64,
    pub(crate) handshake_times: Histogram,
    pub(crate) resolve_times: Histogram,
    pub(super) limiter: LineLimiter<{ OutboundCloseReason::COUNT }>,
}

impl OutboundCounters {
    /// Nothing has happened yet at the outbound listener that dials `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            opened: AtomicU64::default(),
            active: AtomicUsize::default(),
            closed: std::array::from_fn(|_| AtomicU64::default()),
            requests: std::array::from_fn(|_| AtomicU64::default()),
            responses: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::default())),
            pool_hits: AtomicU64::default(),
            pool_misses: AtomicU64::default(),
            pool_idle: AtomicUsize::default(),
            pool_rotation_closes: AtomicU64::default(),
            attempts: std::array::from_fn(|_| AtomicU64::default()),
            resolves: std::array::from_fn(|_| AtomicU64::default()),
            bytes_up: AtomicU64::default(),
            bytes_down: AtomicU64::default(),
            ejections: AtomicU64::default(),
            resolved: AtomicU64::default(),
            handshake_times: Histogram::default(),
            resolve_times: Histogram::default(),
            limiter: LineLimiter::default(),
        }
    }

    /// Whom it dials.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_closed(&self, reason: OutboundCloseReason, transferred: Transferred) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes_up.fetch_add(transferred.up, Ordering::Relaxed);
        self.bytes_down.fetch_add(transferred.down, Ordering::Relaxed);
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request in `mode` has ended so; `status` is its response's.
    pub(super) fn count_request(
        &self,
        reason: OutboundCloseReason,
        mode: RequestMode,
        status: Option<u16>,
        transferred: Transferred,
    ) {
        self.requests[reason as usize].fetch_add(1, Ordering::Relaxed);
        let classes = &self.responses[mode as usize];
        if let Some(class) = status.and_then(|status| classes.get(usize::from(status / 100).wrapping_sub(1))) {
            class.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes_up.fetch_add(transferred.up, Ordering::Relaxed);
        self.bytes_down.fetch_add(transferred.down, Ordering::Relaxed);
    }

    /// A request was sent on a connection that was there (`hit`), or on one that was made for it.
    pub fn count_pool(&self, hit: bool) {
        let count = if hit { &self.pool_hits } else { &self.pool_misses };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// So many connections have come to wait for a request, or have ceased to.
    pub fn count_idle(&self, change: isize) {
        // Two's complement: adding it is subtracting.
        self.pool_idle.fetch_add(change as usize, Ordering::Relaxed);
    }

    /// A connection that carried requests was ended because its pair is no longer in service.
    pub fn count_rotation_close(&self) {
        self.pool_rotation_closes.fetch_add(1, Ordering::Relaxed);
    }

    /// One attempt at an endpoint has come to this.
    pub fn count_attempt(&self, result: AttemptResult) {
        self.attempts[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake was completed, and it `took` so long.
    pub fn count_handshake(&self, took: Duration) {
        self.handshake_times.count(took);
    }

    /// A lookup has come to this since `began`.
    pub fn count_resolve(&self, result: ResolveResult, began: Instant) {
        self.resolves[result as usize].fetch_add(1, Ordering::Relaxed);
        self.resolve_times.count(began.elapsed());
        if result != ResolveResult::Failed {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.resolved.store(now.as_secs(), Ordering::Relaxed);
        }
    }

    /// An endpoint is left alone for a while.
    pub fn count_ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections that are there now.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections that have closed for `reason`.
    pub fn closed(&self, reason: OutboundCloseReason) -> u64 {
        self.closed[reason as usize].load(Ordering::Relaxed)
    }

    /// Requests that have ended for `reason`.
    pub fn requests(&self, reason: OutboundCloseReason) -> u64 {
        self.requests[reason as usize].load(Ordering::Relaxed)
    }

    /// Requests that have ended.
    pub fn all_requests(&self) -> u64 {
        self.requests.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Responses in `mode` whose status begins with the digit `class`, from 1 to 5.
    pub fn responses(&self, mode: RequestMode, class: usize) -> u64 {
        self.responses[mode as usize].get(class.wrapping_sub(1)).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Requests that found a connection, and those that did not.
    pub fn pool(&self) -> (u64, u64) {
        (self.pool_hits.load(Ordering::Relaxed), self.pool_misses.load(Ordering::Relaxed))
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        self.pool_idle.load(Ordering::Relaxed)
    }

    /// Connections that were ended because of their pair.
    pub fn rotation_closes(&self) -> u64 {
        let of_tcp = [OutboundCloseReason::CredentialRotated, OutboundCloseReason::CredentialExpired];
        of_tcp.map(|reason| self.closed(reason)).iter().sum::<u64>() + self.pool_rotation_closes.load(Ordering::Relaxed)
    }

    /// Attempts that have come to `result`.
    pub fn attempts(&self, result: AttemptResult) -> u64 {
        self.attempts[result as usize].load(Ordering::Relaxed)
    }

    /// Lookups that have come to `result`.
    pub fn resolves(&self, result: ResolveResult) -> u64 {
        self.resolves[result as usize].load(Ordering::Relaxed)
    }

    /// Plaintext bytes of closed connections: from the app, and to it.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_up.load(Ordering::Relaxed), self.bytes_down.load(Ordering::Relaxed))
    }

    /// How often an endpoint was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// How long ago the name was last looked up with success; `None`: it never was, or there is no name.
    pub fn resolved_age(&self) -> Option<Duration> {
        let at = self.resolved.load(Ordering::Relaxed);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at.max(1));
        (self.resolved.load(Ordering::Relaxed) > 0).then(|| SystemTime::now().duration_since(at).unwrap_or_default())
    }

    pub(crate) fn handshakes(&self) -> HistogramSnapshot {
        self.handshake_times.snapshot()
    }

    pub(crate) fn resolve_durations(&self) -> HistogramSnapshot {
        self.resolve_times.snapshot()
    }
}
