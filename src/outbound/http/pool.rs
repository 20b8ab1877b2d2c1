//! Connections to endpoints that wait for a request. Each belongs to one generation of what servers are shown and judged by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::channel::Channel;
use crate::credentials::SnapshotReceiver;
use crate::outbound::dialler::Dialler;
use crate::outbound::endpoints::Endpoint;

/// Connections that wait, those that have waited the longest in front.
#[derive(Debug)]
pub(super) struct Pool {
    waiting: Mutex<Vec<Waiting>>,
    /// There is one where there was none.
    came: Notify,
    dialler: Arc<Dialler>,
}

#[derive(Debug)]
struct Waiting {
    channel: Channel,
    since: Instant,
}

impl Pool {
    pub(super) fn new(dialler: Arc<Dialler>) -> Self {
        Self { waiting: Mutex::default(), came: Notify::new(), dialler }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `channel` waits for the next request, unless it is too old for one, or of another generation than the one in force.
    pub(super) fn put(&self, channel: Channel) {
        let max_age = self.dialler.settings.timeouts.max_age;
        let is_retired = !channel.is_of(self.dialler.generation());
        if is_retired || max_age.is_some_and(|max_age| channel.age() >= max_age) {
            return self.finish(channel, is_retired);
        }
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            self.came.notify_one();
        }
        waiting.push(Waiting { channel, since: Instant::now() });
        self.dialler.counters.count_idle(1);
    }

    fn finish(&self, channel: Channel, is_retired: bool) {
        if is_retired {
            self.dialler.counters.count_retired();
        }
        channel.finish();
    }

    /// A connection to `endpoint` of `generation`: the one that was used last, which is the least likely to have been closed.
    pub(super) fn take(&self, endpoint: &Arc<Endpoint>, generation: u64) -> Option<Channel> {
        let mut waiting = self.waiting();
        let at = waiting.iter().rposition(|waiting| waiting.channel.leads_to(endpoint, generation))?;
        let Waiting { channel, .. } = waiting.remove(at);
        self.dialler.counters.count_idle(-1);
        Some(channel)
    }

    /// Lets go of those that have waited for too long, have been closed, or are of another generation than the one in force; for ever.
    pub(super) async fn sweep(&self) {
        let idle_timeout = self.dialler.settings.timeouts.pool_idle;
        let mut generations = self.dialler.snapshots.as_ref().map(SnapshotReceiver::generations);
        loop {
            let oldest = self.let_go(idle_timeout);
            let over = async {
                match oldest.zip(idle_timeout) {
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
                () = self.came.notified() => {}
            }
        }
    }

    /// As one sweep; since when the one waits that has waited the longest of those that stay.
    fn let_go(&self, idle_timeout: Option<Duration>) -> Option<Instant> {
        let (now, generation) = (Instant::now(), self.dialler.generation());
        let mut waiting = self.waiting();
        let gone = waiting.extract_if(.., |one| {
            one.channel.is_closed()
                || !one.channel.is_of(generation)
                || idle_timeout.is_some_and(|limit| now.duration_since(one.since) >= limit)
        });
        for Waiting { channel, .. } in gone {
            self.dialler.counters.count_idle(-1);
            let is_retired = !channel.is_of(generation);
            self.finish(channel, is_retired);
        }
        waiting.first().map(|one| one.since)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for Waiting { channel, .. } in self.waiting().drain(..) {
            self.dialler.counters.count_idle(-1);
            channel.finish();
        }
    }
}
