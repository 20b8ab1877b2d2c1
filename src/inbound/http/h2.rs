//! A client's connection that speaks HTTP/2.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Context, Poll};
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use super::answer::{RequestContext, answer};
use super::body::ClientResponse;
use super::client_stream::{ClientStream, reason_of_end};
use super::connection::HttpConnection;
use super::ready::ServeResult;
use super::refuse::{NO_MEMORY, refuse_unjudged};
use super::response_backlog::{Admission, ResponseBacklog, ResponseStallCheck, StreamExecutor};
use super::slow_reader::PacedStream;
use super::watch::{ConnectionState, ConnectionWatch, end_of};
use crate::config::AppProtocol;
use crate::http::stream_memory::{
    CLIENT_CONNECTION_WINDOW, CLIENT_STREAM_WINDOW, MAX_SEND_BUFFER, STREAM_OVER_H2C, STREAM_OVER_HTTP1, announced,
};
use crate::http::{
    CALM_DOWN, ControlFrameBudget, DATA, FrameScan, FrameSlots, HEADERS, TooManyControlFrames, TooManyWaitingFrames,
    WaitingFrames, io_cause,
};
use crate::inbound::close::DRAIN_RESPONSE_TIMEOUT;
use crate::relay::NoBacklogProgress;
use crate::telemetry::{AccessLogEntry, CloseReason, RequestReason};

/// Streams that a client may reset before anything became of them.
const MAX_PENDING_RESETS: usize = 20;

/// A head that is longer than it may be by less than this gets an answer of ours, and a longer one h2's own, in bytes.
const OWN_REFUSAL: u32 = 64 * 1024;

/// How long a client that is told to calm down is given to hear it.
const GOAWAY_TIMEOUT: Duration = Duration::from_millis(500);

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<ClientResponse, Infallible>> + Send>>;

/// The client's connection, shared with hyper, which does not give it back.
#[derive(Debug, Clone)]
struct SharedStream(Arc<Mutex<GuardedStream>>);

/// A connection whose frames are counted.
#[derive(Debug)]
struct GuardedStream {
    stream: PacedStream,
    backlog: Arc<ResponseBacklog>,
    from_client: FrameScan,
    to_client: FrameScan,
    budget: ControlFrameBudget,
    /// What waits of the bodies of requests.
    slots: FrameSlots,
    /// There was no memory for more of that.
    has_no_slot: bool,
    /// The client has asked for too much.
    is_flooded: bool,
    /// How long a head may take, or what comes in front of all of them.
    head_timeout: Duration,
    /// The end of that, of one that has begun.
    head: Option<Pin<Box<Sleep>>>,
    /// It did not come in time.
    is_late: bool,
}

/// What a client has begun with, and not ended.
#[derive(Debug, thiserror::Error)]
#[error("the connection preface, or the head of a request, was not whole {0:?} after its first byte")]
struct IncompleteHead(Duration);

impl SharedStream {
    fn new(stream: PacedStream, backlog: Arc<ResponseBacklog>, slots: FrameSlots, head_timeout: Duration) -> Self {
        let (from_client, to_client) = (FrameScan::of_client(), FrameScan::of_server());
        let budget = ControlFrameBudget::new(Instant::now());
        Self(Arc::new(Mutex::new(GuardedStream {
            stream,
            backlog,
            from_client,
            to_client,
            budget,
            slots,
            has_no_slot: false,
            is_flooded: false,
            head_timeout,
            head: None,
            is_late: false,
        })))
    }

    fn locked(&self) -> MutexGuard<'_, GuardedStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guarded = &mut *self.locked();
        let before = buf.filled().len();
        let read = Pin::new(&mut guarded.stream).poll_read(cx, buf);
        let (budget, is_flooded) = (&mut guarded.budget, &mut guarded.is_flooded);
        let (slots, has_no_slot) = (&mut guarded.slots, &mut guarded.has_no_slot);
        guarded.from_client.pass(&buf.filled()[before..], |kind, length| {
            *is_flooded |= budget.take(kind, Instant::now);
            *has_no_slot |= kind == DATA && slots.take(length).is_err();
            if kind == HEADERS {
                // Each has a time of its own.
                guarded.head = None;
            }
        });
        if guarded.is_flooded {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TooManyControlFrames)));
        }
        if guarded.has_no_slot {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, TooManyWaitingFrames)));
        }
        if !guarded.from_client.is_within_head() {
            guarded.head = None;
        } else if read.is_pending() {
            let limit = guarded.head_timeout;
            task::ready!(guarded.head.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
            guarded.is_late = true;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, IncompleteHead(limit))));
        }
        read
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let guarded = &mut *self.locked();
        let written = Pin::new(&mut guarded.stream).poll_write(cx, bytes);
        guarded.backlog.note_blocked(written.is_pending());
        if let Poll::Ready(Ok(written)) = written {
            let budget = &mut guarded.budget;
            guarded.to_client.pass(&bytes[..written], |kind, length| budget.note_sent(kind, length));
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.locked().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.locked().stream).poll_shutdown(cx)
    }
}

/// Answers the requests that come on `stream` until either side is done, or `watch` ends it.
pub(super) fn serve<'a>(
    stream: ClientStream,
    connection: &'a Arc<HttpConnection>,
    watch: &'a mut ConnectionWatch,
    entry: &'a mut AccessLogEntry,
) -> impl Future<Output = ServeResult> + Send + 'a {
    let backlogs = &connection.service.budgets.backlogs;
    let backlog = Arc::new(ResponseBacklog::new(backlogs));
    let stream = PacedStream::new(stream, Arc::clone(backlogs), Arc::clone(&connection.cut), None);
    let waiting = WaitingFrames::default();
    let slots = FrameSlots::new(waiting.clone(), backlogs.reservation());
    let shared = SharedStream::new(stream, Arc::clone(&backlog), slots, connection.config.head_timeout);
    let (max_streams, bytes) = announced(connection.service.budgets.streams.share());
    let mut places = connection.service.budgets.streams.reservation();
    places.set(bytes);
    // An `async fn` would go on having room for the stream as it was given.
    async move {
        let served = serve_requests(shared.clone(), waiting, &backlog, max_streams, connection, watch, entry);
        let (reason, is_cut) = served.await;
        drop(places);
        finish(shared, reason, is_cut, connection).await
    }
}

/// Lets go of a connection that is over.
async fn finish(
    mut shared: SharedStream,
    reason: CloseReason,
    is_cut: bool,
    connection: &HttpConnection,
) -> ServeResult {
    let is_to_calm_down = shared.locked().is_flooded || shared.locked().has_no_slot;
    if is_to_calm_down {
        connection.counters.count_goaway();
        if shared.locked().to_client.is_between_frames() {
            // Whoever does not read it has been told.
            let _ = timeout(GOAWAY_TIMEOUT, async {
                shared.write_all(&CALM_DOWN).await?;
                shared.shutdown().await
            })
            .await;
        }
    }
    // Tasks of streams that are being cancelled hold nothing of it.
    match Arc::try_unwrap(shared.0) {
        Ok(guarded) => {
            let (stream, _) = guarded.into_inner().unwrap_or_else(PoisonError::into_inner).stream.into_inner();
            match reason {
                CloseReason::Overloaded => ServeResult::evicted(&stream),
                _ => ServeResult::Over { stream, reason, is_cut },
            }
        }
        Err(_) => ServeResult::Gone { reason },
    }
}

async fn serve_requests(
    shared: SharedStream,
    waiting: WaitingFrames,
    backlog: &Arc<ResponseBacklog>,
    max_streams: u32,
    connection: &Arc<HttpConnection>,
    watch: &mut ConnectionWatch,
    entry: &mut AccessLogEntry,
) -> (CloseReason, bool) {
    let config = &connection.config;
    let cost = match config.app_protocol {
        AppProtocol::Http1 => STREAM_OVER_HTTP1,
        AppProtocol::H2c => STREAM_OVER_H2C,
    };
    let executor = StreamExecutor::new(config.window_timeout, cost);
    let streams = executor.clone();
    let service = service_fn(|request| -> Answering {
        let (connection, stream_backlog) = (Arc::clone(connection), streams.begin(backlog));
        let refused = match stream_backlog.admission() {
            _ if connection.is_denied() => Some((RequestReason::Denied, None)),
            Admission::Refused => Some((RequestReason::Overloaded, Some(NO_MEMORY))),
            Admission::Only | Admission::Further => None,
        };
        if let Some((reason, detail)) = refused {
            // At once: what judges and forwards a request takes more than its answer.
            let response = refuse_unjudged(&connection, &request.into_parts().0, reason, detail);
            stream_backlog.begin();
            return Box::pin(ready(Ok(response)));
        }
        let begun = Arc::clone(&stream_backlog);
        // What was never taken of earlier requests is gone with them.
        if connection.idle_since().is_some() {
            waiting.clear();
        }
        let waiting_frames = Some(waiting.clone());
        // In a box of its own: it is handed on by value before it runs.
        Box::pin(async move {
            let arrival = RequestContext {
                head: None,
                in_flight: None,
                upgrade: None,
                stream_backlog: Some(stream_backlog),
                pace: None,
                waiting_frames,
            };
            let response = answer(&connection, request, arrival).await;
            begun.begin();
            Ok::<_, Infallible>(response)
        })
    });
    let mut serving = pin!(
        http2::Builder::new(executor)
            .max_concurrent_streams(max_streams)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .initial_stream_window_size(CLIENT_STREAM_WINDOW)
            .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(config.max_head).unwrap_or(u32::MAX).saturating_add(OWN_REFUSAL))
            .max_send_buf_size(MAX_SEND_BUFFER)
            .serve_connection(TokioIo::new(shared.clone()), service)
    );
    let mut expiring = pin!(connection.apps.expire());
    let mut look = connection.service.timeouts.idle.map(|limit| Box::pin(sleep(limit)));
    let (mut ending, mut deadline, mut is_shutting_down) = (None, None, false);
    let mut untaken: Option<ResponseStallCheck> = None;
    let done = loop {
        match watch.state(entry) {
            ConnectionState::Serving => {}
            ConnectionState::Draining if !is_shutting_down => {
                is_shutting_down = true;
                connection.set_draining();
                connection.counters.count_drain_close();
                serving.as_mut().graceful_shutdown();
            }
            ConnectionState::Closing(reason) if ending.is_none() => {
                ending = Some(reason);
                is_shutting_down = true;
                deadline = Some(Box::pin(sleep(DRAIN_RESPONSE_TIMEOUT)));
                if matches!(reason, CloseReason::PolicyChanged | CloseReason::PeerExpired) {
                    // Until the client has heard that the connection ends, it goes on asking.
                    connection.set_denied();
                }
                serving.as_mut().graceful_shutdown();
            }
            ConnectionState::Draining | ConnectionState::Closing(_) => {}
            ConnectionState::Aborted => break None,
        }
        tokio::select! {
            biased;
            done = &mut serving => break Some(done),
            () = watch.changed() => {}
            () = end_of(&mut deadline) => break None,
            () = backlog.grew.notified(), if untaken.is_none() => {
                untaken = Some(ResponseStallCheck::new(shared.locked().stream.delivered()));
            }
            () = poll_fn(|cx| untaken.as_mut().map_or(Poll::Pending, |untaken| untaken.poll_check(cx))) => {
                let is_stuck = untaken.as_mut().is_some_and(|untaken| untaken.is_stuck(shared.locked().stream.delivered()));
                if !backlog.is_large() {
                    untaken = None;
                } else if is_stuck && backlog.is_under_pressure() {
                    ending = Some(CloseReason::Overloaded);
                    // What else ends it has been said.
                    let _ = connection.cut.set(RequestReason::Overloaded);
                    break None;
                }
            }
            () = end_of(&mut look), if !is_shutting_down => {
                let limit = connection.service.timeouts.idle.unwrap_or(Duration::MAX);
                let idle_since = connection.idle_since();
                match (idle_since, &mut look) {
                    (Some(since), _) if since.elapsed() >= limit => {
                        (ending, is_shutting_down) = (Some(CloseReason::IdleTimeout), true);
                        deadline = Some(Box::pin(sleep(DRAIN_RESPONSE_TIMEOUT)));
                        serving.as_mut().graceful_shutdown();
                    }
                    (since, Some(look)) => look.as_mut().reset((since.unwrap_or_else(Instant::now) + limit).into()),
                    (_, None) => {}
                }
            }
            () = &mut expiring => {}
        }
    };
    let is_busy = connection.idle_since().is_none();
    if done.is_none() {
        let reason = if ending.is_some() { RequestReason::Denied } else { RequestReason::DrainTimeout };
        let _ = connection.cut.set(reason);
    }
    if shared.locked().stream.is_evicted() {
        ending = Some(CloseReason::Overloaded);
    }
    if ending == Some(CloseReason::Overloaded) {
        entry.set_error(&NoBacklogProgress);
    }
    let reason = match (ending, &done) {
        (Some(reason), _) => reason,
        (None, None) => CloseReason::DrainTimeout,
        (None, Some(_)) if shared.locked().is_flooded => {
            entry.set_error(&TooManyControlFrames);
            CloseReason::ClientViolation
        }
        (None, Some(_)) if shared.locked().has_no_slot => {
            entry.set_error(&TooManyWaitingFrames);
            CloseReason::Overloaded
        }
        (None, Some(_)) if shared.locked().is_late => {
            entry.set_error(&IncompleteHead(config.head_timeout));
            CloseReason::ClientViolation
        }
        // The connection below is well: what came on it is not what HTTP/2 has.
        // A client that has closed its connection properly, and left in the middle of something, has not broken it either.
        (None, Some(Err(error)))
            if shared.locked().stream.get_ref().failure().is_none() && io_cause(error).is_none() =>
        {
            entry.set_error(error);
            CloseReason::ClientViolation
        }
        (None, Some(_)) if shared.locked().stream.get_ref().failure().is_none() && connection.is_draining() => {
            CloseReason::ClosedIdle
        }
        (None, Some(_)) => reason_of_end(shared.locked().stream.get_ref(), is_busy, entry),
    };
    (reason, done.is_none() && is_busy)
}

#[cfg(test)]
mod tests {
    use super::serve;
    use crate::inbound::http::tests::size_of_version;

    #[test]
    fn a_connection_has_what_it_was_made_of_once() {
        let serve = size_of_version(serve);
        assert!(serve <= 2560, "the future of a connection has {serve} bytes");
    }
}
