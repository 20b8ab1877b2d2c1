//! The connections to the app of one client connection: no client ever gets a connection that another has used, so an app that loses count
//! of its requests harms nobody else.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::AppProtocol;
use crate::http::RequestBody;
use crate::io::{AppStream, OwnedTask, TalliedStream, Tally, Transferred};
use crate::upstream::{DialError, Upstream};

/// The longest head of an answer, in bytes, and its fields.
const MAX_ANSWER_HEAD: usize = 256 * 1024;
const MAX_ANSWER_FIELDS: usize = 512;

/// The most that may come before an answer, its head included: some apps tell of their progress first (RFC 9110, 15.2).
const MAX_BEFORE_ANSWER: u64 = 2 * MAX_ANSWER_HEAD as u64;

/// What an app that speaks HTTP/2 may send of one answer before the client has taken it, and of all of them, in bytes. The second is large
/// because h2 judges by it how many small frames are abuse: what fills the first with messages of some bytes must not be.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The connection to the app on which hyper's client speaks.
pub(super) type AppConnectionIo = TokioIo<TalliedStream<ResettingStream>>;

/// Why there is no connection to the app.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppConnectError {
    /// It did not accept.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It accepted, and was gone at once.
    #[error("the app closed the connection at once")]
    Closed(#[from] io::Error),
    /// HTTP was not begun.
    #[error("the app does not begin to speak HTTP")]
    Http(#[from] hyper::Error),
}

/// The connections to the app of one client connection.
#[derive(Debug)]
pub(super) struct AppConnections {
    upstream: Arc<Upstream>,
    protocol: AppProtocol,
    /// What the app is told of the client in front of everything, by the PROXY protocol.
    proxy_header: Vec<u8>,
    idle_timeout: Duration,
    waiting: Mutex<WaitingConnections>,
    /// One more waits.
    came: Notify,
    totals: Arc<AppTotals>,
}

/// Plaintext bytes that all connections to the app have carried.
#[derive(Debug, Default)]
pub(super) struct AppTotals(Mutex<TalliedConnections>);

#[derive(Debug, Default)]
struct TalliedConnections {
    /// By those that have ended.
    ended: Transferred,
    /// The others. Requests may hold them a moment longer than their client's connection lasts.
    open: Vec<Arc<Tally>>,
}

#[derive(Debug, Default)]
struct WaitingConnections {
    /// Dialled, and nothing was said on it yet.
    dialled: Option<(AppStream, Instant)>,
    /// Those that wait for the next request, the one that has waited longest in front.
    idle: Vec<(AppConnection, Instant)>,
}

/// A connection to the app. Dropping it resets it, unless it was finished.
#[derive(Debug)]
pub(super) struct AppConnection {
    sender: AppSender,
    pub(super) tally: Arc<Tally>,
    /// It has carried requests before.
    pub(super) is_reused: bool,
    /// Until it was finished.
    driver: Option<OwnedTask>,
    totals: Arc<AppTotals>,
}

#[derive(Debug)]
enum AppSender {
    Http1(http1::SendRequest<RequestBody>),
    H2c(http2::SendRequest<RequestBody>),
}

/// The app's socket, which is reset when it is dropped before it was shut down: what the app got of a request must not look whole.
#[derive(Debug)]
pub(super) struct ResettingStream {
    stream: Option<AppStream>,
    is_ended: bool,
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
        let waiting = Mutex::new(WaitingConnections { dialled, idle: Vec::new() });
        let (came, totals) = (Notify::new(), Arc::default());
        Self { upstream, protocol, proxy_header, idle_timeout, waiting, came, totals }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingConnections> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the app speaks.
    pub(super) fn protocol(&self) -> AppProtocol {
        self.protocol
    }

    /// A connection that can take a request: one that waits, unless it has to be `is_fresh`, or a new one.
    ///
    /// # Errors
    /// The app does not accept.
    pub(super) async fn take(&self, is_fresh: bool) -> Result<AppConnection, AppConnectError> {
        if !is_fresh {
            while let Some(mut connection) = self.take_idle() {
                // One whose last answer is whole is ready at once, or never.
                if connection.is_ready().await {
                    connection.is_reused = true;
                    return Ok(connection);
                }
            }
        }
        let dialled = self.waiting().dialled.take();
        let stream = match dialled.filter(|(stream, since)| !self.is_too_old(*since) && !stream.has_hung_up()) {
            Some((stream, _)) => stream,
            None => self.upstream.dial().await?,
        };
        AppConnection::open(stream, self.protocol, &self.proxy_header, Arc::clone(&self.totals)).await
    }

    fn take_idle(&self) -> Option<AppConnection> {
        let (connection, since) = self.waiting().idle.pop()?;
        if self.is_too_old(since) {
            // Those in front of it have waited even longer.
            connection.finish();
            self.let_go(Instant::now());
            return None;
        }
        Some(connection)
    }

    fn is_too_old(&self, since: Instant) -> bool {
        since.elapsed() >= self.idle_timeout
    }

    /// `connection` waits for the next request.
    pub(super) fn put(&self, connection: AppConnection) {
        self.waiting().idle.push((connection, Instant::now()));
        self.came.notify_one();
    }

    /// What connections to the app have carried.
    pub(super) fn totals(&self) -> &Arc<AppTotals> {
        &self.totals
    }

    /// Closes each that waits for too long. Never ends. Cancel safe.
    pub(super) async fn expire(&self) {
        loop {
            match self.let_go(Instant::now()) {
                Some(at) => sleep_until(at).await,
                None => self.came.notified().await,
            }
        }
    }

    /// Closes those that have waited for too long at `now`; when the next one will have. `None`: none waits.
    fn let_go(&self, now: Instant) -> Option<Instant> {
        let mut waiting = self.waiting();
        let is_over = |since: Instant| now.duration_since(since) >= self.idle_timeout;
        waiting.dialled.take_if(|(_, since)| is_over(*since));
        let gone = waiting.idle.iter().take_while(|(_, since)| is_over(*since)).count();
        for (connection, _) in waiting.idle.drain(..gone) {
            connection.finish();
        }
        let since = waiting.idle.first().map(|(_, since)| *since);
        let dialled = waiting.dialled.as_ref().map(|(_, since)| *since);
        since.into_iter().chain(dialled).min().map(|since| since + self.idle_timeout)
    }

    /// Closes all that wait.
    pub(super) fn close(&self) {
        let WaitingConnections { dialled, idle } = std::mem::take(&mut *self.waiting());
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

impl AppConnection {
    async fn open(
        mut stream: AppStream,
        protocol: AppProtocol,
        proxy_header: &[u8],
        totals: Arc<AppTotals>,
    ) -> Result<Self, AppConnectError> {
        if !proxy_header.is_empty() {
            stream.write_all(proxy_header).await?;
        }
        let stream = TalliedStream::new(ResettingStream::new(stream));
        let tally = stream.tally();
        let (sender, driver) = match protocol {
            AppProtocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(MAX_ANSWER_HEAD + 8 * 1024).max_headers(MAX_ANSWER_FIELDS);
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
                let connection = connection.with_upgrades();
                // Whoever waits for an answer is told of a failure.
                (AppSender::Http1(sender), OwnedTask::spawn(async move { drop(connection.await) }))
            }
            AppProtocol::H2c => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_header_list_size(MAX_ANSWER_HEAD as u32);
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
                (AppSender::H2c(sender), OwnedTask::spawn(async move { drop(connection.await) }))
            }
        };
        totals.begin(&tally);
        Ok(Self { sender, tally, is_reused: false, driver: Some(driver), totals })
    }

    async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            AppSender::Http1(sender) => !sender.is_closed() && sender.ready().await.is_ok(),
            AppSender::H2c(sender) => !sender.is_closed() && sender.ready().await.is_ok(),
        }
    }

    /// Sends `request`, and waits for the head of the answer.
    ///
    /// # Errors
    /// With the request, if nothing of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.tally.limit_reading(matches!(self.sender, AppSender::Http1(_)).then_some(MAX_BEFORE_ANSWER));
        let answered = match &mut self.sender {
            AppSender::Http1(sender) => sender.try_send_request(request).await,
            AppSender::H2c(sender) => sender.try_send_request(request).await,
        };
        self.tally.limit_reading(None);
        answered
    }

    /// Closes it as one that is done.
    pub(super) fn finish(mut self) {
        // Without a sender the task ends by itself.
        if let Some(driver) = self.driver.take() {
            driver.detach();
        }
    }
}

impl Drop for AppConnection {
    fn drop(&mut self) {
        self.totals.end(&self.tally);
    }
}

impl AppTotals {
    fn tallied(&self) -> MutexGuard<'_, TalliedConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is counted by `tally` counts as well.
    fn begin(&self, tally: &Arc<Tally>) {
        self.tallied().open.push(Arc::clone(tally));
    }

    /// No more comes to `tally`.
    fn end(&self, tally: &Arc<Tally>) {
        let mut tallied = self.tallied();
        tallied.open.retain(|open| !Arc::ptr_eq(open, tally));
        tallied.ended = sum(tallied.ended, tally.bytes());
    }

    /// All that was carried.
    pub(super) fn transferred(&self) -> Transferred {
        let tallied = self.tallied();
        tallied.open.iter().fold(tallied.ended, |all, tally| sum(all, tally.bytes()))
    }
}

fn sum(one: Transferred, other: Transferred) -> Transferred {
    Transferred { up: one.up + other.up, down: one.down + other.down }
}

impl ResettingStream {
    fn new(stream: AppStream) -> Self {
        Self { stream: Some(stream), is_ended: false }
    }

    /// The socket, which is not reset any more; `None`: it was taken before.
    pub(super) fn into_inner(mut self) -> Option<AppStream> {
        self.stream.take()
    }

    /// # Errors
    /// It was taken, and nobody has it to ask.
    fn stream(&mut self) -> io::Result<Pin<&mut AppStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for ResettingStream {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take().filter(|_| !self.is_ended) {
            stream.reset();
        }
    }
}

impl AsyncRead for ResettingStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for ResettingStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_ended = true;
        this.stream()?.poll_shutdown(cx)
    }
}
