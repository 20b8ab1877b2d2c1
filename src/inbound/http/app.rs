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
        let has_grown = connection.has_grown;
        let connection = WaitingConnection::Open(connection);
        waiting.idle.push((if has_grown { connection.rest() } else { connection }, now));
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use http_body_util::BodyExt;
    use hyper::Request;

    use super::*;
    use crate::budget::Budgets;
    use crate::config::{AppAddr, AppReady};
    use crate::http::RequestBody;

    /// An app with one connection, on which it answers with heads of about so many bytes.
    fn app_with_heads(heads: [usize; 3]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for head in heads {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                write!(stream, "HTTP/1.1 200 OK\r\nLong: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(head)).unwrap();
            }
        });
        addr
    }

    /// Whether the connection that has carried each answer rests at once, with memory for heads limited to `limit`.
    async fn rests_at_once(limit: Option<u64>) -> [bool; 3] {
        let budget = Budgets::new(None, limit).backlogs;
        let addr = AppAddr::Tcp(app_with_heads([100, 20_000, 100]));
        let upstream = Upstream::new(addr, Duration::from_secs(10), AppReady::Off, None);
        let apps =
            AppConnections::new(Arc::new(upstream), AppProtocol::Http1, Vec::new(), None, Duration::from_secs(60));
        let mut rests = [false; 3];
        for (turn, rests) in rests.iter_mut().enumerate() {
            let mut app = apps.take(false, &budget).await.unwrap();
            assert_eq!(app.is_reused, turn > 0, "there is one connection");
            let request = Request::get("/").header("Host", "app").body(Box::new(RequestBody::none())).unwrap();
            let answer = app.send(request).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
            assert!(app.end_answer());
            apps.put(app);
            *rests = matches!(apps.waiting().idle.as_slice(), [(WaitingConnection::Resting(..), _)]);
        }
        rests
    }

    #[tokio::test]
    async fn a_connection_that_a_long_head_came_by_rests_at_once_where_memory_is_limited_and_carries_the_next_request()
    {
        assert_eq!(rests_at_once(Some(4 << 20)).await, [false, true, false]);
        assert_eq!(rests_at_once(None).await, [false; 3]);
    }
}
