//! Secrets that come to an end: made to last longer, replaced in their files, or told of before they end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use super::error::VaultOperation;
use super::held::HeldToken;
use super::session::VaultSession;
use super::source::VaultSource;
use crate::secrets::{LastError, LeasedSecret, SecretLease};
use crate::telemetry::SecretCounters;

/// Between two tries to have something for another one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

/// Of its time, after which a secret is made to last longer, or replaced.
const RENEWED_AT: f64 = 2.0 / 3.0;

/// After which the end of one that cannot be renewed is told, if nobody can replace it.
const TOLD_AT: f64 = 0.75;

/// The same for one that could be, but for a server that does not answer: until then it is tried.
const TRIED_UNTIL: f64 = 0.9;

/// At most.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// What whoever runs the app is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEvent {
    /// Files of the app hold a new secret.
    Replaced,
    /// Variables of the app, these, hold what is about to end, and nobody can change them.
    Ending(Vec<String>),
}

/// When a lease ends, and when it is renewed next.
#[derive(Clone, Copy, Default)]
struct LeaseTimes {
    end: Option<Instant>,
    /// `None`: it is not renewed, and ends.
    renewal: Option<Instant>,
}

/// The times of all leases; the earliest end and the earliest renewal are shown in metrics and on the status page.
struct AllLeaseTimes {
    times: Mutex<Vec<LeaseTimes>>,
    counters: Arc<SecretCounters>,
}

impl AllLeaseTimes {
    fn set(&self, place: usize, of_place: LeaseTimes) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times[place] = of_place;
        let date = |at: Instant| SystemTime::now() + at.saturating_duration_since(Instant::now());
        self.counters.set_expiry(times.iter().filter_map(|times| times.end).min().map(date));
        self.counters.set_next_renewal(times.iter().filter_map(|times| times.renewal).min().map(date));
    }
}

/// One secret that ends.
struct TrackedLease {
    place: usize,
    times: Arc<AllLeaseTimes>,
    secret: LeasedSecret,
    /// What the first answer has granted.
    first: Duration,
    granted: Instant,
    has_warned: bool,
    /// Leases before, which the app may still use, and the tokens that they end with.
    before: Vec<(Instant, Arc<HeldToken>)>,
}

/// Keeps `leased`, for ever. What becomes of it is told by `events`.
pub async fn keep_leases(
    session: Arc<VaultSession>,
    leased: Vec<LeasedSecret>,
    counters: Arc<SecretCounters>,
    events: mpsc::Sender<LeaseEvent>,
) {
    let mut keeping = JoinSet::new();
    let times = Mutex::new(vec![LeaseTimes::default(); leased.len()]);
    let times = Arc::new(AllLeaseTimes { times, counters });
    let now = Instant::now();
    for (place, secret) in leased.into_iter().enumerate() {
        let first = secret.lease.duration;
        let kept = TrackedLease {
            place,
            times: Arc::clone(&times),
            secret,
            first,
            granted: now,
            has_warned: false,
            before: Vec::new(),
        };
        keeping.spawn(kept.keep(Arc::clone(&session), events.clone()));
    }
    // One that has nothing to do any more has ended.
    while keeping.join_next().await.is_some() {}
    std::future::pending().await
}

/// `part` of the time from `granted` to `ends`.
fn part(granted: Instant, ends: Instant, part: f64) -> Instant {
    granted + ends.saturating_duration_since(granted).mul_f64(part)
}

impl TrackedLease {
    async fn keep(mut self, session: Arc<VaultSession>, events: mpsc::Sender<LeaseEvent>) {
        let mut tokens = session.tokens();
        let mut wait = FIRST_BACK_OFF;
        let mut not_before = Instant::now();
        loop {
            self.release(&session);
            // A token of a pair before may end first, and then its leases end with it.
            let token_ends = session.end_of_holder(&self.secret.lease.id).await;
            let own_end = self.granted + self.secret.lease.duration;
            let ends = token_ends.map_or(own_end, |token| token.min(own_end));
            let can_renew = self.secret.lease.renewable
                && !self.secret.lease.duration.is_zero()
                && token_ends.is_none_or(|token| token >= own_end);
            let tells = !self.has_warned && !self.secret.variables.is_empty();
            let end_told = tells.then(|| part(self.granted, ends, if can_renew { TRIED_UNTIL } else { TOLD_AT }));
            let replaces = !can_renew && !self.secret.files.is_empty();
            // With another secret in the files nobody would know any more when that of the variables ends.
            let not_before_told = end_told.filter(|_| replaces).unwrap_or(not_before);
            let renewal = (can_renew || replaces)
                .then(|| part(self.granted, ends, RENEWED_AT).max(not_before).max(not_before_told));
            self.times.set(self.place, LeaseTimes { end: Some(ends), renewal });
            let Some(due) = end_told.into_iter().chain(renewal).min() else {
                return self.await_end(ends, &session).await;
            };
            tokio::select! {
                () = sleep_until(due.into()) => {}
                Ok(()) = tokens.changed() => continue,
            }
            if end_told == Some(due) {
                self.tell_end(ends, can_renew, &events).await;
                continue;
            }
            let is_done = match (can_renew, end_told) {
                // A server that is silent does not keep the end from being told. What is replaced was told of before.
                (true, Some(told)) => timeout_at(told.into(), self.renew(&session)).await.unwrap_or(false),
                (true, None) => self.renew(&session).await,
                (false, _) => self.replace(&session).await,
            };
            if is_done && replaces {
                let _ = events.send(LeaseEvent::Replaced).await;
            }
            // What ends at once would be asked for again and again.
            if is_done && !self.secret.lease.duration.is_zero() {
                (wait, not_before) = (FIRST_BACK_OFF, Instant::now());
            } else {
                not_before = Instant::now() + wait;
                wait = (wait * 2).min(LONGEST_BACK_OFF);
            }
        }
    }

    /// Nothing more can be done for it: with its end its tokens are let go.
    async fn await_end(mut self, ends: Instant, session: &VaultSession) {
        // A secret without a time of its own lives as long as its token, which is then let go by nobody.
        let holder = match self.secret.lease.duration.is_zero() {
            true => None,
            false => session.take_holder(&self.secret.lease.id).await,
        };
        self.before.extend(holder.map(|holder| (ends, holder)));
        let last = self.before.iter().map(|(ends, _)| *ends).max();
        if let Some(last) = last {
            sleep_until(last.into()).await;
            self.release(session);
        }
    }

    /// What variables hold ends, and nobody can change them.
    async fn tell_end(&mut self, ends: Instant, can_renew: bool, events: &mpsc::Sender<LeaseEvent>) {
        self.has_warned = true;
        let (variables, secret) = (self.secret.variables.join(", "), self.secret.request.to_string());
        let seconds_left = ends.saturating_duration_since(Instant::now()).as_secs();
        match can_renew {
            true => tracing::warn!(
                variables,
                secret,
                seconds_left,
                "a secret in variables of the app ends and could not be renewed so far; see whether Vault answers"
            ),
            false => tracing::warn!(
                variables,
                secret,
                seconds_left,
                "a secret in variables of the app ends and cannot be renewed; ask for it with ?file, or set --secret-on-expiry stop"
            ),
        }
        // Nobody listens any more when the process ends.
        let _ = events.send(LeaseEvent::Ending(self.secret.variables.clone())).await;
    }

    /// Makes the lease longer; `false`: it is tried again, if it can be at all.
    async fn renew(&mut self, session: &VaultSession) -> bool {
        match session.renew_lease(&self.secret.lease.id, self.first).await {
            // Near the longest that it may last, the leases become shorter and shorter.
            Ok(Some(renewal)) => {
                let SecretLease { duration, renewable, .. } = &mut self.secret.lease;
                self.granted = Instant::now();
                self.has_warned = false;
                (*duration, *renewable) = (renewal.lease, renewal.renewable && renewal.lease >= self.first / 3);
                tracing::debug!(secret = %self.secret.request, lease_seconds = renewal.lease.as_secs(), "lease renewed");
                true
            }
            Ok(None) => {
                self.secret.lease.renewable = false;
                true
            }
            Err(error) => {
                self.secret.lease.renewable = error.is_transient(VaultOperation::Secret);
                tracing::warn!(secret = %self.secret.request, %error, "lease not renewed");
                false
            }
        }
    }

    /// Has another secret in the place of this one.
    async fn replace(&mut self, session: &Arc<VaultSession>) -> bool {
        let source = VaultSource::new(Arc::clone(session));
        let (answer, holder) = match source.fetch_held(&self.secret.request, &LastError::default()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(secret = %self.secret.request, %error, "secret not replaced; the file keeps the old one");
                return false;
            }
        };
        for file in &self.secret.files {
            if let Err(error) = file.replace(&answer) {
                tracing::error!(file = %file.path.display(), error, "secret file not replaced");
                return false;
            }
        }
        let ends = self.granted + self.secret.lease.duration;
        if let Some(old) = session.take_holder(&self.secret.lease.id).await {
            self.before.push((ends, old));
        }
        let Some(lease) = answer.lease else {
            tracing::info!(secret = %self.secret.request, "secret renewed without a lease");
            self.secret.files.clear();
            self.secret.lease.renewable = false;
            self.times.set(self.place, LeaseTimes::default());
            return true;
        };
        session.hold(&lease.id, holder).await;
        tracing::info!(secret = %self.secret.request, files = self.secret.files.len(), lease_seconds = lease.duration.as_secs(), "secret replaced");
        if lease.duration.is_zero() {
            tracing::warn!(secret = %self.secret.request, "the new secret has a lease of 0 seconds, and ends at once; see the TTL of its role");
        }
        self.granted = Instant::now();
        self.secret.lease = lease;
        true
    }

    /// What has ended needs no token.
    fn release(&mut self, session: &VaultSession) {
        let now = Instant::now();
        self.before.retain(|(ends, holder)| {
            let has_expired = *ends <= now;
            if has_expired {
                session.release(holder);
            }
            !has_expired
        });
    }
}
