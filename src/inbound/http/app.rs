//! The connections to the app of one client connection: no client ever gets a connection that another has used, so an app that loses count
//! of its requests harms nobody else.

mod connection;
mod error;
mod stream;
mod totals;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub(super) use self::connection::AppConnection;
use self::connection::WaitingConnection;
pub(super) use self::error::AppConnectError;
use self::totals::AppTotals;
use super::watch::end_of;
use crate::budget::MemoryBudget;
use crate::config::AppProtocol;
use crate::io::AppStream;
use crate::upstream::Upstream;

/// A connection that has waited for so long gives up what speaks HTTP on it, and takes it anew for the next request.
const REST_AFTER: Duration = Duration::from_millis(50);

/// The connections to the app of one client connection.
#[derive(Debug)]
pub(super) struct AppConnections {
    upstream: Arc<Upstream>,
    protocol: AppProtocol,
    /// What the app is told of the client in front of everything, by the PROXY protocol.
    proxy_header: Vec<u8>,
    idle_timeout: Duration,
    waiting: Mutex<IdleConnections>,
    /// One more waits.
    came: Notify,
    totals: Arc<AppTotals>,
}

#[derive(Debug, Default)]
struct IdleConnections {
    /// Dialled, and nothing was said on it yet.
    dialled: Option<(AppStream, Instant)>,
    /// Those that wait for the next request, the one that has waited longest in front.
    idle: Vec<(WaitingConnection, Instant)>,
    /// When they are looked at next by itself; `None`: they are not.
    next_look: Option<Instant>,
}

impl AppConnections {
    /// Those of one client connection to the app behind `upstream`, which speaks `protocol`, and is told `proxy_header` first. `dialled`: the
    /// first of them, if there is one already. One that waits is closed after `idle_timeout`.
    pub(super) fn new(
        upstream: Arc<Upstream>,
        protocol: AppProtocol,
        proxy_header: Vec<u8>,
        dialled: Option<AppStream>,
        idle_timeout: Duration,
    ) -> Self {
        let dialled = dialled.map(|stream| (stream, Instant::now()));
        let waiting = Mutex::new(IdleConnections { dialled, ..IdleConnections::default() });
        let (came, totals) = (Notify::new(), Arc::default());
        Self { upstream, protocol, proxy_header, idle_timeout, waiting, came, totals }
    }

    fn waiting(&self) -> MutexGuard<'_, IdleConnections> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the app speaks.
    pub(super) fn protocol(&self) -> AppProtocol {
        self.protocol
    }

    /// A connection that can take a request: one that waits, unless it has to be `is_fresh`, or a new one. What is kept for the app is of
    /// `budget`.
    ///
    /// # Errors
    /// The app does not accept.
    pub(super) async fn take(
        &self,
        is_fresh: bool,
        budget: &Arc<MemoryBudget>,
    ) -> Result<AppConnection, AppConnectError> {
        if !is_fresh {
            while let Some(waiting) = self.take_idle() {
                if let Some(connection) = waiting.wake().await {
                    return Ok(connection);
                }
            }
        }
        // Most requests find one that waits, and have no room for this.
        Box::pin(self.open(budget)).await
    }

    async fn open(&self, budget: &Arc<MemoryBudget>) -> Result<AppConnection, AppConnectError> {
        let dialled = self.waiting().dialled.take();
        let stream = match dialled.filter(|(stream, since)| !self.is_too_old(*since) && !stream.has_peer_closed()) {
            Some((stream, _)) => stream,
            None => self.upstream.dial().await?,
        };
        AppConnection::open(stream, self.protocol, &self.proxy_header, Arc::clone(&self.totals), budget).await
    }

    fn take_idle(&self) -> Option<WaitingConnection> {
        let (connection, since) = self.waiting().idle.pop()?;
        if self.is_too_old(since) {
            // Those in front of it have waited even longer.
            connection.finish();
            self.waiting().close_expired(Instant::now(), self.idle_timeout);
            return None;
        }
        Some(connection)
    }

    fn is_too_old(&self, since: Instant) -> bool {
        since.elapsed() >= self.idle_timeout
    }

    /// `connection` waits for the next request.
    pub(super) fn put(&self, connection: AppConnection) {
        let now = Instant::now();
        let mut waiting = self.waiting();
        if waiting.idle.is_empty() {
            // There is seldom a second one.
            waiting.idle.reserve_exact(1);
        }
        waiting.idle.push((WaitingConnection::Open(connection), now));
        // As long as requests follow one upon the other nobody is woken for each.
        if waiting.next_look.is_none_or(|at| at > now + REST_AFTER) {
            drop(waiting);
            self.came.notify_one();
        }
    }

    /// What connections to the app have carried.
    pub(super) fn totals(&self) -> &Arc<AppTotals> {
        &self.totals
    }

    /// Lets those rest that wait, and closes each that has waited for too long, or that the app has closed. Never ends. Cancel safe.
    pub(super) async fn expire(&self) {
        loop {
            let next_look = self.expire_idle();
            let mut timer = next_look.map(|at| Box::pin(sleep_until(at)));
            tokio::select! {
                biased;
                () = end_of(&mut timer) => {}
                () = self.came.notified() => {}
                () = poll_fn(|cx| self.poll_over(cx)) => {}
            }
        }
    }

    /// Does what is to be done now with those that wait; when there will be something to do next.
    fn expire_idle(&self) -> Option<Instant> {
        let mut waiting = self.waiting();
        waiting.next_look = waiting.close_expired(Instant::now(), self.idle_timeout);
        waiting.next_look
    }

    /// Ready once the app has closed one of those that rest, and that is gone.
    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting();
        let before = waiting.idle.len();
        waiting.idle.retain_mut(|(connection, _)| connection.poll_over(cx).is_pending());
        if waiting.idle.len() < before { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Closes all that wait.
    pub(super) fn close(&self) {
        let IdleConnections { dialled, idle, .. } = std::mem::take(&mut *self.waiting());
        drop(dialled);
        for (connection, _) in idle {
            connection.finish();
        }
    }
}

impl Drop for AppConnections {
    fn drop(&mut self) {
        self.close();
    }
}

impl IdleConnections {
    /// Closes those that have waited for `idle_timeout` at `now`, and lets others rest; when there will be something to do next.
    fn close_expired(&mut self, now: Instant, idle_timeout: Duration) -> Option<Instant> {
        let has_expired = |since: Instant| now.duration_since(since) >= idle_timeout;
        self.dialled.take_if(|(_, since)| has_expired(*since));
        let mut next = self.dialled.as_ref().map(|(_, since)| *since + idle_timeout);
        let mut left = std::mem::take(&mut self.idle);
        let gone = left.iter().take_while(|(_, since)| has_expired(*since)).count();
        for (connection, _) in left.drain(..gone) {
            connection.finish();
        }
        let rested = left.into_iter().map(|(connection, since)| {
            let connection = if since + REST_AFTER <= now { connection.rest() } else { connection };
            let limit = if connection.is_idle_releasable() { REST_AFTER.min(idle_timeout) } else { idle_timeout };
            next = next.into_iter().chain([since + limit]).min();
            (connection, since)
        });
        self.idle = rested.collect();
        if self.idle.is_empty() {
            // Without its memory.
            self.idle = Vec::new();
        }
        next
    }
}
