//! Connections to endpoints that wait for a request. Each belongs to one generation of what servers are shown and judged by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::channel::Channel;
use super::open_connection::OpenConnection;
use crate::credentials::SnapshotReceiver;
use crate::lifecycle::{DrainGuard, Phase};
use crate::outbound::dialler::Dialler;
use crate::outbound::endpoint::Endpoint;

/// What all clients of the process share.
#[derive(Debug, Clone)]
pub struct HttpShared {
    /// Where the process stands: none waits for a request once it ends.
    phase: watch::Receiver<Phase>,
    /// What each connection holds until it is closed; `None` once the process ends.
    guard: Arc<Mutex<Option<DrainGuard>>>,
    /// Room for connections that wait.
    capacity: Arc<Semaphore>,
    /// Room in memory for requests that are under way.
    exchanges: Arc<Semaphore>,
}

impl HttpShared {
    /// `waiting` connections at most wait for a request at once; those that are open when `phase` ends are closed, and hold `guard` until then.
    /// `exchanges` requests at most are under way at once, from their head to the end of their response.
    pub fn new(waiting: usize, exchanges: usize, phase: watch::Receiver<Phase>, guard: DrainGuard) -> Self {
        let room = |places: usize| Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let guard = Arc::new(Mutex::new(Some(guard)));
        Self { phase, guard, capacity: room(waiting), exchanges: room(exchanges) }
    }

    /// Room in memory for requests that are under way.
    pub(in crate::outbound) fn exchanges(&self) -> Arc<Semaphore> {
        Arc::clone(&self.exchanges)
    }

    /// Nothing begins any more that the end of the process would have to wait for.
    pub fn end(&self) {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn has_ended(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }
}

/// Connections that wait, those that have waited the longest in front.
#[derive(Debug)]
pub(super) struct Pool {
    waiting: Mutex<Vec<IdleChannel>>,
    shared: HttpShared,
    /// There is one where there was none, or one has been closed.
    changed: Arc<Notify>,
    dialler: Arc<Dialler>,
}

#[derive(Debug)]
struct IdleChannel {
    channel: Channel,
    since: Instant,
    permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(dialler: Arc<Dialler>, shared: HttpShared) -> Self {
        Self { waiting: Mutex::default(), shared, changed: Arc::default(), dialler }
    }

    /// What a new connection holds as long as it is open.
    pub(super) fn open_connection(&self) -> OpenConnection {
        let guard = self.shared.guard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        OpenConnection::new(Arc::clone(&self.changed), guard)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<IdleChannel>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `channel` waits for the next request, unless it is too old for one, or of another generation than the one in force.
    pub(super) fn put(&self, channel: Channel) {
        let is_rotated = !channel.is_of_generation(self.dialler.generation());
        if is_rotated || self.is_too_old(&channel) {
            return self.finish(channel, is_rotated);
        }
        // What hyper has read into it keeps: with a large body behind it that is more than a new connection costs.
        if self.shared.has_ended() || self.dialler.backlogs.is_under_pressure() || channel.is_http10 {
            return channel.finish();
        }
        let mut waiting = self.waiting();
        // Who closes it from here on finds it here.
        if channel.is_closed() {
            return;
        }
        let permit = match Arc::clone(&self.shared.capacity).try_acquire_owned() {
            Ok(permit) => permit,
            // In the place of the one that has waited the longest here, or nowhere.
            Err(_) if waiting.is_empty() => {
                drop(waiting);
                return channel.finish();
            }
            Err(_) => {
                let IdleChannel { channel, permit, .. } = waiting.remove(0);
                self.dialler.counters.count_idle(-1);
                channel.finish();
                permit
            }
        };
        if waiting.is_empty() {
            self.changed.notify_one();
        }
        waiting.push(IdleChannel { channel, since: Instant::now(), permit });
        self.dialler.counters.count_idle(1);
    }

    /// Whether `channel` gets no request any more.
    fn is_too_old(&self, channel: &Channel) -> bool {
        self.dialler.settings.timeouts.max_age.is_some_and(|max_age| channel.age() >= max_age)
    }

    fn finish(&self, channel: Channel, is_rotated: bool) {
        if is_rotated {
            self.dialler.counters.count_rotation_close();
        }
        channel.finish();
    }

    /// A connection to `endpoint` of `generation`: the one that was used last, which is the least likely to have been closed.
    pub(super) fn take(&self, endpoint: &Arc<Endpoint>, generation: u64) -> Option<Channel> {
        let mut waiting = self.waiting();
        let is_fit = |one: &IdleChannel| one.channel.leads_to(endpoint, generation) && !self.is_too_old(&one.channel);
        let at = waiting.iter().rposition(is_fit)?;
        let IdleChannel { channel, .. } = waiting.remove(at);
        self.dialler.counters.count_idle(-1);
        Some(channel)
    }

    /// Lets go of those that have waited for too long, have been closed, or are of another generation than the one in force; until the
    /// process ends, and then of all.
    pub(super) async fn sweep(&self) {
        let idle_timeout = self.dialler.settings.timeouts.pool_idle;
        let look_again = [idle_timeout, self.dialler.settings.timeouts.max_age].into_iter().flatten().min();
        let mut phase = self.shared.phase.clone();
        let mut generations = self.dialler.snapshots.as_ref().map(SnapshotReceiver::generations);
        loop {
            let oldest = self.close_expired(idle_timeout);
            if self.shared.has_ended() {
                return;
            }
            let over = async {
                match oldest.zip(look_again) {
                    Some((since, limit)) => sleep_until(since + limit).await,
                    None => std::future::pending().await,
                }
            };
            let rotated = async {
                match &mut generations {
                    // Who sends them is there as long as the process.
                    Some(generations) => drop(generations.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                () = rotated => {}
                () = self.changed.notified() => {}
                _ = phase.changed() => {}
            }
        }
    }

    /// As one sweep; since when the one waits that has waited the longest of those that stay.
    fn close_expired(&self, idle_timeout: Option<Duration>) -> Option<Instant> {
        let (now, generation, has_ended) = (Instant::now(), self.dialler.generation(), self.shared.has_ended());
        let mut waiting = self.waiting();
        let gone = waiting.extract_if(.., |one| {
            has_ended
                || one.channel.is_closed()
                || !one.channel.is_of_generation(generation)
                || self.is_too_old(&one.channel)
                || idle_timeout.is_some_and(|limit| now.duration_since(one.since) >= limit)
        });
        for IdleChannel { channel, .. } in gone {
            self.dialler.counters.count_idle(-1);
            let is_rotated = !channel.is_of_generation(generation);
            self.finish(channel, is_rotated);
        }
        waiting.first().map(|one| one.since)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for IdleChannel { channel, .. } in self.waiting().drain(..) {
            self.dialler.counters.count_idle(-1);
            channel.finish();
        }
    }
}
