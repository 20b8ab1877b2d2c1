//! One connection to the app: while it is asked for something hyper speaks on it, and while it rests it is a socket and nothing else.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;

use super::error::AppConnectError;
use super::stream::ResettingStream;
use super::totals::{AppTotals, CountedConnection};
use crate::budget::MemoryBudget;
use crate::config::AppProtocol;
use crate::http::stream_memory::{APP_CONNECTION_WINDOW, app_stream_window, header_table_size};
use crate::http::{MAX_ANSWER_HEAD, MAX_RESPONSE_FIELDS, PartSize, RequestBody, UnsentBytes, UntakenFrames};
use crate::io::{AppStream, ByteMeter, MeteredStream, OwnedTask};

/// The most that may come before an answer, its head included: some apps tell of their progress first (RFC 9110, 15.2).
const MAX_BEFORE_ANSWER: u64 = 2 * MAX_ANSWER_HEAD as u64;

/// What is spoken on.
type AppSocket = MeteredStream<ResettingStream>;

/// What hyper leaves of a connection that it does not speak on any more.
type AppLeftover = oneshot::Receiver<http1::Parts<TokioIo<AppSocket>>>;

/// A connection to the app. Dropping it resets it, unless it was finished.
#[derive(Debug)]
pub(in crate::inbound::http) struct AppConnection {
    /// Dropped first: nothing is ended that was not finished.
    driver: OwnedTask,
    sender: AppSender,
    count_guard: CountedConnection,
    /// What the app has not been sent yet, over HTTP/1.1.
    unsent: UnsentBytes,
    /// What is read of an answer at a time, over HTTP/1.1.
    part: PartSize,
    /// What of an answer has come and was not taken, over HTTP/2.
    untaken: UntakenFrames,
    /// It has carried requests before.
    pub(in crate::inbound::http) is_reused: bool,
    /// The last answer has left large buffers behind, for which nobody counts any more.
    pub(super) has_grown: bool,
}

#[derive(Debug)]
enum AppSender {
    Http1(http1::SendRequest<Box<RequestBody>>, AppLeftover),
    H2c(http2::SendRequest<Box<RequestBody>>),
}

/// A connection to the app that waits for the next request.
#[derive(Debug)]
pub(super) enum WaitingConnection {
    /// hyper has it still.
    Open(AppConnection),
    /// It is a socket and nothing else, and counted still.
    Resting(RestingSocket, CountedConnection),
}

/// The socket of a connection that rests.
#[derive(Debug)]
pub(super) enum RestingSocket {
    /// hyper is about to give it back, and has no memory for it from then on.
    Coming(AppLeftover),
    /// Nothing was said on it since the last answer.
    Here(AppSocket),
}

impl AppConnection {
    /// HTTP is spoken on `stream` from now on, by `protocol`, with `proxy_header` in front. What is kept for the app is of
    /// `budget`.
    ///
    /// # Errors
    /// The app is gone, or does not begin to speak.
    pub(super) async fn open(
        mut stream: AppStream,
        protocol: AppProtocol,
        proxy_header: &[u8],
        totals: Arc<AppTotals>,
        budget: &Arc<MemoryBudget>,
    ) -> Result<Self, AppConnectError> {
        if !proxy_header.is_empty() {
            stream.write_all(proxy_header).await?;
        }
        let untaken = UntakenFrames::new(budget);
        let stream = MeteredStream::new(ResettingStream::new(stream, protocol, untaken.clone(), budget));
        let count_guard = CountedConnection::begin(stream.meter(), totals);
        match protocol {
            AppProtocol::Http1 => Ok(Self::speak_http1(stream, count_guard).await?),
            AppProtocol::H2c => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .initial_stream_window_size(app_stream_window(budget.limit()))
                    .initial_connection_window_size(APP_CONNECTION_WINDOW)
                    .max_header_list_size(MAX_ANSWER_HEAD as u32)
                    .header_table_size(header_table_size(budget.limit()));
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
                let driver = OwnedTask::spawn(async move { drop(connection.await) });
                Ok(Self {
                    sender: AppSender::H2c(sender),
                    driver,
                    count_guard,
                    unsent: UnsentBytes::default(),
                    part: PartSize::default(),
                    untaken,
                    is_reused: false,
                    has_grown: false,
                })
            }
        }
    }

    async fn speak_http1(mut stream: AppSocket, count_guard: CountedConnection) -> hyper::Result<Self> {
        let (unsent, part) = (stream.get_mut().unsent().clone(), stream.get_mut().part().clone());
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_ANSWER_HEAD + 8 * 1024).max_headers(MAX_RESPONSE_FIELDS);
        let (sender, mut connection) = builder.handshake(TokioIo::new(stream)).await?;
        let (leave, left) = oneshot::channel();
        let sending = unsent.clone();
        let driver = OwnedTask::spawn(async move {
            // It ends without a sender as well, or once another protocol was agreed on.
            let ended = poll_fn(|cx| {
                let was_waiting = sending.is_waiting();
                let polled = connection.poll_without_shutdown(cx);
                if polled.is_pending() && was_waiting && !sending.is_waiting() {
                    // hyper looks for the next request before it sends the rest of one, and nobody would wake it behind that: where the app has
                    // answered before it had read all, the next request waited for ever, and the end of the connection was not heard of.
                    cx.waker().wake_by_ref();
                }
                polled
            })
            .await;
            // Whoever waits for an answer is told of a failure.
            let parts = connection.into_parts();
            if ended.is_ok()
                && let Err(unwanted) = leave.send(parts)
            {
                unwanted.io.into_inner().into_inner().end();
            }
        });
        let (sender, untaken) = (AppSender::Http1(sender, left), UntakenFrames::default());
        Ok(Self { sender, driver, count_guard, unsent, part, untaken, is_reused: false, has_grown: false })
    }

    /// What is counted of it.
    pub(in crate::inbound::http) fn meter(&self) -> &Arc<ByteMeter> {
        self.count_guard.meter()
    }

    /// What is read of an answer at a time.
    pub(in crate::inbound::http) fn part(&self) -> &PartSize {
        &self.part
    }

    /// Whether there is something that its trailers hold.
    pub(in crate::inbound::http) fn holds_trailers(&self) -> bool {
        self.part.holds_trailers() || self.untaken.holds_trailers()
    }

    /// The trailers of its answer are taken: the room that they have had, in bytes, which is given back by this.
    pub(in crate::inbound::http) fn take_trailer_room(&self) -> usize {
        self.part.take_trailer_room() + self.untaken.take_trailer_room()
    }

    /// Its answer is over, and nothing of it is held any more. Whether another request may follow: nothing was read that nobody has seen.
    pub(in crate::inbound::http) fn end_answer(&mut self) -> bool {
        self.has_grown = self.part.has_grown();
        self.untaken.take_trailer_room();
        self.part.end_answer()
    }

    /// What of an answer has come and was not taken, over HTTP/2.
    pub(in crate::inbound::http) fn untaken(&self) -> &UntakenFrames {
        &self.untaken
    }

    async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            AppSender::Http1(sender, _) => !sender.is_closed() && sender.ready().await.is_ok(),
            AppSender::H2c(sender) => !sender.is_closed() && sender.ready().await.is_ok(),
        }
    }

    /// Sends `request`, and waits for the head of the answer.
    ///
    /// # Errors
    /// With the request, if nothing of it was written.
    pub(in crate::inbound::http) async fn send(
        &mut self,
        mut request: Request<Box<RequestBody>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Box<RequestBody>>>> {
        let meter = self.count_guard.meter();
        meter.limit_reading(matches!(self.sender, AppSender::Http1(..)).then_some(MAX_BEFORE_ANSWER));
        let answered = match &mut self.sender {
            AppSender::Http1(sender, _) => {
                request.body_mut().wait_for(self.unsent.clone());
                self.part.begin_answer();
                let answered = sender.try_send_request(request).await;
                self.part.end_head();
                answered
            }
            AppSender::H2c(sender) => {
                self.untaken.clear();
                sender.try_send_request(request).await
            }
        };
        self.count_guard.meter().limit_reading(None);
        answered
    }

    /// The socket, once the app has agreed to speak another protocol, and what it has said already; `None`: the app has gone.
    pub(in crate::inbound::http) async fn into_switched(self) -> Option<(AppStream, Bytes)> {
        let AppSender::Http1(_sender, left) = self.sender else { return None };
        let parts = left.await.ok()?;
        Some((parts.io.into_inner().into_inner().into_inner()?, parts.read_buf))
    }

    /// Closes it as one that is done.
    fn finish(self) {
        // Without a sender the task ends by itself.
        self.driver.detach();
        if let AppSender::Http1(sender, left) = self.sender {
            drop(sender);
            end_leftover(left);
        }
    }
}

impl WaitingConnection {
    /// It gives up all that it can do without. Only HTTP/1.1 can be taken up again.
    pub(super) fn rest(self) -> Self {
        match self {
            Self::Open(AppConnection { sender: AppSender::Http1(_, left), driver, count_guard, .. }) => {
                driver.detach();
                Self::Resting(RestingSocket::Coming(left), count_guard)
            }
            other => other,
        }
    }

    /// Whether there is something that it could do without.
    pub(super) fn is_idle_releasable(&self) -> bool {
        matches!(self, Self::Open(AppConnection { sender: AppSender::Http1(..), .. }))
    }

    /// One that can take a request; `None`: the app has ended it, or has said something that nobody has asked for.
    pub(super) async fn wake(self) -> Option<AppConnection> {
        let mut connection = match self {
            Self::Open(connection) => connection,
            Self::Resting(mut socket, count_guard) => {
                let left = poll_fn(|cx| match socket.poll_here(cx) {
                    Poll::Ready(Some(stream)) => Poll::Ready(poll_readable_or_closed(stream, cx).is_pending()),
                    Poll::Ready(None) => Poll::Ready(false),
                    Poll::Pending => Poll::Pending,
                });
                let (true, RestingSocket::Here(stream)) = (left.await, socket) else { return None };
                Box::pin(AppConnection::speak_http1(stream, count_guard)).await.ok()?
            }
        };
        // One whose last answer is whole is ready at once, or never.
        if !connection.is_ready().await {
            connection.finish();
            return None;
        }
        connection.is_reused = true;
        Some(connection)
    }

    /// Ready once one that rests cannot be taken up again: the app has ended it, or has said something that nobody has asked for.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Resting(socket, _) = self else { return Poll::Pending };
        match ready!(socket.poll_here(cx)) {
            Some(stream) => poll_readable_or_closed(stream, cx),
            None => Poll::Ready(()),
        }
    }

    /// Closes it as one that is done.
    pub(super) fn finish(self) {
        match self {
            Self::Open(connection) => connection.finish(),
            Self::Resting(RestingSocket::Coming(left), _) => end_leftover(left),
            Self::Resting(RestingSocket::Here(stream), _) => stream.into_inner().end(),
        }
    }
}

impl RestingSocket {
    /// Ready once hyper has given it back; `None`: it has failed, or something has come that nobody has asked for.
    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<Option<&mut AppSocket>> {
        if let Self::Coming(left) = self {
            match ready!(Pin::new(left).poll(cx)) {
                Ok(parts) if parts.read_buf.is_empty() => *self = Self::Here(parts.io.into_inner()),
                _ => return Poll::Ready(None),
            }
        }
        match self {
            Self::Here(stream) => Poll::Ready(Some(stream)),
            Self::Coming(_) => Poll::Pending,
        }
    }
}

/// Ready once something has come, or the end: of a socket on which nothing was asked it is the end either way.
fn poll_readable_or_closed(stream: &mut AppSocket, cx: &mut Context<'_>) -> Poll<()> {
    let mut byte = [0];
    let mut input = ReadBuf::new(&mut byte);
    if ready!(Pin::new(&mut *stream).poll_read(cx, &mut input)).is_ok() && input.filled().is_empty() {
        stream.get_mut().note_end();
    }
    Poll::Ready(())
}

/// Ends what hyper has left, or has it end by whoever leaves it.
fn end_leftover(mut left: AppLeftover) {
    left.close();
    if let Ok(parts) = left.try_recv() {
        parts.io.into_inner().into_inner().end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_on_its_way_to_the_app_takes_little_more_than_its_head() {
        let request = size_of::<Request<Box<RequestBody>>>();
        // hyper keeps room for 32 of them, and for who waits for the answer to each, in 8 KiB.
        assert!(request <= 232, "a request takes {request} bytes");
    }
}
