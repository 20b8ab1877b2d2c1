//! What is counted, whatever is logged.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::course::Course;
use super::course::Piece;
use super::denials::Denials;
use super::denials::Denied;
use super::few::Counts;
use super::few::Few;
use super::histogram::Histogram;
use super::limiter::Limiter;
use super::verdict::Verdict;
use crate::connection::Reason;
use crate::identity::Client;
use crate::identity::Guid;
use crate::policy;
use crate::policy::Denial;
use crate::policy::Permit;
use crate::policy::Rule;
use crate::relay::Carried;
use crate::tls::Negotiated;

/// Kinds of handshake with a count of their own: more than there can be with our versions and groups.
const MOST_HANDSHAKES: usize = 32;

/// Rules of each verdict with a count of their own. A policy may have more, and may change.
pub(super) const MOST_RULES: usize = 32;

/// Calling apps with a count of their own.
pub(super) const MOST_APPS: usize = 20;

/// Totals since the start. Counted when something happens to a connection as a whole, never per read: the threads that
/// carry bytes share none of this.
#[derive(Debug, Default)]
pub struct Counters {
    opened: AtomicU64,
    ended: [AtomicU64; Reason::ALL.len()],
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    pub(super) handshakes: Few<Agreed, MOST_HANDSHAKES>,
    unfinished: [AtomicU64; Unfinished::ALL.len()],
    pub(super) handshake_times: Histogram,
    pub(super) dial_times: Histogram,
    authorizations: [Few<Option<Rule>, MOST_RULES>; Verdict::ALL.len()],
    denied: [AtomicU64; policy::Reason::ALL.len()],
    pub(super) callers: Few<Option<Guid>, MOST_APPS>,
    pub(super) denied_callers: Few<Option<Guid>, MOST_APPS>,
    suppressed: AtomicU64,
    pub(super) limiter: Limiter,
    course: Course,
    pub(super) denials: Denials,
}

/// How often the holders of one app's certificates came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Times that they were let in.
    pub admitted: u64,
    /// Times that they were denied.
    pub denied: u64,
}

/// What a completed handshake has agreed on; of it, what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) version: Option<&'static str>,
    pub(super) group: Option<&'static str>,
    pub(super) resumed: bool,
}

/// How a handshake ended that was not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfinished {
    Failed,
    Denied,
    Timeout,
}

impl Unfinished {
    pub(super) const ALL: [Self; 3] = [Self::Failed, Self::Denied, Self::Timeout];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
        }
    }

    /// `None`: there was no handshake, or it is not why the connection ended.
    fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::HandshakeFailed => Some(Self::Failed),
            Reason::Denied => Some(Self::Denied),
            Reason::HandshakeTimeout => Some(Self::Timeout),
            _ => None,
        }
    }
}

impl Counters {
    /// A connection was accepted at `now`.
    pub(super) fn opened(&self, now: Instant) {
        add(&self.opened, 1);
        self.course.opened(now);
    }

    /// A handshake was completed, `took` after the accept.
    pub(super) fn agreed(&self, negotiated: &Negotiated, took: Duration) {
        let (version, group) = (negotiated.version_name(), negotiated.group_name());
        self.handshakes.count(&Agreed { version, group, resumed: negotiated.resumed });
        self.handshake_times.count(took);
    }

    /// The app has accepted, or not.
    pub(super) fn dialled(&self, took: Duration) {
        self.dial_times.count(took);
    }

    /// A verdict on `client`; nobody has vouched for who it is if it is `None`.
    pub(super) fn judged(&self, client: Option<&Client>, judged: &Result<Permit, Denial>) {
        let holder = client.and_then(Client::holder);
        if holder.is_none() && judged.is_ok() {
            return;
        }
        let (verdict, rule, denial) = Verdict::of(judged);
        self.authorizations[verdict as usize].count(&rule.cloned());
        if let Some(reason) = denial.filter(|_| verdict == Verdict::Denial) {
            add(&self.denied[reason as usize], 1);
            self.course.denied(Instant::now());
        }
        if holder.is_some() {
            let app = client.and_then(Client::identity).and_then(|caller| caller.app);
            if judged.is_ok() { &self.callers } else { &self.denied_callers }.count(&app);
        }
    }

    /// A connection has ended at `now`; its handshake was completed, or not.
    pub(super) fn ended(&self, reason: Reason, completed: bool, carried: Carried, now: Instant) {
        self.course.ended(now);
        add(&self.ended[reason as usize], 1);
        add(&self.bytes_up, carried.up);
        add(&self.bytes_down, carried.down);
        if let Some(unfinished) = Unfinished::of(reason).filter(|_| !completed) {
            add(&self.unfinished[unfinished as usize], 1);
        }
    }

    /// A record was left out of the log.
    pub(super) fn suppressed(&self) {
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
    pub fn count(&self, reason: Reason) -> u64 {
        get(&self.ended[reason as usize])
    }

    /// Plaintext bytes from clients to the app, and back, of connections that have ended.
    pub fn bytes(&self) -> (u64, u64) {
        (get(&self.bytes_up), get(&self.bytes_down))
    }

    pub(super) fn unfinished(&self, how: Unfinished) -> u64 {
        get(&self.unfinished[how as usize])
    }

    pub(super) fn authorizations(&self, verdict: Verdict) -> &Few<Option<Rule>, MOST_RULES> {
        &self.authorizations[verdict as usize]
    }

    /// How the last minutes up to `now` went, in pieces of [`PIECE`](super::PIECE), the oldest first.
    pub fn course(&self, now: Instant) -> Vec<Piece> {
        self.course.pieces(now)
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
    pub fn calls(&self) -> (Vec<(Option<Guid>, Calls)>, Calls) {
        let mut rows: Vec<(Option<Guid>, Calls)> = Vec::new();
        let mut note = |counts: Counts<Option<Guid>>, part: fn(&mut Calls) -> &mut u64| {
            for (app, count) in counts.known {
                let at = rows.iter().position(|(known, _)| *known == app).unwrap_or_else(|| {
                    rows.push((app, Calls::default()));
                    rows.len() - 1
                });
                *part(&mut rows[at].1) = count;
            }
            counts.others
        };
        let admitted = note(self.callers.counts(), |calls| &mut calls.admitted);
        let denied = note(self.denied_callers.counts(), |calls| &mut calls.denied);
        (rows, Calls { admitted, denied })
    }

    pub(super) fn denials(&self, reason: policy::Reason) -> u64 {
        get(&self.denied[reason as usize])
    }

    pub(super) fn suppressed_records(&self) -> u64 {
        get(&self.suppressed)
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
